//! How sessions end.
//!
//! Guarantees: only what is live ends, once, and what is needed to go on is erased with it. Each end is on record in
//! the same write, with the network that brought it about.

use diesel::prelude::*;
use diesel::result::Error;

use super::super::audit::{self, Event, Subject};
use super::super::connection::{AnyConnection, columns, on_each};
use super::super::prepared::prepared;
use super::super::schema::sessions::dsl;
use super::{NewSession, Row};
use crate::domain::challenge::Dialect;
use crate::domain::ids::{SecretHash, SessionId, UserId};
use crate::domain::session::{EndedWhy, Session};
use crate::domain::time::Timestamp;

/// Ends the live sessions that a condition names; they are as they were left.
macro_rules! end_where {
    ($db:expr, $named:expr, $why:expr, $network:expr, $now:expr) => {{
        let at = $now.as_millis();
        let live =
            dsl::sessions.filter($named).filter(dsl::ended_at.is_null()).filter(dsl::expires_at.gt(at));
        // A session that is over has expired, too: the purge looks for nothing else.
        let change = (
            dsl::ended_at.eq(at),
            dsl::ended_why.eq($why.as_str()),
            dsl::expires_at.eq(at),
            dsl::successor.eq(None::<Vec<u8>>),
            dsl::chat_token_hash.eq(None::<Vec<u8>>),
        );
        let ended = diesel::update(live).set(change).returning(columns::<Row>());
        let rows = on_each!($db, c => prepared!(ended).get_results::<Row>(c))?;
        record($db, rows, $why, $network, $now)
    }};
}

fn record(
    db: &mut AnyConnection,
    rows: Vec<Row>,
    why: EndedWhy,
    network: &str,
    now: Timestamp,
) -> Result<Vec<Session>, Error> {
    let ended = rows.into_iter().map(Row::into_session).collect::<Result<Vec<_>, _>>()?;
    let event = match why {
        EndedWhy::Reuse => Event::SessionReuse,
        EndedWhy::Logout
        | EndedWhy::Remote
        | EndedWhy::Replaced
        | EndedWhy::PhoneChanged
        | EndedWhy::Operator => Event::SessionEnded,
    };
    for session in &ended {
        let detail = format!("{} {}", session.id, why.as_str());
        let about = Subject { network: Some(network), detail: Some(&detail), ..Subject::from(session) };
        audit::record(db, event, about, now)?;
    }
    Ok(ended)
}

/// One session of a user.
///
/// # Errors
/// The database's.
pub fn end(
    db: &mut AnyConnection,
    id: &SessionId,
    user: &UserId,
    why: EndedWhy,
    network: &str,
    now: Timestamp,
) -> Result<Option<Session>, Error> {
    let named = dsl::id.eq(id.as_str()).and(dsl::user_id.eq(user.as_str()));
    Ok(end_where!(db, named, why, network, now)?.pop())
}

/// All sessions of a user but one.
///
/// # Errors
/// The database's.
pub fn end_others(
    db: &mut AnyConnection,
    kept: &SessionId,
    user: &UserId,
    why: EndedWhy,
    network: &str,
    now: Timestamp,
) -> Result<Vec<Session>, Error> {
    let named = dsl::user_id.eq(user.as_str()).and(dsl::id.ne(kept.as_str()));
    end_where!(db, named, why, network, now)
}

/// All sessions of a user.
///
/// # Errors
/// The database's.
pub fn end_user(
    db: &mut AnyConnection,
    user: &UserId,
    why: EndedWhy,
    network: &str,
    now: Timestamp,
) -> Result<Vec<Session>, Error> {
    end_where!(db, dsl::user_id.eq(user.as_str()), why, network, now)
}

/// The session of a refresh token that is not its current one.
///
/// # Errors
/// The database's.
pub fn end_reused(
    db: &mut AnyConnection,
    family: &SecretHash,
    token: &SecretHash,
    network: &str,
    now: Timestamp,
) -> Result<Option<Session>, Error> {
    let named = dsl::family.eq(family.as_bytes()).and(dsl::refresh_hash.ne(token.as_bytes()));
    Ok(end_where!(db, named, EndedWhy::Reuse, network, now)?.pop())
}

/// The session that holds a chat token.
///
/// # Errors
/// The database's.
pub fn end_by_chat_token(
    db: &mut AnyConnection,
    token: &SecretHash,
    network: &str,
    now: Timestamp,
) -> Result<Option<Session>, Error> {
    Ok(end_where!(db, dsl::chat_token_hash.eq(token.as_bytes()), EndedWhy::Logout, network, now)?.pop())
}

/// What a new session takes the place of: in `/v1` an earlier one of the same login, whose answer was lost. In the
/// mesibo dialect every one of the same user and app: mesibo's `useradd` makes their token void ("you have signed in
/// from other device").
///
/// # Errors
/// The database's.
pub fn end_replaced(db: &mut AnyConnection, new: &NewSession, now: Timestamp) -> Result<Vec<Session>, Error> {
    let users = dsl::user_id.eq(new.user.as_str());
    // Most logins replace nothing, and a look is cheaper than a change that finds no row.
    let live = dsl::sessions.filter(users).filter(dsl::ended_at.is_null());
    let any = diesel::select(diesel::dsl::exists(live));
    if !on_each!(db, c => prepared!(any).get_result::<bool>(c))? {
        return Ok(Vec::new());
    }
    match new.hold.dialect() {
        Dialect::V1 => {
            let named = users.and(dsl::challenge_id.eq(new.challenge.as_str()));
            end_where!(db, named, EndedWhy::Replaced, &new.network, now)
        }
        Dialect::Mesibo => {
            let of_mesibo = dsl::dialect.eq(Dialect::Mesibo.as_str());
            let named = users.and(of_mesibo).and(dsl::app_id.eq(&new.app_id));
            end_where!(db, named, EndedWhy::Replaced, &new.network, now)
        }
    }
}
