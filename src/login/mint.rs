//! The last step: a grant becomes a token.

use std::time::Duration;

use super::{Login, LoginError, Realm, Verified};
use crate::domain::challenge::Challenge;
use crate::domain::ids::{GrantToken, UserId};
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Event, Subject};
use crate::store::grants::{self, Leased};
use crate::store::users::Holder;
use crate::store::{Abort, AnyConnection};
use crate::upstream::{self, ChatToken, UpstreamError};

/// A token, and for whom.
pub struct Minted {
    /// Our own user.
    pub user: UserId,
    /// Whether this login made them.
    pub is_new_user: bool,
    /// What the backend gave.
    pub chat: ChatToken,
}

/// No token. The code stays consumed; no second message is needed.
pub struct MintFailed {
    /// Turns into a token later, in `/v1`.
    pub grant: Option<GrantToken>,
    /// Until trying again makes sense.
    pub retry_after: Duration,
    /// Why.
    pub error: UpstreamError,
}

/// A grant under our lease.
pub(super) struct Ready {
    pub challenge: Challenge,
    pub holder: Holder,
    pub is_new_user: bool,
    pub lease_until: Timestamp,
    pub grant: Option<GrantToken>,
    pub name: Option<String>,
}

/// A backend that said no will not say yes at once.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Of a lease, what is kept for writing down what became of the mint.
const TIME_TO_NOTE: Duration = Duration::from_secs(2);

/// What became of the mint, to be written down.
#[derive(Clone)]
enum Ended {
    Minted,
    /// Certainly not minted: the lease is given back.
    Failed(String),
    /// Perhaps minted: the lease runs out by itself.
    Unknown(String),
}

impl Login {
    /// Mints with nothing held, then writes down what became of it.
    pub(super) async fn mint(&self, ready: Ready, realm: &Realm) -> Result<Verified, LoginError> {
        let Ready { challenge, holder, is_new_user, lease_until, grant, name } = ready;
        let subject = upstream::Subject {
            user: holder.user.clone(),
            upstream_id: holder.upstream_id,
            address: challenge.address.clone(),
            app_id: challenge.app_id.clone(),
            name,
        };
        // A slow database eats into the lease: a mint that outlived it could meet another.
        let left = lease_until.wait_from(self.clock.now()).saturating_sub(TIME_TO_NOTE);
        let deadline = realm.deadline.min(left);
        let minted = match tokio::time::timeout(deadline, realm.upstream.mint(&subject)).await {
            Ok(minted) => minted,
            Err(_elapsed) if deadline.is_zero() => {
                Err(UpstreamError::Unavailable("no time was left to ask it".to_owned()))
            }
            Err(_elapsed) => Err(UpstreamError::Unknown("no answer within the deadline".to_owned())),
        };
        self.metrics
            .count_mint(&challenge.realm, minted.as_ref().map_or_else(UpstreamError::kind, |_| "minted"));
        let ended = match &minted {
            Ok(_) => Ended::Minted,
            Err(error @ UpstreamError::Unknown(_)) => Ended::Unknown(error.to_string()),
            Err(error) => Ended::Failed(error.to_string()),
        };
        let now = self.clock.now();
        let spent = {
            let (user, ended, dialect) = (holder.user.clone(), ended.clone(), challenge.dialect);
            let (id, realm, app_id) =
                (challenge.id.clone(), challenge.realm.clone(), challenge.app_id.clone());
            let write = move |db: &mut AnyConnection| {
                let about = Subject {
                    realm: Some(&realm),
                    app_id: Some(&app_id),
                    challenge: Some(id.as_str()),
                    user: Some(user.as_str()),
                    ..Subject::default()
                };
                write_down(db, &Leased { id: &id, dialect, lease_until }, &ended, about, now)
            };
            self.store.write(write).await?
        };
        match minted {
            Ok(chat) if spent.is_ok() => Ok(Verified::Token(Minted { user: holder.user, is_new_user, chat })),
            // The lease ran out and somebody else took it: theirs is the token that counts.
            Ok(_) => Ok(Verified::InFlight),
            Err(error) => {
                tracing::info!(
                    challenge = %challenge.id,
                    address = challenge.address.masked(),
                    realm = challenge.realm,
                    error = %error,
                    "no token was minted; the same code, or the grant, can be posted again"
                );
                let retry_after = match (&error, ended) {
                    (UpstreamError::Throttled { after, .. } | UpstreamError::Resting { after }, _) => *after,
                    (_, Ended::Unknown(_)) => lease_until.wait_from(now),
                    (_, Ended::Minted | Ended::Failed(_)) => RETRY_AFTER,
                };
                Ok(Verified::NotMinted(MintFailed { grant, retry_after, error }))
            }
        }
    }
}

/// The lease was lost.
struct LeaseLost;

fn write_down(
    db: &mut AnyConnection,
    leased: &Leased<'_>,
    ended: &Ended,
    about: Subject<'_>,
    now: Timestamp,
) -> Result<(), Abort<LeaseLost>> {
    match ended {
        Ended::Minted => {
            if !grants::spend(db, leased, now)? {
                return Err(Abort::Refused(LeaseLost));
            }
            audit::record(db, Event::TokenMinted, about, now)?;
        }
        Ended::Failed(why) => {
            grants::release(db, leased)?;
            audit::record(db, Event::MintFailed, Subject { detail: Some(why), ..about }, now)?;
        }
        Ended::Unknown(why) => {
            audit::record(db, Event::MintFailed, Subject { detail: Some(why), ..about }, now)?;
        }
    }
    Ok(())
}
