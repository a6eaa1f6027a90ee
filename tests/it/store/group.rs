//! SQLite's writer: what a group of jobs that share a commit must survive.

use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::QueryableByName;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Text};
use diesel::{RunQueryDsl, sql_query};
use latchkey::config;
use latchkey::store::{AnyConnection, Store, StoreError};

use super::{Held, add, handed_over, note, notes, open, open_with, run, settings};
use crate::harness::{Backend, Database};

#[derive(QueryableByName)]
struct Setting {
    #[diesel(sql_type = Text)]
    value: String,
}

#[derive(QueryableByName)]
struct Pages {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

fn setting(db: &mut AnyConnection, name: &str) -> Result<String, Error> {
    let AnyConnection::Sqlite(db) = db else { return Err(Error::NotFound) };
    let sql = format!("SELECT CAST({name} AS TEXT) AS value FROM pragma_{name}");
    Ok(sql_query(sql).get_result::<Setting>(db)?.value)
}

/// Writes until the disk is full: no more pages than there are. The error that SQLite gives.
fn fill_the_disk(db: &mut AnyConnection) -> Error {
    let fill = |db: &mut AnyConnection| {
        let AnyConnection::Sqlite(raw) = &mut *db else { return Ok(()) };
        let pages: Pages = sql_query("SELECT page_count AS count FROM pragma_page_count").get_result(raw)?;
        raw.batch_execute(&format!("PRAGMA max_page_count={}", pages.count))?;
        (1_000..1_000_000).try_for_each(|n| add(db, n))
    };
    fill(db).expect_err("the disk is full before a million rows")
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_answered_as_done_that_is_not_in_the_file() {
    let database = Database::fresh(Backend::Sqlite);
    let store = Arc::new(open(&database));
    let held = Held::new(&store).await;
    let before = handed_over(note(&store, 1));
    let greedy = handed_over(store.write::<(), (), _>(|db| Err(fill_the_disk(db).into())));
    let behind = handed_over(note(&store, 2));
    held.release();
    assert!(matches!(before.await, Ok(Ok(()))));
    let Err(StoreError::Database { source, .. }) = greedy.await else { panic!("the greedy job fails") };
    assert!(source.to_string().contains("full"), "{source}");
    assert!(matches!(behind.await, Ok(Ok(()))));
    store.close().await;
    assert_eq!(notes(&database), ["1", "2"], "as answered, and of the greedy job nothing");
}

#[tokio::test]
async fn a_job_that_hides_a_full_disk_is_not_answered_as_done() {
    let database = Database::fresh(Backend::Sqlite);
    let store = Arc::new(open(&database));
    let held = Held::new(&store).await;
    let before = handed_over(note(&store, 1));
    // SQLite has rolled all of the group back, and would commit each later statement alone.
    let hiding = handed_over(store.write::<_, (), _>(|db| {
        let _hidden = fill_the_disk(db);
        Ok(())
    }));
    let refusing = handed_over(store.write::<(), _, _>(|db| {
        let _hidden = fill_the_disk(db);
        Err(latchkey::store::Abort::Refused("no"))
    }));
    let behind = handed_over(note(&store, 2));
    held.release();
    assert!(matches!(before.await, Ok(Ok(()))));
    assert!(matches!(hiding.await, Err(StoreError::Database { .. })));
    assert!(matches!(refusing.await, Err(StoreError::Database { .. })));
    assert!(matches!(behind.await, Ok(Ok(()))));
    assert_eq!(notes(&database), ["1", "2"]);
}

#[tokio::test]
async fn while_the_disk_stays_full_all_is_refused_and_afterwards_all_works() {
    let database = Database::fresh(Backend::Sqlite);
    let store = Arc::new(open(&database));
    // As SQLITE_FULL does it: the statement fails, and the whole transaction is gone.
    database.execute(
        "CREATE TRIGGER full BEFORE INSERT ON notes \
         BEGIN SELECT RAISE(ROLLBACK, 'database or disk is full'); END",
    );
    let held = Held::new(&store).await;
    let writes: Vec<_> = (0..5).map(|n| handed_over(note(&store, n))).collect();
    let other = handed_over(store.write::<_, (), _>(|db| {
        let sql = "INSERT INTO budgets VALUES ('somebody', 1, 1, 1)";
        Ok(run(db, sql)?)
    }));
    held.release();
    for write in writes {
        assert!(matches!(write.await, Err(StoreError::Database { .. })));
    }
    assert!(matches!(other.await, Ok(Ok(1))), "what needs no room is not held up");
    assert_eq!((database.count("notes"), database.count("budgets")), (0, 1));
    database.execute("DROP TRIGGER full");
    let held = Held::new(&store).await;
    let writes: Vec<_> = (0..5).map(|n| handed_over(note(&store, n))).collect();
    held.release();
    for write in writes {
        assert!(matches!(write.await, Ok(Ok(()))));
    }
    store.close().await;
    assert_eq!(database.count("notes"), 5);
}

#[tokio::test]
async fn a_file_that_another_process_keeps_locked_is_overload_and_works_again_after() {
    let database = Database::fresh(Backend::Sqlite);
    let hasty = config::Database { deadline: Duration::from_millis(150), ..settings(&database) };
    let store = open_with(&database, &hasty);
    note(&store, 1).await.expect("written").expect("accepted");
    let mut other = database.sqlite();
    other.batch_execute("BEGIN IMMEDIATE").expect("the lock");
    for n in 2..4 {
        assert!(matches!(note(&store, n).await, Err(StoreError::Overloaded)));
    }
    other.batch_execute("ROLLBACK").expect("the lock is let go");
    // What is under way when the lock goes may still be late.
    let mut written = false;
    for _ in 0..20 {
        match note(&store, 4).await {
            Ok(Ok(())) => written = true,
            Err(StoreError::Overloaded) => continue,
            other => panic!("{other:?}"),
        }
        break;
    }
    assert!(written);
    store.close().await;
    assert_eq!(notes(&database), ["1", "4"]);
}

#[tokio::test]
async fn a_commit_is_on_disk_before_it_is_answered_k9() {
    let database = Database::fresh(Backend::Sqlite);
    let store = open(&database);
    let read_back = |db: &mut AnyConnection| {
        let names = ["journal_mode", "synchronous", "foreign_keys", "trusted_schema"];
        names.iter().map(|name| setting(db, name)).collect::<Result<Vec<_>, _>>()
    };
    let expected = ["wal", "2", "1", "0"];
    let on_the_writer = store.write::<_, (), _>(move |db| Ok(read_back(db)?)).await;
    assert_eq!(on_the_writer.expect("read").expect("accepted"), expected);
    // Also on the connection that a failure is followed by.
    let failed = store.write::<(), (), _>(|_| panic!("a job has a bug")).await;
    assert!(matches!(failed, Err(StoreError::Panicked)));
    let opened_anew = store.write::<_, (), _>(move |db| Ok(read_back(db)?)).await;
    assert_eq!(opened_anew.expect("read").expect("accepted"), expected);
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let database = Database::fresh(Backend::Sqlite);
    let store = open(&database);
    assert!(matches!(store.read(|db| add(db, 1)).await, Err(StoreError::Database { doing: "reading", .. })));
    assert_eq!(database.count("notes"), 0);
    assert_eq!(read_count(&store).await, 0, "a reader that failed is replaced");
}

#[tokio::test]
async fn a_reader_sees_what_was_answered_as_written() {
    let database = Database::fresh(Backend::Sqlite);
    let store = open(&database);
    for n in 1..=100 {
        note(&store, n).await.expect("written").expect("accepted");
        assert_eq!(read_count(&store).await, n);
    }
}

async fn read_count(store: &Store) -> i64 {
    let count = |db: &mut AnyConnection| {
        let AnyConnection::Sqlite(db) = db else { return Err(Error::NotFound) };
        Ok(sql_query("SELECT count(*) AS count FROM notes").get_result::<Pages>(db)?.count)
    };
    store.read(count).await.expect("a count")
}
