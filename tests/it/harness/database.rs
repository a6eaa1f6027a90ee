//! An empty database of either kind.

use std::path::PathBuf;

use diesel::sql_types::{BigInt, Text};
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};

use super::postgres;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// A database of one test. Its folder also holds the test's other files.
pub struct Database {
    pub backend: Backend,
    pub url: String,
    pub folder: tempfile::TempDir,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    t: String,
}

impl Database {
    /// One that nobody has used.
    pub fn fresh(backend: Backend) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = match backend {
            Backend::Sqlite => format!("sqlite://{}", folder.path().join("test.db").display()),
            Backend::Postgres => postgres::fresh_database(),
        };
        Self { backend, url, folder }
    }

    /// A path in the test's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The single number that a query gives as `n`, seen from outside the server.
    pub fn number(&self, sql: &str) -> i64 {
        let query = sql_query(format!("SELECT CAST(q.n AS BIGINT) AS n FROM ({sql}) AS q"));
        let rows: Vec<Number> = match self.backend {
            Backend::Sqlite => query.load(&mut self.sqlite()),
            Backend::Postgres => query.load(&mut self.postgres()),
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.first().map_or(0, |row| row.n)
    }

    /// The texts that a query gives as `t`.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let query = sql_query(sql);
        let rows: Vec<Line> = match self.backend {
            Backend::Sqlite => query.load(&mut self.sqlite()),
            Backend::Postgres => query.load(&mut self.postgres()),
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.into_iter().map(|row| row.t).collect()
    }

    /// Runs a statement from outside the server.
    pub fn execute(&self, sql: &str) {
        let query = sql_query(sql);
        match self.backend {
            Backend::Sqlite => query.execute(&mut self.sqlite()),
            Backend::Postgres => query.execute(&mut self.postgres()),
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// How many rows a table has.
    pub fn count(&self, table: &str) -> i64 {
        self.number(&format!("SELECT count(*) AS n FROM {table}"))
    }

    /// How often an event is on record.
    pub fn audited(&self, event: &str) -> i64 {
        self.number(&format!("SELECT count(*) AS n FROM audit WHERE event = '{event}'"))
    }

    /// A connection of its own.
    pub fn sqlite(&self) -> SqliteConnection {
        let file = self.url.trim_start_matches("sqlite://");
        let mut connection = SqliteConnection::establish(file).expect("the file");
        sql_query("PRAGMA busy_timeout=10000").execute(&mut connection).expect("a timeout");
        connection
    }

    /// A connection of its own.
    pub fn postgres(&self) -> PgConnection {
        PgConnection::establish(&self.url).expect("the server")
    }
}
