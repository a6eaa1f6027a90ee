//! The last step: a grant becomes a token.

use std::time::Duration;

use super::birth::{self, Birth, Tokens};
use super::{Login, LoginError, RETRY_AFTER, Realm, Verified};
use crate::domain::challenge::Challenge;
use crate::domain::channel::Channel;
use crate::domain::ids::{GrantToken, UserId};
use crate::domain::network::ClientIp;
use crate::domain::session::DeviceLabel;
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Event, Subject};
use crate::store::grants::{self, Leased};
use crate::store::sessions::NewSession;
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
    /// What keeps them logged in, in `/v1`.
    pub session: Option<Tokens>,
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
    /// How the right code came, where that is known.
    pub channel: Option<Channel>,
    pub person: Person,
}

/// Who logs in, as far as they tell.
pub(super) struct Person {
    /// What they call themselves.
    pub name: Option<String>,
    /// What their device calls itself.
    pub device: Option<DeviceLabel>,
    /// Where they are.
    pub client: ClientIp,
}

/// Of a lease, what is kept for writing down what became of the mint.
const TIME_TO_NOTE: Duration = Duration::from_secs(2);

/// What became of the mint, to be written down.
enum Ended {
    /// A session begins.
    Minted(Box<NewSession>),
    /// Certainly not minted: the lease is given back.
    Failed(String),
    /// Perhaps minted: the lease runs out by itself.
    Unknown(String),
}

impl Login {
    /// Mints with nothing held, then writes down what became of it.
    pub(super) async fn mint(&self, ready: Ready, realm: &Realm) -> Result<Verified, LoginError> {
        let Ready { challenge, holder, lease_until, .. } = &ready;
        let subject = upstream::Subject {
            user: holder.user.clone(),
            upstream_id: holder.upstream_id.clone(),
            address: challenge.address.clone(),
            app_id: challenge.app_id.clone(),
            name: ready.person.name.clone(),
        };
        // A slow database eats into the lease: a mint that outlived it could meet another.
        let left = lease_until.wait_from(self.clock.now()).saturating_sub(TIME_TO_NOTE);
        let minted = realm.mint(&subject, left).await;
        self.metrics
            .count_mint(&challenge.realm, minted.as_ref().map_or_else(UpstreamError::kind, |_| "minted"));
        let now = self.clock.now();
        let (ended, minted) = match minted {
            Ok(chat) => {
                let Birth { session, tokens } = self.birth(&ready, &chat, now)?;
                (Ended::Minted(session), Ok((chat, tokens)))
            }
            Err(error @ UpstreamError::Unknown(_)) => (Ended::Unknown(error.to_string()), Err(error)),
            Err(error) => (Ended::Failed(error.to_string()), Err(error)),
        };
        let Ready { challenge, holder, is_new_user, lease_until, grant, .. } = ready;
        let spent = {
            let (user, dialect) = (holder.user.clone(), challenge.dialect);
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
            Ok((chat, session)) if spent.is_ok() => {
                Ok(Verified::Token(Minted { user: holder.user, is_new_user, chat, session }))
            }
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
                let retry_after = match &error {
                    UpstreamError::Throttled { after, .. } | UpstreamError::Resting { after } => *after,
                    UpstreamError::Unknown(_) => lease_until.wait_from(now),
                    UpstreamError::Refused(_)
                    | UpstreamError::Misconfigured(_)
                    | UpstreamError::Unavailable(_) => RETRY_AFTER,
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
        Ended::Minted(session) => {
            if !grants::spend(db, leased, now)? {
                return Err(Abort::Refused(LeaseLost));
            }
            audit::record(db, Event::TokenMinted, about, now)?;
            birth::write_down(db, session, about, now)?;
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
