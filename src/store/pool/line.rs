//! What waits for a connection.
//!
//! Guarantees: first come, first served; a part of a batch that came to nothing comes last. What all who waited for gave
//! up is taken out while the server cannot be reached.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::seat::Seat;
use crate::store::batch::{self, Batched, Member};
use crate::store::gathering::Gathered;
use crate::store::{AnyConnection, StoreError};

/// Between two tries of one thread to connect.
const PAUSE: Duration = Duration::from_millis(200);

/// A connection that nobody needed for so long is closed: what lies between us and the server may have forgotten it.
const IDLE: Duration = Duration::from_mins(10);

/// The most that are done together: others wait for the budgets that all need.
const BATCH: usize = 256;

/// What waits for a connection.
#[derive(Default)]
pub(super) struct Line {
    state: Mutex<State>,
    /// Wakes a thread that has a connection, and nothing to do.
    ready: Condvar,
    /// Wakes one that has none.
    spare: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Task>,
    /// Threads that have a connection, and nothing to do.
    idle: usize,
    /// What the last try to connect met, unless that succeeded.
    unreachable: Option<String>,
    is_closed: bool,
}

/// Work for whichever thread takes it.
pub(super) struct Task {
    pub(super) waiters: Waiters,
    /// Gives the connection back where it may be used again.
    pub(super) run: Box<dyn FnOnce(AnyConnection) -> Option<AnyConnection> + Send>,
}

/// Who waits for a task.
pub(super) enum Waiters {
    Nobody,
    These(Vec<Arc<Seat>>),
    /// Whoever is in a batch by then; and what takes those out who gave up.
    Batch(Box<dyn Fn() + Send>),
}

/// What a thread is to do.
pub(super) enum Next {
    Task(Task),
    /// Nothing, for long.
    Idle,
    Closed,
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, task: Task) {
        let mut state = self.state();
        if !state.is_closed {
            state.waiting.push_back(task);
            // Nobody who has yet to connect is woken for what a connection is there for: that may take long, or fail.
            if state.waiting.len() <= state.idle { self.ready.notify_one() } else { self.spare.notify_one() }
        }
    }

    /// Waits until something waits. False: it is closed.
    pub(super) fn has_any(&self) -> bool {
        let is_empty = |state: &mut State| state.waiting.is_empty() && !state.is_closed;
        let state = self.spare.wait_while(self.state(), is_empty).unwrap_or_else(PoisonError::into_inner);
        !state.is_closed
    }

    pub(super) fn next(&self) -> Next {
        let is_empty = |state: &mut State| state.waiting.is_empty() && !state.is_closed;
        let mut state = self.state();
        state.idle += 1;
        let waited = self.ready.wait_timeout_while(state, IDLE, is_empty);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        match state.waiting.pop_front() {
            _ if state.is_closed => Next::Closed,
            Some(task) => Next::Task(task),
            None => Next::Idle,
        }
    }

    pub(super) fn reached(&self) {
        let mut state = self.state();
        if state.unreachable.take().is_some() {
            tracing::info!("the database can be reached again");
        }
        if state.waiting.len() > 1 {
            self.spare.notify_one();
        }
    }

    /// Notes why, and lets some time pass. Whoever gave up meanwhile makes room.
    pub(super) fn missed(&self, why: &str) {
        let mut state = self.state();
        if state.unreachable.replace(why.to_owned()).is_none() {
            tracing::error!(error = why, "cannot connect to the database");
        }
        let is_open = |state: &mut State| !state.is_closed;
        let waited = self.spare.wait_timeout_while(state, PAUSE, is_open);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting.retain(|task| !task.is_given_up());
    }

    /// Why somebody waited in vain.
    pub(super) fn why_late(&self) -> StoreError {
        self.state().unreachable.clone().map_or(StoreError::Overloaded, StoreError::Connect)
    }

    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.ready.notify_all();
        self.spare.notify_all();
        // Not under the lock: whoever waits for it is woken.
        drop(waiting);
    }
}

impl Line {
    /// Hands over what waits in a batch.
    pub(super) fn push_batch<W: Batched>(self: &Arc<Self>, gathered: Gathered<Member<W>>) {
        let (line, waiting) = (Arc::clone(self), gathered.gathering());
        let tidy = move || waiting.retain(|member| !member.waiting.is_given_up());
        let run = move |db| {
            let (members, next) = gathered.into_some(BATCH);
            if let Some(next) = next {
                line.push_batch(next);
            }
            line.work_off(members, db)
        };
        self.push(Task { waiters: Waiters::Batch(Box::new(tidy)), run: Box::new(run) });
    }

    fn work_off<W: Batched>(
        self: &Arc<Self>,
        members: Vec<Member<W>>,
        db: AnyConnection,
    ) -> Option<AnyConnection> {
        let (left, kept) = batch::work_off(members, db);
        for part in left {
            let seats = part.iter().map(|member| Arc::clone(&member.waiting.seat)).collect();
            let line = Arc::clone(self);
            let run = move |db| line.work_off(part, db);
            self.push(Task { waiters: Waiters::These(seats), run: Box::new(run) });
        }
        kept
    }
}

impl Task {
    fn is_given_up(&self) -> bool {
        match &self.waiters {
            Waiters::Nobody => false,
            Waiters::These(seats) => seats.iter().all(|seat| seat.is_decided()),
            Waiters::Batch(tidy) => {
                tidy();
                false
            }
        }
    }
}
