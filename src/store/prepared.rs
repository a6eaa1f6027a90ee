//! Statements that a connection prepares once.
//!
//! diesel prepares every UPDATE and every upsert anew, because one of its types may stand for several texts. That
//! costs more than running them, and a round trip on PostgreSQL. Here the place in our source is the key of the cache:
//! the text is not even made again. What is prepared must be of one text, with every value bound; a debug build
//! checks that, each time.

use std::cell::Cell;
use std::marker::PhantomData;

use diesel::RunQueryDsl;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sqlite::Sqlite;

/// A statement of one text. `Place` is a type that no other statement has.
pub(super) struct Prepared<Q, Place>(Q, PhantomData<Place>);

impl<Q, Place> Prepared<Q, Place> {
    pub(super) fn new(statement: Q) -> Self {
        Self(statement, PhantomData)
    }
}

/// Makes a statement one that is prepared once.
macro_rules! prepared {
    ($statement:expr) => {{
        struct Here;
        $crate::store::prepared::Prepared::<_, Here>::new($statement)
    }};
}
pub(super) use prepared;

impl<DB, Q, Place> QueryFragment<DB> for Prepared<Q, Place>
where
    DB: Backend<QueryBuilder: Default>,
    Q: QueryFragment<DB>,
    Place: 'static,
{
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(pass)
    }

    /// diesel's own answer is no for any UPDATE and any upsert.
    fn is_safe_to_cache_prepared(&self, backend: &DB) -> QueryResult<bool> {
        #[cfg(debug_assertions)]
        one_text::check::<Place, DB>(&self.0, backend)?;
        #[cfg(not(debug_assertions))]
        let _ = backend;
        Ok(true)
    }
}

impl<Q, Place: 'static> QueryId for Prepared<Q, Place> {
    type QueryId = Place;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<Q: Query, Place> Query for Prepared<Q, Place> {
    type SqlType = Q::SqlType;
}

impl<Q, Place, Connection> RunQueryDsl<Connection> for Prepared<Q, Place> {}

#[cfg(debug_assertions)]
mod one_text {
    use std::any::TypeId;
    use std::collections::HashMap;
    use std::sync::{Mutex, PoisonError};

    use diesel::backend::Backend;
    use diesel::query_builder::{QueryBuilder, QueryFragment};
    use diesel::result::QueryResult;

    static TEXTS: Mutex<Option<HashMap<TypeId, String>>> = Mutex::new(None);

    /// Panics where one place stands for two texts: the wrong one would run.
    pub(super) fn check<Place: 'static, DB: Backend<QueryBuilder: Default>>(
        statement: &dyn QueryFragment<DB>,
        backend: &DB,
    ) -> QueryResult<()> {
        let mut builder = DB::QueryBuilder::default();
        statement.to_sql(&mut builder, backend)?;
        let text = builder.finish();
        let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            texts.get_or_insert_default().entry(TypeId::of::<Place>()).or_insert_with(|| text.clone());
        assert_eq!(*known, text, "a prepared statement has two texts");
        Ok(())
    }
}

/// A command without parameters and rows.
pub(super) struct Command(pub(super) &'static str);

impl<DB: Backend> QueryFragment<DB> for Command {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        pass.push_sql(self.0);
        Ok(())
    }
}

impl QueryId for Command {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Connection> RunQueryDsl<Connection> for Command {}

/// A statement of one text, on SQLite, of which only the number of changed rows is asked: a RETURNING there costs more
/// than the change.
pub(super) struct Counted<Q, Place> {
    statement: Q,
    asked: Cell<bool>,
    place: PhantomData<Place>,
}

impl<Q, Place> Counted<Q, Place> {
    pub(super) fn new(statement: Q) -> Self {
        Self { statement, asked: Cell::new(false), place: PhantomData }
    }
}

impl<Q: QueryFragment<Sqlite>, Place: 'static> QueryFragment<Sqlite> for Counted<Q, Place> {
    /// diesel runs it by reference, and of a reference it finds out on the way whether it is safe to cache: first of
    /// all, where the place is known. An UPDATE would say no. In any other order no statement would work at all.
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        if self.asked.replace(true) {
            return self.statement.walk_ast(pass);
        }
        #[cfg(debug_assertions)]
        one_text::check::<Place, Sqlite>(&self.statement, pass.backend())?;
        Ok(())
    }
}

impl<Q, Place: 'static> QueryId for Counted<Q, Place> {
    type QueryId = Place;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<Q, Place, Connection> RunQueryDsl<Connection> for Counted<Q, Place> {}

/// Runs a guarded statement about one row, which a key names; whether it found that row is the answer. Any BIGINT
/// of the row will do for the column.
macro_rules! found_its_row {
    ($db:expr, $statement:expr, $column:expr) => {
        match $db {
            $crate::store::connection::AnyConnection::Sqlite(connection) => {
                struct Here;
                let statement = $crate::store::prepared::Counted::<_, Here>::new($statement);
                statement.execute(connection).map(|rows| rows == 1)
            }
            $crate::store::connection::AnyConnection::Postgres(connection) => {
                $crate::store::prepared::prepared!($statement.returning($column))
                    .get_results(connection)
                    .map(|rows: Vec<i64>| rows.len() == 1)
            }
        }
    };
}

/// Runs a guarded statement about one row, and gives these columns of that row as they are then; `$row` finds it
/// again. None: it was not found.
macro_rules! changed_row {
    ($db:expr, $statement:expr, $columns:expr, $row:expr) => {
        match $db {
            $crate::store::connection::AnyConnection::Sqlite(connection) => {
                struct Here;
                let statement = $crate::store::prepared::Counted::<_, Here>::new($statement);
                match statement.execute(connection) {
                    Ok(1) => $crate::store::prepared::prepared!($row.select($columns))
                        .get_result(connection)
                        .optional(),
                    Ok(_) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            $crate::store::connection::AnyConnection::Postgres(connection) => {
                $crate::store::prepared::prepared!($statement.returning($columns))
                    .get_result(connection)
                    .optional()
            }
        }
    };
}
pub(super) use {changed_row, found_its_row};

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection;
    use diesel::dsl::sql;
    use diesel::sql_types::Integer;
    use diesel::sqlite::SqliteConnection;
    use diesel::{Connection, RunQueryDsl};

    use super::*;

    struct Place;

    fn database() -> SqliteConnection {
        let mut connection = SqliteConnection::establish(":memory:").expect("memory");
        connection
            .batch_execute("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1), (2)")
            .expect("a table");
        connection
    }

    #[test]
    #[should_panic(expected = "two texts")]
    fn one_place_has_one_text() {
        for text in ["SELECT 1", "SELECT 2"] {
            let asked = Prepared::<_, Place>::new(sql::<Integer>(text)).get_result::<i32>(&mut database());
            assert_eq!(asked.expect("a number"), 1);
        }
    }

    #[test]
    #[should_panic(expected = "two texts")]
    fn one_counted_place_has_one_text() {
        for text in ["DELETE FROM t WHERE n = 1", "DELETE FROM t"] {
            let done = Counted::<_, Place>::new(sql::<Integer>(text)).execute(&mut database());
            assert_eq!(done.expect("a count"), 1);
        }
    }

    #[test]
    fn a_counted_statement_counts_each_time() {
        struct Here;
        let mut connection = database();
        for left in [1, 1, 0] {
            let text = "DELETE FROM t WHERE n = (SELECT max(n) FROM t)";
            let done = Counted::<_, Here>::new(sql::<Integer>(text)).execute(&mut connection);
            assert_eq!(done.expect("a count"), left);
        }
    }
}
