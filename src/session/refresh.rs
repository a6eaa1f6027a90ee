//! Refresh: a refresh token is spent for the next tokens.

use super::{SessionError, Sessions};
use crate::domain::network::ClientIp;
use crate::domain::refresh::RefreshToken;
use crate::domain::session::{Lifetimes, Presented, Session};
use crate::domain::time::Timestamp;
use crate::keys::Bearer;
use crate::login::Tokens;
use crate::store::sessions::{self, Spend};
use crate::store::{Abort, AnyConnection};

/// What became of a refresh token.
enum Outcome {
    /// It was the current one: its child took its place.
    Spent(Session),
    /// It was spent a moment ago: its child, again.
    Repeated(Session, RefreshToken),
    /// It was spent before. The session is ended.
    Reused(Session),
    /// Nothing is known of it, or its session is over. Nothing is written.
    Over,
}

impl Outcome {
    /// Its name in metrics.
    fn kind(&self) -> &'static str {
        match self {
            Self::Spent(_) => "spent",
            Self::Repeated(..) => "repeated",
            Self::Reused(_) => "reused",
            Self::Over => "over",
        }
    }
}

impl Sessions {
    /// Spends a refresh token. Whoever repeats the request for a moment is given the same child: their answer was lost.
    ///
    /// # Errors
    /// [`SessionError::Over`], also where the token was used before: that is nobody's business but the owner's.
    pub async fn refresh(&self, presented: RefreshToken, client: ClientIp) -> Result<Tokens, SessionError> {
        let now = self.clock.now();
        let (child, successor) = presented.child(&*self.entropy);
        let spend = Spend {
            family: presented.family(),
            token: presented.hash(),
            child: child.hash(),
            successor,
            network: client.key(),
        };
        let lifetimes = self.lifetimes;
        let write = move |db: &mut AnyConnection| {
            spend_or_judge(db, &presented, &spend, lifetimes, now).map_err(Abort::<SessionError>::Failed)
        };
        let outcome = self.store.write(write).await??;
        self.metrics.count_refresh(outcome.kind());
        let (session, token) = match outcome {
            Outcome::Spent(session) => (session, child),
            Outcome::Repeated(session, same_child) => (session, same_child),
            Outcome::Reused(session) => {
                tracing::warn!(
                    session = %session.id,
                    realm = session.realm,
                    "a refresh token came that was used before: the session was ended, it may have been stolen"
                );
                return Err(SessionError::Over);
            }
            Outcome::Over => return Err(SessionError::Over),
        };
        Ok(Tokens::issue(&self.tokens, &Bearer::from(&session), token, session.expires_at, now)?)
    }
}

fn spend_or_judge(
    db: &mut AnyConnection,
    presented: &RefreshToken,
    spend: &Spend,
    lifetimes: Lifetimes,
    now: Timestamp,
) -> Result<Outcome, diesel::result::Error> {
    if let Some(session) = sessions::rotate(db, spend, lifetimes, now)? {
        return Ok(Outcome::Spent(session));
    }
    let Some(session) = sessions::find_family(db, &spend.family)? else { return Ok(Outcome::Over) };
    match session.judge(presented, now) {
        Presented::Repeated(child) => Ok(Outcome::Repeated(session, child)),
        Presented::Reused => {
            let ended = sessions::end_reused(db, &spend.family, &spend.token, &spend.network, now)?;
            Ok(ended.map_or(Outcome::Over, Outcome::Reused))
        }
        Presented::Over => Ok(Outcome::Over),
    }
}
