//! PostgreSQL's connections, each with a thread of its own, which work off one line.
//!
//! Guarantees: waiting in line is asynchronous, bounded in number and in time; whoever gave up waiting is not served any
//! more, and what nobody waits for is done however long that takes. A connection that failed unexpectedly is never used
//! again. While the server cannot be reached only those who gave up are taken out of the line.

mod line;
mod seat;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use diesel::ConnectionError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use self::line::{Line, Next, Task, Waiters};
use self::seat::Ticket;
pub(super) use self::seat::Waiting;
use super::batch::{Batch, Batched, Member};
use super::{Abort, AnyConnection, StoreError, is_retryable};
use crate::config::Database;
use crate::telemetry::chain;

/// Tries of one write that PostgreSQL rolled back for another's sake.
const TRIES: usize = 4;

type Connect = dyn Fn() -> Result<AnyConnection, ConnectionError> + Send + Sync;

pub(super) struct Pool {
    line: Arc<Line>,
    /// One permit for each that waits or works.
    queue: Arc<Semaphore>,
    queue_size: u32,
    deadline: Duration,
}

/// A thread's life: it connects when there is something to do, and does that.
fn work_off(line: &Line, connect: &Connect) {
    let mut connection = None;
    loop {
        let db = match connection.take() {
            Some(db) => db,
            None if !line.has_any() => return,
            None => match connect() {
                Ok(db) => {
                    line.reached();
                    db
                }
                Err(error) => {
                    line.missed(&error.to_string());
                    continue;
                }
            },
        };
        connection = match line.next() {
            Next::Task(task) => (task.run)(db),
            Next::Idle => None,
            Next::Closed => return,
        };
    }
}

/// Does it over a connection, which is given back where nothing failed.
pub(super) fn over<T>(
    mut db: AnyConnection,
    work: impl FnOnce(&mut AnyConnection) -> Result<T, StoreError>,
) -> (Result<T, StoreError>, Option<AnyConnection>) {
    let done = caught(|| work(&mut db));
    let kept = done.is_ok().then_some(db);
    (done, kept)
}

pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(StoreError::Panicked))
}

impl Pool {
    pub(super) fn new<C>(config: &Database, connect: C) -> Result<Self, StoreError>
    where
        C: Fn() -> Result<AnyConnection, ConnectionError> + Send + Sync + 'static,
    {
        let count = |number: u32| usize::try_from(number).unwrap_or(Semaphore::MAX_PERMITS);
        let queue_size = config.connections.saturating_add(config.queue);
        let pool = Self {
            line: Arc::default(),
            queue: Arc::new(Semaphore::new(count(queue_size))),
            queue_size,
            deadline: config.deadline,
        };
        let connect: Arc<Connect> = Arc::new(connect);
        for n in 0..config.connections {
            let (line, connect) = (Arc::clone(&pool.line), Arc::clone(&connect));
            std::thread::Builder::new()
                .name(format!("store-{n}"))
                .spawn(move || work_off(&line, &*connect))
                .map_err(|error| StoreError::Connect(error.to_string()))?;
        }
        Ok(pool)
    }

    pub(super) async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut AnyConnection) -> Result<T, diesel::result::Error> + Send + 'static,
    {
        let run = move |db: &mut AnyConnection| {
            query(db).map_err(|source| StoreError::Database { doing: "reading", source })
        };
        self.on_a_connection(run).await
    }

    pub(super) async fn write<T, R, F>(&self, job: F) -> Result<Result<T, R>, StoreError>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: Fn(&mut AnyConnection) -> Result<T, Abort<R>> + Send + 'static,
    {
        self.on_a_connection(move |db| in_transaction(db, &job)).await
    }

    /// For a job that is one statement.
    pub(super) async fn write_once<T, R, F>(&self, job: F) -> Result<Result<T, R>, StoreError>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: Fn(&mut AnyConnection) -> Result<T, Abort<R>> + Send + 'static,
    {
        self.on_a_connection(move |db| at_once(db, &job)).await
    }

    /// With all that wait in the same batch.
    pub(super) async fn batched<W: Batched>(
        &self,
        batch: &Batch<W>,
        work: W,
    ) -> Result<Result<W::Done, W::Refusal>, StoreError> {
        let (waiting, ticket) = seat::take(self.place()?);
        if let Some(gathered) = batch.add(Member { work, waiting }) {
            self.line.push_batch(gathered);
        }
        self.answer(ticket).await
    }

    pub(super) fn write_detached<R, F>(&self, doing: &'static str, job: F)
    where
        R: Send + 'static,
        F: Fn(&mut AnyConnection) -> Result<(), Abort<R>> + Send + 'static,
    {
        self.detach(doing, move |db| in_transaction(db, &job));
    }

    /// `once` is one statement; where it is refused, `job` is done.
    pub(super) fn write_detached_once<R, O, F>(&self, doing: &'static str, once: O, job: F)
    where
        R: Send + 'static,
        O: Fn(&mut AnyConnection) -> Result<(), Abort<R>> + Send + 'static,
        F: Fn(&mut AnyConnection) -> Result<(), Abort<R>> + Send + 'static,
    {
        self.detach(doing, move |db| match at_once(db, &once)? {
            Ok(()) => Ok(Ok(())),
            Err(_missed) => in_transaction(db, &job),
        });
    }

    /// Nothing of it is left to the runtime of whoever asks, which may end before the store does.
    fn detach<R, W>(&self, doing: &'static str, write: W)
    where
        R: Send + 'static,
        W: FnOnce(&mut AnyConnection) -> Result<Result<(), R>, StoreError> + Send + 'static,
    {
        let span = tracing::Span::current();
        let lost = move |error| tracing::warn!(error = chain(&error), doing, "a write was lost");
        let place = match self.place() {
            Ok(place) => place,
            Err(error) => return lost(error),
        };
        let run = move |db: AnyConnection| {
            let _in = span.enter();
            let (done, kept) = over(db, write);
            if let Err(error) = done {
                lost(error);
            }
            drop(place);
            kept
        };
        self.line.push(Task { waiters: Waiters::Nobody, run: Box::new(run) });
    }

    /// Waits for everything that was handed over; nothing more is taken.
    pub(super) async fn drain(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.queue.acquire_many(self.queue_size)).await;
        self.queue.close();
    }

    async fn on_a_connection<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConnection) -> Result<T, StoreError> + Send + 'static,
    {
        let (waiting, ticket) = seat::take(self.place()?);
        let waiters = Waiters::These(vec![Arc::clone(&ticket.seat)]);
        let run = move |db: AnyConnection| {
            if !waiting.begin() {
                return Some(db);
            }
            let (done, kept) = over(db, |db| waiting.within(|| work(db)));
            waiting.answer(done);
            kept
        };
        self.line.push(Task { waiters, run: Box::new(run) });
        self.answer(ticket).await
    }

    async fn answer<T>(&self, Ticket { seat, mut answer }: Ticket<T>) -> Result<T, StoreError> {
        loop {
            match tokio::time::timeout(self.deadline, &mut answer).await {
                Ok(done) => return done.unwrap_or(Err(StoreError::Closed)),
                Err(_elapsed) if seat.decide() => {
                    seat.leave();
                    return Err(self.line.why_late());
                }
                // It is being done, or was a moment ago.
                Err(_elapsed) => {}
            }
        }
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        Arc::clone(&self.queue).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits => StoreError::Overloaded,
            TryAcquireError::Closed => StoreError::Closed,
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.line.close();
    }
}

fn in_transaction<T, R>(db: &mut AnyConnection, job: &Job<'_, T, R>) -> Result<Result<T, R>, StoreError> {
    again_where_lost(db, job, |db, job| {
        db.execute("BEGIN")?;
        match settle(job(db)) {
            Ok(Ok(value)) => db.execute("COMMIT").map(|()| Ok(value)),
            Ok(Err(refusal)) => db.execute("ROLLBACK").map(|()| Err(refusal)),
            Err(error) => {
                if is_retryable(&error) {
                    db.execute("ROLLBACK")?;
                }
                Err(error)
            }
        }
    })
}

/// For a job that is one statement.
pub(super) fn at_once<T, R>(db: &mut AnyConnection, job: &Job<'_, T, R>) -> Result<Result<T, R>, StoreError> {
    again_where_lost(db, job, |db, job| settle(job(db)))
}

type Job<'a, T, R> = dyn Fn(&mut AnyConnection) -> Result<T, Abort<R>> + 'a;
type Settled<T, R> = Result<Result<T, R>, diesel::result::Error>;

fn settle<T, R>(done: Result<T, Abort<R>>) -> Settled<T, R> {
    match done {
        Ok(value) => Ok(Ok(value)),
        Err(Abort::Refused(refusal)) => Ok(Err(refusal)),
        Err(Abort::Failed(error)) => Err(error),
    }
}

/// Runs a job, and again where PostgreSQL undid it for another's sake.
fn again_where_lost<T, R>(
    db: &mut AnyConnection,
    job: &Job<'_, T, R>,
    run: impl Fn(&mut AnyConnection, &Job<'_, T, R>) -> Settled<T, R>,
) -> Result<Result<T, R>, StoreError> {
    let failed = |source| StoreError::Database { doing: "writing", source };
    for _ in 1..TRIES {
        match run(db, job) {
            Err(error) if is_retryable(&error) => {}
            done => return done.map_err(failed),
        }
    }
    run(db, job).map_err(failed)
}
