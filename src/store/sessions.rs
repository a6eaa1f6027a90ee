//! Sessions: logins that live on.
//!
//! Guarantees: a refresh token is spent once, by one guarded statement whose row count is the answer; what ended never
//! lives again, because every statement that changes a session asks for one that is live.

mod end;

use diesel::dsl::case_when;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::BigInt;

pub use self::end::{end, end_by_chat_token, end_others, end_replaced, end_reused, end_user};
use super::connection::{AnyConnection, columns, on_each};
use super::prepared::{changed_row, prepared};
use super::schema::sessions::{self, dsl};
use super::steps::{Step, absence, change};
use crate::domain::address::Address;
use crate::domain::challenge::Dialect;
use crate::domain::channel::Channel;
use crate::domain::ids::{ChallengeId, SecretHash, SessionId, UserId};
use crate::domain::refresh::Successor;
use crate::domain::session::{DeviceLabel, Lifetimes, Rotation, Session};
use crate::domain::time::{Timestamp, millis};

/// More are not shown.
const MAX_LISTED: i64 = 100;

/// A session to be.
#[derive(Clone)]
pub struct NewSession {
    /// Its public name.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// The set of apps that share an upstream.
    pub realm: String,
    /// The app that they logged in to.
    pub app_id: String,
    /// What they proved to hold.
    pub address: Address,
    /// The login that it is born of.
    pub challenge: ChallengeId,
    /// How the code came, where that is known.
    pub channel: Option<Channel>,
    /// What the device calls itself.
    pub label: Option<DeviceLabel>,
    /// Where they logged in from.
    pub network: String,
    /// Now.
    pub created_at: Timestamp,
    /// Its end, if it is not used.
    pub expires_at: Timestamp,
    /// What it is found by again.
    pub hold: Hold,
}

/// What a client holds of its session, and so the wire that it is on.
#[derive(Clone)]
pub enum Hold {
    /// `/v1`: a refresh token.
    Refresh {
        /// Of what all its successors share.
        family: SecretHash,
        /// Of the first one.
        token: SecretHash,
    },
    /// The mesibo dialect: the chat token alone.
    ChatToken(SecretHash),
}

impl Hold {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Refresh { .. } => Dialect::V1,
            Self::ChatToken(_) => Dialect::Mesibo,
        }
    }

    pub(super) fn family(&self) -> Option<&[u8]> {
        match self {
            Self::Refresh { family, .. } => Some(family.as_bytes()),
            Self::ChatToken(_) => None,
        }
    }

    pub(super) fn refresh_hash(&self) -> Option<&[u8]> {
        match self {
            Self::Refresh { token, .. } => Some(token.as_bytes()),
            Self::ChatToken(_) => None,
        }
    }

    pub(super) fn chat_token_hash(&self) -> Option<&[u8]> {
        match self {
            Self::Refresh { .. } => None,
            Self::ChatToken(token) => Some(token.as_bytes()),
        }
    }
}

/// A refresh token that is to be spent.
#[derive(Clone)]
pub struct Spend {
    /// Of what it shares with its successors.
    pub family: SecretHash,
    /// Of the token.
    pub token: SecretHash,
    /// Of its child.
    pub child: SecretHash,
    /// For whoever presents it again.
    pub successor: Successor,
    /// Where it came from.
    pub network: String,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = sessions)]
struct Row {
    id: String,
    user_id: String,
    realm: String,
    app_id: String,
    address: String,
    channel: Option<String>,
    label: Option<String>,
    network: String,
    created_at: i64,
    last_used_at: i64,
    expires_at: i64,
    previous_hash: Option<Vec<u8>>,
    successor: Option<Vec<u8>>,
    rotated_at: Option<i64>,
    ended_at: Option<i64>,
}

/// Adds a session.
pub fn insert(new: &NewSession) -> Step<'_> {
    let row = (
        dsl::id.eq(new.id.as_str()),
        dsl::user_id.eq(new.user.as_str()),
        dsl::realm.eq(&new.realm),
        dsl::app_id.eq(&new.app_id),
        dsl::dialect.eq(new.hold.dialect().as_str()),
        dsl::address.eq(new.address.as_str()),
        dsl::challenge_id.eq(new.challenge.as_str()),
        dsl::channel.eq(new.channel.map(Channel::as_str)),
        dsl::label.eq(new.label.as_ref().map(DeviceLabel::as_str)),
        dsl::network.eq(&new.network),
        dsl::created_at.eq(new.created_at.as_millis()),
        dsl::last_used_at.eq(new.created_at.as_millis()),
        dsl::expires_at.eq(new.expires_at.as_millis()),
        dsl::family.eq(new.hold.family()),
        dsl::refresh_hash.eq(new.hold.refresh_hash()),
        dsl::chat_token_hash.eq(new.hold.chat_token_hash()),
    );
    change!(diesel::insert_into(dsl::sessions).values(row))
}

/// Finds no session of a user that was not ended.
pub fn none_left(user: &UserId) -> Step<'_> {
    absence!(dsl::sessions.filter(dsl::user_id.eq(user.as_str())).filter(dsl::ended_at.is_null()))
}

/// Spends a refresh token that is the current one of a live session: its child takes its place, and the session is
/// used. None: it is not.
///
/// # Errors
/// The database's.
pub fn rotate(
    db: &mut AnyConnection,
    spend: &Spend,
    lifetimes: Lifetimes,
    now: Timestamp,
) -> Result<Option<Session>, Error> {
    let at = now.as_millis();
    let current = dsl::sessions
        .filter(dsl::family.eq(spend.family.as_bytes()))
        .filter(dsl::refresh_hash.eq(spend.token.as_bytes()))
        .filter(dsl::ended_at.is_null())
        .filter(dsl::expires_at.gt(at));
    // `Lifetimes::end`, of the birth that the row knows.
    let (idle_end, whole) = (now.plus(lifetimes.idle).as_millis(), millis(lifetimes.whole));
    let expires_at =
        case_when(dsl::created_at.gt(idle_end.saturating_sub(whole)), idle_end.into_sql::<BigInt>())
            .otherwise(dsl::created_at + whole);
    let change = (
        dsl::refresh_hash.eq(spend.child.as_bytes()),
        dsl::previous_hash.eq(spend.token.as_bytes()),
        dsl::successor.eq(spend.successor.as_bytes()),
        dsl::rotated_at.eq(at),
        dsl::last_used_at.eq(at),
        dsl::expires_at.eq(expires_at),
        dsl::network.eq(&spend.network),
    );
    let row = dsl::sessions.filter(dsl::family.eq(spend.family.as_bytes()));
    let row: Option<Row> = changed_row!(db, diesel::update(current).set(change), columns::<Row>(), row)?;
    row.map(Row::into_session).transpose()
}

/// The session whose refresh tokens share this, in whatever state it is.
///
/// # Errors
/// The database's.
pub fn find_family(db: &mut AnyConnection, family: &SecretHash) -> Result<Option<Session>, Error> {
    let named = dsl::sessions.filter(dsl::family.eq(family.as_bytes()));
    let row: Option<Row> =
        on_each!(db, c => prepared!(named.select(columns::<Row>())).get_result(c).optional())?;
    row.map(Row::into_session).transpose()
}

/// A session of this user, while it is live.
///
/// # Errors
/// The database's.
pub fn find_live(
    db: &mut AnyConnection,
    id: &SessionId,
    user: &UserId,
    now: Timestamp,
) -> Result<Option<Session>, Error> {
    let named = dsl::sessions.filter(dsl::id.eq(id.as_str())).filter(dsl::user_id.eq(user.as_str()));
    let row: Option<Row> =
        on_each!(db, c => prepared!(named.select(columns::<Row>())).get_result(c).optional())?;
    Ok(row.map(Row::into_session).transpose()?.filter(|session| session.is_live(now)))
}

/// The live sessions of a user, last used first.
///
/// # Errors
/// The database's.
pub fn list(db: &mut AnyConnection, user: &UserId, now: Timestamp) -> Result<Vec<Session>, Error> {
    let live = dsl::sessions
        .filter(dsl::user_id.eq(user.as_str()))
        .filter(dsl::ended_at.is_null())
        .filter(dsl::expires_at.gt(now.as_millis()))
        .select(columns::<Row>())
        .order((dsl::last_used_at.desc(), dsl::id.desc()))
        .limit(MAX_LISTED);
    let rows = on_each!(db, c => live.load::<Row>(c))?;
    rows.into_iter().map(Row::into_session).collect()
}

/// What the live sessions of a user were logged in with that is no longer theirs becomes what is.
///
/// # Errors
/// The database's.
pub fn readdress(db: &mut AnyConnection, user: &UserId, old: &str, new: &str) -> Result<(), Error> {
    let live = dsl::sessions
        .filter(dsl::user_id.eq(user.as_str()))
        .filter(dsl::address.eq(old))
        .filter(dsl::ended_at.is_null());
    on_each!(db, c => prepared!(diesel::update(live).set(dsl::address.eq(new))).execute(c)).map(|_| ())
}

/// When a user last used a session that is on record. One that is live is used now: of those of the mesibo dialect
/// nobody tells us.
///
/// # Errors
/// The database's.
pub fn last_use(db: &mut AnyConnection, user: &UserId, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let theirs = dsl::sessions.filter(dsl::user_id.eq(user.as_str()));
    let columns = (dsl::last_used_at, dsl::expires_at);
    let rows = on_each!(db, c => theirs.select(columns).load::<(i64, i64)>(c))?;
    let at = now.as_millis();
    let last = rows.into_iter().map(|(used, ends)| if ends > at { at } else { used }).max();
    Ok(last.map(Timestamp::from_millis))
}

/// Whether a user has a live session of the mesibo dialect, which gets no second token without a code.
///
/// # Errors
/// The database's.
pub fn has_mesibo(db: &mut AnyConnection, user: &UserId, now: Timestamp) -> Result<bool, Error> {
    let live = dsl::sessions
        .filter(dsl::user_id.eq(user.as_str()))
        .filter(dsl::ended_at.is_null())
        .filter(dsl::expires_at.gt(now.as_millis()))
        .filter(dsl::dialect.eq(Dialect::Mesibo.as_str()));
    on_each!(db, c => diesel::select(diesel::dsl::exists(live)).get_result(c))
}

impl Row {
    fn into_session(self) -> Result<Session, Error> {
        let id = self.id.clone();
        self.decode()
            .ok_or_else(|| Error::DeserializationError(format!("session {id} cannot be read").into()))
    }

    fn decode(self) -> Option<Session> {
        let rotation = match (self.previous_hash, self.successor, self.rotated_at) {
            (Some(spent), Some(successor), Some(at)) => Some(Rotation {
                spent: SecretHash::from_bytes(&spent)?,
                successor: Successor::from_bytes(&successor)?,
                at: Timestamp::from_millis(at),
            }),
            _ => None,
        };
        Some(Session {
            id: SessionId::from_stored(self.id),
            user: UserId::from_stored(self.user_id),
            realm: self.realm,
            app_id: self.app_id,
            address: Address::from_stored(self.address)?,
            channel: self.channel.as_deref().and_then(Channel::parse),
            label: self.label.map(DeviceLabel::from_stored),
            network: self.network,
            created_at: Timestamp::from_millis(self.created_at),
            last_used_at: Timestamp::from_millis(self.last_used_at),
            expires_at: Timestamp::from_millis(self.expires_at),
            ended_at: self.ended_at.map(Timestamp::from_millis),
            rotation,
        })
    }
}
