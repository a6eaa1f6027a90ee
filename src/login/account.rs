//! What one logs in with: another number in place of the old one, a mailbox beside it.
//!
//! Whoever asks is logged in, and proves the new address with a code of its own, which is sent, counted and compared as
//! one of a login is, and good for nothing else. One write uses the code up, gives the address to the user, takes the
//! old one from them, and ends the sessions that are to end. Chat backends that know users by their number go on to
//! know this one by the old one: their chats stay theirs.

mod notice;
mod write;

use std::sync::Arc;
use std::time::Duration;

use self::write::{Change, Refusal};
use super::guess::{Guess, Proved, RightCode};
use super::{Login, LoginError, Start, Started, Unproved};
use crate::domain::address::Address;
use crate::domain::challenge::{Dialect, REPEAT_AFTER_MINT};
use crate::domain::channel::Channel;
use crate::domain::claims::TokenError;
use crate::domain::code::Code;
use crate::domain::ids::{ChallengeId, ClientSecret, MessageId, SessionId};
use crate::domain::network::ClientIp;
use crate::domain::purpose::Purpose;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::challenges::Key;
use crate::store::grants::Consumption;
use crate::store::{AnyConnection, StoreError, sessions};

/// Somebody who is logged in wants to log in with this address.
pub struct NewAddress {
    /// A number takes the place of theirs; a mailbox comes beside it.
    pub address: Address,
    /// How; without it by SMS to a phone, by mail to a mailbox.
    pub channel: Option<Channel>,
    /// The languages that the person prefers, best first, as BCP 47 tags.
    pub languages: Vec<String>,
    /// Who asks.
    pub client: ClientIp,
}

/// What kind of address a code is for: one that is for the other kind is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Phone,
    /// A mailbox.
    Email,
}

impl Kind {
    fn of(address: &Address) -> Self {
        match address {
            Address::Phone(_) => Self::Phone,
            Address::Email(_) => Self::Email,
        }
    }

    fn purpose(self, session: SessionId) -> Purpose {
        match self {
            Self::Phone => Purpose::ChangePhone(session),
            Self::Email => Purpose::LinkEmail(session),
        }
    }
}

/// The code of a new address comes back.
pub struct Confirm {
    /// Which kind it is for.
    pub kind: Kind,
    /// Which challenge.
    pub id: ChallengeId,
    /// What its starter holds.
    pub secret: ClientSecret,
    /// The guess.
    pub code: Code,
    /// The languages that the person prefers, best first, as BCP 47 tags.
    pub languages: Vec<String>,
    /// Who guesses.
    pub client: ClientIp,
}

/// What came of it.
#[must_use]
pub enum Confirmed {
    /// The address leads to the caller's user.
    Done {
        /// It, masked.
        to: String,
    },
    /// The code was right and is used up, and the address leads to somebody else.
    Taken,
    /// The code proves nothing.
    Unproved(Unproved),
}

/// What came of taking a mailbox away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Unlinked {
    /// It does not lead to the user any more, if it ever did.
    Done,
    /// They have nothing else to log in with.
    OnlyAddress,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The access token is not good (any more): refresh, then repeat.
    #[error("the access token is not good")]
    InvalidToken(#[from] TokenError),
    /// There is no such session, or it ended: log in again.
    #[error("the session is over")]
    Over,
    /// As for a login.
    #[error(transparent)]
    Login(#[from] LoginError),
}

impl From<StoreError> for AccountError {
    fn from(error: StoreError) -> Self {
        Self::Login(error.into())
    }
}

impl Login {
    /// A code goes out to an address that the caller wants. The answer does not depend on whose it is.
    ///
    /// # Errors
    /// [`AccountError`]: nothing was sent.
    pub async fn ask_for_address(&self, bearer: &str, new: NewAddress) -> Result<Started, AccountError> {
        let session = self.live_session(bearer).await?;
        let NewAddress { address, channel, languages, client } = new;
        let purpose = Kind::of(&address).purpose(session.id);
        let (dialect, app_id) = (Dialect::V1, session.app_id);
        let start = Start { dialect, app_id, address, channel, languages, client };
        Ok(self.start_for(purpose, start).await?)
    }

    /// Evaluates the code, and gives the caller's user the address.
    ///
    /// # Errors
    /// [`AccountError`]: the guess may have been counted; the address leads to whom it led.
    pub async fn confirm_address(
        self: &Arc<Self>,
        bearer: &str,
        confirm: Confirm,
    ) -> Result<Confirmed, AccountError> {
        let session = self.live_session(bearer).await?;
        let Confirm { kind, id, secret, code, languages, client } = confirm;
        let key = Key::V1 { purpose: kind.purpose(session.id.clone()), id, secret: secret.hash() };
        let Proved { challenge, code, carrier, given, .. } =
            match self.prove(Guess { key, secret: Some(secret), code, client }).await? {
                Ok(proved) => proved,
                Err(unproved) => return Ok(Confirmed::Unproved(unproved)),
            };
        // An app that has moved to another backend has other users there.
        if challenge.realm != session.realm {
            return Err(AccountError::Over);
        }
        let to = challenge.address.masked();
        let Some(carrier) = carrier else {
            let taken = self.is_taken(&session, &challenge.address).await?;
            return Ok(if taken { Confirmed::Taken } else { Confirmed::Done { to } });
        };

        let now = self.clock.now();
        let upstream = self.realm(&challenge.realm)?.upstream;
        let consumption = Consumption {
            code,
            channel: carrier.channel,
            user: session.user.clone(),
            is_new_user: false,
            grant: None,
            // Nothing is minted: whoever lost the answer asks again for as long as behind a login.
            grant_expires_at: now.plus(REPEAT_AFTER_MINT),
            lease_until: Timestamp::from_millis(0),
        };
        let message = carrier.message.clone();
        let change = Change {
            right: RightCode::of(&challenge, carrier, self.limits.per_ip_unverified),
            consumption,
            session: session.id.clone(),
            user: session.user.clone(),
            realm: challenge.realm.clone(),
            app_id: challenge.app_id.clone(),
            address: challenge.address.clone(),
            kind,
            rules: self.accounts,
            per_address: self.limits.per_address,
            network: client.key(),
            notice: MessageId::generate_at(now, &*self.entropy),
        };
        let spelled = move |address: &Address| upstream.id_by_address(address).map(str::to_owned);
        let (done, taker) = match self.store.write(move |db| change.write(db, &spelled, now)).await? {
            Ok(written) => written,
            Err(Refusal::Over) => return Err(AccountError::Over),
            Err(Refusal::Lost) => return Ok(Confirmed::Unproved(Unproved::InFlight)),
        };
        self.tell_used(&challenge.address, message, taker, given);
        match done {
            write::Done::Changed(notice) => {
                if let Some(notice) = notice {
                    self.tell_old_number(notice, languages);
                }
                Ok(Confirmed::Done { to })
            }
            write::Done::Taken => Ok(Confirmed::Taken),
        }
    }

    /// Takes the caller's mailbox away from their user.
    ///
    /// # Errors
    /// [`AccountError`]: nothing changed.
    pub async fn unlink_email(&self, bearer: &str, client: ClientIp) -> Result<Unlinked, AccountError> {
        let session = self.live_session(bearer).await?;
        let (now, network) = (self.clock.now(), client.key());
        let unlink = move |db: &mut AnyConnection| write::unlink(db, &session, &network, now);
        match self.store.write(unlink).await? {
            Ok(unlinked) => Ok(unlinked),
            Err(Refusal::Over | Refusal::Lost) => Err(AccountError::Over),
        }
    }

    /// The session of an access token, while it lives.
    async fn live_session(&self, bearer: &str) -> Result<Session, AccountError> {
        let now = self.clock.now();
        let claims = self.tokens.verify(bearer, now)?;
        let find = move |db: &mut AnyConnection| sessions::find_live(db, &claims.session, &claims.user, now);
        self.store.read(find).await?.ok_or(AccountError::Over)
    }

    /// The code was right before. True: the address was somebody else's.
    async fn is_taken(&self, session: &Session, address: &Address) -> Result<bool, AccountError> {
        let (realm, user) = (session.realm.clone(), session.user.clone());
        let address = address.as_str().to_owned();
        let look = move |db: &mut AnyConnection| write::again(db, &realm, &address, &user);
        let Ok(taken) = self.store.write(look).await?;
        Ok(taken)
    }
}

/// A notice that the provider has not taken by then is given up.
const NOTICE_DEADLINE: Duration = super::SEND_DEADLINE;
