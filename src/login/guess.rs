//! A guess: counted, then compared; and what a right one uses up. What it is good for, others say.

use std::time::Duration;

use super::draft::network_key;
use super::{Login, LoginError, Wait};
use crate::delivery::UsedCode;
use crate::domain::address::Address;
use crate::domain::challenge::{Challenge, State, Verdict};
use crate::domain::channel::Channel;
use crate::domain::code::{Code, CodeHash};
use crate::domain::guard::{AtCap, Guard};
use crate::domain::ids::{ChallengeId, ClientSecret, MessageId};
use crate::domain::limits::Rate;
use crate::domain::network::{ClientIp, site_of};
use crate::domain::pepper::Binding;
use crate::domain::phone::Country;
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Event, Subject};
use crate::store::challenges::{self, Key};
use crate::store::grants::{self, Consumption};
use crate::store::{Abort, AnyConnection, budgets, deliveries, guards};

/// A code that came back.
pub(super) struct Guess {
    pub(super) key: Key,
    pub(super) secret: Option<ClientSecret>,
    pub(super) code: Code,
    pub(super) client: ClientIp,
}

/// A guess that was right.
pub(super) struct Proved {
    pub(super) challenge: Challenge,
    pub(super) code: CodeHash,
    /// As it was given.
    pub(super) given: Code,
    /// The message that carried the code. None: the challenge was consumed by the same code before.
    pub(super) message: Option<MessageId>,
}

/// Why a guess proves nothing.
#[must_use]
pub enum Unproved {
    /// The code is wrong.
    Wrong {
        /// Guesses that are left for this challenge.
        attempts_left: i32,
        /// Until the next one is evaluated.
        next_guess: Wait,
    },
    /// Nothing was evaluated: the guard does not let a guess through.
    TooSoon(Wait),
    /// Nothing was evaluated: there is no live code.
    NoChallenge,
    /// The code was right before, and its token is being minted right now.
    InFlight,
}

/// A guess that was counted.
struct Charged {
    challenge: Challenge,
    guard: Guard,
}

/// Why a guess is not evaluated. Nothing is written then.
enum Refusal {
    NoChallenge,
    InFlight,
    Guarded(Guard),
}

/// Another right guess was first.
pub(super) struct Lost;

impl Login {
    /// Counts a guess and compares it.
    pub(super) async fn prove(&self, guess: Guess) -> Result<Result<Proved, Unproved>, LoginError> {
        let now = self.clock.now();
        let (key, otp, network) = (guess.key, self.otp.clone(), guess.client.key());
        let charge = move |db: &mut AnyConnection| charge(db, &key, otp.attempts, otp.at_cap, &network, now);
        let Charged { challenge, guard } = match self.store.write(charge).await? {
            Ok(charged) => charged,
            Err(Refusal::NoChallenge) => return Ok(Err(Unproved::NoChallenge)),
            Err(Refusal::InFlight) => return Ok(Err(Unproved::InFlight)),
            Err(Refusal::Guarded(guard)) => {
                let wait = Wait::of_guard(Some(&guard), now);
                return Ok(Err(wait.map_or(Unproved::NoChallenge, Unproved::TooSoon)));
            }
        };
        if guard.is_at_cap() {
            tracing::warn!(
                alarm = true,
                address = challenge.address.masked(),
                realm = challenge.realm,
                "an address is at the cap of failed guesses; `latchkey guard show` tells more"
            );
        }

        let binding = Binding {
            realm: &challenge.realm,
            purpose: &challenge.purpose.as_str(),
            challenge: &challenge.id,
            address: &challenge.address,
            client_secret: guess.secret.as_ref().map(ClientSecret::hash),
        };
        let code = self.hash(&challenge.key_id, &binding, &challenge.salt, &guess.code).await?;
        Ok(match challenge.judge(&code, now) {
            Verdict::Right(message) => {
                Ok(Proved { challenge, code, given: guess.code, message: Some(message) })
            }
            Verdict::RightAgain => Ok(Proved { challenge, code, given: guess.code, message: None }),
            Verdict::Wrong => Err(Unproved::Wrong {
                attempts_left: (self.otp.attempts - challenge.guesses).max(0),
                next_guess: Wait::of_guard(Some(&guard), now).unwrap_or(Wait::For(Duration::ZERO)),
            }),
        })
    }
}

/// The first write of a guess: both counters, together or not at all.
fn charge(
    db: &mut AnyConnection,
    key: &Key,
    attempts: i32,
    at_cap: AtCap,
    network: &str,
    now: Timestamp,
) -> Result<Charged, Abort<Refusal>> {
    let waiting = challenges::charge_guess(db, key, attempts, now)?;
    let charged = match waiting {
        Some(challenge) => Some(challenge),
        None => grants::charge_repeat(db, key, now)?,
    };
    let Some(challenge) = charged else { return Err(Abort::Refused(why_not(db, key, now)?)) };
    let comparisons = challenge.comparisons(now);
    if comparisons == 0 {
        return Err(Abort::Refused(Refusal::NoChallenge));
    }
    let (realm, address) = (challenge.realm.as_str(), challenge.address.as_str());
    let Some(guard) = guards::charge(db, realm, address, comparisons, at_cap, now)? else {
        let guard = guards::find(db, realm, address)?;
        return Err(Abort::Refused(guard.map_or(Refusal::NoChallenge, Refusal::Guarded)));
    };
    let about = Subject {
        realm: Some(realm),
        app_id: Some(&challenge.app_id),
        address: Some(address),
        challenge: Some(challenge.id.as_str()),
        network: Some(network),
        ..Subject::default()
    };
    audit::record(db, Event::GuessCounted, about, now)?;
    if guard.is_at_cap() {
        audit::record(db, Event::GuardAtCap, about, now)?;
    }
    Ok(Charged { challenge, guard })
}

fn why_not(db: &mut AnyConnection, key: &Key, now: Timestamp) -> Result<Refusal, diesel::result::Error> {
    let leased = challenges::find(db, key)?.is_some_and(|challenge| match challenge.state {
        State::Proved(proof) => proof.grant.minted_at.is_none() && proof.grant.lease_until > now,
        State::Waiting(_) => false,
    });
    Ok(if leased { Refusal::InFlight } else { Refusal::NoChallenge })
}

/// A right code that is to be used up.
pub(super) struct RightCode {
    pub(super) challenge: ChallengeId,
    pub(super) realm: String,
    pub(super) address: Address,
    pub(super) app_id: String,
    pub(super) message: MessageId,
    /// At which a network gets a send back.
    pub(super) credit: Rate,
}

impl RightCode {
    pub(super) fn of(challenge: &Challenge, message: MessageId, credit: Rate) -> Self {
        Self {
            challenge: challenge.id.clone(),
            realm: challenge.realm.clone(),
            address: challenge.address.clone(),
            app_id: challenge.app_id.clone(),
            message,
            credit,
        }
    }
}

impl Login {
    /// A code came back: that is counted for whoever brought it, who is told where they ask for it.
    pub(super) fn note_used(
        &self,
        challenge: &Challenge,
        (message, given): (MessageId, Code),
        provider: Option<(String, Option<String>)>,
        now: Timestamp,
    ) {
        let Some((provider, provider_id)) = provider else { return };
        let country = challenge.address.country().unwrap_or(Country::UNKNOWN);
        self.courier.board().count_verified(&provider, country, now);
        let Some(provider_id) = provider_id else { return };
        let to = challenge.address.clone();
        self.courier.tell_used(&provider, UsedCode { id: message, provider_id, to, code: given });
    }
}

/// How a code came, where that is known.
pub(super) struct Carriage {
    pub(super) channel: Option<Channel>,
    /// Who brought it, and its own id for the message.
    pub(super) provider: Option<(String, Option<String>)>,
}

/// What every right guess writes: the code is used up, the guard is off, the network has a send back, and all of it is
/// on record.
pub(super) fn use_up(
    db: &mut AnyConnection,
    right: &RightCode,
    consumption: &Consumption,
    now: Timestamp,
) -> Result<Carriage, Abort<Lost>> {
    let delivery = deliveries::verify(db, &right.message, now)?;
    let channel = delivery.as_ref().and_then(|delivery| delivery.channel);
    let consumption = Consumption { channel, ..consumption.clone() };
    if !grants::consume(db, &right.challenge, &consumption, now)? {
        return Err(Abort::Refused(Lost));
    }
    guards::open(db, &right.realm, right.address.as_str())?;
    if let Some(deliveries::Verified { network, .. }) = &delivery {
        budgets::credit_network(db, &network_key(network), right.credit, now)?;
        if let Some(site) = site_of(network) {
            budgets::credit_network(db, &network_key(&site), right.credit.tenfold(), now)?;
        }
    }
    let about = Subject {
        realm: Some(&right.realm),
        app_id: Some(&right.app_id),
        address: Some(right.address.as_str()),
        challenge: Some(right.challenge.as_str()),
        user: Some(consumption.user.as_str()),
        ..Subject::default()
    };
    audit::record(db, Event::CodeConsumed, about, now)?;
    Ok(Carriage { channel, provider: delivery.and_then(|delivery| delivery.provider) })
}
