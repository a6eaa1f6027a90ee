//! Users, and who holds which address.

use diesel::prelude::*;
use diesel::result::Error;

use super::connection::{AnyConnection, on_each};
use super::identities::known_as;
use super::prepared::changed_row;
use super::schema::{identities, users};
use super::steps::{Step, Steps, absence, change};
use crate::domain::address::Address;
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

/// Whoever holds an address in a realm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Our own id.
    pub user: UserId,
    /// The backend's, where the user was imported.
    pub upstream_id: Option<String>,
}

/// A user that the operator brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// What they log in with.
    pub address: Address,
    /// What the backend knows them by.
    pub upstream_id: String,
    /// What they call themselves.
    pub name: Option<String>,
}

/// What became of an imported user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Import {
    /// They are new.
    Added,
    /// They were here already, with this upstream id.
    Known,
    /// Somebody else holds the address; nothing changed.
    Taken {
        /// That one's upstream id, or our own id where there is none.
        by: String,
    },
}

/// What is known of an address before its holder logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Who holds it.
    pub holder: Holder,
    /// When they last logged in with it.
    pub last_login_at: Option<Timestamp>,
    /// Whether they have a session that was not ended.
    pub has_sessions: bool,
}

/// [`Known`], but for the sessions.
pub(super) type Row = (String, Option<String>, Option<i64>);
type Columns = (identities::user_id, identities::upstream_id, identities::last_login_at);
pub(super) const COLUMNS: Columns = (identities::user_id, identities::upstream_id, identities::last_login_at);

impl Known {
    pub(super) fn of((user, upstream_id, last_login_at): Row, has_sessions: bool) -> Self {
        let holder = Holder::from((user, upstream_id));
        Self { holder, last_login_at: last_login_at.map(Timestamp::from_millis), has_sessions }
    }
}

/// Notes that the user of an address logs in with it, while it is theirs.
pub fn note_login<'a>(realm: &'a str, address: &'a str, user: &'a UserId, now: Timestamp) -> Step<'a> {
    let row = identities::table.find((realm, address)).filter(identities::user_id.eq(user.as_str()));
    change!(diesel::update(row).set(identities::last_login_at.eq(now.as_millis())))
}

/// Makes a user who logs in, while nobody holds the address and no other user is known to the backend by `spelled`.
pub fn make<'a>(
    realm: &'a str,
    address: &'a str,
    fresh: &'a UserId,
    spelled: Option<&'a str>,
    now: Timestamp,
) -> Steps<'a> {
    let steps = Steps::new().must(add_user(realm, fresh, Origin::Login, now)).must(add_identity(
        realm,
        address,
        fresh,
        Origin::Login,
        now,
    ));
    match spelled {
        Some(spelled) => steps.must(absence!(known_as!(realm, spelled))),
        None => steps,
    }
}

/// The holder of an address.
///
/// # Errors
/// The database's.
pub fn find(db: &mut AnyConnection, realm: &str, address: &str) -> Result<Option<Holder>, Error> {
    let columns = (identities::user_id, identities::upstream_id);
    let found = on_each!(db, c => identities::table
        .find((realm, address))
        .select(columns)
        .get_result::<(String, Option<String>)>(c)
        .optional())?;
    Ok(found.map(Holder::from))
}

/// Notes that an address logged in, and makes the user `fresh` where it is new. True: it is.
///
/// # Errors
/// The database's.
pub fn sign_in(
    db: &mut AnyConnection,
    realm: &str,
    address: &str,
    fresh: &UserId,
    now: Timestamp,
) -> Result<(Holder, bool), Error> {
    if let Some(holder) = touch(db, realm, address, now)? {
        return Ok((holder, false));
    }
    if add(db, realm, address, fresh, Origin::Login, now)? {
        return Ok((Holder { user: fresh.clone(), upstream_id: None }, true));
    }
    // Another login of the same address was first.
    touch(db, realm, address, now)?.map(|holder| (holder, false)).ok_or(Error::NotFound)
}

/// Notes that an address logged in whose last login was later than `since`, or never. None: it was not, or nobody holds
/// the address.
///
/// # Errors
/// The database's.
pub fn touch_recent(
    db: &mut AnyConnection,
    realm: &str,
    address: &str,
    since: Timestamp,
    now: Timestamp,
) -> Result<Option<Holder>, Error> {
    let row = identities::table.find((realm, address));
    let recent = identities::last_login_at.gt(since.as_millis()).or(identities::last_login_at.is_null());
    let change = identities::last_login_at.eq(now.as_millis());
    let columns = (identities::user_id, identities::upstream_id);
    let found: Option<(String, Option<String>)> =
        changed_row!(db, diesel::update(row.filter(recent)).set(change), columns, row)?;
    Ok(found.map(Holder::from))
}

/// The holder of an address, and when it last logged in.
///
/// # Errors
/// The database's.
pub fn last_login(
    db: &mut AnyConnection,
    realm: &str,
    address: &str,
) -> Result<Option<(Holder, Option<Timestamp>)>, Error> {
    let columns = ((identities::user_id, identities::upstream_id), identities::last_login_at);
    let found = on_each!(db, c => identities::table
        .find((realm, address))
        .select(columns)
        .get_result::<((String, Option<String>), Option<i64>)>(c)
        .optional())?;
    Ok(found.map(|(holder, at)| (Holder::from(holder), at.map(Timestamp::from_millis))))
}

/// Adds an imported user.
///
/// # Errors
/// The database's.
pub fn import(
    db: &mut AnyConnection,
    realm: &str,
    imported: &Imported,
    fresh: &UserId,
    now: Timestamp,
) -> Result<Import, Error> {
    let (address, upstream_id) = (imported.address.as_str(), imported.upstream_id.as_str());
    if add(db, realm, address, fresh, Origin::Import(imported), now)? {
        return Ok(Import::Added);
    }
    let holder = find(db, realm, address)?.ok_or(Error::NotFound)?;
    let known = holder.upstream_id.as_deref() == Some(upstream_id);
    let by = holder.upstream_id.unwrap_or_else(|| holder.user.to_string());
    Ok(if known { Import::Known } else { Import::Taken { by } })
}

fn touch(
    db: &mut AnyConnection,
    realm: &str,
    address: &str,
    now: Timestamp,
) -> Result<Option<Holder>, Error> {
    let row = identities::table.find((realm, address));
    let change = identities::last_login_at.eq(now.as_millis());
    let columns = (identities::user_id, identities::upstream_id);
    let found: Option<(String, Option<String>)> =
        changed_row!(db, diesel::update(row).set(change), columns, row)?;
    Ok(found.map(Holder::from))
}

/// How a user comes to be.
#[derive(Clone, Copy)]
enum Origin<'a> {
    /// They log in.
    Login,
    /// The operator brings them along.
    Import(&'a Imported),
}

/// False when somebody holds the address; then the user stays unmade too.
fn add(
    db: &mut AnyConnection,
    realm: &str,
    address: &str,
    user: &UserId,
    origin: Origin<'_>,
    now: Timestamp,
) -> Result<bool, Error> {
    add_user(realm, user, origin, now).run(db)?;
    let added = add_identity(realm, address, user, origin, now).run(db)?;
    if !added {
        on_each!(db, c => diesel::delete(users::table.find(user.as_str())).execute(c))?;
    }
    Ok(added)
}

fn add_user<'a>(realm: &'a str, user: &'a UserId, origin: Origin<'a>, now: Timestamp) -> Step<'a> {
    let name = match origin {
        Origin::Login => None,
        Origin::Import(imported) => imported.name.as_deref(),
    };
    let row = (
        users::id.eq(user.as_str()),
        users::realm.eq(realm),
        users::name.eq(name),
        users::created_at.eq(now.as_millis()),
    );
    change!(diesel::insert_into(users::table).values(row))
}

/// It does not find its row where somebody holds the address.
fn add_identity<'a>(
    realm: &'a str,
    address: &'a str,
    user: &'a UserId,
    origin: Origin<'a>,
    now: Timestamp,
) -> Step<'a> {
    let at = now.as_millis();
    let (upstream_id, last_login_at) = match origin {
        Origin::Login => (None, Some(at)),
        Origin::Import(imported) => (Some(imported.upstream_id.as_str()), None),
    };
    let row = (
        identities::realm.eq(realm),
        identities::address.eq(address),
        identities::user_id.eq(user.as_str()),
        identities::upstream_id.eq(upstream_id),
        identities::created_at.eq(at),
        identities::last_login_at.eq(last_login_at),
    );
    change!(diesel::insert_into(identities::table).values(row).on_conflict_do_nothing())
}

impl From<(String, Option<String>)> for Holder {
    fn from((user, upstream_id): (String, Option<String>)) -> Self {
        Self { user: UserId::from_stored(user), upstream_id }
    }
}
