//! Connections: how many there may be, and how long each may dawdle.
//!
//! actix times the head of a connection's first request alone. [`Watched`] times the head of every later one, too:
//! a client that has begun to send one must finish it. And it ends what actix forgets: a connection that waits for
//! the rest of a body in chunks that nobody reads, or whose next head has begun while an answer was on its way.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::client::TrustedProxies;
use crate::config::Server;
use crate::domain::network::ClientIp;

/// How many connections there may be.
pub(super) struct Connections {
    total_limit: u32,
    per_ip_limit: u32,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: u32,
    per_ip: HashMap<String, u32>,
}

/// A connection that counts until it is dropped.
struct Ticket {
    connections: Arc<Connections>,
    /// `None` for a trusted proxy, behind which everybody stands.
    key: Option<String>,
}

impl Connections {
    pub(super) fn new(total_limit: u32, per_ip_limit: u32) -> Self {
        Self { total_limit, per_ip_limit, open: Mutex::default() }
    }

    fn admit(self: &Arc<Self>, peer: IpAddr, proxies: &TrustedProxies) -> Option<Ticket> {
        let key = (!proxies.contains(peer)).then(|| ClientIp::new(peer).key());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_this = key.as_ref().and_then(|key| open.per_ip.get(key).copied()).unwrap_or(0);
        if open.total >= self.total_limit || of_this >= self.per_ip_limit {
            return None;
        }
        open.total += 1;
        if let Some(key) = &key {
            open.per_ip.insert(key.clone(), of_this + 1);
        }
        Some(Ticket { connections: Arc::clone(self), key })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        let Some(key) = &self.key else { return };
        match open.per_ip.get_mut(key) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                open.per_ip.remove(key);
            }
        }
    }
}

/// What a connection is doing, as its requests tell.
pub(super) struct Phase {
    doing: Cell<Doing>,
    /// What the connection was doing before has a deadline that is not this one's.
    is_new: Cell<bool>,
    /// Whoever reads the connection.
    reader: Cell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Nothing of the next request has come.
    Idle,
    /// Its head is coming.
    Head,
    /// It is being answered.
    Answering,
}

impl Phase {
    fn new() -> Self {
        Self { doing: Cell::new(Doing::Idle), is_new: Cell::new(true), reader: Cell::default() }
    }

    /// The head is complete.
    pub(super) fn begin_answer(&self) {
        self.enter(Doing::Answering);
    }

    /// The answer is made; the next head may come.
    pub(super) fn end_answer(&self) {
        self.enter(Doing::Idle);
    }

    /// The answer is made; what nobody read of its request's chunks comes before the next head, and is timed with it.
    pub(super) fn end_answer_to_chunks(&self) {
        self.enter(Doing::Head);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn enter(&self, doing: Doing) {
        self.doing.set(doing);
        self.is_new.set(true);
    }
}

/// A connection with a deadline for every head, and for the wait before it.
pub(super) struct Watched {
    stream: TcpStream,
    phase: Rc<Phase>,
    head_timeout: Duration,
    idle_timeout: Duration,
    deadline: RefCell<Option<Pin<Box<Sleep>>>>,
    _ticket: Ticket,
}

impl Watched {
    /// Takes a connection in, if there is room.
    pub(super) fn admit(
        stream: TcpStream,
        connections: &Arc<Connections>,
        proxies: &TrustedProxies,
        limits: &Server,
    ) -> io::Result<Self> {
        let peer = stream.peer_addr()?.ip();
        let ticket = connections.admit(peer, proxies).ok_or(io::ErrorKind::ConnectionRefused)?;
        stream.set_nodelay(true)?;
        let (head_timeout, idle_timeout) = (limits.head_timeout, limits.idle_timeout);
        let (phase, deadline) = (Rc::new(Phase::new()), RefCell::new(None));
        Ok(Self { stream, phase, head_timeout, idle_timeout, deadline, _ticket: ticket })
    }

    pub(super) fn phase(&self) -> Rc<Phase> {
        Rc::clone(&self.phase)
    }

    pub(super) fn peer_addr(&self) -> Option<std::net::SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// Ready, with an error, when a head is overdue.
    fn poll_overdue(&self, context: &mut Context<'_>) -> Poll<io::Error> {
        let mut deadline = self.deadline.borrow_mut();
        if self.phase.is_new.take() {
            *deadline = None;
        }
        let timeout = match self.phase.doing.get() {
            Doing::Idle => self.idle_timeout,
            Doing::Head => self.head_timeout,
            Doing::Answering => return Poll::Pending,
        };
        let sleep = deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the head of a request did not come in time"))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before && self.phase.doing.get() == Doing::Idle {
            self.phase.enter(Doing::Head);
        }
        self.phase.reader.set(Some(context.waker().clone()));
        if let Poll::Ready(error) = self.poll_overdue(context) {
            return Poll::Ready(Err(error));
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
