//! PostgreSQL's connections: lost races are run again, and neither a crowd nor a lost connection does lasting harm.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use diesel::prelude::QueryableByName;
use diesel::result::Error;
use diesel::sql_types::BigInt;
use diesel::{RunQueryDsl, sql_query};
use latchkey::config;
use latchkey::store::{AnyConnection, Store, StoreError};

use super::{Held, add, handed_over, note, notes, open, open_with, run, settings};
use crate::harness::{Backend, Database, postgres};

/// A fresh database, where there is a server.
fn database() -> Option<Database> {
    postgres::is_here().then(|| Database::fresh(Backend::Postgres))
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

fn number(db: &mut AnyConnection, sql: &str) -> Result<i64, Error> {
    let AnyConnection::Postgres(db) = db else { return Err(Error::NotFound) };
    Ok(sql_query(sql).get_result::<Number>(db)?.n)
}

/// Runs two jobs at once that meet half way, the first time that each runs; how often they ran in all.
async fn collide<F>(store: &Arc<Store>, first: F, second: F) -> u32
where
    F: Fn(&mut AnyConnection, &dyn Fn()) -> Result<(), Error> + Send + 'static,
{
    let meeting = Arc::new(Barrier::new(2));
    let runs = Arc::new(AtomicU32::new(0));
    let start = |work: F| {
        let (meeting, runs, mine) = (Arc::clone(&meeting), Arc::clone(&runs), AtomicU32::new(0));
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let job = move |db: &mut AnyConnection| {
                runs.fetch_add(1, Ordering::SeqCst);
                let is_first = mine.fetch_add(1, Ordering::SeqCst) == 0;
                let meet = || {
                    if is_first {
                        meeting.wait();
                    }
                };
                Ok(work(db, &meet)?)
            };
            store.write::<(), (), _>(job).await
        })
    };
    for job in [start(first), start(second)] {
        job.await.expect("no panic").expect("written in the end").expect("accepted");
    }
    runs.load(Ordering::SeqCst)
}

#[tokio::test]
async fn two_jobs_that_lock_each_other_out_both_succeed() {
    let Some(database) = database() else { return };
    let store = Arc::new(open(&database));
    database.execute("INSERT INTO notes VALUES (1), (2)");
    database.execute("ALTER TABLE notes ADD COLUMN hits BIGINT NOT NULL DEFAULT 0");
    let in_order = |rows: [i64; 2]| {
        move |db: &mut AnyConnection, meet: &dyn Fn()| {
            run(db, &format!("UPDATE notes SET hits = hits + 1 WHERE n = {}", rows[0]))?;
            meet();
            run(db, &format!("UPDATE notes SET hits = hits + 1 WHERE n = {}", rows[1]))?;
            Ok(())
        }
    };
    assert!(collide(&store, in_order([1, 2]), in_order([2, 1])).await >= 3, "one of them ran again");
    assert_eq!(database.number("SELECT CAST(sum(hits) AS BIGINT) AS n FROM notes"), 4);
    assert_eq!(database.number("SELECT min(hits) AS n FROM notes"), 2);
}

#[tokio::test]
async fn two_jobs_that_cannot_be_put_in_order_both_succeed() {
    let Some(database) = database() else { return };
    let store = Arc::new(open(&database));
    let count_and_add = || {
        |db: &mut AnyConnection, meet: &dyn Fn()| {
            run(db, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")?;
            let count = number(db, "SELECT count(*) AS n FROM notes")?;
            meet();
            add(db, count + 1)
        }
    };
    let runs = collide(&store, count_and_add(), count_and_add()).await;
    assert!(runs >= 3, "one of them ran again");
    assert_eq!(notes(&database), ["1", "2"]);
}

#[tokio::test]
async fn more_jobs_than_may_wait_are_refused_at_once() {
    let Some(database) = database() else { return };
    let crowded = config::Database { connections: 1, queue: 1, ..settings(&database) };
    let store = Arc::new(open_with(&database, &crowded));
    let held = Held::new(&store).await;
    let waiting = handed_over(note(&store, 1));
    assert!(matches!(note(&store, 2).await, Err(StoreError::Overloaded)));
    assert!(matches!(store.ping().await, Err(StoreError::Overloaded)));
    held.end().await;
    assert!(matches!(waiting.await, Ok(Ok(()))));
    note(&store, 3).await.expect("written").expect("accepted");
    assert_eq!(notes(&database), ["1", "3"]);
}

/// Ends every other session of the database.
pub fn kill_all_connections(database: &Database) {
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
}

#[tokio::test]
async fn a_job_that_loses_its_connection_leaves_nothing_behind() {
    let Some(database) = database() else { return };
    let store = open(&database);
    let job = |db: &mut AnyConnection| {
        add(db, 1)?;
        let _ = run(db, "SELECT pg_terminate_backend(pg_backend_pid())");
        Ok(add(db, 2)?)
    };
    assert!(matches!(store.write::<(), (), _>(job).await, Err(StoreError::Database { .. })));
    note(&store, 3).await.expect("written").expect("accepted");
    assert_eq!(notes(&database), ["3"]);
}

#[tokio::test]
async fn what_waits_behind_jobs_that_end_badly_is_done_over_another_connection() {
    let Some(database) = database() else { return };
    let single = config::Database { connections: 1, ..settings(&database) };
    let store = Arc::new(open_with(&database, &single));
    let held = Held::new(&store).await;
    let panicking = |db: &mut AnyConnection| {
        add(db, 1)?;
        panic!("a job's own")
    };
    let losing = |db: &mut AnyConnection| {
        let _ = run(db, "SELECT pg_terminate_backend(pg_backend_pid())");
        Ok(add(db, 2)?)
    };
    let panicked = handed_over(store.write::<(), (), _>(panicking));
    let lost = handed_over(store.write::<(), (), _>(losing));
    let waiting = handed_over(note(&store, 3));
    held.end().await;
    assert!(matches!(panicked.await, Err(StoreError::Panicked)));
    assert!(matches!(lost.await, Err(StoreError::Database { .. })));
    assert!(matches!(waiting.await, Ok(Ok(()))));
    assert_eq!(notes(&database), ["3"]);
}

#[tokio::test]
async fn lost_connections_are_replaced() {
    let Some(database) = database() else { return };
    let few = config::Database { connections: 3, ..settings(&database) };
    let store = Arc::new(open_with(&database, &few));
    // Three at once: so many connections are open.
    let held = [Held::new(&store).await, Held::new(&store).await, Held::new(&store).await];
    for held in held {
        held.end().await;
    }
    kill_all_connections(&database);
    // A dead connection is found by its first use, and not used again.
    let mut failures = 0;
    for n in 0..20 {
        match note(&store, n).await {
            Ok(Ok(())) => {}
            Err(StoreError::Database { .. }) => failures += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(failures <= 3, "{failures}");
    assert_eq!(database.count("notes"), 20 - failures);
    assert!(matches!(note(&store, 100).await, Ok(Ok(()))));
}

#[tokio::test]
async fn a_statement_that_waits_for_a_lock_is_given_up_at_the_deadline() {
    let Some(database) = database() else { return };
    let hasty = config::Database { deadline: Duration::from_millis(200), ..settings(&database) };
    let store = open_with(&database, &hasty);
    let mut other = database.postgres();
    diesel::connection::SimpleConnection::batch_execute(&mut other, "BEGIN; LOCK TABLE notes")
        .expect("the lock");
    assert!(note(&store, 1).await.is_err());
    diesel::connection::SimpleConnection::batch_execute(&mut other, "ROLLBACK").expect("the lock is let go");
    note(&store, 2).await.expect("written").expect("accepted");
    assert_eq!(notes(&database), ["2"]);
}

#[tokio::test]
async fn while_there_is_no_connection_one_is_told_why_and_what_nobody_waits_for_waits() {
    let Some(database) = database() else { return };
    let hasty = Duration::from_millis(300);
    let single = config::Database { connections: 1, deadline: hasty, ..settings(&database) };
    let store = open_with(&database, &single);
    let name = database.texts("SELECT current_database()::text AS t").concat();
    let mut admin = postgres::admin();
    let mut let_in = |allowed: bool| {
        let alter = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}");
        sql_query(alter).execute(&mut admin).expect("an owner may");
    };
    note(&store, 1).await.expect("written").expect("accepted");
    kill_all_connections(&database);
    let_in(false);
    assert!(matches!(note(&store, 2).await, Err(StoreError::Database { .. })), "it was lost while it ran");
    store.write_detached("noting", |db| add(db, 3));
    let Err(StoreError::Connect(why)) = note(&store, 4).await else { panic!("there is no connection") };
    assert!(why.contains("not currently accepting connections"), "{why}");
    let_in(true);
    while database.count("notes") < 2 {
        tokio::task::yield_now().await;
    }
    note(&store, 5).await.expect("written").expect("accepted");
    assert_eq!(notes(&database), ["1", "3", "5"]);
}

#[tokio::test]
async fn the_one_connection_that_there_is_serves_all_while_no_other_can_be_made() {
    let Some(database) = database() else { return };
    let few = config::Database { connections: 3, deadline: Duration::from_secs(2), ..settings(&database) };
    let store = open_with(&database, &few);
    note(&store, 0).await.expect("written").expect("accepted");
    let name = database.texts("SELECT current_database()::text AS t").concat();
    let let_in = |allowed: bool| {
        let alter = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}");
        sql_query(alter).execute(&mut postgres::admin()).expect("an owner may");
    };
    let_in(false);
    for n in 1..20 {
        assert!(matches!(note(&store, n).await, Ok(Ok(()))), "{n}");
    }
    let_in(true);
    assert_eq!(database.count("notes"), 20);
}
