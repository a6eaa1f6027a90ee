//! Which addresses lead to a user.
//!
//! Guarantees: an address leads to one user of a realm. Whether somebody got it, or lost it, is the row count of one
//! guarded statement; what changes about one user is done one at a time, behind [`lock`].

use diesel::prelude::*;
use diesel::result::Error;

use super::connection::{AnyConnection, on_each};
use super::prepared::{found_its_row, prepared};
use super::schema::identities::dsl;
use super::schema::users;
use crate::domain::address::Address;
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

/// An address that leads to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The address.
    pub address: Address,
    /// What the backend knows its user by, where that is not what it would be otherwise.
    pub upstream_id: Option<String>,
    /// When it was first theirs.
    pub created_at: Timestamp,
    /// When they last logged in with it.
    pub last_login_at: Option<Timestamp>,
}

/// From here to the end of the write nobody else changes which addresses lead to this user. False: there is no such
/// user.
///
/// # Errors
/// The database's.
pub fn lock(db: &mut AnyConnection, user: &UserId) -> Result<bool, Error> {
    let row = users::table.find(user.as_str());
    let touch = diesel::update(row).set(users::realm.eq(users::realm));
    found_its_row!(db, touch, users::created_at)
}

/// Whoever holds an address, in each realm.
///
/// # Errors
/// The database's.
pub fn holders(db: &mut AnyConnection, address: &str) -> Result<Vec<(String, UserId)>, Error> {
    let same = dsl::identities.filter(dsl::address.eq(address)).order(dsl::realm);
    let rows = on_each!(db, c => same.select((dsl::realm, dsl::user_id)).load::<(String, String)>(c))?;
    Ok(rows.into_iter().map(|(realm, user)| (realm, UserId::from_stored(user))).collect())
}

/// The addresses that lead to a user.
///
/// # Errors
/// The database's.
pub fn of_user(db: &mut AnyConnection, user: &UserId) -> Result<Vec<Identity>, Error> {
    type Row = (String, Option<String>, i64, Option<i64>);
    let columns = (dsl::address, dsl::upstream_id, dsl::created_at, dsl::last_login_at);
    let theirs = dsl::identities.filter(dsl::user_id.eq(user.as_str())).order(dsl::address).select(columns);
    let rows = on_each!(db, c => prepared!(theirs).load::<Row>(c))?;
    let read = |(address, upstream_id, created_at, last_login_at): Row| {
        let address = Address::from_stored(address).ok_or_else(|| {
            Error::DeserializationError(format!("an address of {user} cannot be read").into())
        })?;
        Ok(Identity {
            address,
            upstream_id,
            created_at: Timestamp::from_millis(created_at),
            last_login_at: last_login_at.map(Timestamp::from_millis),
        })
    };
    rows.into_iter().map(read).collect()
}

/// Gives a user an address. False: it leads to somebody already.
///
/// # Errors
/// The database's.
pub fn add(
    db: &mut AnyConnection,
    realm: &str,
    address: &str,
    user: &UserId,
    upstream_id: Option<&str>,
    now: Timestamp,
) -> Result<bool, Error> {
    let at = now.as_millis();
    let identity = (
        dsl::realm.eq(realm),
        dsl::address.eq(address),
        dsl::user_id.eq(user.as_str()),
        dsl::upstream_id.eq(upstream_id),
        dsl::created_at.eq(at),
        dsl::last_login_at.eq(Some(at)),
    );
    let insert = diesel::insert_into(dsl::identities).values(identity).on_conflict_do_nothing();
    found_its_row!(db, insert, dsl::created_at)
}

/// Takes an address from a user. False: it was not theirs.
///
/// # Errors
/// The database's.
pub fn remove(db: &mut AnyConnection, realm: &str, address: &str, user: &UserId) -> Result<bool, Error> {
    let theirs = dsl::identities.find((realm, address)).filter(dsl::user_id.eq(user.as_str()));
    let rows = on_each!(db, c => diesel::delete(theirs).execute(c))?;
    Ok(rows == 1)
}

/// Those whom a backend knows by an id that is on record.
macro_rules! known_as {
    ($realm:expr, $upstream_id:expr) => {{
        use $crate::store::schema::identities::dsl;
        // In the text: see `named_by!` in challenges.rs.
        let recorded = diesel::dsl::sql::<diesel::sql_types::Bool>("upstream_id IS NOT NULL");
        dsl::identities
            .filter(recorded)
            .filter(dsl::realm.eq($realm))
            .filter(dsl::upstream_id.eq($upstream_id))
    }};
}
pub(super) use known_as;

/// Whether a backend knows somebody by an id that is on record.
///
/// # Errors
/// The database's.
pub fn is_known(db: &mut AnyConnection, realm: &str, upstream_id: &str) -> Result<bool, Error> {
    let any = diesel::select(diesel::dsl::exists(known_as!(realm, upstream_id)));
    on_each!(db, c => prepared!(any).get_result::<bool>(c))
}

/// Has the backend know a user by an id of its own from now on.
///
/// # Errors
/// The database's.
pub fn set_upstream_id(
    db: &mut AnyConnection,
    realm: &str,
    address: &str,
    upstream_id: &str,
) -> Result<(), Error> {
    let row = dsl::identities.find((realm, address));
    let change = diesel::update(row).set(dsl::upstream_id.eq(upstream_id));
    found_its_row!(db, change, dsl::created_at).map(|_| ())
}
