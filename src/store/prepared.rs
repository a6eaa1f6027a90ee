//! Statements that a connection prepares once.
//!
//! diesel prepares every UPDATE and every upsert anew, because one of its types may stand for several texts. That
//! costs more than running them, and a round trip on PostgreSQL. Here the text itself is the key of the cache, so
//! that nothing can be mistaken; what is wrapped must be of a few fixed texts, with every value bound.
//!
//! It works for statements that return rows: diesel's `execute` asks a reference, which does not pass the answer on.

use diesel::RunQueryDsl;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;

/// A statement of a fixed text.
pub(super) struct Prepared<Q>(Q);

/// Makes a statement one that is prepared once.
pub(super) trait Prepare: Sized {
    /// The last word before it runs.
    fn prepared(self) -> Prepared<Self> {
        Prepared(self)
    }
}

impl<Q> Prepare for Q {}

impl<DB: Backend, Q: QueryFragment<DB>> QueryFragment<DB> for Prepared<Q> {
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.0.walk_ast(pass)
    }

    /// diesel's own answer is no for any UPDATE and any upsert.
    fn is_safe_to_cache_prepared(&self, _: &DB) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<Q> QueryId for Prepared<Q> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for Prepared<Q> {
    type SqlType = Q::SqlType;
}

impl<Q, Connection> RunQueryDsl<Connection> for Prepared<Q> {}

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

/// Runs a guarded statement about one row, which a key names; whether it found that row is the answer. Any BIGINT
/// of the row will do for the column.
macro_rules! found_its_row {
    ($statement:expr, $column:expr, $conn:ident) => {
        $statement.returning($column).prepared().get_results($conn).map(|rows: Vec<i64>| rows.len() == 1)
    };
}
pub(super) use found_its_row;
