//! Users, and who holds which address.

use diesel::prelude::*;
use diesel::result::Error;

use super::connection::{AnyConnection, on_each};
use super::prepared::{changed_row, found_its_row};
use super::schema::{identities, users};
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
    if add(db, realm, address, fresh, None, None, now)? {
        return Ok((Holder { user: fresh.clone(), upstream_id: None }, true));
    }
    // Another login of the same address was first.
    touch(db, realm, address, now)?.map(|holder| (holder, false)).ok_or(Error::NotFound)
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
    if add(db, realm, address, fresh, Some(upstream_id), imported.name.as_deref(), now)? {
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

/// False when somebody holds the address; then the user stays unmade too.
fn add(
    db: &mut AnyConnection,
    realm: &str,
    address: &str,
    user: &UserId,
    upstream_id: Option<&str>,
    name: Option<&str>,
    now: Timestamp,
) -> Result<bool, Error> {
    let at = now.as_millis();
    let new_user =
        (users::id.eq(user.as_str()), users::realm.eq(realm), users::name.eq(name), users::created_at.eq(at));
    let identity = (
        identities::realm.eq(realm),
        identities::address.eq(address),
        identities::user_id.eq(user.as_str()),
        identities::upstream_id.eq(upstream_id),
        identities::created_at.eq(at),
        identities::last_login_at.eq(None::<i64>),
    );
    on_each!(db, c => diesel::insert_into(users::table).values(new_user).execute(c))?;
    let insert = diesel::insert_into(identities::table).values(identity).on_conflict_do_nothing();
    let added = found_its_row!(db, insert, identities::created_at)?;
    if !added {
        on_each!(db, c => diesel::delete(users::table.find(user.as_str())).execute(c))?;
    }
    Ok(added)
}

impl From<(String, Option<String>)> for Holder {
    fn from((user, upstream_id): (String, Option<String>)) -> Self {
        Self { user: UserId::from_stored(user), upstream_id }
    }
}
