//! A wire that hands over nothing early.
//!
//! Guarantees: what a server, or somebody in its place, says before TLS is never read as said within it. lettre keeps
//! what it has read ahead when STARTTLS turns the connection over, and then takes it for answers to what it asks
//! inside TLS (the flaw of CVE-2011-0411, on the other side). Here a reader gets one byte at a time until TLS has begun, so
//! that it has nothing read ahead; what comes too early ends up in the handshake, and fails it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What a client's first TLS record begins with (RFC 8446 §5.1), and no command of SMTP.
const HANDSHAKE: u8 = 0x16;

/// A connection on its way to STARTTLS.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    in_tls: bool,
}

impl Wire {
    /// Before the greeting.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, in_tls: false }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.in_tls || buffer.remaining() == 0 {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut one))?;
        buffer.put_slice(one.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.in_tls |= bytes.first() == Some(&HANDSHAKE);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}
