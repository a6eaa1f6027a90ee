//! Logout: sessions end in one write; then the backend is asked to forget.
//!
//! Backends that revoke (mesibo, Sendbird) revoke all tokens of a user, those of other devices too. A `/v1` session
//! that goes on fetches itself another; one of the mesibo dialect cannot, so that nothing is revoked while the user has
//! one left. Nor is it when one ends *other* sessions: that would sever one's own chat.

use super::{SessionError, Sessions, live, subject_of};
use crate::domain::ids::{SecretHash, SessionId};
use crate::domain::network::ClientIp;
use crate::domain::session::{EndedWhy, Session};
use crate::domain::time::Timestamp;
use crate::store::{Abort, AnyConnection, sessions};
use crate::upstream::{Subject, UpstreamError};

/// What a logout ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The caller's session.
    Local,
    /// All of the user's but the caller's.
    Others,
    /// All of the user's.
    All,
}

/// What to revoke, and where.
struct Revocation {
    realm: String,
    subject: Subject,
}

impl Sessions {
    /// Ends sessions of whoever calls.
    ///
    /// # Errors
    /// [`SessionError`]: nothing was ended.
    pub async fn logout(&self, bearer: &str, scope: Scope, client: ClientIp) -> Result<(), SessionError> {
        let now = self.clock.now();
        let caller = self.caller(bearer, now)?;
        let network = client.key();
        let write = move |db: &mut AnyConnection| {
            let me = live(db, &caller, now)?;
            match scope {
                Scope::Local => {
                    sessions::end(db, &me.id, &me.user, EndedWhy::Logout, &network, now)?;
                }
                Scope::Others => {
                    sessions::end_others(db, &me.id, &me.user, &network, now)?;
                    return Ok(None);
                }
                Scope::All => {
                    sessions::end_user(db, &me.user, &network, now)?;
                }
            }
            Ok(revocation(db, &me, now)?)
        };
        let revocation = self.store.write(write).await??;
        self.revoke(revocation).await;
        Ok(())
    }

    /// Ends one of the caller's sessions. Their own: that is a logout.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] where it is not theirs, or over.
    pub async fn end(&self, bearer: &str, id: SessionId, client: ClientIp) -> Result<(), SessionError> {
        let now = self.clock.now();
        let caller = self.caller(bearer, now)?;
        if caller.session == id {
            return self.logout(bearer, Scope::Local, client).await;
        }
        let network = client.key();
        let write = move |db: &mut AnyConnection| {
            let me = live(db, &caller, now)?;
            let ended = sessions::end(db, &id, &me.user, EndedWhy::Remote, &network, now)?;
            ended.map(drop).ok_or(Abort::Refused(SessionError::NotFound))
        };
        self.store.write(write).await?
    }

    /// Ends the session of the mesibo dialect that holds a chat token. An unknown token writes nothing.
    ///
    /// # Errors
    /// [`SessionError::Store`]: nothing was ended.
    pub async fn logout_by_chat_token(&self, token: &str, client: ClientIp) -> Result<(), SessionError> {
        let now = self.clock.now();
        let (token, network) = (SecretHash::of(token), client.key());
        let write =
            move |db: &mut AnyConnection| match sessions::end_by_chat_token(db, &token, &network, now)? {
                Some(ended) => Ok(revocation(db, &ended, now)?),
                None => Ok::<_, Abort<SessionError>>(None),
            };
        let revocation = self.store.write(write).await??;
        self.revoke(revocation).await;
        Ok(())
    }

    /// Asks the backend to forget. The sessions are over, whatever it says.
    async fn revoke(&self, revocation: Option<Revocation>) {
        let Some(Revocation { realm: name, subject }) = revocation else { return };
        let Some(realm) = self.realms.get(&name) else { return };
        let revoked = tokio::time::timeout(realm.deadline, realm.upstream.revoke(&subject)).await;
        let revoked = revoked
            .unwrap_or_else(|_| Err(UpstreamError::Unknown("no answer within the deadline".to_owned())));
        self.metrics.count_revoke(&name, revoked.as_ref().map_or_else(UpstreamError::kind, |()| "revoked"));
        if let Err(error) = revoked {
            tracing::warn!(
                user = %subject.user,
                realm = name,
                error = %error,
                "a user logged out, and the backend did not revoke their chat tokens: those live on until they expire"
            );
        }
    }
}

/// What is to be revoked for a session that ended.
fn revocation(
    db: &mut AnyConnection,
    ended: &Session,
    now: Timestamp,
) -> Result<Option<Revocation>, diesel::result::Error> {
    if sessions::has_mesibo(db, &ended.user, now)? {
        return Ok(None);
    }
    let subject = subject_of(db, ended)?;
    Ok(subject.map(|subject| Revocation { realm: ended.realm.clone(), subject }))
}
