//! The one writer of a SQLite file, which commits in groups.
//!
//! Guarantees: a job is answered only after the transaction that holds it is durable. A refusal undoes its own job and
//! nothing else: where refusals are about, each job runs in a savepoint of its own; in calm times, when savepoints are
//! a tenth of the work, the first refusal undoes the group, which then runs again with them. A database error (also one
//! that a job keeps to itself: SQLite may have rolled everything back) or a panic fails the group: nothing of it stays,
//! the connection is opened anew, and its jobs run once more, each alone, so that only the culprit fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error};
use tokio::sync::{mpsc, oneshot};

use super::{Abort, AnyConnection, StoreError, migrate};
use crate::telemetry::chain;

/// The most jobs that share a commit: what a hundred thousand writes a second would queue during one.
const GROUP: usize = 256;

/// After a refusal, so many groups run with savepoints.
const WARY_GROUPS: u32 = 100;

/// Jobs that may wait; at the writer's speed this is a fifth of a second.
const QUEUE: usize = 4096;

type Connect = Box<dyn Fn() -> Result<AnyConnection, ConnectionError> + Send>;

pub(super) struct Writer {
    /// `None` once closed.
    jobs: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A typed job behind one face.
trait Job: Send {
    /// Runs it; the outcome is kept for [`Job::answer`].
    fn run(&mut self, db: &mut AnyConnection) -> Result<Ended, Error>;
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
    /// Tells the caller, after the commit.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

enum Ended {
    Value,
    Refusal,
}

struct Awaited<F, T, R> {
    job: F,
    outcome: Option<Result<T, R>>,
    reply: oneshot::Sender<Result<Result<T, R>, StoreError>>,
    span: tracing::Span,
}

impl<F, T, R> Job for Awaited<F, T, R>
where
    T: Send,
    R: Send,
    F: Fn(&mut AnyConnection) -> Result<T, Abort<R>> + Send,
{
    fn run(&mut self, db: &mut AnyConnection) -> Result<Ended, Error> {
        let (outcome, ended) = match self.span.in_scope(|| (self.job)(db)) {
            Ok(value) => (Ok(value), Ended::Value),
            Err(Abort::Refused(refusal)) => (Err(refusal), Ended::Refusal),
            Err(Abort::Failed(error)) => return Err(error),
        };
        self.outcome = Some(outcome);
        Ok(ended)
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { outcome, reply, .. } = *self;
        // The caller may have given up meanwhile; what is committed stays committed.
        let _ = reply.send(committed.and_then(|()| outcome.ok_or(StoreError::Closed)));
    }
}

struct Detached<F> {
    job: F,
    doing: &'static str,
}

impl<F, R> Job for Detached<F>
where
    F: Fn(&mut AnyConnection) -> Result<(), Abort<R>> + Send,
{
    fn run(&mut self, db: &mut AnyConnection) -> Result<Ended, Error> {
        match (self.job)(db) {
            Ok(()) => Ok(Ended::Value),
            Err(Abort::Refused(_)) => Ok(Ended::Refusal),
            Err(Abort::Failed(error)) => Err(error),
        }
    }

    fn is_abandoned(&self) -> bool {
        false
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        if let Err(error) = committed {
            tracing::warn!(error = chain(&error), doing = self.doing, "a write was lost");
        }
    }
}

impl Writer {
    /// Opens the connection, migrates, and starts the thread.
    pub(super) fn start<C>(connect: C) -> Result<Self, StoreError>
    where
        C: Fn() -> Result<AnyConnection, ConnectionError> + Send + 'static,
    {
        migrate(&mut connect().map_err(|error| StoreError::Connect(error.to_string()))?)?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let failed = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&failed);
        let connect = move || {
            let mut connection = connect()?;
            connection.note_failures(Arc::clone(&noted));
            Ok(connection)
        };
        let committer = Committer { connect: Box::new(connect), connection: None, wary: 0, failed };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || committer.serve(receiver))
            .map_err(|error| StoreError::Connect(error.to_string()))?;
        Ok(Self { jobs: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    pub(super) async fn write<T, R, F>(&self, job: F, deadline: Duration) -> Result<Result<T, R>, StoreError>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: Fn(&mut AnyConnection) -> Result<T, Abort<R>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.hand_over(Box::new(Awaited { job, outcome: None, reply, span: tracing::Span::current() }))?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_gone)) => Err(StoreError::Closed),
            Err(_elapsed) => Err(StoreError::Overloaded),
        }
    }

    pub(super) fn write_detached<R, F>(&self, doing: &'static str, job: F)
    where
        R: 'static,
        F: Fn(&mut AnyConnection) -> Result<(), Abort<R>> + Send + 'static,
    {
        if let Err(error) = self.hand_over(Box::new(Detached { job, doing })) {
            tracing::warn!(error = chain(&error), doing, "a write was lost");
        }
    }

    fn hand_over(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let jobs = self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let jobs = jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })
    }

    /// Lets the thread finish what it has.
    pub(super) async fn close(&self) {
        drop(self.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It ends when its queue is empty; a panic of its own would have been caught job by job.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// The thread's side.
struct Committer {
    connect: Connect,
    connection: Option<AnyConnection>,
    /// Groups that still run with savepoints.
    wary: u32,
    /// Whether a statement failed.
    failed: Arc<AtomicBool>,
}

impl Committer {
    fn serve(mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut group = gather(first, &mut jobs);
            group.retain(|job| !job.is_abandoned());
            if !group.is_empty() {
                self.settle(group);
            }
        }
    }

    /// Commits the group and answers it; where that fails, each job alone.
    fn settle(&mut self, mut group: Vec<Box<dyn Job>>) {
        match self.commit(&mut group) {
            Ok(()) => group.into_iter().for_each(|job| job.answer(Ok(()))),
            Err(Failure::Refusal) => {
                self.wary = WARY_GROUPS;
                self.settle(group);
            }
            Err(failure) if group.len() > 1 && failure.may_spare_others() => {
                for job in group {
                    self.settle(vec![job]);
                }
            }
            Err(failure) => group.into_iter().for_each(|job| job.answer(Err(failure.to_error()))),
        }
    }

    fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => (self.connect)().map_err(|error| Failure::Connect(error.to_string()))?,
        };
        let mut connection = connection;
        if let Err(error) = connection.command("BEGIN IMMEDIATE") {
            let failure = Failure::to_begin(error);
            if matches!(failure, Failure::Busy) {
                self.connection = Some(connection);
            }
            return Err(failure);
        }
        self.failed.store(false, Ordering::Relaxed);
        let wary = self.wary > 0;
        self.wary = self.wary.saturating_sub(1);
        for job in group {
            // Whoever gave up while the lock was waited for was told that nothing happened.
            if job.is_abandoned() {
                continue;
            }
            if wary {
                self.run_in_savepoint(job.as_mut(), &mut connection)?;
            } else if matches!(self.run(job.as_mut(), &mut connection)?, Ended::Refusal) {
                connection.command("ROLLBACK").map_err(Failure::Database)?;
                self.connection = Some(connection);
                return Err(Failure::Refusal);
            }
        }
        connection.command("COMMIT").map_err(Failure::Database)?;
        // Only a connection that came through whole is kept: after a panic or a failed transaction its state is not
        // known, and dropping it rolls back.
        self.connection = Some(connection);
        Ok(())
    }

    fn run(&self, job: &mut dyn Job, connection: &mut AnyConnection) -> Result<Ended, Failure> {
        let ended = catch_unwind(AssertUnwindSafe(|| job.run(connection))).or(Err(Failure::Panic))?;
        let ended = ended.map_err(Failure::Database)?;
        if self.failed.load(Ordering::Relaxed) {
            return Err(Failure::Database(Error::QueryBuilderError(
                "a job kept a database error to itself".into(),
            )));
        }
        Ok(ended)
    }

    fn run_in_savepoint(&self, job: &mut dyn Job, connection: &mut AnyConnection) -> Result<(), Failure> {
        connection.command("SAVEPOINT job").map_err(Failure::Database)?;
        match self.run(job, connection)? {
            Ended::Value => {}
            Ended::Refusal => connection.command("ROLLBACK TO job").map_err(Failure::Database)?,
        }
        connection.command("RELEASE job").map_err(Failure::Database)
    }
}

/// A group ends when nobody hands in more: a commit costs nearly the same for one job and for many.
fn gather(first: Box<dyn Job>, jobs: &mut mpsc::Receiver<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
    let mut group = Vec::with_capacity(GROUP);
    group.push(first);
    let mut next = || {
        jobs.try_recv().ok().or_else(|| {
            // Whoever is about to hand a job over gets the processor first.
            std::thread::yield_now();
            jobs.try_recv().ok()
        })
    };
    while group.len() < GROUP
        && let Some(job) = next()
    {
        group.push(job);
    }
    group
}

/// Why a group was not committed.
enum Failure {
    /// A job refused, and there was no savepoint to go back to.
    Refusal,
    Busy,
    Connect(String),
    Database(Error),
    Panic,
}

impl Failure {
    fn to_begin(error: Error) -> Self {
        let busy = matches!(&error, Error::DatabaseError(DatabaseErrorKind::Unknown, info)
            if info.message().contains("locked") || info.message().contains("busy"));
        if busy { Self::Busy } else { Self::Database(error) }
    }

    /// Whether the jobs may fare better one by one: not when it was no job's doing.
    fn may_spare_others(&self) -> bool {
        match self {
            Self::Refusal | Self::Busy | Self::Connect(_) => false,
            Self::Database(_) | Self::Panic => true,
        }
    }

    fn to_error(&self) -> StoreError {
        match self {
            Self::Refusal | Self::Busy => StoreError::Overloaded,
            Self::Connect(text) => StoreError::Connect(text.clone()),
            Self::Database(error) => StoreError::Database { doing: "writing", source: repeat(error) },
            Self::Panic => StoreError::Panicked,
        }
    }
}

/// diesel's error cannot be cloned, and every job of the group is owed one.
fn repeat(error: &Error) -> Error {
    Error::QueryBuilderError(error.to_string().into())
}
