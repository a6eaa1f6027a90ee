//! Statements that a connection prepares once.
//!
//! diesel prepares every UPDATE and every upsert anew, because one of its types may stand for several texts. That
//! costs more than running them, and a round trip on PostgreSQL. Here the place in our source is the key of the cache:
//! the text is not even made again. What is prepared must be of one text, with every value bound; a debug build
//! checks that, each time.
//!
//! It works for statements that return rows: diesel's `execute` asks a reference, which does not pass the answer on.

use std::marker::PhantomData;

use diesel::RunQueryDsl;
use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;

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

/// Runs a guarded statement about one row, which a key names; whether it found that row is the answer. Any BIGINT
/// of the row will do for the column.
macro_rules! found_its_row {
    ($statement:expr, $column:expr, $conn:ident) => {
        $crate::store::prepared::prepared!($statement.returning($column))
            .get_results($conn)
            .map(|rows: Vec<i64>| rows.len() == 1)
    };
}
pub(super) use found_its_row;
