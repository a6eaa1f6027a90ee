//! One connection to either database, opened the way that the store's promises need.
//!
//! Guarantees: a SQLite connection waits for its lock, keeps foreign keys, and has every commit on disk before it is
//! answered (WAL with `synchronous=FULL`). Migrations run once, however many processes start together.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::connection::{InstrumentationEvent, SimpleConnection};
use diesel::pg::PgConnection;
use diesel::result::Error;
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel::{Connection, ConnectionError, RunQueryDsl, Selectable};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::prepared::Command;

const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Any number that no other program on the same database takes for its own advisory lock.
const MIGRATION_LOCK: i64 = 0x006c_6174_6368_6b65;

/// Tries to switch to WAL: unlike everything else, that does not wait for a lock.
const WAL_TRIES: u32 = 200;

/// A connection to one of the two databases.
pub enum AnyConnection {
    /// Embedded.
    Sqlite(SqliteConnection),
    /// A server.
    Postgres(PgConnection),
}

/// Runs one statement, written once, on whichever database it is.
macro_rules! on_each {
    ($db:expr, $conn:ident => $body:expr) => {
        match $db {
            $crate::store::connection::AnyConnection::Sqlite($conn) => $body,
            $crate::store::connection::AnyConnection::Postgres($conn) => $body,
        }
    };
}
pub(super) use on_each;

/// The columns that a row is read from, of either database.
pub(super) fn columns<Row: Selectable<Sqlite>>() -> Row::SelectExpression {
    Row::construct_selection()
}

/// Whether a SQLite connection may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// What logins ask is found by an index. Of a table that is small, or that nothing is known of yet, PostgreSQL would
/// rather read all, and go on to do so where a statement is prepared. What others ask may take longer for it, and is no
/// reason to compile.
const BY_INDEX: &str =
    "SET enable_seqscan=off; SET enable_hashjoin=off; SET enable_mergejoin=off; SET jit=off;";

impl AnyConnection {
    /// Opens the SQLite file, making it where it is missing.
    pub(super) fn open_sqlite(file: &Path, access: Access, busy: Duration) -> Result<Self, ConnectionError> {
        let name = file
            .to_str()
            .ok_or_else(|| ConnectionError::BadConnection("the path is not UTF-8".to_owned()))?;
        let mut connection = SqliteConnection::establish(name)?;
        // The timeout comes first: all that follows may meet another process's lock.
        let settings = format!(
            "PRAGMA busy_timeout={}; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=10000; \
             PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY;",
            busy.as_millis()
        );
        connection.batch_execute(&settings).map_err(ConnectionError::CouldntSetupConfiguration)?;
        match access {
            Access::Read => connection.batch_execute("PRAGMA query_only=ON;"),
            Access::Write => switch_to_wal(&mut connection),
        }
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(Self::Sqlite(connection))
    }

    /// Connects to the server. No statement of ours runs for longer than `deadline`.
    pub(super) fn open_postgres(url: &str, deadline: Duration) -> Result<Self, ConnectionError> {
        let mut connection = PgConnection::establish(url)?;
        let millis = deadline.as_millis();
        let settings = format!(
            "SET statement_timeout={millis}; SET lock_timeout={millis}; \
             SET idle_in_transaction_session_timeout={}; {BY_INDEX}",
            millis * 2
        );
        connection.batch_execute(&settings).map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(Self::Postgres(connection))
    }

    /// Brings the schema up to date, one process at a time.
    pub(super) fn migrate(&mut self) -> Result<Vec<String>, Error> {
        let run = |error: Box<dyn std::error::Error + Send + Sync>| Error::QueryBuilderError(error);
        match self {
            Self::Sqlite(connection) => connection.immediate_transaction(|connection| {
                let done = connection.run_pending_migrations(SQLITE_MIGRATIONS).map_err(run)?;
                Ok(done.iter().map(ToString::to_string).collect())
            }),
            Self::Postgres(connection) => connection.transaction(|connection| {
                connection.batch_execute("SET LOCAL statement_timeout=0; SET LOCAL lock_timeout=0;")?;
                diesel::sql_query(format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
                    .execute(connection)?;
                let done = connection.run_pending_migrations(POSTGRES_MIGRATIONS).map_err(run)?;
                Ok(done.iter().map(ToString::to_string).collect())
            }),
        }
    }

    /// Has each statement that fails from now on noted, whatever its caller makes of the error.
    pub(super) fn note_failures(&mut self, failed: Arc<AtomicBool>) {
        let note = move |event: InstrumentationEvent<'_>| {
            if matches!(event, InstrumentationEvent::FinishQuery { error: Some(_), .. }) {
                failed.store(true, Ordering::Relaxed);
            }
        };
        on_each!(self, connection => connection.set_instrumentation(note));
    }

    /// Runs one command that is asked for again and again; SQLite reads it once.
    pub(super) fn command(&mut self, sql: &'static str) -> Result<(), Error> {
        match self {
            Self::Sqlite(connection) => Command(sql).execute(connection).map(|_| ()),
            Self::Postgres(connection) => connection.batch_execute(sql),
        }
    }

    /// Runs statements that have neither parameters nor rows.
    pub(super) fn execute(&mut self, sql: &str) -> Result<(), Error> {
        on_each!(self, connection => connection.batch_execute(sql))
    }
}

fn switch_to_wal(connection: &mut SqliteConnection) -> Result<(), Error> {
    let mut last = Ok(());
    for _ in 0..WAL_TRIES {
        last = connection.batch_execute("PRAGMA journal_mode=WAL;");
        if last.is_ok() {
            break;
        }
        // Another process is switching, or migrating: wait for its lock by asking for it.
        connection.batch_execute("BEGIN IMMEDIATE; ROLLBACK;")?;
    }
    last
}
