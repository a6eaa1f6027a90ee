//! After the login: refresh, another chat token, logout, the list of one's devices.
//!
//! Guarantees: what ended a session is committed before anybody is told, and no token is made for a session that is
//! over: an access token is checked against its session's row each time, also behind the backend's answer. A refresh
//! token that was used before ends its session. Nothing is held while a backend is called.

mod chat_token;
mod logout;
mod refresh;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use self::logout::Scope;
use crate::ambient::{Clock, Entropy};
use crate::domain::claims::TokenError;
use crate::domain::ed25519::NotSigned;
use crate::domain::ids::{SessionId, UserId};
use crate::domain::limits::Rate;
use crate::domain::session::{Lifetimes, Session};
use crate::domain::time::Timestamp;
use crate::keys::AccessTokens;
use crate::login::Realm;
use crate::store::{Abort, AnyConnection, Store, StoreError, sessions, users};
use crate::telemetry::Metrics;
use crate::upstream::{Subject, UpstreamError};

/// Everything that sessions need.
pub struct Sessions {
    /// Where state lives.
    pub store: Arc<Store>,
    /// The backends, by realm.
    pub realms: BTreeMap<String, Realm>,
    /// Signs and verifies access tokens.
    pub tokens: Arc<AccessTokens>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// How long sessions last.
    pub lifetimes: Lifetimes,
    /// Chat tokens of one user.
    pub chat_tokens: Rate,
    /// What came of it all.
    pub metrics: Arc<Metrics>,
}

/// Why there is no answer, sorted by what the client does next.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The access token is not good (any more): refresh, then repeat.
    #[error("the access token is not good")]
    InvalidToken(#[from] TokenError),
    /// There is no such session, or it ended: log in again.
    #[error("the session is over")]
    Over,
    /// The caller has no other session of this id.
    #[error("there is no such session")]
    NotFound,
    /// The user had enough chat tokens: wait so long.
    #[error("too many chat tokens")]
    TooManyChatTokens(Duration),
    /// The backend minted none.
    #[error("no chat token")]
    NotMinted {
        /// Why.
        source: UpstreamError,
        /// Until trying again makes sense.
        retry_after: Duration,
    },
    /// The database.
    #[error("the store did not answer")]
    Store(#[from] StoreError),
    /// The configuration has no such realm; it had when they logged in.
    #[error("no upstream serves the realm `{0}` any more")]
    Realm(String),
    /// An access token cannot be signed.
    #[error("an access token cannot be made")]
    Tokens(#[from] NotSigned),
}

/// Who calls, as their access token says. Whether the session still lives is for the store to say.
#[derive(Clone)]
struct Caller {
    session: SessionId,
    user: UserId,
}

/// One's own sessions.
pub struct Listed {
    /// The one that asks.
    pub current: SessionId,
    /// Last used first.
    pub sessions: Vec<Session>,
}

impl Sessions {
    /// The live sessions of whoever calls.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn list(&self, bearer: &str) -> Result<Listed, SessionError> {
        let now = self.clock.now();
        let caller = self.caller(bearer, now)?;
        let current = caller.session.clone();
        let list = move |db: &mut AnyConnection| {
            let Some(me) = sessions::find_live(db, &caller.session, &caller.user, now)? else {
                return Ok(None);
            };
            sessions::list(db, &me.user, now).map(Some)
        };
        let sessions = self.store.read(list).await?.ok_or(SessionError::Over)?;
        Ok(Listed { current, sessions })
    }

    fn caller(&self, bearer: &str, now: Timestamp) -> Result<Caller, SessionError> {
        let claims = self.tokens.verify(bearer, now)?;
        Ok(Caller { session: claims.session, user: claims.user })
    }

    fn realm(&self, name: &str) -> Result<&Realm, SessionError> {
        self.realms.get(name).ok_or_else(|| SessionError::Realm(name.to_owned()))
    }
}

/// The caller's session, while it lives.
fn live(db: &mut AnyConnection, caller: &Caller, now: Timestamp) -> Result<Session, Abort<SessionError>> {
    let found = sessions::find_live(db, &caller.session, &caller.user, now)?;
    found.ok_or(Abort::Refused(SessionError::Over))
}

/// Whom the backend knows the session's user as. None: the address is another user's by now.
fn subject_of(db: &mut AnyConnection, session: &Session) -> Result<Option<Subject>, diesel::result::Error> {
    let holder = users::find(db, &session.realm, session.address.as_str())?;
    Ok(holder.filter(|holder| holder.user == session.user).map(|holder| Subject {
        user: holder.user,
        upstream_id: holder.upstream_id,
        address: session.address.clone(),
        app_id: session.app_id.clone(),
        name: None,
    }))
}
