//! Start and resend: a code goes out.

use std::sync::Arc;
use std::time::Duration;

use super::{LEASE_MARGIN, Login, LoginError, PURPOSE, SEND_DEADLINE, Wait};
use crate::config::Limits;
use crate::delivery::{OutgoingCode, Report, SendError};
use crate::domain::address::Address;
use crate::domain::challenge::{Challenge, Dialect, LIFETIME, NetworkTag, Slot, Slots, State};
use crate::domain::channel::Channel;
use crate::domain::code::Code;
use crate::domain::guard::{Guard, Opening};
use crate::domain::ids::{ChallengeId, ClientSecret, MessageId};
use crate::domain::limits::Rate;
use crate::domain::network::ClientIp;
use crate::domain::pepper::{Binding, Salt};
use crate::domain::phone::Country;
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Event, Subject};
use crate::store::budgets::{self, Budget};
use crate::store::challenges::{self, Key, NewChallenge};
use crate::store::deliveries::{self, NewDelivery, Outcome, Status};
use crate::store::{Abort, AnyConnection, guards};

/// Somebody asks for a code.
#[derive(Clone)]
pub struct Start {
    /// The wire it came over.
    pub dialect: Dialect,
    /// The app as its client names it.
    pub app_id: String,
    /// What messages call it.
    pub app_name: String,
    /// The realm that it logs in to.
    pub realm: String,
    /// To whom.
    pub address: Address,
    /// How.
    pub channel: Channel,
    /// Who asks.
    pub client: ClientIp,
}

/// The holder of a `/v1` challenge asks for another code.
#[derive(Clone)]
pub struct Resend {
    /// Which.
    pub id: ChallengeId,
    /// What its starter holds.
    pub secret: ClientSecret,
    /// How.
    pub channel: Channel,
    /// What messages call the app.
    pub app_name: String,
    /// Who asks.
    pub client: ClientIp,
}

/// What came of it.
#[must_use]
pub enum Started {
    /// A code is on its way.
    Sent(Sent),
    /// Nothing was sent: it is too soon, and a code that was sent before is still valid.
    StillValid {
        /// Until another may be sent.
        next_send: Wait,
    },
    /// Nothing was sent: it is too soon, or too much.
    TooSoon(Wait),
    /// The operator does not send there.
    NotServed,
    /// Nobody can reach this address.
    BadAddress,
    /// The person or the carrier does not want messages over this channel.
    Blocked,
    /// No provider took it. The address has its send back.
    Undeliverable,
    /// There is no such challenge, or it is over.
    NoChallenge,
}

impl Started {
    /// Its name in metrics.
    fn kind(&self) -> &'static str {
        match self {
            Self::Sent(_) => "sent",
            Self::StillValid { .. } => "still_valid",
            Self::TooSoon(_) => "too_soon",
            Self::NotServed => "not_served",
            Self::BadAddress => "bad_address",
            Self::Blocked => "blocked",
            Self::Undeliverable => "undeliverable",
            Self::NoChallenge => "no_challenge",
        }
    }
}

/// A code that is on its way, or may be.
pub struct Sent {
    /// The challenge.
    pub challenge: ChallengeId,
    /// What its starter holds; for a new `/v1` challenge.
    pub secret: Option<ClientSecret>,
    /// Until another may be sent.
    pub next_send: Duration,
    /// Until a guess is evaluated.
    pub next_guess: Duration,
    /// How long the challenge lives.
    pub expires_in: Duration,
    /// Guesses that are left.
    pub attempts_left: i32,
}

/// What was read before the write.
struct Current {
    challenge: Option<Challenge>,
    guard: Option<Guard>,
    budget: Option<Budget>,
}

/// Where the new code goes.
enum Place {
    /// Into a challenge of its own; an old one that is over makes room.
    New { over: Option<(ChallengeId, i32)> },
    /// Beside the codes of a waiting one.
    Beside(Box<Challenge>),
}

/// Why the write was undone.
enum Refusal {
    /// Somebody else changed the challenge since it was read.
    Changed,
    /// A budget is used up until then.
    Spent(Timestamp),
}

/// One attempt at sending, as it is written down.
#[derive(Clone)]
struct Draft {
    challenge: Arc<Written>,
    delivery: NewDelivery,
    budgets: Vec<(String, Spend)>,
    audit: Event,
    realm: String,
    app_id: String,
}

enum Written {
    New { over: Option<(ChallengeId, i32)>, new: Box<NewChallenge> },
    Beside { id: ChallengeId, version: i32, slots: Slots },
}

/// What a budget is spent as.
#[derive(Clone, Copy)]
enum Spend {
    Address,
    Network,
    Site,
    Plain(Rate),
}

impl Login {
    /// A code goes out to an address.
    ///
    /// # Errors
    /// [`LoginError`]: nothing was sent.
    pub async fn start(&self, start: Start) -> Result<Started, LoginError> {
        let started = self.start_uncounted(start).await;
        self.metrics.count_start(started.as_ref().map_or("error", Started::kind));
        started
    }

    async fn start_uncounted(&self, start: Start) -> Result<Started, LoginError> {
        if !self.policy.serves(start.address.country()) {
            return Ok(Started::NotServed);
        }
        // A second try, when somebody changed the challenge between our read and our write.
        for _ in 0..2 {
            let key = Self::mesibo_key(&start);
            let current = self.read_current(key, &start.realm, &start.address).await?;
            if let Some(answer) = self.send(&start, None, current).await? {
                return Ok(answer);
            }
        }
        Ok(Started::TooSoon(Wait::For(Duration::from_secs(1))))
    }

    /// Another code goes out for a `/v1` challenge.
    ///
    /// # Errors
    /// [`LoginError`]: nothing was sent.
    pub async fn resend(&self, resend: Resend) -> Result<Started, LoginError> {
        let started = self.resend_uncounted(resend).await;
        self.metrics.count_start(started.as_ref().map_or("error", Started::kind));
        started
    }

    async fn resend_uncounted(&self, resend: Resend) -> Result<Started, LoginError> {
        for _ in 0..2 {
            let key = Key::V1 { id: resend.id.clone(), secret: resend.secret.hash() };
            let found = self.store.read(move |db| challenges::find(db, &key)).await?;
            let Some(challenge) = found.filter(|challenge| self.is_waiting(challenge)) else {
                return Ok(Started::NoChallenge);
            };
            let start = Start {
                dialect: Dialect::V1,
                app_id: challenge.app_id.clone(),
                app_name: resend.app_name.clone(),
                realm: challenge.realm.clone(),
                address: challenge.address.clone(),
                channel: resend.channel,
                client: resend.client,
            };
            let current = self.read_current(None, &start.realm, &start.address).await?;
            let current = Current { challenge: Some(challenge), ..current };
            if let Some(answer) = self.send(&start, Some(&resend.secret), current).await? {
                return Ok(answer);
            }
        }
        Ok(Started::TooSoon(Wait::For(Duration::from_secs(1))))
    }

    /// Writes a code down and sends it. None: the challenge is not what was read any more.
    async fn send(
        &self,
        start: &Start,
        secret: Option<&ClientSecret>,
        current: Current,
    ) -> Result<Option<Started>, LoginError> {
        let now = self.clock.now();
        let budget_opens_at =
            current.budget.map_or(now, |budget| budget.address_opens_at(self.limits.per_address));
        if budget_opens_at > now {
            return Ok(Some(too_soon(current.challenge.as_ref(), budget_opens_at, now)));
        }
        let opening = current.guard.map_or(Opening::Open, |guard| guard.opening(now));
        // A code that will be dead before it can be tried is not worth a message.
        if let Opening::At(at) = opening
            && at >= now.plus(self.otp.lifetime)
        {
            return Ok(Some(Started::TooSoon(Wait::until(at, now))));
        }
        let closed = opening == Opening::Closed;
        let next_guess = Wait::of_guard(current.guard.as_ref(), now);

        let code = Code::generate(&*self.entropy, self.otp.length);
        let message = MessageId::generate(&*self.entropy);
        let fresh_secret = (start.dialect == Dialect::V1 && secret.is_none())
            .then(|| ClientSecret::generate(&*self.entropy));
        let place = self.place(current.challenge);
        let attempts_left = match &place {
            Place::New { .. } => self.otp.attempts,
            Place::Beside(challenge) => self.otp.attempts - challenge.guesses,
        };
        let secret = secret.or(fresh_secret.as_ref());
        let (id, expires_at, written) =
            match self.write_up(start, secret, place, &code, &message, now).await? {
                Ok(written) => written,
                Err(free_at) => return Ok(Some(Started::TooSoon(Wait::until(free_at, now)))),
            };
        let draft = self.draft(start, written, &id, &message, closed, now);

        let (limits, drafted) = (self.limits.clone(), draft.clone());
        let next_send_at = match self.store.write(move |db| commit(db, &drafted, &limits, now)).await? {
            Ok(next_send_at) => next_send_at,
            Err(Refusal::Changed) => return Ok(None),
            Err(Refusal::Spent(until)) => return Ok(Some(Started::TooSoon(Wait::until(until, now)))),
        };

        let to = start.address.clone();
        let outgoing = OutgoingCode { id: message, to, code, app_name: start.app_name.clone() };
        if !closed {
            let report = self.courier.deliver(start.channel, &outgoing, SEND_DEADLINE).await;
            let failure = report.result.as_ref().err().and_then(refused);
            self.note(&outgoing, report);
            if let Some(failure) = failure {
                return Ok(Some(failure));
            }
        }
        Ok(Some(Started::Sent(Sent {
            challenge: id,
            secret: fresh_secret,
            next_send: next_send_at.wait_from(now),
            next_guess: match next_guess {
                Some(Wait::For(wait)) => wait,
                Some(Wait::ForOperator) | None => Duration::ZERO,
            },
            expires_in: expires_at.wait_from(now),
            attempts_left,
        })))
    }

    fn mesibo_key(start: &Start) -> Option<Key> {
        let by_address = || Key::Mesibo { app_id: start.app_id.clone(), address: start.address.clone() };
        (start.dialect == Dialect::Mesibo).then(by_address)
    }

    async fn read_current(
        &self,
        key: Option<Key>,
        realm: &str,
        address: &Address,
    ) -> Result<Current, LoginError> {
        let (realm, address) = (realm.to_owned(), address.as_str().to_owned());
        let read = move |db: &mut AnyConnection| {
            Ok(Current {
                challenge: key.as_ref().map_or(Ok(None), |key| challenges::find(db, key))?,
                guard: guards::find(db, &realm, &address)?,
                budget: budgets::find(db, &address_key(&address))?,
            })
        };
        Ok(self.store.read(read).await?)
    }

    /// Whether codes can be added to a challenge, and guesses made.
    fn is_waiting(&self, challenge: &Challenge) -> bool {
        let waiting = matches!(challenge.state, State::Waiting(_));
        waiting && challenge.guesses < self.otp.attempts && challenge.expires_at > self.clock.now()
    }

    fn place(&self, current: Option<Challenge>) -> Place {
        match current {
            Some(challenge) if self.is_waiting(&challenge) => Place::Beside(Box::new(challenge)),
            Some(over) => Place::New { over: Some((over.id, over.version)) },
            None => Place::New { over: None },
        }
    }

    /// Hashes the code in its place. The inner error: another network's fresh code stays there until then.
    async fn write_up(
        &self,
        start: &Start,
        secret: Option<&ClientSecret>,
        place: Place,
        code: &Code,
        message: &MessageId,
        now: Timestamp,
    ) -> Result<Result<(ChallengeId, Timestamp, Written), Timestamp>, LoginError> {
        let (id, key_id, salt, expires_at) = match &place {
            Place::Beside(challenge) => {
                (challenge.id.clone(), challenge.key_id.clone(), challenge.salt, challenge.expires_at)
            }
            Place::New { .. } => {
                let mut salt = Salt::default();
                self.entropy.fill(&mut salt);
                let id = ChallengeId::generate(&*self.entropy);
                (id, self.hasher.current_key().to_owned(), salt, now.plus(LIFETIME))
            }
        };
        let binding = Binding {
            realm: &start.realm,
            purpose: PURPOSE,
            challenge: &id,
            address: &start.address,
            client_secret: secret,
        };
        let hash = self.hash(&key_id, &binding, &salt, code).await?;
        // A code never outlives its challenge.
        let code_expires_at = now.plus(self.otp.lifetime).min(expires_at);
        let network = NetworkTag::from(start.client);
        let slot =
            Slot { hash, message: message.clone(), sent_at: now, expires_at: code_expires_at, network };
        let written = match place {
            Place::Beside(challenge) => {
                let State::Waiting(slots) = &challenge.state else { return Ok(Err(now)) };
                match slots.place(slot, now) {
                    Ok(slots) => Written::Beside { id: id.clone(), version: challenge.version, slots },
                    Err(free_at) => return Ok(Err(free_at)),
                }
            }
            Place::New { over } => {
                let new = NewChallenge {
                    id: id.clone(),
                    dialect: start.dialect,
                    purpose: PURPOSE,
                    app_id: start.app_id.clone(),
                    realm: start.realm.clone(),
                    address: start.address.clone(),
                    secret: secret.map(ClientSecret::hash),
                    key_id,
                    salt,
                    slots: Slots::new(vec![slot]),
                    created_at: now,
                    expires_at,
                };
                Written::New { over, new: Box::new(new) }
            }
        };
        Ok(Ok((id, expires_at, written)))
    }

    fn draft(
        &self,
        start: &Start,
        written: Written,
        challenge: &ChallengeId,
        message: &MessageId,
        closed: bool,
        now: Timestamp,
    ) -> Draft {
        let network = start.client.key();
        let mut budgets = vec![
            (address_key(start.address.as_str()), Spend::Address),
            (network_key(&network), Spend::Network),
        ];
        budgets.extend(start.client.site_key().map(|site| (network_key(&site), Spend::Site)));
        let country = start.address.country().map(|country| format!("country:{country}"));
        budgets.extend(country.map(|key| (key, Spend::Plain(self.limits.per_country))));
        budgets.push((format!("app:{}", start.app_id), Spend::Plain(self.limits.per_app)));
        budgets.push(("all".to_owned(), Spend::Plain(self.limits.overall)));
        let delivery = NewDelivery {
            id: message.clone(),
            challenge: challenge.clone(),
            address: start.address.clone(),
            channel: start.channel,
            network,
            status: if closed { Status::Withheld } else { Status::Pending },
            created_at: now,
            deadline_at: now.plus(SEND_DEADLINE + LEASE_MARGIN),
        };
        Draft {
            challenge: Arc::new(written),
            delivery,
            budgets,
            audit: if closed { Event::CodeWithheld } else { Event::CodeSent },
            realm: start.realm.clone(),
            app_id: start.app_id.clone(),
        }
    }

    /// Writes down what became of a message. Nobody waits for it: a lost note becomes `unknown` by itself.
    fn note(&self, message: &OutgoingCode, report: Report) {
        let (status, provider_id, error) = match report.result {
            Ok(receipt) => (Status::Accepted, receipt.provider_id, None),
            Err(error @ SendError::Unknown(_)) => (Status::Unknown, None, Some(error)),
            Err(error) => (Status::Failed, None, Some(error)),
        };
        if let Some(error) = &error {
            tracing::error!(
                message = %message.id,
                to = message.to.masked(),
                provider = report.provider,
                error = %error,
                "a code was not delivered"
            );
        }
        let refund = error.as_ref().is_some_and(SendError::is_providers_fault);
        let kind = error.as_ref().map(SendError::kind);
        self.metrics.count_delivery(report.provider.as_deref(), kind.unwrap_or("accepted"));
        let outcome = Outcome { status, provider: report.provider, provider_id, error: kind };
        let (id, now, rate) = (message.id.clone(), self.clock.now(), self.limits.per_address);
        let key = address_key(message.to.as_str());
        self.store.write_detached("noting a delivery", move |db| {
            if deliveries::note(db, &id, &outcome, now)? && refund {
                budgets::refund_address(db, &key, rate)?;
            }
            Ok(())
        });
    }
}

/// The one write of a start: the code in its place, the message, the record, the budgets.
fn commit(
    db: &mut AnyConnection,
    draft: &Draft,
    limits: &Limits,
    now: Timestamp,
) -> Result<Timestamp, Abort<Refusal>> {
    let placed = match &*draft.challenge {
        Written::New { over, new } => {
            let room = match over {
                Some((id, version)) => challenges::end(db, id, *version, now)?,
                None => true,
            };
            room && challenges::insert(db, new)?
        }
        Written::Beside { id, version, slots } => challenges::put_codes(db, id, *version, slots)?,
    };
    if !placed {
        return Err(Abort::Refused(Refusal::Changed));
    }
    deliveries::insert(db, &draft.delivery)?;
    let about = Subject {
        realm: Some(&draft.realm),
        app_id: Some(&draft.app_id),
        address: Some(draft.delivery.address.as_str()),
        challenge: Some(draft.delivery.challenge.as_str()),
        network: Some(&draft.delivery.network),
        detail: Some(draft.delivery.id.as_str()),
        user: None,
    };
    audit::record(db, draft.audit, about, now)?;
    spend_all(db, &draft.budgets, limits, now)
}

/// Spends every budget, or none; then the longest wait is named.
fn spend_all(
    db: &mut AnyConnection,
    keys: &[(String, Spend)],
    limits: &Limits,
    now: Timestamp,
) -> Result<Timestamp, Abort<Refusal>> {
    let mut next_send_at = now;
    let mut longest = None;
    let (unverified, total) = (limits.per_ip_unverified, limits.per_ip);
    for (key, spend) in keys {
        let spent = match spend {
            Spend::Address => {
                match budgets::spend_address(db, key, limits.per_address, limits.send_waits, now)? {
                    Some(next) => {
                        next_send_at = next;
                        true
                    }
                    None => false,
                }
            }
            Spend::Network => budgets::spend_network(db, key, unverified, total, now)?,
            Spend::Site => budgets::spend_network(db, key, unverified.tenfold(), total.tenfold(), now)?,
            Spend::Plain(rate) => budgets::spend(db, key, *rate, now)?,
        };
        if !spent {
            let opens_at = budgets::find(db, key)?.map_or(now, |budget| match spend {
                Spend::Address => budget.address_opens_at(limits.per_address),
                Spend::Network => budget.network_opens_at(unverified, total),
                Spend::Site => budget.network_opens_at(unverified.tenfold(), total.tenfold()),
                Spend::Plain(rate) => budget.opens_at(*rate),
            });
            longest = longest.max(Some(opens_at));
        }
    }
    longest.map_or(Ok(next_send_at), |until| Err(Abort::Refused(Refusal::Spent(until))))
}

/// It is too soon for another code; whether the last one still works decides how to say so.
fn too_soon(challenge: Option<&Challenge>, until: Timestamp, now: Timestamp) -> Started {
    let wait = Wait::until(until, now);
    let valid =
        challenge.is_some_and(|challenge| challenge.expires_at > now && challenge.comparisons(now) > 0);
    if valid { Started::StillValid { next_send: wait } } else { Started::TooSoon(wait) }
}

/// What to tell when a message was certainly not taken; nothing when it may have been.
fn refused(error: &SendError) -> Option<Started> {
    match error {
        SendError::BadNumber(_) => Some(Started::BadAddress),
        SendError::Blocked(_) => Some(Started::Blocked),
        SendError::Unroutable(_)
        | SendError::Rejected(_)
        | SendError::Auth(_)
        | SendError::NoFunds(_)
        | SendError::Throttled(_)
        | SendError::Temporary(_) => Some(Started::Undeliverable),
        SendError::Unknown(_) => None,
    }
}

fn address_key(address: &str) -> String {
    format!("to:{address}")
}

/// The budget of a network.
pub(super) fn network_key(network: &str) -> String {
    format!("from:{network}")
}

impl crate::config::Policy {
    /// Whether codes are sent to a country. Mailboxes have none.
    fn serves(&self, country: Option<Country>) -> bool {
        self.countries.is_empty() || country.is_none_or(|country| self.countries.contains(&country))
    }
}
