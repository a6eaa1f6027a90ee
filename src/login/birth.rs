//! A session is born with the token that its login minted.

use std::time::Duration;

use super::mint::Ready;
use super::{Login, LoginError};
use crate::domain::challenge::Dialect;
use crate::domain::ed25519::NotSigned;
use crate::domain::ids::{SecretHash, SessionId};
use crate::domain::refresh::RefreshToken;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::keys::{AccessToken, AccessTokens, Bearer};
use crate::store::audit::{self, Event, Subject};
use crate::store::sessions::{self, Hold, NewSession};
use crate::store::steps::Steps;
use crate::upstream::ChatToken;

/// What a client holds of its session. No `Debug`.
pub struct Tokens {
    /// For calls to us, for some minutes.
    pub access: AccessToken,
    /// For the next tokens, once.
    pub refresh: RefreshToken,
    /// Until the session ends, if it is not used before.
    pub refresh_expires_in: Duration,
}

impl Tokens {
    /// Those of a session that ends at `expires_at`.
    ///
    /// # Errors
    /// [`NotSigned`].
    pub fn issue(
        keys: &AccessTokens,
        bearer: &Bearer,
        refresh: RefreshToken,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Self, NotSigned> {
        let refresh_expires_in = expires_at.wait_from(now);
        Ok(Self { access: keys.issue(bearer, now)?, refresh, refresh_expires_in })
    }
}

impl From<&Session> for Bearer {
    fn from(session: &Session) -> Self {
        let Session { id, user, app_id, channel, .. } = session;
        Self { app_id: app_id.clone(), user: user.clone(), session: id.clone(), channel: *channel }
    }
}

/// A session on its way into the store, and what its client gets: in the mesibo dialect nothing, that client knows its
/// chat token alone.
pub(super) struct Birth {
    pub(super) session: Box<NewSession>,
    pub(super) tokens: Option<Tokens>,
}

impl Login {
    /// Draws the session of a login that minted.
    pub(super) fn birth(&self, ready: &Ready, chat: &ChatToken, now: Timestamp) -> Result<Birth, LoginError> {
        let Ready { challenge, holder, channel, person, .. } = ready;
        let refresh = match challenge.dialect {
            Dialect::V1 => Some(RefreshToken::generate(&*self.entropy)),
            Dialect::Mesibo => None,
        };
        let (hold, expires_at) = match &refresh {
            Some(first) => {
                (Hold::Refresh { family: first.family(), token: first.hash() }, self.lifetimes.end(now, now))
            }
            // Nobody tells us of its use, so that it cannot be idle.
            None => (Hold::ChatToken(SecretHash::of(&chat.token)), now.plus(self.lifetimes.whole)),
        };
        let session = NewSession {
            id: SessionId::generate_at(now, &*self.entropy),
            user: holder.user.clone(),
            realm: challenge.realm.clone(),
            app_id: challenge.app_id.clone(),
            address: challenge.address.clone(),
            challenge: challenge.id.clone(),
            channel: *channel,
            label: person.device.clone(),
            network: person.client.key(),
            created_at: now,
            expires_at,
            hold,
        };
        let bearer = Bearer {
            app_id: session.app_id.clone(),
            user: session.user.clone(),
            session: session.id.clone(),
            channel: session.channel,
        };
        let issue = |refresh| Tokens::issue(&self.tokens, &bearer, refresh, expires_at, now);
        let tokens = refresh.map(issue).transpose()?;
        Ok(Birth { session: Box::new(session), tokens })
    }
}

/// Writes a session down.
pub(super) fn steps<'a>(session: &'a NewSession, about: Subject<'a>, now: Timestamp) -> Steps<'a> {
    let about = Subject { network: Some(&session.network), detail: Some(session.id.as_str()), ..about };
    Steps::new().must(sessions::insert(session)).must(audit::recording(Event::SessionStarted, about, now))
}
