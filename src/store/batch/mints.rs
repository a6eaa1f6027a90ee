//! Tokens that were minted, each with the first session of its user: [`grants::spend`](crate::store::grants::spend) and
//! what is written with it.

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text};

use super::rows::{column, missed, statement};
use crate::domain::channel::Channel;
use crate::domain::session::DeviceLabel;
use crate::domain::time::Timestamp;
use crate::store::Abort;
use crate::store::audit::Event;
use crate::store::prepared::prepared;
use crate::store::sessions::NewSession;
use crate::store::steps::Missed;

/// A token that was minted.
pub struct Mint<'a> {
    /// The lease on the grant, as it was taken.
    pub lease_until: Timestamp,
    /// What is born of it.
    pub session: &'a NewSession,
}

const MINTS: &str = "\
WITH minted AS (SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
AS minted (challenge, lease_until, session, user_id, realm, app_id, dialect, address, channel, label, network, \
created_at, expires_at, family, refresh_hash, chat_token_hash)), \
spent AS (UPDATE challenges SET minted_at = $17, lease_until = 0, \
ended_at = CASE WHEN minted.dialect = 'mesibo' THEN $17 ELSE challenges.ended_at END, \
code_hash = CASE WHEN minted.dialect = 'mesibo' THEN NULL ELSE challenges.code_hash END \
FROM minted WHERE challenges.id = ANY($1) AND challenges.id = minted.challenge AND challenges.minted_at IS NULL \
AND challenges.lease_until = minted.lease_until RETURNING 1), \
recorded AS (INSERT INTO audit (at, event, realm, app_id, challenge_id, user_id, network, detail) \
SELECT $17, $18, realm, app_id, challenge, user_id, NULL, NULL FROM minted \
UNION ALL SELECT $17, $19, realm, app_id, challenge, user_id, network, session FROM minted RETURNING 1), \
born AS (INSERT INTO sessions (id, user_id, realm, app_id, dialect, address, challenge_id, channel, label, network, \
created_at, last_used_at, expires_at, family, refresh_hash, chat_token_hash) \
SELECT session, user_id, realm, app_id, dialect, address, challenge, channel, label, network, created_at, created_at, \
expires_at, family, refresh_hash, chat_token_hash FROM minted RETURNING 1) \
SELECT 1 WHERE ((SELECT count(*) FROM spent) = cardinality($1) \
AND NOT EXISTS (SELECT FROM minted JOIN sessions ON sessions.user_id = ANY($4) \
AND sessions.user_id = minted.user_id AND sessions.ended_at IS NULL) \
AND (SELECT count(*) FROM recorded) = 2 * cardinality($1) AND (SELECT count(*) FROM born) = cardinality($1)\
)::latchkey_found";

#[derive(QueryableByName)]
struct Made {}

/// Writes all of them down, or none: no two of them are about one user.
///
/// # Errors
/// [`Missed`], or the database's.
pub fn make(db: &mut PgConnection, mints: &[Mint<'_>], now: Timestamp) -> Result<Vec<()>, Abort<Missed>> {
    let text = |value: for<'s> fn(&'s NewSession) -> &'s str| column(mints, |mint| value(mint.session));
    let time = |value: fn(&Mint<'_>) -> Timestamp| column(mints, |mint| value(mint).as_millis());
    let hash =
        |value: for<'s> fn(&'s NewSession) -> Option<&'s [u8]>| column(mints, |mint| value(mint.session));
    let query = statement(MINTS)
        .bind::<Array<Text>, _>(text(|session| session.challenge.as_str()))
        .bind::<Array<BigInt>, _>(time(|mint| mint.lease_until))
        .bind::<Array<Text>, _>(text(|session| session.id.as_str()))
        .bind::<Array<Text>, _>(text(|session| session.user.as_str()))
        .bind::<Array<Text>, _>(text(|session| &session.realm))
        .bind::<Array<Text>, _>(text(|session| &session.app_id))
        .bind::<Array<Text>, _>(text(|session| session.hold.dialect().as_str()))
        .bind::<Array<Text>, _>(text(|session| session.address.as_str()))
        .bind::<Array<Nullable<Text>>, _>(column(mints, |mint| mint.session.channel.map(Channel::as_str)))
        .bind::<Array<Nullable<Text>>, _>(column(mints, |mint| {
            mint.session.label.as_ref().map(DeviceLabel::as_str)
        }))
        .bind::<Array<Text>, _>(text(|session| &session.network))
        .bind::<Array<BigInt>, _>(time(|mint| mint.session.created_at))
        .bind::<Array<BigInt>, _>(time(|mint| mint.session.expires_at))
        .bind::<Array<Nullable<Binary>>, _>(hash(|session| session.hold.family()))
        .bind::<Array<Nullable<Binary>>, _>(hash(|session| session.hold.refresh_hash()))
        .bind::<Array<Nullable<Binary>>, _>(hash(|session| session.hold.chat_token_hash()))
        .bind::<BigInt, _>(now.as_millis())
        .bind::<Text, _>(Event::TokenMinted.as_str())
        .bind::<Text, _>(Event::SessionStarted.as_str());
    let Made {} = prepared!(query).get_result(db).map_err(missed)?;
    Ok(column(mints, |_| ()))
}
