//! Challenges and the grants that they turn into.
//!
//! Guarantees: each change is one guarded statement, and whether it found its row is the answer. No function here
//! compares a code.

use diesel::prelude::*;
use diesel::result::Error;

use super::connection::{AnyConnection, on_each};
use super::schema::challenges::{self, dsl};
use crate::domain::address::Address;
use crate::domain::challenge::{Challenge, Dialect, Grant, NetworkTag, Proof, REPEATS, Slot, Slots, State};
use crate::domain::code::CodeHash;
use crate::domain::ids::{ChallengeId, MessageId, SecretHash, UserId};
use crate::domain::pepper::Salt;
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
    /// By its id, with what its starter holds.
    V1 {
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
    pub purpose: &'static str,
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

/// What a right code writes.
#[derive(Clone)]
pub struct Consumption {
    /// The hash that was right.
    pub code: CodeHash,
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

#[derive(Queryable, Insertable)]
#[diesel(table_name = challenges)]
struct Row {
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
    created_at: i64,
    expires_at: i64,
    consumed_at: Option<i64>,
    code_hash: Option<Vec<u8>>,
    user_id: Option<String>,
    is_new_user: bool,
    grant_hash: Option<Vec<u8>>,
    grant_expires_at: i64,
    lease_until: i64,
    minted_at: Option<i64>,
    ended_at: Option<i64>,
}

/// Narrows a statement to the challenge that a key names, while it is current.
macro_rules! named_by {
    ($statement:expr, $key:expr, $db:expr, $conn:ident => $run:ident) => {
        match $key {
            Key::Mesibo { app_id, address } => {
                let statement = $statement
                    .filter(dsl::dialect.eq(Dialect::Mesibo.as_str()))
                    .filter(dsl::ended_at.is_null())
                    .filter(dsl::app_id.eq(app_id))
                    .filter(dsl::address.eq(address.as_str()));
                on_each!($db, $conn => $run!(statement, $conn))
            }
            Key::V1 { id, secret } => {
                let statement = $statement
                    .filter(dsl::dialect.eq(Dialect::V1.as_str()))
                    .filter(dsl::ended_at.is_null())
                    .filter(dsl::id.eq(id.as_str()))
                    .filter(dsl::secret_hash.eq(secret.as_bytes()));
                on_each!($db, $conn => $run!(statement, $conn))
            }
        }
    };
}

macro_rules! first_row {
    ($statement:expr, $conn:ident) => {
        $statement.first::<Row>($conn).optional()
    };
}

macro_rules! returned_row {
    ($statement:expr, $conn:ident) => {
        $statement.returning(challenges::all_columns).get_result::<Row>($conn).optional()
    };
}

/// The challenge that a key names, in whatever state it is.
///
/// # Errors
/// The database's.
pub fn find(db: &mut AnyConnection, key: &Key) -> Result<Option<Challenge>, Error> {
    let row = named_by!(dsl::challenges, key, db, c => first_row)?;
    row.map(Row::into_challenge).transpose()
}

/// Adds a challenge; false when the address has a current one already.
///
/// # Errors
/// The database's.
pub fn insert(db: &mut AnyConnection, new: &NewChallenge) -> Result<bool, Error> {
    let row = Row::from(new);
    let rows = on_each!(db, c => {
        diesel::insert_into(dsl::challenges).values(&row).on_conflict_do_nothing().execute(c)
    })?;
    Ok(rows == 1)
}

/// Ends a challenge that is as it was read: another takes its place.
///
/// # Errors
/// The database's.
pub fn end(db: &mut AnyConnection, id: &ChallengeId, version: i32, now: Timestamp) -> Result<bool, Error> {
    let unchanged = dsl::challenges
        .filter(dsl::id.eq(id.as_str()))
        .filter(dsl::version.eq(version))
        .filter(dsl::ended_at.is_null());
    let change =
        (dsl::ended_at.eq(now.as_millis()), dsl::slots.eq(Vec::new()), dsl::code_hash.eq(None::<Vec<u8>>));
    let rows = on_each!(db, c => diesel::update(unchanged).set(change).execute(c))?;
    Ok(rows == 1)
}

/// Puts codes into a waiting challenge that is as it was read.
///
/// # Errors
/// The database's.
pub fn put_codes(
    db: &mut AnyConnection,
    id: &ChallengeId,
    version: i32,
    slots: &Slots,
) -> Result<bool, Error> {
    let unchanged = dsl::challenges
        .filter(dsl::id.eq(id.as_str()))
        .filter(dsl::version.eq(version))
        .filter(dsl::ended_at.is_null())
        .filter(dsl::consumed_at.is_null());
    let change = (dsl::slots.eq(encode_slots(slots)), dsl::version.eq(dsl::version + 1));
    let rows = on_each!(db, c => diesel::update(unchanged).set(change).execute(c))?;
    Ok(rows == 1)
}

/// Charges a guess to a waiting challenge that has one left.
///
/// # Errors
/// The database's.
pub fn charge_guess(
    db: &mut AnyConnection,
    key: &Key,
    attempts: i32,
    now: Timestamp,
) -> Result<Option<Challenge>, Error> {
    let row = named_by!(
        diesel::update(dsl::challenges)
            .filter(dsl::consumed_at.is_null())
            .filter(dsl::expires_at.gt(now.as_millis()))
            .filter(dsl::guesses.lt(attempts))
            .set(dsl::guesses.eq(dsl::guesses + 1)),
        key, db, c => returned_row
    )?;
    row.map(Row::into_challenge).transpose()
}

/// Charges a repeat of the code that was right, while its grant is open and nobody mints with it.
///
/// # Errors
/// The database's.
pub fn charge_repeat(db: &mut AnyConnection, key: &Key, now: Timestamp) -> Result<Option<Challenge>, Error> {
    let row = named_by!(
        diesel::update(dsl::challenges)
            .filter(dsl::consumed_at.is_not_null())
            .filter(dsl::minted_at.is_null())
            .filter(dsl::grant_expires_at.gt(now.as_millis()))
            .filter(dsl::lease_until.le(now.as_millis()))
            .filter(dsl::repeats.lt(REPEATS))
            .set(dsl::repeats.eq(dsl::repeats + 1)),
        key, db, c => returned_row
    )?;
    row.map(Row::into_challenge).transpose()
}

/// Consumes a waiting challenge: its codes go, the grant is born leased. False when another guess was first.
///
/// # Errors
/// The database's.
pub fn consume(
    db: &mut AnyConnection,
    id: &ChallengeId,
    won: &Consumption,
    now: Timestamp,
) -> Result<bool, Error> {
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
        dsl::user_id.eq(won.user.as_str()),
        dsl::is_new_user.eq(won.is_new_user),
        dsl::grant_hash.eq(won.grant.as_ref().map(SecretHash::as_bytes)),
        dsl::grant_expires_at.eq(won.grant_expires_at.as_millis()),
        dsl::lease_until.eq(won.lease_until.as_millis()),
    );
    let rows = on_each!(db, c => diesel::update(waiting).set(change).execute(c))?;
    Ok(rows == 1)
}

/// Which open grant to take.
pub enum GrantKey<'a> {
    /// Of this challenge.
    Challenge(&'a ChallengeId),
    /// With this token.
    Token(&'a SecretHash),
}

/// Takes the lease on an open grant. None: there is no such grant, or somebody mints with it.
///
/// # Errors
/// The database's.
pub fn lease(
    db: &mut AnyConnection,
    grant: &GrantKey<'_>,
    until: Timestamp,
    now: Timestamp,
) -> Result<Option<Challenge>, Error> {
    let free = diesel::update(dsl::challenges)
        .filter(dsl::consumed_at.is_not_null())
        .filter(dsl::minted_at.is_null())
        .filter(dsl::grant_expires_at.gt(now.as_millis()))
        .filter(dsl::lease_until.le(now.as_millis()))
        .set(dsl::lease_until.eq(until.as_millis()));
    let row = match grant {
        GrantKey::Challenge(id) => {
            let free = free.filter(dsl::id.eq(id.as_str()));
            on_each!(db, c => returned_row!(free, c))
        }
        GrantKey::Token(hash) => {
            let free = free.filter(dsl::grant_hash.eq(hash.as_bytes()));
            on_each!(db, c => returned_row!(free, c))
        }
    }?;
    row.map(Row::into_challenge).transpose()
}

/// The open grant with this token, whoever mints with it.
///
/// # Errors
/// The database's.
pub fn find_grant(
    db: &mut AnyConnection,
    token: &SecretHash,
    now: Timestamp,
) -> Result<Option<Challenge>, Error> {
    let open = dsl::challenges
        .filter(dsl::grant_hash.eq(token.as_bytes()))
        .filter(dsl::minted_at.is_null())
        .filter(dsl::grant_expires_at.gt(now.as_millis()));
    let row = on_each!(db, c => first_row!(open, c))?;
    row.map(Row::into_challenge).transpose()
}

/// Spends a grant under the lease that was taken: the code that was right is erased, the challenge is over.
///
/// # Errors
/// The database's.
pub fn spend_grant(
    db: &mut AnyConnection,
    id: &ChallengeId,
    lease: Timestamp,
    now: Timestamp,
) -> Result<bool, Error> {
    let change = (
        dsl::minted_at.eq(now.as_millis()),
        dsl::ended_at.eq(now.as_millis()),
        dsl::code_hash.eq(None::<Vec<u8>>),
    );
    let rows = on_each!(db, c => {
        let leased = dsl::challenges
            .filter(dsl::id.eq(id.as_str()))
            .filter(dsl::minted_at.is_null())
            .filter(dsl::lease_until.eq(lease.as_millis()));
        diesel::update(leased).set(change).execute(c)
    })?;
    Ok(rows == 1)
}

/// Gives a lease back before its time: the mint certainly failed.
///
/// # Errors
/// The database's.
pub fn release(db: &mut AnyConnection, id: &ChallengeId, lease: Timestamp) -> Result<bool, Error> {
    let rows = on_each!(db, c => {
        let leased = dsl::challenges
            .filter(dsl::id.eq(id.as_str()))
            .filter(dsl::minted_at.is_null())
            .filter(dsl::lease_until.eq(lease.as_millis()));
        diesel::update(leased).set(dsl::lease_until.eq(0)).execute(c)
    })?;
    Ok(rows == 1)
}

impl From<&NewChallenge> for Row {
    fn from(new: &NewChallenge) -> Self {
        Self {
            id: new.id.as_str().to_owned(),
            dialect: new.dialect.as_str().to_owned(),
            purpose: new.purpose.to_owned(),
            app_id: new.app_id.clone(),
            realm: new.realm.clone(),
            address: new.address.as_str().to_owned(),
            secret_hash: new.secret.as_ref().map(|hash| hash.as_bytes().to_vec()),
            key_id: new.key_id.clone(),
            salt: new.salt.to_vec(),
            slots: encode_slots(&new.slots),
            version: 1,
            guesses: 0,
            repeats: 0,
            created_at: new.created_at.as_millis(),
            expires_at: new.expires_at.as_millis(),
            consumed_at: None,
            code_hash: None,
            user_id: None,
            is_new_user: false,
            grant_hash: None,
            grant_expires_at: 0,
            lease_until: 0,
            minted_at: None,
            ended_at: None,
        }
    }
}

impl Row {
    fn into_challenge(self) -> Result<Challenge, Error> {
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
                grant: Grant {
                    user: UserId::from_stored(user),
                    is_new_user: self.is_new_user,
                    expires_at: Timestamp::from_millis(self.grant_expires_at),
                    lease_until: Timestamp::from_millis(self.lease_until),
                    minted: self.minted_at.is_some(),
                },
            }),
            (None, None) => State::Waiting(decode_slots(&self.slots)?),
            (Some(_), None) | (None, Some(_)) => return None,
        };
        Some(Challenge {
            id: ChallengeId::from_stored(self.id),
            dialect: Dialect::parse(&self.dialect)?,
            app_id: self.app_id,
            realm: self.realm,
            address: Address::parse(&self.address).ok()?,
            secret_hash: match self.secret_hash {
                Some(bytes) => Some(SecretHash::from_bytes(&bytes)?),
                None => None,
            },
            key_id: self.key_id,
            salt: self.salt.try_into().ok()?,
            version: self.version,
            guesses: self.guesses,
            expires_at: Timestamp::from_millis(self.expires_at),
            state,
        })
    }
}

/// A slot is hash, `sent_at`, `expires_at` (big endian), network, and the message's id behind its length.
fn encode_slots(slots: &Slots) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(3 * 88);
    for slot in slots.iter() {
        bytes.extend_from_slice(slot.hash.as_bytes());
        bytes.extend_from_slice(&slot.sent_at.as_millis().to_be_bytes());
        bytes.extend_from_slice(&slot.expires_at.as_millis().to_be_bytes());
        bytes.extend_from_slice(slot.network.as_bytes());
        let message = slot.message.as_str().as_bytes();
        bytes.push(u8::try_from(message.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(message);
    }
    bytes
}

fn decode_slots(mut bytes: &[u8]) -> Option<Slots> {
    fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
        let (head, tail) = bytes.split_first_chunk::<N>()?;
        *bytes = tail;
        Some(*head)
    }
    let mut slots = Vec::new();
    while !bytes.is_empty() {
        let hash = CodeHash::from_bytes(&take::<{ CodeHash::BYTES }>(&mut bytes)?)?;
        let sent_at = Timestamp::from_millis(i64::from_be_bytes(take(&mut bytes)?));
        let expires_at = Timestamp::from_millis(i64::from_be_bytes(take(&mut bytes)?));
        let network = NetworkTag::from_bytes(take(&mut bytes)?);
        let [length] = take::<1>(&mut bytes)?;
        let (message, rest) = bytes.split_at_checked(usize::from(length))?;
        bytes = rest;
        let message = MessageId::from_stored(String::from_utf8(message.to_vec()).ok()?);
        slots.push(Slot { hash, message, sent_at, expires_at, network });
    }
    Some(Slots::new(slots))
}
