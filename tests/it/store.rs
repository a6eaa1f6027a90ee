//! The store alone: what it promises about writes, whatever happens to one of them.

mod batch;
mod codes;
mod group;
mod notes;
mod outage;
mod pool;
mod steps;

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use diesel::result::Error;
use diesel::{RunQueryDsl, sql_query};
use futures_util::FutureExt;
use latchkey::config::{self, DatabaseUrl};
use latchkey::store::{Abort, AnyConnection, Store, StoreError};
use tokio::sync::Notify;

use crate::harness::{Backend, Database, on_both};

/// Longer than any test waits.
const PATIENCE: Duration = Duration::from_mins(1);

/// The default settings, for as long as a busy machine needs.
pub fn settings(database: &Database) -> config::Database {
    let url = match database.backend {
        Backend::Sqlite => DatabaseUrl::Sqlite(database.url.trim_start_matches("sqlite://").into()),
        Backend::Postgres => DatabaseUrl::Postgres(database.url.clone().into()),
    };
    config::Database { url, connections: 8, queue: 2048, deadline: PATIENCE }
}

/// A store with a table of notes.
fn open(database: &Database) -> Store {
    open_with(database, &settings(database))
}

fn open_with(database: &Database, settings: &config::Database) -> Store {
    let store = Store::open(settings).expect("the database");
    database.execute("CREATE TABLE notes (n BIGINT NOT NULL PRIMARY KEY)");
    store
}

/// Runs one statement on either database.
pub fn run(db: &mut AnyConnection, sql: &str) -> Result<usize, Error> {
    match db {
        AnyConnection::Sqlite(db) => sql_query(sql).execute(db),
        AnyConnection::Postgres(db) => sql_query(sql).execute(db),
    }
}

fn add(db: &mut AnyConnection, n: i64) -> Result<(), Error> {
    run(db, &format!("INSERT INTO notes VALUES ({n})")).map(|_| ())
}

/// How a job of these tests ends that is not refused.
type Outcome = Result<Result<(), &'static str>, StoreError>;

/// A job that runs `work` and counts how often it did.
fn counted(
    work: impl Fn(&mut AnyConnection) -> Result<(), Abort<&'static str>> + Send + 'static,
) -> (impl Fn(&mut AnyConnection) -> Result<(), Abort<&'static str>> + Send + 'static, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&runs);
    let job = move |db: &mut AnyConnection| {
        counter.fetch_add(1, Ordering::SeqCst);
        work(db)
    };
    (job, runs)
}

/// Writes a note.
async fn note(store: &Store, n: i64) -> Outcome {
    store.write(move |db| Ok(add(db, n)?)).await
}

/// Hands a job over now, to be answered later.
fn handed_over<'a, T: Send + 'a>(
    write: impl Future<Output = T> + Send + 'a,
) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    let mut write: Pin<Box<dyn Future<Output = T> + Send + 'a>> = Box::pin(write);
    match (&mut write).now_or_never() {
        // PostgreSQL may be that quick.
        Some(done) => Box::pin(std::future::ready(done)),
        None => write,
    }
}

/// A job that sits on the writer, or on one connection, until it is let go. What is handed over meanwhile to
/// SQLite's writer shares one commit.
struct Held {
    release: mpsc::Sender<()>,
    job: tokio::task::JoinHandle<()>,
}

impl Held {
    async fn new(store: &Arc<Store>) -> Self {
        let (release, released) = mpsc::channel();
        let released = Mutex::new(released);
        let entered = Arc::new(Notify::new());
        let (store, inside) = (Arc::clone(store), Arc::clone(&entered));
        let job = tokio::spawn(async move {
            let sit = move |_: &mut AnyConnection| {
                inside.notify_one();
                // It also ends when the test does.
                let _ = released.lock().unwrap().recv();
                Ok::<_, Abort<()>>(())
            };
            let _ = store.write(sit).await;
        });
        entered.notified().await;
        Self { release, job }
    }

    /// Lets it go; what waits runs.
    fn release(self) {
        drop(self.release);
    }

    /// Lets it go, and waits for its end.
    async fn end(self) {
        drop(self.release);
        self.job.await.expect("no panic");
    }
}

fn notes(database: &Database) -> Vec<String> {
    database.texts("SELECT CAST(n AS TEXT) AS t FROM notes ORDER BY n")
}

on_both! {
    async fn every_one_of_many_concurrent_writes_is_there_afterwards(database) {
        let store = Arc::new(open(&database));
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..50 {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                for n in 0..10 {
                    note(&store, task * 10 + n).await.expect("written").expect("accepted");
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("no panic");
        }
        assert_eq!(database.count("notes"), 500);
        store.close().await;
        assert_eq!(database.number("SELECT count(DISTINCT n) AS n FROM notes WHERE n BETWEEN 0 AND 499"), 500);
    }
}

on_both! {
    async fn a_refusal_undoes_only_its_own_job(database) {
        let store = Arc::new(open(&database));
        let held = Held::new(&store).await;
        let (good, good_runs) = counted(|db| Ok(add(db, 1)?));
        let (refused, refused_runs) = counted(|db| {
            add(db, 2)?;
            Err(Abort::Refused("no"))
        });
        let good = handed_over(store.write(good));
        let refused = handed_over(store.write(refused));
        let later = handed_over(note(&store, 3));
        held.release();
        assert!(matches!(good.await, Ok(Ok(()))));
        assert!(matches!(refused.await, Ok(Err("no"))));
        assert!(matches!(later.await, Ok(Ok(()))));
        assert_eq!(notes(&database), ["1", "3"]);
        let runs = (good_runs.load(Ordering::SeqCst), refused_runs.load(Ordering::SeqCst));
        let expected = if database.backend == Backend::Sqlite { (2, 2) } else { (1, 1) };
        assert_eq!(runs, expected, "SQLite's group had no savepoints");
        let held = Held::new(&store).await;
        let (good, good_runs) = counted(|db| Ok(add(db, 4)?));
        let good = handed_over(store.write(good));
        let refused = handed_over(store.write::<(), _, _>(|db| {
            add(db, 5)?;
            Err(Abort::Refused("no"))
        }));
        held.release();
        assert!(matches!(good.await, Ok(Ok(()))));
        assert!(matches!(refused.await, Ok(Err("no"))));
        assert_eq!((notes(&database), good_runs.load(Ordering::SeqCst)), (vec!["1".to_owned(), "3".to_owned(), "4".to_owned()], 1));
    }
}

on_both! {
    async fn a_panicking_job_fails_its_caller_alone_and_the_store_lives_on(database) {
        let store = Arc::new(open(&database));
        let held = Held::new(&store).await;
        let (good, good_runs) = counted(|db| Ok(add(db, 1)?));
        let good = handed_over(store.write(good));
        let panicking = handed_over(store.write::<(), (), _>(|db| {
            add(db, 2)?;
            panic!("a job has a bug")
        }));
        let later = handed_over(note(&store, 3));
        held.release();
        assert!(matches!(good.await, Ok(Ok(()))));
        assert!(matches!(panicking.await, Err(StoreError::Panicked)));
        assert!(matches!(later.await, Ok(Ok(()))));
        assert_eq!(notes(&database), ["1", "3"]);
        if database.backend == Backend::Sqlite {
            assert_eq!(good_runs.load(Ordering::SeqCst), 2, "once in the group that failed, once alone");
        }
        note(&store, 4).await.expect("written").expect("accepted");
        assert_eq!(database.count("notes"), 3);
    }
}

on_both! {
    async fn a_job_with_a_database_error_fails_its_caller_alone(database) {
        let store = Arc::new(open(&database));
        note(&store, 7).await.expect("written").expect("accepted");
        let held = Held::new(&store).await;
        let (good, good_runs) = counted(|db| Ok(add(db, 1)?));
        let good = handed_over(store.write(good));
        let failing = handed_over(store.write::<(), (), _>(|db| {
            add(db, 2)?;
            Ok(add(db, 7)?)
        }));
        let later = handed_over(note(&store, 3));
        held.release();
        assert!(matches!(good.await, Ok(Ok(()))));
        assert!(matches!(failing.await, Err(StoreError::Database { doing: "writing", .. })));
        assert!(matches!(later.await, Ok(Ok(()))));
        assert_eq!(notes(&database), ["1", "3", "7"]);
        if database.backend == Backend::Sqlite {
            assert_eq!(good_runs.load(Ordering::SeqCst), 2, "once in the group that failed, once alone");
        }
    }
}

on_both! {
    async fn a_job_whose_caller_went_away_before_it_began_never_runs(database) {
        let store = Arc::new(open_with(&database, &config::Database { connections: 1, ..settings(&database) }));
        let held = Held::new(&store).await;
        let (job, runs) = counted(|db| Ok(add(db, 1)?));
        let abandoned = handed_over(store.write(job));
        let waiting = handed_over(note(&store, 2));
        drop(abandoned);
        held.release();
        assert!(matches!(waiting.await, Ok(Ok(()))));
        store.close().await;
        assert_eq!(runs.load(Ordering::SeqCst), 0);
        assert_eq!(notes(&database), ["2"]);
    }
}

on_both! {
    async fn a_job_that_waited_past_the_deadline_is_overload_and_never_runs(database) {
        let hasty = Duration::from_millis(100);
        let settings = config::Database { connections: 1, deadline: hasty, ..settings(&database) };
        let store = Arc::new(open_with(&database, &settings));
        let held = Held::new(&store).await;
        let (job, runs) = counted(|db| Ok(add(db, 1)?));
        assert!(matches!(store.write(job).await, Err(StoreError::Overloaded)));
        held.end().await;
        store.close().await;
        assert_eq!((runs.load(Ordering::SeqCst), database.count("notes")), (0, 0));
    }
}

on_both! {
    async fn what_was_handed_over_is_written_when_the_store_has_closed(database) {
        let store = open_with(&database, &config::Database { connections: 2, ..settings(&database) });
        for n in 0..100 {
            store.write_detached("noting", move |db| add(db, n));
        }
        store.close().await;
        assert_eq!(database.count("notes"), 100);
        assert!(matches!(note(&store, 100).await, Err(StoreError::Closed)));
        assert_eq!(database.count("notes"), 100);
    }
}

on_both! {
    async fn what_nobody_waits_for_is_written_though_the_runtime_that_asked_has_ended(database) {
        let store = Arc::new(open(&database));
        let asking = Arc::clone(&store);
        let ask = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let _inside = runtime.enter();
            asking.write_detached("noting", |db| add(db, 1));
        };
        tokio::task::spawn_blocking(ask).await.expect("no panic");
        store.close().await;
        assert_eq!(notes(&database), ["1"]);
    }
}
