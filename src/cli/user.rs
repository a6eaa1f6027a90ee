//! `latchkey user`.

use std::io::Write;

use super::guard::parse;
use super::upstream::{backend, some_app};
use super::{CommandError, now};
use crate::config::Config;
use crate::domain::address::Address;
use crate::domain::ids::UserId;
use crate::domain::session::{EndedWhy, Session};
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Event, Subject};
use crate::store::identities::{self, Identity};
use crate::store::{Abort, AnyConnection, Store, sessions};
use crate::upstream;

/// What there is about a user of a realm.
struct Found {
    realm: String,
    user: UserId,
    addresses: Vec<Identity>,
    sessions: Vec<Session>,
}

fn find(db: &mut AnyConnection, address: &str, now: Timestamp) -> Result<Vec<Found>, diesel::result::Error> {
    let holders = identities::holders(db, address)?;
    let look = |(realm, user): (String, UserId)| {
        let addresses = identities::of_user(db, &user)?;
        let sessions = sessions::list(db, &user, now)?;
        Ok(Found { realm, user, addresses, sessions })
    };
    holders.into_iter().map(look).collect()
}

/// Says who holds an address, with what else they log in, and where they are logged in.
pub(super) async fn show(
    store: &Store,
    address: &str,
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let (address, now) = (parse(address)?, now());
    let text = address.as_str().to_owned();
    let found = store.read(move |db| find(db, &text, now)).await?;
    if found.is_empty() {
        writeln!(out, "{}: nobody logs in with it", address.as_str())?;
    }
    for Found { realm, user, addresses, sessions } in found {
        writeln!(out, "{user} in {realm}")?;
        for Identity { address, upstream_id, created_at, last_login_at } in addresses {
            let known = upstream_id.map_or_else(String::new, |id| format!(", known to the backend as {id}"));
            let login = last_login_at.map_or_else(|| "never".to_owned(), |at| ago(at, now));
            let since = ago(created_at, now);
            writeln!(out, "  {}: theirs since {since}, last login {login}{known}", address.as_str())?;
        }
        for session in sessions {
            let label = session.label.as_ref().map_or("a device", |label| label.as_str());
            let (born, used) = (ago(session.created_at, now), ago(session.last_used_at, now));
            let (id, app, network) = (&session.id, &session.app_id, &session.network);
            writeln!(out, "  {id}: {label}, {app}, from {network}, login {born}, last use {used}")?;
        }
    }
    Ok(())
}

/// Ends every session of whoever holds an address, records who did and why, then asks the backends to forget.
pub(super) async fn end_sessions(
    config: &Config,
    store: &Store,
    address: &str,
    (by, why): (&str, &str),
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let (address, now, detail) = (parse(address)?, now(), format!("by {by}: {why}"));
    let text = address.as_str().to_owned();
    let end = move |db: &mut AnyConnection| {
        let found = find(db, &text, now)?;
        let end = |found: Found| {
            let ended = sessions::end_user(db, &found.user, EndedWhy::Operator, "operator", now)?.len();
            let about = Subject {
                realm: Some(&found.realm),
                address: Some(&text),
                user: Some(found.user.as_str()),
                detail: Some(&detail),
                ..Subject::default()
            };
            audit::record(db, Event::SessionsEnded, about, now)?;
            Ok((found, ended))
        };
        found.into_iter().map(end).collect::<Result<Vec<_>, Abort<std::convert::Infallible>>>()
    };
    let Ok(ended) = store.write(end).await?;
    if ended.is_empty() {
        writeln!(out, "{}: nobody logs in with it", address.as_str())?;
    }
    for (found, count) in ended {
        let revoked = revoke(config, &address, &found).await;
        writeln!(out, "{} in {}: {count} session(s) ended; {revoked}", found.user, found.realm)?;
    }
    Ok(())
}

/// What became of the chat tokens, for people. The sessions are over, whatever the backend says.
async fn revoke(config: &Config, address: &Address, found: &Found) -> String {
    let name = &found.realm;
    let Some(upstream) = config.upstreams.get(name) else {
        return format!("there is no [upstreams.{name}] to revoke chat tokens at");
    };
    let backend = match backend(name, upstream) {
        Ok(backend) => backend,
        Err(error) => return format!("chat tokens were not revoked: {error}"),
    };
    let identity = found.addresses.iter().find(|identity| identity.address == *address);
    let subject = upstream::Subject {
        user: found.user.clone(),
        upstream_id: identity.and_then(|identity| identity.upstream_id.clone()),
        address: address.clone(),
        app_id: some_app(config, name).to_owned(),
        name: None,
    };
    match tokio::time::timeout(upstream.deadline(), backend.revoke(&subject)).await {
        Ok(Ok(())) => "the backend was asked to revoke their chat tokens, where it can".to_owned(),
        Ok(Err(error)) => format!("chat tokens were not revoked, and live until they expire: {error}"),
        Err(_elapsed) => "chat tokens were not revoked: no answer within the deadline".to_owned(),
    }
}

fn ago(then: Timestamp, now: Timestamp) -> String {
    let minutes = now.wait_from(then).as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} min ago"),
        120..2880 => format!("{} h ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1440),
    }
}
