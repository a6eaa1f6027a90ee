//! PostgreSQL's connections, which blocking work takes turns on.
//!
//! Guarantees: waiting for a connection is asynchronous, bounded in number and in time; whoever gave up waiting is not
//! served any more; a connection that failed unexpectedly is never used again. Whoever has a connection works off what
//! waits: one thread hands over to another only where that would do nothing.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use diesel::ConnectionError;
use diesel::r2d2::{self, ManageConnection, PooledConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

use super::{Abort, AnyConnection, StoreError, is_retryable};
use crate::config::Database;
use crate::telemetry::chain;

/// Tries of one write that PostgreSQL rolled back for another's sake.
const TRIES: usize = 4;

type Connect = Box<dyn Fn() -> Result<AnyConnection, ConnectionError> + Send + Sync>;

/// Work for whichever thread takes it.
type Task = Box<dyn FnOnce(&mut Held<'_>) + Send>;

pub(super) struct Pool {
    connections: r2d2::Pool<Manager>,
    line: Mutex<Line>,
    /// One permit for each that waits or works.
    queue: Arc<Semaphore>,
    queue_size: u32,
    deadline: Duration,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Task>,
    /// Threads that work it off: as many as there are connections, at the most.
    at_work: u32,
}

struct Manager(Connect);

/// A pooled connection, and whether it may be used again.
struct Pooled {
    connection: AnyConnection,
    broken: bool,
}

/// The connection of a thread that works, once it needed one.
struct Held<'pool> {
    pool: &'pool r2d2::Pool<Manager>,
    pooled: Option<PooledConnection<Manager>>,
}

impl Held<'_> {
    fn run<T>(
        &mut self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut pooled = match self.pooled.take() {
            Some(pooled) => pooled,
            None => self.pool.get().map_err(|error| StoreError::Connect(error.to_string()))?,
        };
        let done = catch_unwind(AssertUnwindSafe(|| work(&mut pooled.connection)));
        let done = done.unwrap_or(Err(StoreError::Panicked));
        pooled.broken = done.is_err();
        if !pooled.broken {
            self.pooled = Some(pooled);
        }
        done
    }
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Manager")
    }
}

impl ManageConnection for Manager {
    type Connection = Pooled;
    type Error = ConnectionError;

    fn connect(&self) -> Result<Pooled, ConnectionError> {
        Ok(Pooled { connection: (self.0)()?, broken: false })
    }

    fn is_valid(&self, pooled: &mut Pooled) -> Result<(), ConnectionError> {
        pooled.connection.execute("SELECT 1").map_err(ConnectionError::CouldntSetupConfiguration)
    }

    fn has_broken(&self, pooled: &mut Pooled) -> bool {
        pooled.broken
    }
}

impl Pool {
    pub(super) fn new<C>(config: &Database, connect: C) -> Result<Self, StoreError>
    where
        C: Fn() -> Result<AnyConnection, ConnectionError> + Send + Sync + 'static,
    {
        let size = config.connections;
        let connections = r2d2::Pool::builder()
            .max_size(size)
            .min_idle(Some(1))
            // A broken connection is found by its first statement; asking each time costs a round trip.
            .test_on_check_out(false)
            .connection_timeout(config.deadline)
            .build(Manager(Box::new(connect)))
            .map_err(|error| StoreError::Connect(error.to_string()))?;
        let count = |number: u32| usize::try_from(number).unwrap_or(Semaphore::MAX_PERMITS);
        let queue_size = size.saturating_add(config.queue);
        Ok(Self {
            connections,
            line: Mutex::default(),
            queue: Arc::new(Semaphore::new(count(queue_size))),
            queue_size,
            deadline: config.deadline,
        })
    }

    pub(super) async fn read<T, F>(self: Arc<Self>, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut AnyConnection) -> Result<T, diesel::result::Error> + Send + 'static,
    {
        let run = move |db: &mut AnyConnection| {
            query(db).map_err(|source| StoreError::Database { doing: "reading", source })
        };
        let place = self.place()?;
        self.on_a_connection(place, run).await
    }

    pub(super) async fn write<T, R, F>(self: Arc<Self>, job: F) -> Result<Result<T, R>, StoreError>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: Fn(&mut AnyConnection) -> Result<T, Abort<R>> + Send + 'static,
    {
        let place = self.place()?;
        self.on_a_connection(place, move |db| in_transaction(db, &job)).await
    }

    /// For a job that is one statement.
    pub(super) async fn write_once<T, R, F>(self: Arc<Self>, job: F) -> Result<Result<T, R>, StoreError>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: Fn(&mut AnyConnection) -> Result<T, Abort<R>> + Send + 'static,
    {
        let place = self.place()?;
        self.on_a_connection(place, move |db| again_where_lost(db, &job, |db, job| settle(job(db)))).await
    }

    pub(super) fn write_detached<R, F>(self: Arc<Self>, doing: &'static str, job: F)
    where
        R: Send + 'static,
        F: Fn(&mut AnyConnection) -> Result<(), Abort<R>> + Send + 'static,
    {
        self.detach(doing, move |db| in_transaction(db, &job));
    }

    /// `once` is one statement; where it is refused, `job` is done.
    pub(super) fn write_detached_once<R, O, F>(self: Arc<Self>, doing: &'static str, once: O, job: F)
    where
        R: Send + 'static,
        O: Fn(&mut AnyConnection) -> Result<(), Abort<R>> + Send + 'static,
        F: Fn(&mut AnyConnection) -> Result<(), Abort<R>> + Send + 'static,
    {
        self.detach(doing, move |db| match again_where_lost(db, &once, |db, once| settle(once(db)))? {
            Ok(()) => Ok(Ok(())),
            Err(_missed) => in_transaction(db, &job),
        });
    }

    fn detach<R, W>(self: Arc<Self>, doing: &'static str, write: W)
    where
        R: Send + 'static,
        W: FnOnce(&mut AnyConnection) -> Result<Result<(), R>, StoreError> + Send + 'static,
    {
        // The place is taken now and not by the task, so that closing waits for it.
        let place = match self.place() {
            Ok(place) => place,
            Err(error) => {
                tracing::warn!(error = chain(&error), doing, "a write was lost");
                return;
            }
        };
        let span = tracing::Span::current();
        tokio::spawn(async move {
            let done = self.on_a_connection(place, write).await;
            if let Err(error) = done {
                span.in_scope(|| {
                    tracing::warn!(error = chain(&error), doing, "a write was lost");
                });
            }
        });
    }

    /// Waits for everything that was handed over; nothing more is taken.
    pub(super) async fn drain(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.queue.acquire_many(self.queue_size)).await;
        self.queue.close();
    }

    async fn on_a_connection<T, F>(
        self: Arc<Self>,
        place: OwnedSemaphorePermit,
        run: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConnection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, mut answer) = oneshot::channel();
        let is_decided = Arc::new(AtomicBool::new(false));
        let (decided, span) = (Arc::clone(&is_decided), tracing::Span::current());
        let deadline = self.deadline;
        self.take_on(Box::new(move |held: &mut Held<'_>| {
            // Either it is begun or it is given up, never both.
            if reply.is_closed() || decided.swap(true, Ordering::Relaxed) {
                return;
            }
            let done = held.run(|db| span.in_scope(|| run(db)));
            drop(place);
            let _ = reply.send(done);
        }));
        let done = match tokio::time::timeout(deadline, &mut answer).await {
            Ok(done) => done,
            Err(_elapsed) if is_decided.swap(true, Ordering::Relaxed) => answer.await,
            Err(_elapsed) => return Err(StoreError::Overloaded),
        };
        done.unwrap_or(Err(StoreError::Closed))
    }

    fn take_on(self: Arc<Self>, task: Task) {
        let mut line = self.line();
        line.waiting.push_back(task);
        if line.at_work < self.connections.max_size() {
            line.at_work += 1;
            drop(line);
            tokio::task::spawn_blocking(move || self.work_off());
        }
    }

    fn work_off(&self) {
        let mut held = Held { pool: &self.connections, pooled: None };
        while let Some(task) = self.next() {
            task(&mut held);
        }
    }

    /// None: there is nothing to do, and whoever asked is not at work any more.
    fn next(&self) -> Option<Task> {
        let mut line = self.line();
        let task = line.waiting.pop_front();
        if task.is_none() {
            line.at_work -= 1;
        }
        task
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        Arc::clone(&self.queue).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits => StoreError::Overloaded,
            TryAcquireError::Closed => StoreError::Closed,
        })
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
