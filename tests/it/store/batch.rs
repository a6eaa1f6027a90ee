//! What waits while every connection is busy is done at once, and nobody's trouble is another's.

use std::sync::Arc;
use std::time::Duration;

use diesel::pg::PgConnection;
use diesel::{RunQueryDsl, sql_query};
use futures_util::future::join_all;
use latchkey::config;
use latchkey::store::batch::{Batch, Batched};
use latchkey::store::steps::Missed;
use latchkey::store::{Abort, AnyConnection, Store, StoreError};

use super::pool::kill_all_connections;
use super::{Held, PATIENCE, add, handed_over, notes, open_with, run, settings};
use crate::harness::{Backend, Database, on_both, postgres};

/// How a note is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// It has to be made by itself.
    Special,
    /// It misses.
    Missing,
    /// Its statement fails.
    Failing,
    /// Its code panics.
    Panicking,
}

/// A note that is to be written.
struct Note {
    n: i64,
    subject: &'static str,
    kind: Kind,
    /// As long as it is kept.
    _token: Arc<()>,
}

/// How it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Alone,
    Together,
}

impl Batched for Note {
    type Done = Made;
    type Refusal = Missed;

    fn subject(&self) -> &str {
        self.subject
    }

    fn alone(&self, db: &mut AnyConnection) -> Result<Made, Abort<Missed>> {
        match self.kind {
            Kind::Plain | Kind::Special => add(db, self.n)?,
            Kind::Missing => return Err(Abort::Refused(Missed)),
            Kind::Failing => run(db, "SELECT 1 / 0").map(|_| ())?,
            Kind::Panicking => panic!("a job's own"),
        }
        Ok(Made::Alone)
    }

    fn together(db: &mut PgConnection, many: &[&Self]) -> Result<Vec<Option<Made>>, Abort<Missed>> {
        assert!(many.iter().all(|note| note.kind != Kind::Panicking), "a batch's own");
        if many.iter().any(|note| note.kind == Kind::Missing) {
            return Err(Abort::Refused(Missed));
        }
        let is_plain = |note: &&&Self| note.kind != Kind::Special;
        let values: Vec<String> = many
            .iter()
            .filter(is_plain)
            .map(
                |note| {
                    if note.kind == Kind::Failing { "(1 / 0)".to_owned() } else { format!("({})", note.n) }
                },
            )
            .collect();
        sql_query(format!("INSERT INTO notes VALUES {}", values.join(", "))).execute(db)?;
        Ok(many.iter().map(|note| is_plain(&note).then_some(Made::Together)).collect())
    }
}

/// A store with one connection, and notes for it.
struct Room {
    database: Database,
    store: Arc<Store>,
    batch: Batch<Note>,
    token: Arc<()>,
}

impl Room {
    fn new() -> Option<Self> {
        Self::with(PATIENCE, 2048)
    }

    fn with(deadline: Duration, queue: u32) -> Option<Self> {
        let database = postgres::is_here().then(|| Database::fresh(Backend::Postgres))?;
        let single = config::Database { connections: 1, queue, deadline, ..settings(&database) };
        let store = Arc::new(open_with(&database, &single));
        Some(Self { database, store, batch: Batch::default(), token: Arc::default() })
    }

    async fn write(
        &self,
        n: i64,
        subject: &'static str,
        kind: Kind,
    ) -> Result<Result<Made, Missed>, StoreError> {
        let note = Note { n, subject, kind, _token: Arc::clone(&self.token) };
        self.store.write_batched(&self.batch, note).await
    }

    /// Writes these while the only connection is busy, each about its own.
    async fn write_all<const N: usize>(
        &self,
        kinds: [Kind; N],
    ) -> Vec<Result<Result<Made, Missed>, StoreError>> {
        let held = Held::new(&self.store).await;
        let subjects = ["a", "b", "c", "d", "e", "f"];
        let writes = (1..).zip(subjects).zip(kinds).map(|((n, subject), kind)| self.write(n, subject, kind));
        let writes: Vec<_> = writes.map(handed_over).collect();
        held.release();
        join_all(writes).await
    }

    /// Transactions that the notes came in.
    fn transactions(&self) -> i64 {
        self.database.number("SELECT count(DISTINCT xmin::text) AS n FROM notes")
    }
}

#[tokio::test]
async fn what_waits_while_the_connection_is_busy_is_written_in_one_statement() {
    let Some(room) = Room::new() else { return };
    let made = room.write_all([Kind::Plain; 5]).await;
    assert!(made.iter().all(|made| matches!(made, Ok(Ok(Made::Together)))), "{made:?}");
    assert_eq!(notes(&room.database), ["1", "2", "3", "4", "5"]);
    assert_eq!(room.transactions(), 1);
}

#[tokio::test]
async fn what_comes_while_a_connection_is_free_is_written_alone() {
    let Some(room) = Room::new() else { return };
    for n in 1..=3 {
        assert!(matches!(room.write(n, "a", Kind::Plain).await, Ok(Ok(Made::Alone))));
    }
    assert_eq!((notes(&room.database).len(), room.transactions()), (3, 3));
}

on_both! {
    async fn where_one_of_many_misses_it_alone_hears_so(database) {
        let store = Arc::new(open_with(&database, &settings(&database)));
        let batch = Batch::default();
        let kinds = [Kind::Plain, Kind::Missing, Kind::Plain];
        let write = |(n, kind)| {
            let subject = ["a", "b", "c"][usize::try_from(n).expect("small")];
            store.write_batched(&batch, Note { n, subject, kind, _token: Arc::default() })
        };
        let made = join_all((0..).zip(kinds).map(write)).await;
        let missed: Vec<bool> =
            made.into_iter().map(|made| made.expect("the store answers") == Err(Missed)).collect();
        assert_eq!((missed, notes(&database)), (vec![false, true, false], vec!["0".to_owned(), "2".to_owned()]));
    }
}

#[tokio::test]
async fn where_one_of_a_batch_misses_each_is_written_alone() {
    let Some(room) = Room::new() else { return };
    let made = room.write_all([Kind::Plain, Kind::Missing, Kind::Plain]).await;
    assert!(matches!(made[..], [Ok(Ok(Made::Alone)), Ok(Err(Missed)), Ok(Ok(Made::Alone))]), "{made:?}");
    assert_eq!((notes(&room.database), room.transactions()), (vec!["1".to_owned(), "3".to_owned()], 2));
}

#[tokio::test]
async fn what_is_not_plain_is_left_out_of_the_batch_and_written_alone() {
    let Some(room) = Room::new() else { return };
    let made = room.write_all([Kind::Plain, Kind::Special, Kind::Plain]).await;
    assert!(
        matches!(made[..], [Ok(Ok(Made::Together)), Ok(Ok(Made::Alone)), Ok(Ok(Made::Together))]),
        "{made:?}"
    );
    assert_eq!((notes(&room.database).len(), room.transactions()), (3, 2));
}

#[tokio::test]
async fn no_two_of_a_batch_are_about_the_same() {
    let Some(room) = Room::new() else { return };
    let held = Held::new(&room.store).await;
    let subjects = ["b", "a", "b", "c", "b"];
    let writes = (1..).zip(subjects).map(|(n, subject)| handed_over(room.write(n, subject, Kind::Plain)));
    let writes: Vec<_> = writes.collect();
    held.release();
    let made: Vec<Made> = join_all(writes)
        .await
        .into_iter()
        .map(|made| made.expect("the store answers").expect("written"))
        .collect();
    let (alone, together) = (Made::Alone, Made::Together);
    assert_eq!(made, [together, together, alone, together, alone]);
    assert_eq!(room.transactions(), 3);
}

#[tokio::test]
async fn the_failure_of_one_is_its_own() {
    for kind in [Kind::Failing, Kind::Panicking] {
        let Some(room) = Room::new() else { return };
        // The others come first: behind a panic nobody knows how the connection stands.
        let made = room.write_all([Kind::Plain, Kind::Plain, kind]).await;
        assert!(matches!(made[..], [Ok(Ok(Made::Alone)), Ok(Ok(Made::Alone)), Err(_)]), "{made:?}");
        assert_eq!(notes(&room.database), ["1", "2"]);
        assert!(
            matches!(room.write(9, "a", Kind::Plain).await, Ok(Ok(Made::Alone))),
            "over another connection"
        );
    }
}

#[tokio::test]
async fn the_half_of_a_batch_that_has_no_trouble_is_written_in_one_statement() {
    let Some(room) = Room::new() else { return };
    let trouble = [Kind::Missing, Kind::Plain, Kind::Failing, Kind::Plain, Kind::Plain, Kind::Plain];
    let made = room.write_all(trouble).await;
    let [Ok(Err(Missed)), Ok(Ok(Made::Alone)), Err(StoreError::Database { .. }), rest @ ..] = &made[..]
    else {
        panic!("{made:?}")
    };
    assert!(rest.iter().all(|made| matches!(made, Ok(Ok(Made::Together)))), "{made:?}");
    assert_eq!((notes(&room.database).len(), room.transactions()), (4, 2));
}

#[tokio::test]
async fn nothing_is_kept_of_those_who_gave_up_while_there_is_no_connection() {
    let Some(room) = Room::with(Duration::from_millis(300), 2048) else { return };
    assert!(matches!(room.write(1, "a", Kind::Plain).await, Ok(Ok(Made::Alone))));
    let name = room.database.texts("SELECT current_database()::text AS t").concat();
    kill_all_connections(&room.database);
    let alter = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false");
    sql_query(alter).execute(&mut postgres::admin()).expect("an owner may");
    // One finds out that the connection is lost.
    assert!(room.write(2, "b", Kind::Plain).await.is_err());
    let late = [handed_over(room.write(3, "c", Kind::Plain)), handed_over(room.write(4, "d", Kind::Plain))];
    for late in late {
        assert!(matches!(late.await, Err(StoreError::Connect(_))));
    }
    while Arc::strong_count(&room.token) > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_gave_up_waiting_is_left_out_and_makes_room() {
    let Some(room) = Room::with(Duration::from_millis(500), 2) else { return };
    let held = Held::new(&room.store).await;
    let late = [handed_over(room.write(0, "a", Kind::Plain)), handed_over(room.write(1, "b", Kind::Plain))];
    assert!(matches!(room.write(4, "d", Kind::Plain).await, Err(StoreError::Overloaded)), "there is no room");
    for late in late {
        assert!(matches!(late.await, Err(StoreError::Overloaded)));
    }
    let writes = [handed_over(room.write(2, "b", Kind::Plain)), handed_over(room.write(3, "c", Kind::Plain))];
    held.release();
    let made = join_all(writes).await;
    assert!(made.iter().all(|made| matches!(made, Ok(Ok(Made::Together)))), "{made:?}");
    assert_eq!(notes(&room.database), ["2", "3"]);
}
