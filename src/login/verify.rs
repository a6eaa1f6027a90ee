//! Verify: a code comes back.

use super::draft::network_key;
use super::mint::{Minted, Person, Ready};
use super::{Login, LoginError, MintFailed, PURPOSE, Wait};
use crate::delivery::UsedCode;
use crate::domain::challenge::{Challenge, GRANT_LIFETIME, State, Verdict};
use crate::domain::channel::Channel;
use crate::domain::code::{Code, CodeHash};
use crate::domain::guard::Guard;
use crate::domain::ids::{ClientSecret, GrantToken, MessageId, SecretHash, UserId};
use crate::domain::limits::Rate;
use crate::domain::network::{ClientIp, site_of};
use crate::domain::pepper::Binding;
use crate::domain::phone::Country;
use crate::domain::session::DeviceLabel;
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Event, Subject};
use crate::store::challenges::{self, Key};
use crate::store::grants::{self, Consumption};
use crate::store::users::{self, Holder};
use crate::store::{Abort, AnyConnection, budgets, deliveries, guards};

/// Somebody guesses.
pub struct Verify {
    /// Against which challenge.
    pub key: Key,
    /// What its starter holds, in `/v1`.
    pub secret: Option<ClientSecret>,
    /// The guess.
    pub code: Code,
    /// What the person calls themselves.
    pub name: Option<String>,
    /// What their device calls itself.
    pub device: Option<DeviceLabel>,
    /// Who guesses.
    pub client: ClientIp,
}

/// Somebody comes back with a grant.
pub struct Complete {
    /// What they hold.
    pub grant: GrantToken,
    /// What their device calls itself.
    pub device: Option<DeviceLabel>,
    /// Who.
    pub client: ClientIp,
}

/// What came of it.
#[must_use]
pub enum Verified {
    /// The code is right, and here is the token.
    Token(Minted),
    /// The code is right, and the backend minted none.
    NotMinted(MintFailed),
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

impl Verified {
    /// Its name in metrics.
    fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::NotMinted(_) => "not_minted",
            Self::Wrong { .. } => "wrong",
            Self::TooSoon(_) => "too_soon",
            Self::NoChallenge => "no_challenge",
            Self::InFlight => "in_flight",
        }
    }
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
struct Lost;

impl Login {
    /// Evaluates a guess, and turns a right one into a token.
    ///
    /// # Errors
    /// [`LoginError`]: the guess may have been counted; nothing was accepted that cannot be posted again.
    pub async fn verify(&self, verify: Verify) -> Result<Verified, LoginError> {
        let verified = self.verify_uncounted(verify).await;
        self.metrics.count_verify(verified.as_ref().map_or("error", Verified::kind));
        verified
    }

    async fn verify_uncounted(&self, verify: Verify) -> Result<Verified, LoginError> {
        let now = self.clock.now();
        let (key, otp, network) = (verify.key.clone(), self.otp.clone(), verify.client.key());
        let charge = move |db: &mut AnyConnection| charge(db, &key, otp.attempts, otp.at_cap, &network, now);
        let charged = match self.store.write(charge).await? {
            Ok(charged) => charged,
            Err(Refusal::NoChallenge) => return Ok(Verified::NoChallenge),
            Err(Refusal::InFlight) => return Ok(Verified::InFlight),
            Err(Refusal::Guarded(guard)) => {
                return Ok(Wait::of_guard(Some(&guard), now).map_or(Verified::NoChallenge, Verified::TooSoon));
            }
        };
        let Charged { challenge, guard } = charged;
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
            purpose: PURPOSE,
            challenge: &challenge.id,
            address: &challenge.address,
            client_secret: verify.secret.as_ref().map(ClientSecret::hash),
        };
        let guess = self.hash(&challenge.key_id, &binding, &challenge.salt, &verify.code).await?;
        let person = Person { name: verify.name, device: verify.device, client: verify.client };
        match challenge.judge(&guess, now) {
            Verdict::Right(message) => self.accept(challenge, guess, verify.code, message, person).await,
            Verdict::RightAgain => self.accept_again(challenge, person).await,
            Verdict::Wrong => Ok(Verified::Wrong {
                attempts_left: (self.otp.attempts - challenge.guesses).max(0),
                next_guess: Wait::of_guard(Some(&guard), now).unwrap_or(Wait::For(std::time::Duration::ZERO)),
            }),
        }
    }

    /// Consumes the challenge and mints.
    async fn accept(
        &self,
        challenge: Challenge,
        code: CodeHash,
        given: Code,
        message: MessageId,
        person: Person,
    ) -> Result<Verified, LoginError> {
        let realm = self.realm(&challenge.realm)?;
        let now = self.clock.now();
        let grant = challenge.secret_hash.map(|_| GrantToken::generate(&*self.entropy));
        let lease_until = now.plus(realm.deadline + super::LEASE_MARGIN);
        let fresh = UserId::generate_at(now, &*self.entropy);
        let brought_by = message.clone();
        let won = Won {
            realm: challenge.realm.clone(),
            address: challenge.address.as_str().to_owned(),
            app_id: challenge.app_id.clone(),
            message,
            credit: self.limits.per_ip_unverified,
            consumption: Consumption {
                code,
                channel: None,
                user: fresh,
                is_new_user: false,
                grant: grant.as_ref().map(GrantToken::hash),
                grant_expires_at: now.plus(GRANT_LIFETIME),
                lease_until,
            },
        };
        let id = challenge.id.clone();
        let consumed = self.store.write(move |db| consume(db, &id, &won, now)).await?;
        let Ok(Consumed { holder, is_new_user, channel, provider }) = consumed else {
            return Ok(Verified::NoChallenge);
        };
        if let Some((provider, provider_id)) = provider {
            let country = challenge.address.country().unwrap_or(Country::UNKNOWN);
            self.courier.board().count_verified(&provider, country, now);
            if let Some(provider_id) = provider_id {
                let to = challenge.address.clone();
                self.courier.tell_used(&provider, UsedCode { id: brought_by, provider_id, to, code: given });
            }
        }
        let ready = Ready { challenge, holder, is_new_user, lease_until, grant, channel, person };
        self.mint(ready, &realm).await
    }

    /// Takes up a grant that an earlier right code left open.
    async fn accept_again(&self, challenge: Challenge, person: Person) -> Result<Verified, LoginError> {
        let State::Proved(proof) = &challenge.state else { return Ok(Verified::NoChallenge) };
        let (is_new_user, channel) = (proof.grant.is_new_user, proof.channel);
        let realm = self.realm(&challenge.realm)?;
        let now = self.clock.now();
        let lease_until = now.plus(realm.deadline + super::LEASE_MARGIN);
        let grant = challenge.secret_hash.map(|_| GrantToken::generate(&*self.entropy));
        let token = grant.as_ref().map(GrantToken::hash);
        let (id, realm_name) = (challenge.id.clone(), challenge.realm.clone());
        let address = challenge.address.as_str().to_owned();
        let take = move |db: &mut AnyConnection| {
            let leased = grants::lease_again(db, &id, token.as_ref(), lease_until, now)?;
            if leased.is_none() {
                return Err(Abort::Refused(Lost));
            }
            guards::open(db, &realm_name, &address)?;
            users::find(db, &realm_name, &address)?.ok_or(Abort::Failed(diesel::result::Error::NotFound))
        };
        let Ok(holder) = self.store.write(take).await? else { return Ok(Verified::InFlight) };
        let ready = Ready { challenge, holder, is_new_user, lease_until, grant, channel, person };
        self.mint(ready, &realm).await
    }

    /// Turns the open grant of a `/v1` client into a token, without another code.
    ///
    /// # Errors
    /// [`LoginError`]: the grant is as it was.
    pub async fn complete(&self, complete: Complete) -> Result<Verified, LoginError> {
        let now = self.clock.now();
        let hash = complete.grant.hash();
        let Some(open) = self.store.read(move |db| grants::find(db, &hash, now)).await? else {
            return Ok(Verified::NoChallenge);
        };
        let realm = self.realm(&open.realm)?;
        let lease_until = now.plus(realm.deadline + super::LEASE_MARGIN);
        let leased = self.store.write(move |db| take_grant(db, &hash, lease_until, now)).await?;
        let Ok((challenge, holder)) = leased else { return Ok(Verified::InFlight) };
        let State::Proved(proof) = &challenge.state else { return Ok(Verified::NoChallenge) };
        let (is_new_user, channel) = (proof.grant.is_new_user, proof.channel);
        let person = Person { name: None, device: complete.device, client: complete.client };
        let grant = Some(complete.grant);
        let ready = Ready { challenge, holder, is_new_user, lease_until, grant, channel, person };
        self.mint(ready, &realm).await
    }
}

/// What a right guess writes.
struct Won {
    realm: String,
    address: String,
    app_id: String,
    message: MessageId,
    credit: Rate,
    consumption: Consumption,
}

/// What it found.
struct Consumed {
    holder: Holder,
    is_new_user: bool,
    channel: Option<Channel>,
    /// Who brought the code, and its own id for the message.
    provider: Option<(String, Option<String>)>,
}

/// The first write of a guess: both counters, together or not at all.
fn charge(
    db: &mut AnyConnection,
    key: &Key,
    attempts: i32,
    at_cap: crate::domain::guard::AtCap,
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

/// The write of a right guess: the code is used up, the grant is open and leased, the guard is off, the user is
/// known, the network has a send back, and all of it is on record.
fn consume(
    db: &mut AnyConnection,
    id: &crate::domain::ids::ChallengeId,
    won: &Won,
    now: Timestamp,
) -> Result<Consumed, Abort<Lost>> {
    let (holder, is_new_user) = users::sign_in(db, &won.realm, &won.address, &won.consumption.user, now)?;
    let delivery = deliveries::verify(db, &won.message, now)?;
    let channel = delivery.as_ref().and_then(|delivery| delivery.channel);
    let consumption =
        Consumption { user: holder.user.clone(), is_new_user, channel, ..won.consumption.clone() };
    if !grants::consume(db, id, &consumption, now)? {
        return Err(Abort::Refused(Lost));
    }
    guards::open(db, &won.realm, &won.address)?;
    if let Some(deliveries::Verified { network, .. }) = &delivery {
        budgets::credit_network(db, &network_key(network), won.credit, now)?;
        if let Some(site) = site_of(network) {
            budgets::credit_network(db, &network_key(&site), won.credit.tenfold(), now)?;
        }
    }
    let about = Subject {
        realm: Some(&won.realm),
        app_id: Some(&won.app_id),
        address: Some(&won.address),
        challenge: Some(id.as_str()),
        user: Some(holder.user.as_str()),
        ..Subject::default()
    };
    audit::record(db, Event::CodeConsumed, about, now)?;
    let provider = delivery.and_then(|delivery| delivery.provider);
    Ok(Consumed { holder, is_new_user, channel, provider })
}

fn take_grant(
    db: &mut AnyConnection,
    grant: &SecretHash,
    lease_until: Timestamp,
    now: Timestamp,
) -> Result<(Challenge, Holder), Abort<Lost>> {
    let leased = grants::lease(db, grant, lease_until, now)?;
    let challenge = leased.ok_or(Abort::Refused(Lost))?;
    let holder = users::find(db, &challenge.realm, challenge.address.as_str())?;
    Ok((challenge, holder.ok_or(Abort::Failed(diesel::result::Error::NotFound))?))
}
