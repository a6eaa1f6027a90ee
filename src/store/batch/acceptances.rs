//! Right codes that are used up: [`grants::consume`](crate::store::grants::consume) and what is written with it.

use std::collections::BTreeMap;

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text};

use super::rows::{column, missed, statement};
use crate::domain::address::Address;
use crate::domain::ids::{ChallengeId, MessageId, SecretHash};
use crate::domain::limits::Rate;
use crate::domain::time::Timestamp;
use crate::store::Abort;
use crate::store::audit::Event;
use crate::store::deliveries::Taker;
use crate::store::grants::Consumption;
use crate::store::prepared::prepared;
use crate::store::steps::Missed;

/// A right code that is to be used up.
pub struct Acceptance<'a> {
    /// The set of apps that share an upstream.
    pub realm: &'a str,
    /// The app of the login.
    pub app_id: &'a str,
    /// Whose code it is.
    pub address: &'a Address,
    /// What the backend would know a new user by, where it goes by addresses.
    pub spelled: Option<&'a str>,
    /// The challenge.
    pub challenge: &'a ChallengeId,
    /// What becomes of it.
    pub consumption: &'a Consumption,
    /// The message that the code came with.
    pub message: &'a MessageId,
    /// The budgets that get a send back, each at its rate.
    pub credits: Vec<(String, Rate)>,
}

/// A guard that changes meanwhile may be in another place: then it is not for a batch.
const ACCEPT: &str = "\
WITH accepted AS (SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
AS accepted (challenge, realm, app_id, address, spelled, user_id, is_new, code, channel, grant_hash, grant_expires_at, \
lease_until, message)), \
credits AS (SELECT * FROM unnest($14, $15) AS credits (key, step)), \
made AS (INSERT INTO users (id, realm, created_at) SELECT user_id, realm, $16 FROM accepted WHERE is_new RETURNING 1), \
led AS (INSERT INTO identities (realm, address, user_id, created_at, last_login_at) \
SELECT realm, address, user_id, $16, $16 FROM accepted WHERE is_new ON CONFLICT DO NOTHING RETURNING 1), \
noted AS (UPDATE identities SET last_login_at = $16 FROM accepted CROSS JOIN LATERAL (\
SELECT ctid FROM identities WHERE realm = accepted.realm AND address = accepted.address OFFSET 0) AS held \
WHERE NOT accepted.is_new AND identities.ctid = held.ctid AND identities.user_id = accepted.user_id RETURNING 1), \
consumed AS (UPDATE challenges SET consumed_at = $16, slots = '', version = challenges.version + 1, \
code_hash = accepted.code, channel = accepted.channel, user_id = accepted.user_id, is_new_user = accepted.is_new, \
grant_hash = accepted.grant_hash, grant_expires_at = accepted.grant_expires_at, lease_until = accepted.lease_until \
FROM accepted WHERE challenges.id = ANY($1) AND challenges.id = accepted.challenge AND challenges.consumed_at IS NULL \
AND challenges.ended_at IS NULL AND challenges.expires_at - $16 > 0 RETURNING 1), \
recorded AS (INSERT INTO audit (at, event, realm, app_id, address, challenge_id, user_id, detail) \
SELECT $16, $17, realm, app_id, address, challenge, user_id, message FROM accepted RETURNING 1), \
shut AS (SELECT guard.place FROM accepted CROSS JOIN LATERAL (\
SELECT ctid AS place FROM guards WHERE realm = accepted.realm AND address = accepted.address OFFSET 0) AS guard), \
opened AS (DELETE FROM guards USING shut WHERE guards.ctid = shut.place RETURNING 1), \
credited AS (UPDATE budgets SET arrival = budgets.arrival - credits.step FROM credits \
WHERE budgets.key = ANY($14) AND budgets.key = credits.key AND budgets.arrival > $16) \
SELECT seen.* FROM (SELECT id, provider, provider_id FROM deliveries WHERE id = ANY($13)) AS seen WHERE (\
(SELECT count(*) FROM made) = (SELECT count(*) FROM accepted WHERE is_new) \
AND (SELECT count(*) FROM led) + (SELECT count(*) FROM noted) = cardinality($1) \
AND (SELECT count(*) FROM consumed) = cardinality($1) AND (SELECT count(*) FROM recorded) = cardinality($1) \
AND (SELECT count(*) FROM opened) = (SELECT count(*) FROM shut) \
AND NOT EXISTS (SELECT FROM accepted JOIN identities ON identities.upstream_id IS NOT NULL \
AND identities.realm = ANY($2) AND identities.upstream_id = ANY($5) AND identities.realm = accepted.realm \
AND identities.upstream_id = accepted.spelled WHERE accepted.is_new)\
)::latchkey_found";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Nullable<Text>)]
    provider: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    provider_id: Option<String>,
}

/// Uses all of them up, or none: no two of them are about one address. Who took the message of each, as far as that is
/// noted.
///
/// # Errors
/// [`Missed`], or the database's.
pub fn make(
    db: &mut PgConnection,
    accepted: &[Acceptance<'_>],
    now: Timestamp,
) -> Result<Vec<Option<Taker>>, Abort<Missed>> {
    // In the order of the starts that spend of them: networks, then sites.
    let mut credits: BTreeMap<(usize, &str), i64> = BTreeMap::new();
    for (rank, (key, rate)) in accepted.iter().flat_map(|one| one.credits.iter().enumerate()) {
        let credit = credits.entry((rank, key)).or_default();
        *credit = credit.saturating_add(rate.interval_ms());
    }
    let credits: Vec<_> = credits.into_iter().collect();
    let text = |value: for<'s> fn(&'s Acceptance<'_>) -> &'s str| column(accepted, value);
    let time =
        |value: fn(&Consumption) -> Timestamp| column(accepted, |one| value(one.consumption).as_millis());
    let query = statement(ACCEPT)
        .bind::<Array<Text>, _>(text(|one| one.challenge.as_str()))
        .bind::<Array<Text>, _>(text(|one| one.realm))
        .bind::<Array<Text>, _>(text(|one| one.app_id))
        .bind::<Array<Text>, _>(text(|one| one.address.as_str()))
        .bind::<Array<Nullable<Text>>, _>(column(accepted, |one| one.spelled))
        .bind::<Array<Text>, _>(text(|one| one.consumption.user.as_str()))
        .bind::<Array<Bool>, _>(column(accepted, |one| one.consumption.is_new_user))
        .bind::<Array<Binary>, _>(column(accepted, |one| one.consumption.code.as_bytes()))
        .bind::<Array<Text>, _>(text(|one| one.consumption.channel.as_str()))
        .bind::<Array<Nullable<Binary>>, _>(column(accepted, |one| {
            one.consumption.grant.as_ref().map(SecretHash::as_bytes)
        }))
        .bind::<Array<BigInt>, _>(time(|consumption| consumption.grant_expires_at))
        .bind::<Array<BigInt>, _>(time(|consumption| consumption.lease_until))
        .bind::<Array<Text>, _>(text(|one| one.message.as_str()))
        .bind::<Array<Text>, _>(column(&credits, |((_, key), _)| *key))
        .bind::<Array<BigInt>, _>(column(&credits, |(_, step)| *step))
        .bind::<BigInt, _>(now.as_millis())
        .bind::<Text, _>(Event::CodeConsumed.as_str());
    let mut rows: Vec<Row> = prepared!(query).get_results(db).map_err(missed)?;
    let taker_of = |one: &Acceptance<'_>| {
        let at = rows.iter().position(|row| row.id == one.message.as_str())?;
        let Row { provider, provider_id, .. } = rows.swap_remove(at);
        Some((provider?, provider_id))
    };
    Ok(accepted.iter().map(taker_of).collect())
}
