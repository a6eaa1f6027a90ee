//! What became of messages: [`deliveries::note`](crate::store::deliveries::note).

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use super::rows::{column, statement};
use crate::domain::time::Timestamp;
use crate::store::deliveries::Note;
use crate::store::prepared::prepared;
use crate::store::steps::{Missed, Once};
use crate::store::{Abort, AnyConnection};

/// Each of them is pending and was not reported of.
const NOTE: &str = "\
UPDATE deliveries SET status = noted.status, provider = noted.provider, provider_id = noted.provider_id, \
error = noted.error, failed_providers = noted.failed_providers, due_at = noted.due_at, updated_at = noted.updated_at \
FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS noted \
(id, status, provider, provider_id, error, failed_providers, due_at, updated_at) \
WHERE deliveries.id = ANY($1) AND deliveries.id = noted.id AND COALESCE(deliveries.status, '') = 'pending' \
AND deliveries.early_reports IS NULL RETURNING deliveries.id";

#[derive(QueryableByName)]
struct Noted {}

/// Notes what became of many messages, on PostgreSQL and in one statement. Where it misses, some of them may be noted,
/// and [`deliveries::note`](crate::store::deliveries::note) does the rest.
///
/// # Errors
/// [`Missed`], or the database's.
pub fn make(once: Once<'_>, notes: &[Note]) -> Result<(), Abort<Missed>> {
    let AnyConnection::Postgres(db) = once.connection() else { return Err(Abort::Refused(Missed)) };
    let text = |value: for<'s> fn(&'s Note) -> Option<&'s str>| column(notes, value);
    let query = statement(NOTE)
        .bind::<Array<Text>, _>(column(notes, |note| note.id.as_str()))
        .bind::<Array<Text>, _>(column(notes, |note| note.outcome.status.as_str()))
        .bind::<Array<Nullable<Text>>, _>(text(|note| note.outcome.provider.as_deref()))
        .bind::<Array<Nullable<Text>>, _>(text(|note| note.outcome.provider_id.as_deref()))
        .bind::<Array<Nullable<Text>>, _>(text(|note| note.outcome.error))
        .bind::<Array<Nullable<Text>>, _>(column(notes, |note| note.outcome.failed_providers()))
        .bind::<Array<Nullable<BigInt>>, _>(column(notes, |note| {
            note.outcome.due_at.map(Timestamp::as_millis)
        }))
        .bind::<Array<BigInt>, _>(column(notes, |note| note.at.as_millis()));
    let rows: Vec<Noted> = prepared!(query).get_results(db)?;
    if rows.len() == notes.len() { Ok(()) } else { Err(Abort::Refused(Missed)) }
}
