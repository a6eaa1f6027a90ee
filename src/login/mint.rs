//! The last step: a grant becomes a token.

use std::sync::Arc;
use std::time::Duration;

use diesel::pg::PgConnection;

use super::birth::{self, Birth, Tokens};
use super::guess::Unproved;
use super::{Login, LoginError, RETRY_AFTER, Realm, Verified};
use crate::domain::challenge::Challenge;
use crate::domain::channel::Channel;
use crate::domain::ids::{GrantToken, UserId};
use crate::domain::network::ClientIp;
use crate::domain::session::DeviceLabel;
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Event, Subject};
use crate::store::batch::mints::{self, Mint};
use crate::store::batch::{self, Batched};
use crate::store::grants::{self, Leased};
use crate::store::sessions::{self, NewSession};
use crate::store::steps::{Missed, Once, Steps};
use crate::store::users::Holder;
use crate::store::{Abort, AnyConnection};
use crate::upstream::{self, ChatToken, UpstreamError};

/// A token, and for whom.
pub struct Minted {
    /// The app of the login.
    pub app_id: String,
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
    /// Whether a session may be replaced.
    pub has_sessions: bool,
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
        let Ready { challenge, holder, is_new_user, has_sessions, lease_until, grant, .. } = ready;
        let (challenge, user) = (Arc::new(challenge), holder.user.clone());
        let end = Arc::new(End { challenge: Arc::clone(&challenge), user, lease_until, ended, now });
        let is_spent = self.write_down(end, has_sessions).await?;
        match minted {
            Ok((chat, session)) if is_spent => {
                let app_id = challenge.app_id.clone();
                let minted = Minted { app_id, user: holder.user, is_new_user, chat, session };
                Ok(Verified::Token(Box::new(minted)))
            }
            // The lease ran out and somebody else took it: theirs is the token that counts.
            Ok(_) => Ok(Unproved::InFlight.into()),
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

/// The end of a mint, to be written down.
struct End {
    challenge: Arc<Challenge>,
    user: UserId,
    lease_until: Timestamp,
    ended: Ended,
    now: Timestamp,
}

impl Login {
    /// False: the lease was lost.
    async fn write_down(&self, end: Arc<End>, has_sessions: bool) -> Result<bool, LoginError> {
        // Somebody who had no session has none to be replaced.
        if !has_sessions && matches!(end.ended, Ended::Minted(_)) {
            let first = FirstSession(Arc::clone(&end));
            if self.store.write_batched(&self.batches.mints, first).await?.is_ok() {
                return Ok(true);
            }
        }
        Ok(self.store.write(move |db| end.write(db)).await?.is_ok())
    }
}

/// The end of a mint that began the first session of a user.
pub(super) struct FirstSession(Arc<End>);

impl Batched for FirstSession {
    type Done = ();
    type Refusal = Missed;

    fn subject(&self) -> &str {
        self.0.user.as_str()
    }

    fn alone(&self, db: &mut AnyConnection) -> Result<(), Abort<Missed>> {
        self.0.write_first(Once::within(db))
    }

    fn together(db: &mut PgConnection, many: &[&Self]) -> Result<Vec<Option<()>>, Abort<Missed>> {
        let Some(now) = many.iter().map(|first| first.0.now).max() else { return Ok(Vec::new()) };
        let rows = many.iter().map(|first| match &first.0.ended {
            Ended::Minted(session) => Some(Mint { lease_until: first.0.lease_until, session }),
            Ended::Failed(_) | Ended::Unknown(_) => None,
        });
        batch::plain(rows, |rows| mints::make(db, rows, now))
    }
}

impl End {
    fn leased(&self) -> Leased<'_> {
        let Challenge { id, dialect, .. } = &*self.challenge;
        Leased { id, dialect: *dialect, lease_until: self.lease_until }
    }

    fn about(&self) -> Subject<'_> {
        Subject {
            realm: Some(&self.challenge.realm),
            app_id: Some(&self.challenge.app_id),
            challenge: Some(self.challenge.id.as_str()),
            user: Some(self.user.as_str()),
            ..Subject::default()
        }
    }

    /// The first session of a user.
    fn write_first(&self, once: Once<'_>) -> Result<(), Abort<Missed>> {
        let Ended::Minted(session) = &self.ended else { return Err(Abort::Refused(Missed)) };
        Steps::new()
            .must(grants::spend(&self.leased(), self.now))
            .must(audit::recording(Event::TokenMinted, self.about(), self.now))
            .must(sessions::none_left(&self.user))
            .and(birth::steps(session, self.about(), self.now))
            .run(once)
    }

    fn write(&self, db: &mut AnyConnection) -> Result<(), Abort<Missed>> {
        let (leased, about, now) = (self.leased(), self.about(), self.now);
        match &self.ended {
            Ended::Minted(session) => {
                if !grants::spend(&leased, now).run(db)? {
                    return Err(Abort::Refused(Missed));
                }
                audit::record(db, Event::TokenMinted, about, now)?;
                sessions::end_replaced(db, session, now)?;
                birth::steps(session, about, now).run(Once::within(db))?;
            }
            Ended::Failed(why) => {
                grants::release(db, &leased)?;
                audit::record(db, Event::MintFailed, Subject { detail: Some(why), ..about }, now)?;
            }
            Ended::Unknown(why) => {
                audit::record(db, Event::MintFailed, Subject { detail: Some(why), ..about }, now)?;
            }
        }
        Ok(())
    }
}
