//! Another chat token for a live session, without another code.

use super::{SessionError, Sessions, live, subject_of};
use crate::domain::limits::Rate;
use crate::domain::network::ClientIp;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::login::RETRY_AFTER;
use crate::store::audit::{self, Event};
use crate::store::{Abort, AnyConnection, budgets};
use crate::upstream::{ChatToken, Subject, UpstreamError};

impl Sessions {
    /// Mints for whoever calls. What it counted against the user's limit stays counted, whatever the backend says.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn chat_token(&self, bearer: &str, client: ClientIp) -> Result<ChatToken, SessionError> {
        let now = self.clock.now();
        let caller = self.caller(bearer, now)?;
        let rate = self.chat_tokens;
        let admit = {
            let caller = caller.clone();
            move |db: &mut AnyConnection| {
                let session = live(db, &caller, now)?;
                let subject = subject_of(db, &session)?.ok_or(Abort::Refused(SessionError::Over))?;
                spend(db, &session, rate, now)?;
                Ok((session, subject))
            }
        };
        let (session, subject) = self.store.write(admit).await??;
        let chat = self.mint(&session, &subject).await?;

        // Whoever logged out meanwhile had their tokens revoked before this one was made.
        let now = self.clock.now();
        let network = client.key();
        let note = move |db: &mut AnyConnection| {
            let session = live(db, &caller, now)?;
            let about = audit::Subject { network: Some(&network), ..audit::Subject::from(&session) };
            Ok(audit::record(db, Event::ChatTokenMinted, about, now)?)
        };
        self.store.write(note).await??;
        Ok(chat)
    }

    async fn mint(&self, session: &Session, subject: &Subject) -> Result<ChatToken, SessionError> {
        let realm = self.realm(&session.realm)?;
        let minted = realm.mint(subject, realm.deadline).await;
        let outcome = minted.as_ref().map_or_else(UpstreamError::kind, |_| "minted");
        self.metrics.count_mint(&session.realm, outcome);
        minted.map_err(|source| {
            tracing::info!(session = %session.id, realm = session.realm, error = %source, "no chat token was minted");
            let retry_after = match &source {
                UpstreamError::Throttled { after, .. } | UpstreamError::Resting { after } => *after,
                UpstreamError::Refused(_)
                | UpstreamError::Misconfigured(_)
                | UpstreamError::Unavailable(_)
                | UpstreamError::Unknown(_) => RETRY_AFTER,
            };
            SessionError::NotMinted { source, retry_after }
        })
    }
}

/// Spends one of the user's chat tokens, over all their sessions.
fn spend(
    db: &mut AnyConnection,
    session: &Session,
    rate: Rate,
    now: Timestamp,
) -> Result<(), Abort<SessionError>> {
    let key = format!("chat:{}", session.user);
    if budgets::spend(&key, rate, now).run(db)? {
        return Ok(());
    }
    let opens_at = budgets::find(db, &key)?.map_or(now, |budget| budget.opens_at(rate));
    Err(Abort::Refused(SessionError::TooManyChatTokens(opens_at.wait_from(now))))
}
