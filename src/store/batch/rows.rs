//! One statement about many rows.
//!
//! PostgreSQL keeps the plan of what is prepared, and of a table that is small, or that grew a moment ago, it would read
//! all. So the texts leave it one way to a row: `key = ANY(…)` beside the join where the key is one column, a look-up
//! behind `OFFSET 0` where it is two, and times in terms that no index answers (`expires_at - $8 > 0`).

use diesel::pg::Pg;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::result::Error;

use crate::store::Abort;
use crate::store::steps::{Missed, is_missed};

/// Its text has `$1`, `$2`… for columns of rows, which are bound in that order.
pub(super) type Statement<'a> = BoxedSqlQuery<'a, Pg, SqlQuery>;

pub(super) fn statement<'a>(text: &str) -> Statement<'a> {
    diesel::sql_query(text).into_boxed()
}

/// One column of rows.
pub(super) fn column<'a, R, V>(rows: &'a [R], value: impl Fn(&'a R) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}

/// What a statement says that was not made.
pub(super) fn missed(error: Error) -> Abort<Missed> {
    if is_missed(&error) { Abort::Refused(Missed) } else { Abort::Failed(error) }
}
