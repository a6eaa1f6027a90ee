//! One statement about many rows.

use diesel::pg::Pg;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::result::Error;

use super::super::Abort;
use super::super::steps::{Missed, is_missed};

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
