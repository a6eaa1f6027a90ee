//! Who waits for a connection, as they see it and as the thread that works for them does.
//!
//! Guarantees: their work is either begun or given up, never both; what came to nothing with others may be given up until
//! it is begun again. Their place in the queue is free once they are answered or gave up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::store::StoreError;

/// What somebody who waits shares with whoever works for them.
pub(super) struct Seat {
    /// Set when the work is begun, or given up.
    is_decided: AtomicBool,
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

/// Somebody who waits, as the thread that works for them sees it.
pub(in crate::store) struct Waiting<T> {
    pub(super) seat: Arc<Seat>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    span: tracing::Span,
}

/// The same, as they see it.
pub(super) struct Ticket<T> {
    pub(super) seat: Arc<Seat>,
    pub(super) answer: oneshot::Receiver<Result<T, StoreError>>,
}

/// Both sides of somebody who has a place.
pub(super) fn take<T>(place: OwnedSemaphorePermit) -> (Waiting<T>, Ticket<T>) {
    let seat = Arc::new(Seat { is_decided: AtomicBool::new(false), place: Mutex::new(Some(place)) });
    let (reply, answer) = oneshot::channel();
    let waiting = Waiting { seat: Arc::clone(&seat), reply, span: tracing::Span::current() };
    (waiting, Ticket { seat, answer })
}

impl Seat {
    /// True for the first who asks: either the work is begun or it is given up, never both.
    pub(super) fn decide(&self) -> bool {
        !self.is_decided.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_decided(&self) -> bool {
        self.is_decided.load(Ordering::Relaxed)
    }

    pub(super) fn leave(&self) {
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl<T> Waiting<T> {
    pub(in crate::store) fn is_given_up(&self) -> bool {
        self.reply.is_closed() || self.seat.is_decided()
    }

    /// False: nobody waits any more.
    pub(in crate::store) fn begin(&self) -> bool {
        !self.reply.is_closed() && self.seat.decide()
    }

    /// It came to nothing, and will be begun again.
    pub(in crate::store) fn put_off(&self) {
        self.seat.is_decided.store(false, Ordering::Relaxed);
    }

    /// Does it as a part of what they do.
    pub(in crate::store) fn within<U>(&self, work: impl FnOnce() -> U) -> U {
        self.span.in_scope(work)
    }

    pub(in crate::store) fn answer(self, done: Result<T, StoreError>) {
        self.seat.leave();
        let _ = self.reply.send(done);
    }
}
