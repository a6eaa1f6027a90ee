//! Grants: what a challenge turns into when a right code comes.
//!
//! Guarantees: a challenge is consumed once, and at most one mint holds the lease on its grant. Each change is one
//! guarded statement, and whether it found its row is the answer.

use diesel::prelude::*;
use diesel::result::Error;

use super::challenges::{Row, changed_challenge, one_row};
use super::connection::{AnyConnection, on_each};
use super::prepared::{changed_row, found_its_row, prepared};
use super::schema::challenges::dsl;
use super::steps::{Step, change};
use crate::domain::challenge::{Challenge, Dialect, GRANT_LIFETIME, REPEAT_AFTER_MINT, REPEATS};
use crate::domain::channel::Channel;
use crate::domain::code::CodeHash;
use crate::domain::ids::{ChallengeId, SecretHash, UserId};
use crate::domain::time::Timestamp;

/// What a right code writes.
#[derive(Clone)]
pub struct Consumption {
    /// The hash that was right.
    pub code: CodeHash,
    /// How it came.
    pub channel: Channel,
    /// For whom the grant is.
    pub user: UserId,
    /// Whether this login made the user.
    pub is_new_user: bool,
    /// Of the grant's token, in `/v1`.
    pub grant: Option<SecretHash>,
    /// When the grant is void.
    pub grant_expires_at: Timestamp,
    /// The writer mints with it until then.
    pub lease_until: Timestamp,
}

/// A challenge whose grant somebody mints with.
#[derive(Clone, Copy)]
pub struct Leased<'a> {
    /// Which.
    pub id: &'a ChallengeId,
    /// Its wire.
    pub dialect: Dialect,
    /// The lease that was taken.
    pub lease_until: Timestamp,
}

/// The row, while the lease is still the one that was taken.
macro_rules! leased {
    ($leased:expr) => {
        dsl::challenges
            .filter(dsl::id.eq($leased.id.as_str()))
            .filter(dsl::minted_at.is_null())
            .filter(dsl::lease_until.eq($leased.lease_until.as_millis()))
    };
}

/// A grant that was not spent, and is not too old.
macro_rules! open_at {
    ($now:expr) => {
        dsl::consumed_at
            .is_not_null()
            .and(dsl::minted_at.is_null())
            .and(dsl::grant_expires_at.gt($now.as_millis()))
    };
}

/// An open grant, or one of `/v1` that was spent a moment ago: its answer may have been lost.
macro_rules! repeatable_at {
    ($now:expr) => {
        open_at!($now).or(dsl::dialect
            .eq(Dialect::V1.as_str())
            .and(dsl::minted_at.gt($now.minus(REPEAT_AFTER_MINT).as_millis())))
    };
}

/// Consumes a waiting challenge: its codes go, the grant is born leased. It does not find its row when another guess
/// was first.
pub fn consume<'a>(id: &'a ChallengeId, won: &'a Consumption, now: Timestamp) -> Step<'a> {
    let waiting = dsl::challenges
        .filter(dsl::id.eq(id.as_str()))
        .filter(dsl::consumed_at.is_null())
        .filter(dsl::ended_at.is_null())
        .filter(dsl::expires_at.gt(now.as_millis()));
    let change = (
        dsl::consumed_at.eq(now.as_millis()),
        dsl::slots.eq(Vec::new()),
        dsl::version.eq(dsl::version + 1),
        dsl::code_hash.eq(won.code.as_bytes()),
        dsl::channel.eq(won.channel.as_str()),
        dsl::user_id.eq(won.user.as_str()),
        dsl::is_new_user.eq(won.is_new_user),
        dsl::grant_hash.eq(won.grant.as_ref().map(SecretHash::as_bytes)),
        dsl::grant_expires_at.eq(won.grant_expires_at.as_millis()),
        dsl::lease_until.eq(won.lease_until.as_millis()),
    );
    change!(diesel::update(waiting).set(change))
}

/// Charges a repeat of the code that was right, while nobody mints with its grant: as long as that is open, and in
/// `/v1` for a moment after it was spent.
pub fn charge_repeat(challenge: &Challenge, now: Timestamp) -> Step<'_> {
    let as_read = dsl::challenges
        .filter(dsl::id.eq(challenge.id.as_str()))
        .filter(dsl::version.eq(challenge.version))
        .filter(dsl::ended_at.is_null());
    let free = repeatable_at!(now).and(dsl::lease_until.le(now.as_millis())).and(dsl::repeats.lt(REPEATS));
    change!(diesel::update(as_read).filter(free).set(dsl::repeats.eq(dsl::repeats + 1)))
}

/// Takes the lease for a repeat of the code that was right; a spent grant is open again, and for its full time. Its
/// token is a new one: an old one that was spent must not come to life. None: somebody mints with it.
///
/// # Errors
/// The database's.
pub fn lease_again(
    db: &mut AnyConnection,
    id: &ChallengeId,
    token: Option<&SecretHash>,
    until: Timestamp,
    now: Timestamp,
) -> Result<Option<Challenge>, Error> {
    let change = (
        dsl::lease_until.eq(until.as_millis()),
        dsl::minted_at.eq(None::<i64>),
        dsl::grant_hash.eq(token.map(SecretHash::as_bytes)),
        dsl::grant_expires_at.eq(now.plus(GRANT_LIFETIME).as_millis()),
    );
    let row = dsl::challenges.filter(dsl::id.eq(id.as_str()));
    let free = repeatable_at!(now).and(dsl::lease_until.le(now.as_millis()));
    changed_challenge!(db, diesel::update(row).filter(free).set(change), row)
}

/// Takes the lease on the open grant with this token. None: there is none, or somebody mints with it.
///
/// # Errors
/// The database's.
pub fn lease(
    db: &mut AnyConnection,
    token: &SecretHash,
    until: Timestamp,
    now: Timestamp,
) -> Result<Option<Challenge>, Error> {
    let row = dsl::challenges.filter(dsl::grant_hash.eq(token.as_bytes()));
    let free = open_at!(now).and(dsl::lease_until.le(now.as_millis()));
    let change = dsl::lease_until.eq(until.as_millis());
    changed_challenge!(db, diesel::update(row).filter(free).set(change), row)
}

/// The open grant with this token, whoever mints with it.
///
/// # Errors
/// The database's.
pub fn find(db: &mut AnyConnection, token: &SecretHash, now: Timestamp) -> Result<Option<Challenge>, Error> {
    let open = dsl::challenges.filter(dsl::grant_hash.eq(token.as_bytes())).filter(open_at!(now));
    let row = one_row!(db, open)?;
    row.map(Row::into_challenge).transpose()
}

/// Spends a grant under the lease that was taken. In the mesibo dialect the challenge is over and the code that was
/// right is erased; in `/v1` it stays until the challenge expires, for a client that lost the answer.
pub fn spend<'a>(challenge: &Leased<'a>, now: Timestamp) -> Step<'a> {
    let minted = (dsl::minted_at.eq(now.as_millis()), dsl::lease_until.eq(0));
    let leased = leased!(challenge);
    match challenge.dialect {
        Dialect::Mesibo => {
            let over = (dsl::ended_at.eq(now.as_millis()), dsl::code_hash.eq(None::<Vec<u8>>));
            change!(diesel::update(leased).set((minted, over)))
        }
        Dialect::V1 => change!(diesel::update(leased).set(minted)),
    }
}

/// Makes a leased grant one for another user, who is new.
///
/// # Errors
/// The database's.
pub fn reassign(db: &mut AnyConnection, challenge: &Leased<'_>, user: &UserId) -> Result<bool, Error> {
    let change = (dsl::user_id.eq(user.as_str()), dsl::is_new_user.eq(true));
    found_its_row!(db, diesel::update(leased!(challenge)).set(change), dsl::created_at)
}

/// Gives a lease back before its time: the mint certainly failed.
///
/// # Errors
/// The database's.
pub fn release(db: &mut AnyConnection, challenge: &Leased<'_>) -> Result<bool, Error> {
    let change = dsl::lease_until.eq(0);
    found_its_row!(db, diesel::update(leased!(challenge)).set(change), dsl::created_at)
}
