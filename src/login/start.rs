//! Start and resend: a code goes out.

use std::convert::Infallible;
use std::time::Duration;

use diesel::pg::PgConnection;

use super::dispatch::{Dispatched, Errand, Failure};
use super::draft::{Refusal, address_key};
use super::{Login, LoginError, Wait};
use crate::config::{App, Trip};
use crate::delivery::{Occasion, Text};
use crate::domain::address::Address;
use crate::domain::challenge::{Challenge, Dialect, State};
use crate::domain::channel::Channel;
use crate::domain::code::Code;
use crate::domain::guard::{Guard, Opening};
use crate::domain::ids::{ChallengeId, ClientSecret, MessageId};
use crate::domain::network::ClientIp;
use crate::domain::purpose::Purpose;
use crate::domain::segments::is_gsm7;
use crate::domain::time::Timestamp;
use crate::store::batch::looks::{self, Look};
use crate::store::batch::{self, Batched};
use crate::store::budgets::Budget;
use crate::store::challenges::{self, Beside, Key};
use crate::store::deliveries;
use crate::store::steps::Missed;
use crate::store::{Abort, AnyConnection};

/// Somebody asks for a code.
#[derive(Clone)]
pub struct Start {
    /// The wire it came over.
    pub dialect: Dialect,
    /// The app as its client names it.
    pub app_id: String,
    /// To whom.
    pub address: Address,
    /// How; without it by SMS to a phone, by mail to a mailbox.
    pub channel: Option<Channel>,
    /// The languages that the person prefers, best first, as BCP 47 tags.
    pub languages: Vec<String>,
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
    /// How; without it by SMS to a phone, by mail to a mailbox.
    pub channel: Option<Channel>,
    /// The languages that the person prefers, best first, as BCP 47 tags.
    pub languages: Vec<String>,
    /// Who asks.
    pub client: ClientIp,
}

/// A request with everything that the configuration says about it.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) purpose: Purpose,
    pub(super) dialect: Dialect,
    pub(super) app_id: String,
    pub(super) app_name: String,
    pub(super) realm: String,
    pub(super) address: Address,
    pub(super) channel: Channel,
    /// Those that the app offers to such an address, in its order.
    pub(super) channels: Vec<Channel>,
    pub(super) languages: Vec<String>,
    pub(super) client: ClientIp,
    /// The message that another is sent in place of, by ourselves.
    pub(super) resend_of: Option<MessageId>,
}

/// What came of it.
#[must_use]
pub enum Started {
    /// A code is on its way.
    Sent(Box<Sent>),
    /// Nothing was sent: it is too soon, and a code that was sent before is still valid.
    StillValid {
        /// Until another may be sent.
        next_send: Wait,
    },
    /// Nothing was sent: it is too soon, or too much.
    TooSoon(Wait),
    /// The operator does not serve this app, or not over this wire.
    UnknownApp,
    /// Nobody logs in by e-mail here.
    EmailLoginOff,
    /// Codes do not travel over this channel, or not to such an address.
    ChannelNotOffered,
    /// The operator does not send there.
    NotServed,
    /// Nobody can reach this address.
    BadAddress,
    /// The person or the carrier does not want messages over this channel.
    Blocked(Others),
    /// No provider took it. The address has its send back.
    Undeliverable(Others),
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
            Self::UnknownApp => "unknown_app",
            Self::EmailLoginOff => "email_login_off",
            Self::ChannelNotOffered => "channel_not_offered",
            Self::NotServed => "not_served",
            Self::BadAddress => "bad_address",
            Self::Blocked(_) => "blocked",
            Self::Undeliverable(_) => "undeliverable",
            Self::NoChallenge => "no_challenge",
        }
    }
}

/// The channels that a code could take instead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others {
    /// In the order of the app.
    pub channels: Vec<Channel>,
    /// Until one may be sent.
    pub next_send: Duration,
}

/// A code that is on its way, or may be.
pub struct Sent {
    /// The app it was asked for by.
    pub app_id: String,
    /// The challenge.
    pub challenge: ChallengeId,
    /// What its starter holds, in `/v1`.
    pub secret: Option<ClientSecret>,
    /// How the code travels.
    pub channel: Channel,
    /// Where it goes, masked.
    pub to: String,
    /// The channels that another code could take.
    pub channels: Vec<Channel>,
    /// Until another may be sent.
    pub next_send: Duration,
    /// Until a guess is evaluated.
    pub next_guess: Duration,
    /// How long the challenge lives.
    pub expires_in: Duration,
    /// Guesses that are left.
    pub attempts_left: i32,
}

/// What a code is good for, after the brake on guesses has opened.
const TIME_TO_TYPE: Duration = Duration::from_secs(10);

/// A look before the write.
pub(super) struct Looking {
    /// In the mesibo dialect, where a challenge may be there.
    key: Option<Key>,
    realm: String,
    address: String,
    budget: String,
    /// The challenge that is known already.
    known: Option<ChallengeId>,
}

impl Batched for Looking {
    type Done = Current;
    type Refusal = Infallible;

    fn subject(&self) -> &str {
        &self.address
    }

    fn alone(&self, db: &mut AnyConnection) -> Result<Current, Abort<Infallible>> {
        let about = (self.realm.as_str(), self.address.as_str());
        let (challenge, guard, budget) = challenges::find_beside(db, self.key.as_ref(), about, &self.budget)?;
        let id = self.known.as_ref().or(challenge.as_ref().map(|challenge| &challenge.id));
        let failed = id.map_or(Ok(Vec::new()), |id| deliveries::failed_providers(db, id))?;
        Ok(Current { challenge, guard, budget, failed })
    }

    fn together(db: &mut PgConnection, many: &[&Self]) -> Result<Vec<Option<Current>>, Abort<Missed>> {
        let rows = many.iter().map(|looking| looking.row());
        let found = batch::plain(rows, |rows| Ok(looks::make(db, rows)?))?;
        // Of a challenge that is there, more is asked.
        let current = |(challenge, guard, budget): Beside| match challenge {
            None => Some(Current { challenge, guard, budget, failed: Vec::new() }),
            Some(_) => None,
        };
        Ok(found.into_iter().map(|found| found.and_then(current)).collect())
    }
}

impl Looking {
    /// What it looks at, where no challenge is known.
    fn row(&self) -> Option<Look<'_>> {
        let app_id = match &self.key {
            Some(Key::Mesibo { app_id, .. }) => Some(app_id.as_str()),
            Some(Key::V1 { .. }) | None => None,
        };
        self.known.is_none().then_some(Look {
            app_id,
            realm: &self.realm,
            address: &self.address,
            budget: &self.budget,
        })
    }
}

/// What was read before the write.
pub(super) struct Current {
    challenge: Option<Challenge>,
    guard: Option<Guard>,
    budget: Option<Budget>,
    /// Providers that did not take an earlier code of the challenge.
    failed: Vec<String>,
}

impl Login {
    /// A code goes out to an address.
    ///
    /// # Errors
    /// [`LoginError`]: nothing was sent.
    pub async fn start(&self, start: Start) -> Result<Started, LoginError> {
        self.start_for(Purpose::Login, start).await
    }

    /// The same for any purpose.
    pub(super) async fn start_for(&self, purpose: Purpose, start: Start) -> Result<Started, LoginError> {
        let started = self.start_uncounted(purpose, start).await;
        self.metrics.count_start(started.as_ref().map_or("error", Started::kind));
        started
    }

    async fn start_uncounted(&self, purpose: Purpose, start: Start) -> Result<Started, LoginError> {
        let order = match self.order(purpose, start) {
            Ok(order) => order,
            Err(refusal) => return Ok(refusal),
        };
        // A second try, when somebody changed the challenge between our read and our write.
        for _ in 0..2 {
            let current = self.read_current(&order, None).await?;
            if let Some(answer) = self.send(&order, None, current).await? {
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
            let (id, secret) = (resend.id.clone(), resend.secret.hash());
            let key = Key::V1 { purpose: Purpose::Login, id, secret };
            let found = self.store.read(move |db| challenges::find(db, &key)).await?;
            let Some(challenge) = found.filter(|challenge| self.is_waiting(challenge)) else {
                return Ok(Started::NoChallenge);
            };
            let start = Start {
                dialect: Dialect::V1,
                app_id: challenge.app_id.clone(),
                address: challenge.address.clone(),
                channel: resend.channel,
                languages: resend.languages.clone(),
                client: resend.client,
            };
            let order = match self.order(challenge.purpose.clone(), start) {
                Ok(order) => order,
                Err(refusal) => return Ok(refusal),
            };
            let current = self.read_current(&order, Some(challenge)).await?;
            if let Some(answer) = self.send(&order, Some(&resend.secret), current).await? {
                return Ok(answer);
            }
        }
        Ok(Started::TooSoon(Wait::For(Duration::from_secs(1))))
    }

    /// What the configuration says to a request, before anything is looked up.
    pub(super) fn order(&self, purpose: Purpose, start: Start) -> Result<Order, Started> {
        let Start { dialect, app_id, address, channel, languages, client } = start;
        let app = self.apps.find(&app_id).filter(|app| app.dialects.contains(&dialect));
        let app = app.ok_or(Started::UnknownApp)?;
        if matches!(address, Address::Email(_)) && purpose == Purpose::Login && !self.email.login {
            return Err(Started::EmailLoginOff);
        }
        let channels = self.channels(app, &address);
        let channel = channel.or(channels.first().copied()).filter(|channel| channels.contains(channel));
        let channel = channel.ok_or(Started::ChannelNotOffered)?;
        if !self.policy.serves(&address) {
            return Err(Started::NotServed);
        }
        let (app_name, realm) = (app.name.clone(), app.upstream.clone());
        let order = Order {
            purpose,
            dialect,
            app_id,
            app_name,
            realm,
            address,
            channel,
            channels,
            languages,
            client,
            resend_of: None,
        };
        Ok(order)
    }

    /// The channels that an app offers to such an address, in its order.
    pub(super) fn channels(&self, app: &App, address: &Address) -> Vec<Channel> {
        let fits = |channel: &Channel| matches!(address, Address::Email(_)) == (*channel == Channel::Email);
        app.channels.iter().copied().filter(fits).filter(|channel| self.courier.offers(*channel)).collect()
    }

    /// Those channels by which another code would have anybody to take it now, in a language.
    fn leading(&self, order: &Order, locale: &str) -> Vec<Channel> {
        let leads = |channel: &Channel| {
            let trip = Trip { channel: *channel, to: &order.address, app_id: &order.app_id, locale };
            self.courier.leads(&trip, || is_gsm7(&self.sample(order, *channel).body))
        };
        order.channels.iter().copied().filter(leads).collect()
    }

    /// A message like those to come. Its code is nobody's.
    fn sample(&self, order: &Order, channel: Channel) -> Text {
        self.messages.write(&Occasion {
            app_id: &order.app_id,
            app_name: &order.app_name,
            channel,
            purpose: &order.purpose,
            languages: &order.languages,
            code: &Code::generate(&*self.entropy, self.otp.length),
            lifetime: self.otp.lifetime,
        })
    }

    /// Writes a code down and sends it. None: the challenge is not what was read any more.
    async fn send(
        &self,
        start: &Order,
        secret: Option<&ClientSecret>,
        current: Current,
    ) -> Result<Option<Started>, LoginError> {
        let now = self.clock.now();
        let budget_opens_at =
            current.budget.map_or(now, |budget| budget.address_opens_at(self.limits.per_address));
        if budget_opens_at > now {
            // The wait that is named is the longest, or it would not be true. The mesibo dialect names none while a
            // code is valid.
            let answer = too_soon(current.challenge.as_ref(), budget_opens_at, now);
            if start.dialect == Dialect::Mesibo && !matches!(answer, Started::TooSoon(_)) {
                return Ok(Some(answer));
            }
            let open_at = self.budgets_open_at(start, now).await?;
            return Ok(Some(too_soon(current.challenge.as_ref(), open_at, now)));
        }
        let opening = current.guard.map_or(Opening::Open, |guard| guard.opening(now));
        // A code that will be dead before it can be tried is not worth a message.
        if let Opening::At(at) = opening {
            let worth_it_at = at.plus(TIME_TO_TYPE).minus(self.otp.lifetime);
            if worth_it_at > now {
                return Ok(Some(Started::TooSoon(Wait::until(worth_it_at, now))));
            }
        }
        let closed = opening == Opening::Closed;

        let fresh = (start.dialect == Dialect::V1 && secret.is_none())
            .then(|| ClientSecret::generate(&*self.entropy));
        let secret = secret.or(fresh.as_ref());
        let errand =
            Errand { secret: secret.map(ClientSecret::hash), withheld: closed, failed: &current.failed };
        let Dispatched { draft, next_send_at, failure } =
            match self.dispatch(start, &errand, current.challenge, now).await? {
                Ok(dispatched) => dispatched,
                Err(Refusal::Changed) => return Ok(None),
                Err(Refusal::NoOtherWay) => return Ok(Some(Started::Undeliverable(Others::default()))),
                Err(Refusal::Held(free_at)) => return Ok(Some(Started::TooSoon(Wait::until(free_at, now)))),
                Err(Refusal::Spent(until) | Refusal::OutOfMoney(until)) => {
                    // Somebody may have been quicker by a moment: then their code is the one that is valid.
                    let current = self.read_current(start, None).await?;
                    return Ok(Some(too_soon(current.challenge.as_ref(), until, now)));
                }
            };
        // The gateway took its time: what is answered counts from here.
        let now = self.clock.now();
        let mut channels = self.leading(start, &draft.delivery.locale);
        if let Some(failure) = failure {
            channels.retain(|channel| *channel != start.channel);
            return Ok(Some(match failure {
                Failure::BadAddress => Started::BadAddress,
                Failure::Blocked => {
                    Started::Blocked(Others { channels, next_send: next_send_at.wait_from(now) })
                }
                Failure::Undeliverable => {
                    Started::Undeliverable(Others { channels, next_send: Duration::ZERO })
                }
            }));
        }
        // Of this challenge nobody hears any more by then.
        if next_send_at >= draft.expires_at {
            channels.clear();
        }
        Ok(Some(Started::Sent(Box::new(Sent {
            app_id: start.app_id.clone(),
            challenge: draft.delivery.challenge.clone(),
            secret: secret.cloned(),
            channel: start.channel,
            to: start.address.masked(),
            channels,
            next_send: next_send_at.wait_from(now),
            next_guess: match opening {
                Opening::At(at) => at.wait_from(now),
                Opening::Open | Opening::Closed => Duration::ZERO,
            },
            expires_in: draft.expires_at.wait_from(now),
            attempts_left: draft.attempts_left,
        }))))
    }

    /// What there is about an address, and about the challenge that is known already. A `/v1` start never sees
    /// another's challenge.
    async fn read_current(&self, start: &Order, known: Option<Challenge>) -> Result<Current, LoginError> {
        let by_address = || Key::Mesibo { app_id: start.app_id.clone(), address: start.address.clone() };
        let key = (start.dialect == Dialect::Mesibo).then(by_address);
        let (realm, address) = (start.realm.clone(), start.address.as_str().to_owned());
        let known_id = known.as_ref().map(|challenge| challenge.id.clone());
        let budget = address_key(&address);
        let look = Looking { key, realm, address, budget, known: known_id };
        let current = self.store.read_batched(&self.batches.looks, look).await?;
        Ok(Current { challenge: known.or(current.challenge), ..current })
    }

    /// Whether codes can be added to a challenge, and guesses made.
    pub(super) fn is_waiting(&self, challenge: &Challenge) -> bool {
        let waiting = matches!(challenge.state, State::Waiting(_));
        waiting && challenge.guesses < self.otp.attempts && challenge.expires_at > self.clock.now()
    }
}

/// It is too soon for another code; whether the last one still works decides how to say so.
fn too_soon(challenge: Option<&Challenge>, until: Timestamp, now: Timestamp) -> Started {
    let wait = Wait::until(until, now);
    let valid =
        challenge.is_some_and(|challenge| challenge.expires_at > now && challenge.comparisons(now) > 0);
    if valid { Started::StillValid { next_send: wait } } else { Started::TooSoon(wait) }
}
