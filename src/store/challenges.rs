//! Challenges, until a right code comes. What happens then is in [`super::grants`].
//!
//! Guarantees: each change is one guarded statement, and whether it found its row is the answer. No function here
//! compares a code.

use diesel::dsl::{exists, sql};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Bool, Integer, Text};

use super::beside::each_found;
use super::budgets::{self, Budget};
use super::connection::{AnyConnection, columns, on_each};
use super::prepared::{found_its_row, prepared};
use super::schema::challenges::{self, dsl};
use super::schema::{guards as guard_rows, identities, sessions};
use super::steps::{Step, change};
use super::users::{self, Known};
use super::{guards, slots};
use crate::domain::address::Address;
use crate::domain::challenge::{Challenge, Dialect, Grant, Proof, Slots, State};
use crate::domain::channel::Channel;
use crate::domain::code::CodeHash;
use crate::domain::guard::Guard;
use crate::domain::ids::{ChallengeId, MessageId, SecretHash, UserId};
use crate::domain::pepper::Salt;
use crate::domain::purpose::Purpose;
use crate::domain::time::Timestamp;

/// How a client names a challenge. Neither dialect can name the other's.
#[derive(Clone)]
pub enum Key {
    /// By whom it is about: there is one at a time.
    Mesibo {
        /// The app as its client names it.
        app_id: String,
        /// Whom it is about.
        address: Address,
    },
    /// By its id, with what its starter holds, and for what they use it.
    V1 {
        /// What a right code is used for; one of another purpose is not found.
        purpose: Purpose,
        /// As the client sent it.
        id: ChallengeId,
        /// Of the secret that the client sent.
        secret: SecretHash,
    },
}

/// A challenge to be.
pub struct NewChallenge {
    /// Its name.
    pub id: ChallengeId,
    /// Its wire.
    pub dialect: Dialect,
    /// What a right code is good for.
    pub purpose: Purpose,
    /// The app that started it.
    pub app_id: String,
    /// The set of apps that share an upstream.
    pub realm: String,
    /// Whom it is about.
    pub address: Address,
    /// What its starter holds, in `/v1`.
    pub secret: Option<SecretHash>,
    /// The pepper of its codes.
    pub key_id: String,
    /// Its salt.
    pub salt: Salt,
    /// Its first code.
    pub slots: Slots,
    /// When it was started.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

#[derive(Queryable, QueryableByName, Selectable)]
#[diesel(table_name = challenges)]
pub(super) struct Row {
    id: String,
    dialect: String,
    purpose: String,
    app_id: String,
    realm: String,
    address: String,
    secret_hash: Option<Vec<u8>>,
    key_id: String,
    salt: Vec<u8>,
    slots: Vec<u8>,
    version: i32,
    guesses: i32,
    repeats: i32,
    expires_at: i64,
    consumed_at: Option<i64>,
    code_hash: Option<Vec<u8>>,
    user_id: Option<String>,
    is_new_user: bool,
    grant_expires_at: i64,
    lease_until: i64,
    minted_at: Option<i64>,
    channel: Option<String>,
}

/// A current challenge of a dialect. The dialect is part of the text: where an index is partial, SQLite prepares a
/// statement anew for each bound value that decides whether it may be used.
macro_rules! current_of {
    ($dialect:literal) => {
        sql::<Bool>(concat!("dialect = '", $dialect, "'")).and(dsl::ended_at.is_null())
    };
}

/// With `$named` for the condition that a row is the one that a key names, and current.
macro_rules! named_by {
    ($key:expr, $named:ident => $body:expr) => {
        match $key {
            Key::Mesibo { app_id, address } => {
                let $named =
                    current_of!("mesibo").and(dsl::app_id.eq(app_id)).and(dsl::address.eq(address.as_str()));
                $body
            }
            Key::V1 { purpose, id, secret } => {
                let $named = current_of!("v1")
                    .and(dsl::id.eq(id.as_str()))
                    .and(dsl::purpose.eq(purpose.as_str()))
                    .and(dsl::secret_hash.eq(secret.as_bytes()));
                $body
            }
        }
    };
}

/// Of at most one row: what is asked for is unique. With a LIMIT that is bound, SQLite prepares anew each time.
macro_rules! one_row {
    ($db:expr, $statement:expr) => {{
        let columns = crate::store::connection::columns::<crate::store::challenges::Row>();
        on_each!($db, c => prepared!($statement.select(columns))
            .get_result::<crate::store::challenges::Row>(c)
            .optional())
    }};
}

/// A challenge as it is after a change; None: the change did not find it.
macro_rules! changed_challenge {
    ($db:expr, $change:expr, $row:expr) => {{
        let columns = crate::store::connection::columns::<crate::store::challenges::Row>();
        let row: Option<crate::store::challenges::Row> = changed_row!($db, $change, columns, $row)?;
        row.map(crate::store::challenges::Row::into_challenge).transpose()
    }};
}
pub(super) use {changed_challenge, one_row};

/// The challenge that a key names, in whatever state it is.
///
/// # Errors
/// The database's.
pub fn find(db: &mut AnyConnection, key: &Key) -> Result<Option<Challenge>, Error> {
    let row = named_by!(key, named => one_row!(db, dsl::challenges.filter(named)))?;
    row.map(Row::into_challenge).transpose()
}

/// What a start looks at; see [`find_beside`].
pub type Beside = (Option<Challenge>, Option<Guard>, Option<Budget>);

/// What a start looks at: the challenge that a key names, if it has one, the guard, and the budget of the address.
///
/// # Errors
/// The database's.
pub fn find_beside(
    db: &mut AnyConnection,
    key: Option<&Key>,
    (realm, address): (&str, &str),
    budget: &str,
) -> Result<Beside, Error> {
    type Found = (Option<Row>, Option<guards::Row>, Option<Budget>);
    let (guard, budget) = (guards::by_key!(realm, address), budgets::by_key!(budget));
    let (challenge, guard, budget): Found = if let Some(key) = key {
        named_by!(key, named => {
            each_found!(db, dsl::challenges.filter(named).select(columns::<Row>()), guard, budget)
        })?
    } else {
        let (guard, budget) = each_found!(db, guard, budget)?;
        (None, guard, budget)
    };
    Ok((challenge.map(Row::into_challenge).transpose()?, guard.map(Guard::from), budget))
}

/// The challenge of this id, while it is current. Only for what no client names: no secret is asked for.
///
/// # Errors
/// The database's.
pub fn get(db: &mut AnyConnection, id: &ChallengeId) -> Result<Option<Challenge>, Error> {
    let named = dsl::challenges.filter(dsl::id.eq(id.as_str())).filter(dsl::ended_at.is_null());
    one_row!(db, named)?.map(Row::into_challenge).transpose()
}

/// Adds a challenge; it does not find its row when the address has a current one already.
pub fn insert(new: &NewChallenge) -> Step<'_> {
    let row = (
        dsl::id.eq(new.id.as_str()),
        dsl::dialect.eq(new.dialect.as_str()),
        dsl::purpose.eq(new.purpose.as_str()),
        dsl::app_id.eq(&new.app_id),
        dsl::realm.eq(&new.realm),
        dsl::address.eq(new.address.as_str()),
        dsl::secret_hash.eq(new.secret.as_ref().map(SecretHash::as_bytes)),
        dsl::key_id.eq(&new.key_id),
        dsl::salt.eq(&new.salt[..]),
        dsl::slots.eq(slots::encode(&new.slots)),
        dsl::created_at.eq(new.created_at.as_millis()),
        dsl::expires_at.eq(new.expires_at.as_millis()),
    );
    // The same for all, and so in the text. What a right code brings is not there yet.
    let beginning = (
        dsl::version.eq(sql::<Integer>("1")),
        dsl::guesses.eq(sql::<Integer>("0")),
        dsl::repeats.eq(sql::<Integer>("0")),
        dsl::is_new_user.eq(sql::<Bool>("FALSE")),
        dsl::grant_expires_at.eq(sql::<BigInt>("0")),
        dsl::lease_until.eq(sql::<BigInt>("0")),
    );
    change!(diesel::insert_into(dsl::challenges).values((row, beginning)).on_conflict_do_nothing())
}

/// Ends a challenge that is as it was read: another takes its place.
pub fn end(id: &ChallengeId, version: i32, now: Timestamp) -> Step<'_> {
    let unchanged = dsl::challenges
        .filter(dsl::id.eq(id.as_str()))
        .filter(dsl::version.eq(version))
        .filter(dsl::ended_at.is_null());
    let change =
        (dsl::ended_at.eq(now.as_millis()), dsl::slots.eq(Vec::new()), dsl::code_hash.eq(None::<Vec<u8>>));
    change!(diesel::update(unchanged).set(change))
}

/// Puts codes into a waiting challenge that is as it was read, while a guess at them would be evaluated.
pub fn put_codes<'a>(
    id: &'a ChallengeId,
    version: i32,
    slots: &Slots,
    attempts: i32,
    now: Timestamp,
) -> Step<'a> {
    let unchanged = dsl::challenges
        .filter(dsl::id.eq(id.as_str()))
        .filter(dsl::version.eq(version))
        .filter(dsl::ended_at.is_null())
        .filter(dsl::consumed_at.is_null())
        .filter(dsl::guesses.lt(attempts))
        .filter(dsl::expires_at.gt(now.as_millis()));
    let change = (dsl::slots.eq(slots::encode(slots)), dsl::version.eq(dsl::version + 1));
    change!(diesel::update(unchanged).set(change))
}

/// Takes back a code that nobody was sent. A challenge that changed meanwhile is left alone.
///
/// # Errors
/// The database's.
pub fn withdraw_code(db: &mut AnyConnection, id: &ChallengeId, message: &MessageId) -> Result<(), Error> {
    let named = dsl::challenges.filter(dsl::id.eq(id.as_str()));
    let Some(row) = one_row!(db, named)? else { return Ok(()) };
    let challenge = row.into_challenge()?;
    let State::Waiting(slots) = &challenge.state else { return Ok(()) };
    let Some(kept) = slots.without(message) else { return Ok(()) };
    let unchanged = named.filter(dsl::version.eq(challenge.version)).filter(dsl::consumed_at.is_null());
    let change = (dsl::slots.eq(slots::encode(&kept)), dsl::version.eq(dsl::version + 1));
    found_its_row!(db, diesel::update(unchanged).set(change), dsl::created_at).map(|_| ())
}

/// A challenge, the guard of the address that it is about, and who holds that.
pub type Guarded = (Challenge, Option<Guard>, Option<Known>);

#[derive(Queryable)]
struct GuardedRow(Row, Option<guards::Row>, Option<users::Row>, bool);

impl GuardedRow {
    fn into_guarded(self, key: &Key) -> Result<Guarded, Error> {
        let Self(row, guard, holder, has_sessions) = self;
        let mut challenge = row.into_challenge()?;
        if let Key::Mesibo { address, .. } = key {
            // The same, and its country is known already.
            challenge.address = address.clone();
        }
        let known = holder.map(|holder| Known::of(holder, has_sessions));
        Ok((challenge, guard.map(Guard::from), known))
    }
}

/// Challenges, each with what stands before it and who may come.
macro_rules! guarded {
    ($named:expr) => {{
        // Not as it is: where nothing is known of a table yet, PostgreSQL would look up the bound address alone, and
        // read the whole index, of which the realm comes first.
        let address = || sql::<Text>("challenges.address || ''");
        let guard = guard_rows::realm.eq(dsl::realm).and(guard_rows::address.eq(address()));
        let holder = identities::realm.eq(dsl::realm).and(identities::address.eq(address()));
        let live = sessions::table
            .filter(sessions::user_id.nullable().eq(identities::user_id.nullable()))
            .filter(sessions::ended_at.is_null());
        let columns = (columns::<Row>(), guards::COLUMNS.nullable(), users::COLUMNS.nullable(), exists(live));
        dsl::challenges
            .left_join(guard_rows::table.on(guard))
            .left_join(identities::table.on(holder))
            .filter($named)
            .select(columns)
    }};
}

/// The challenge that a key names, in whatever state it is, the guard that stands before it, and who may come.
///
/// # Errors
/// The database's.
pub fn find_guarded(db: &mut AnyConnection, key: &Key) -> Result<Option<Guarded>, Error> {
    let found = named_by!(key, named => {
        on_each!(db, c => prepared!(guarded!(named)).get_result::<GuardedRow>(c).optional())
    })?;
    found.map(|row| row.into_guarded(key)).transpose()
}

/// The same of many keys, in their order.
///
/// # Errors
/// The database's.
pub fn find_guarded_each(db: &mut PgConnection, keys: &[&Key]) -> Result<Vec<Option<Guarded>>, Error> {
    let (mut apps, mut addresses, mut ids, mut secrets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for key in keys {
        match key {
            Key::Mesibo { app_id, address } => {
                apps.push(app_id);
                addresses.push(address.as_str());
            }
            Key::V1 { id, secret, .. } => {
                ids.push(id.as_str());
                secrets.push(secret.as_bytes());
            }
        }
    }
    let mut rows: Vec<GuardedRow> = Vec::new();
    if !apps.is_empty() {
        let named = current_of!("mesibo").and(dsl::app_id.eq_any(apps)).and(dsl::address.eq_any(addresses));
        rows.append(&mut prepared!(guarded!(named)).get_results(db)?);
    }
    if !ids.is_empty() {
        let named = current_of!("v1").and(dsl::id.eq_any(ids)).and(dsl::secret_hash.eq_any(secrets));
        rows.append(&mut prepared!(guarded!(named)).get_results(db)?);
    }
    // Of all pairs that are found, those that were asked for.
    let guarded_by = |key: &&Key| {
        let at = rows.iter().position(|GuardedRow(row, ..)| row.is_named_by(key))?;
        Some(rows.swap_remove(at).into_guarded(key))
    };
    keys.iter().map(guarded_by).map(Option::transpose).collect()
}

/// Charges a guess to a waiting challenge whose codes are as they were read, while it has one left.
pub fn charge_guess(challenge: &Challenge, attempts: i32, now: Timestamp) -> Step<'_> {
    let as_read = dsl::challenges
        .filter(dsl::id.eq(challenge.id.as_str()))
        .filter(dsl::version.eq(challenge.version))
        .filter(dsl::ended_at.is_null())
        .filter(dsl::consumed_at.is_null())
        .filter(dsl::expires_at.gt(now.as_millis()))
        .filter(dsl::guesses.lt(attempts));
    change!(diesel::update(as_read).set(dsl::guesses.eq(dsl::guesses + 1)))
}

impl Row {
    /// Whether a key names this row of those of its dialect.
    fn is_named_by(&self, key: &Key) -> bool {
        match key {
            Key::Mesibo { app_id, address } => {
                self.dialect == Dialect::Mesibo.as_str()
                    && self.app_id == *app_id
                    && self.address == address.as_str()
            }
            Key::V1 { purpose, id, secret } => {
                self.dialect == Dialect::V1.as_str()
                    && self.purpose == purpose.as_str()
                    && self.id == id.as_str()
                    && self.secret_hash.as_deref() == Some(secret.as_bytes())
            }
        }
    }

    pub(super) fn into_challenge(self) -> Result<Challenge, Error> {
        let id = self.id.clone();
        self.decode()
            .ok_or_else(|| Error::DeserializationError(format!("challenge {id} cannot be read").into()))
    }

    fn decode(self) -> Option<Challenge> {
        let state = match (self.consumed_at, self.user_id) {
            (Some(_), Some(user)) => State::Proved(Proof {
                code: self
                    .code_hash
                    .as_deref()
                    .map(CodeHash::from_bytes)
                    .map_or(Some(None), |hash| hash.map(Some))?,
                channel: self.channel.as_deref().and_then(Channel::parse),
                grant: Grant {
                    user: UserId::from_stored(user),
                    is_new_user: self.is_new_user,
                    expires_at: Timestamp::from_millis(self.grant_expires_at),
                    lease_until: Timestamp::from_millis(self.lease_until),
                    minted_at: self.minted_at.map(Timestamp::from_millis),
                },
            }),
            (None, None) => State::Waiting(slots::decode(&self.slots)?),
            (Some(_), None) | (None, Some(_)) => return None,
        };
        Some(Challenge {
            id: ChallengeId::from_stored(self.id),
            dialect: Dialect::parse(&self.dialect)?,
            purpose: Purpose::parse(&self.purpose)?,
            app_id: self.app_id,
            realm: self.realm,
            address: Address::from_stored(self.address)?,
            secret_hash: match self.secret_hash {
                Some(bytes) => Some(SecretHash::from_bytes(&bytes)?),
                None => None,
            },
            key_id: self.key_id,
            salt: self.salt.try_into().ok()?,
            version: self.version,
            guesses: self.guesses,
            repeats: self.repeats,
            expires_at: Timestamp::from_millis(self.expires_at),
            state,
        })
    }
}
