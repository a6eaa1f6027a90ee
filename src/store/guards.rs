//! The brakes on guessing. See [`crate::domain::guard`] for the rules; here each is one statement.

use std::sync::LazyLock;

use diesel::dsl::{case_when, sql};
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Integer};

use super::Abort;
use super::connection::{AnyConnection, on_each};
use super::prepared::prepared;
use super::schema::guards::{self, dsl};
use super::steps::{Missed, Once, Step, Steps, change};
use crate::domain::guard::{AtCap, CAP_REACHED, FREE_FAILURES, Guard, WAITS};
use crate::domain::time::{Timestamp, millis};

/// What a guess waits for behind so many failures, in ms. The rules are part of the text: each value that is bound
/// costs as much as a comparison, and there would be two dozen.
pub(super) static WAIT: LazyLock<String> = LazyLock::new(|| {
    // In the statement `failures` is the count before this guess: wait n stands behind failure FREE_FAILURES + n.
    let cases = (FREE_FAILURES..).zip(WAITS).fold("ELSE 0 END".to_owned(), |shorter, (failures, wait)| {
        format!("WHEN guards.failures >= {failures} THEN {} {shorter}", millis(wait))
    });
    format!("CASE {cases}")
});

type Columns = (dsl::failures, dsl::comparisons, dsl::next_guess_at);
pub(super) const COLUMNS: Columns = (dsl::failures, dsl::comparisons, dsl::next_guess_at);

#[derive(Queryable, QueryableByName)]
#[diesel(table_name = guards)]
pub(super) struct Row {
    failures: i32,
    comparisons: i32,
    next_guess_at: i64,
}

impl From<Row> for Guard {
    fn from(row: Row) -> Self {
        let next_guess_at = Timestamp::from_millis(row.next_guess_at);
        Self { failures: row.failures, comparisons: row.comparisons, next_guess_at }
    }
}

/// The guard of an address in a realm.
macro_rules! by_key {
    ($realm:expr, $address:expr) => {{
        use $crate::store::schema::guards::dsl;
        dsl::guards.find(($realm, $address)).select($crate::store::guards::COLUMNS)
    }};
}
pub(super) use by_key;

/// Counts a guess that will be compared with so many codes; it does not find its row where the guard lets none through
/// now. [`charged`] makes it.
pub fn charge<'a>(
    realm: &'a str,
    address: &'a str,
    comparisons: i32,
    at_cap: AtCap,
    now: Timestamp,
) -> Step<'a> {
    use diesel::query_dsl::methods::FilterDsl;
    let at = now.as_millis();
    let first = (
        dsl::realm.eq(realm),
        dsl::address.eq(address),
        dsl::failures.eq(1),
        dsl::comparisons.eq(comparisons),
        dsl::next_guess_at.eq(at),
        dsl::updated_at.eq(at),
    );
    let after_wait = at.into_sql::<BigInt>() + sql::<BigInt>(&WAIT);
    let at_the_cap = at_cap.next_guess(now).as_millis().into_sql::<BigInt>();
    let next_guess_at =
        case_when(guards::comparisons.ge(CAP_REACHED - comparisons), at_the_cap).otherwise(after_wait);
    let change = (
        dsl::failures.eq(guards::failures + 1),
        dsl::comparisons.eq(guards::comparisons + comparisons),
        dsl::next_guess_at.eq(next_guess_at),
        dsl::updated_at.eq(at),
    );
    let counted = diesel::insert_into(dsl::guards)
        .values(first)
        .on_conflict((dsl::realm, dsl::address))
        .do_update()
        .set(change)
        .filter(guards::next_guess_at.le(at));
    change!(counted).keeping("failures, comparisons, next_guess_at")
}

/// Makes steps of which one is [`charge`] of this guard; how it stands then.
///
/// # Errors
/// [`Missed`], or the database's.
pub fn charged(steps: Steps<'_>, once: Once<'_>, realm: &str, address: &str) -> Result<Guard, Abort<Missed>> {
    type Types = (Integer, Integer, BigInt);
    let row: Row = steps.run_kept::<Types, _>(once, |c| prepared!(by_key!(realm, address)).get_result(c))?;
    Ok(row.into())
}

/// The guard of an address, if it has one.
///
/// # Errors
/// The database's.
pub fn find(db: &mut AnyConnection, realm: &str, address: &str) -> Result<Option<Guard>, Error> {
    let row = on_each!(db, c => prepared!(by_key!(realm, address)).get_result::<Row>(c).optional())?;
    Ok(row.map(Guard::from))
}

/// The guards of an address in all realms.
///
/// # Errors
/// The database's.
pub fn list(db: &mut AnyConnection, address: &str) -> Result<Vec<(String, Guard)>, Error> {
    let columns = (dsl::realm, COLUMNS);
    let rows = on_each!(db, c => dsl::guards
        .filter(dsl::address.eq(address))
        .select(columns)
        .order(dsl::realm)
        .load::<(String, Row)>(c))?;
    Ok(rows.into_iter().map(|(realm, row)| (realm, row.into())).collect())
}

/// Takes the brake off, after a success or by an operator's act; it does not find its row when it was not on.
pub fn open<'a>(realm: &'a str, address: &'a str) -> Step<'a> {
    change!(diesel::delete(dsl::guards.find((realm, address))))
}
