//! Guesses that are counted: [`challenges::charge_guess`](crate::store::challenges::charge_guess) and what is written
//! with it.

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Text};

use super::rows::{column, missed, statement};
use crate::domain::challenge::Challenge;
use crate::domain::guard::{AtCap, CAP_REACHED, Guard};
use crate::domain::time::Timestamp;
use crate::store::Abort;
use crate::store::audit::Event;
use crate::store::guards;
use crate::store::prepared::prepared;
use crate::store::steps::Missed;

/// A guess at a challenge that waits for one.
pub struct Count<'a> {
    /// As it was read.
    pub challenge: &'a Challenge,
    /// Codes that it will be compared with.
    pub comparisons: i32,
    /// Where it comes from.
    pub network: &'a str,
}

/// What stands between the two texts is the wait behind a failure: see [`guards::WAIT`].
const COUNT: [&str; 2] = [
    "\
WITH counted AS (SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7) \
AS counted (id, version, app_id, realm, address, comparisons, network)), \
guessed AS (UPDATE challenges SET guesses = challenges.guesses + 1 FROM counted \
WHERE challenges.id = ANY($1) AND challenges.id = counted.id AND challenges.version = counted.version \
AND challenges.ended_at IS NULL AND challenges.consumed_at IS NULL AND challenges.expires_at - $8 > 0 \
AND challenges.guesses < $9 RETURNING 1), \
guarded AS (INSERT INTO guards (realm, address, failures, comparisons, next_guess_at, updated_at) \
SELECT realm, address, 1, comparisons, $8, $8 FROM counted ORDER BY realm, address \
ON CONFLICT (realm, address) DO UPDATE SET failures = guards.failures + 1, \
comparisons = guards.comparisons + excluded.comparisons, updated_at = $8, next_guess_at = CASE \
WHEN guards.comparisons >= $10 - excluded.comparisons THEN $11 ELSE $8 + ",
    " END WHERE guards.next_guess_at <= $8 RETURNING realm, address, failures, comparisons, next_guess_at), \
recorded AS (INSERT INTO audit (at, event, realm, app_id, address, challenge_id, network) \
SELECT $8, $12, realm, app_id, address, id, network FROM counted RETURNING 1) \
SELECT realm, address, failures, comparisons, next_guess_at FROM guarded WHERE (\
(SELECT count(*) FROM guessed) = cardinality($1) AND (SELECT count(*) FROM guarded) = cardinality($1) \
AND (SELECT count(*) FROM recorded) = cardinality($1))::latchkey_found",
];

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    realm: String,
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(embed)]
    guard: guards::Row,
}

/// Counts all of them, or none: no two of them are about one address. How the guards stand then.
///
/// # Errors
/// [`Missed`], or the database's.
pub fn make(
    db: &mut PgConnection,
    counts: &[Count<'_>],
    attempts: i32,
    at_cap: AtCap,
    now: Timestamp,
) -> Result<Vec<Guard>, Abort<Missed>> {
    let text = |value: for<'s> fn(&'s Challenge) -> &'s str| column(counts, |count| value(count.challenge));
    let query = statement(&COUNT.join(&guards::WAIT))
        .bind::<Array<Text>, _>(text(|challenge| challenge.id.as_str()))
        .bind::<Array<Integer>, _>(column(counts, |count| count.challenge.version))
        .bind::<Array<Text>, _>(text(|challenge| &challenge.app_id))
        .bind::<Array<Text>, _>(text(|challenge| &challenge.realm))
        .bind::<Array<Text>, _>(text(|challenge| challenge.address.as_str()))
        .bind::<Array<Integer>, _>(column(counts, |count| count.comparisons))
        .bind::<Array<Text>, _>(column(counts, |count| count.network))
        .bind::<BigInt, _>(now.as_millis())
        .bind::<Integer, _>(attempts)
        .bind::<Integer, _>(CAP_REACHED)
        .bind::<BigInt, _>(at_cap.next_guess(now).as_millis())
        .bind::<Text, _>(Event::GuessCounted.as_str());
    let mut rows: Vec<Row> = prepared!(query).get_results(db).map_err(missed)?;
    let guard_of = |count: &Count<'_>| {
        let Challenge { realm, address, .. } = count.challenge;
        let at = rows.iter().position(|row| row.realm == *realm && row.address == address.as_str())?;
        Some(rows.swap_remove(at).guard.into())
    };
    // Every one of them is there: see the counts.
    counts.iter().map(guard_of).collect::<Option<_>>().ok_or(Abort::Refused(Missed))
}
