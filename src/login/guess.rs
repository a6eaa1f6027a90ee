//! A guess: counted, then compared; and what a right one uses up. What it is good for, others say.

use std::collections::HashSet;
use std::time::Duration;

use diesel::pg::PgConnection;

use super::draft::network_key;
use super::{Login, LoginError, Wait};
use crate::config::Otp;
use crate::delivery::UsedCode;
use crate::domain::address::Address;
use crate::domain::challenge::{Carrier, Challenge, REPEATS, State, Verdict};
use crate::domain::code::{Code, CodeHash};
use crate::domain::guard::{CAP_REACHED, Guard, Opening};
use crate::domain::ids::{ChallengeId, ClientSecret, MessageId};
use crate::domain::limits::Rate;
use crate::domain::network::{ClientIp, site_of};
use crate::domain::pepper::Binding;
use crate::domain::phone::Country;
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Event, Subject};
use crate::store::batch::guesses::{self, Count};
use crate::store::batch::{self, Batched};
use crate::store::challenges::{self, Guarded, Key};
use crate::store::deliveries::{self, Taker};
use crate::store::grants::{self, Consumption};
use crate::store::steps::{Missed, Once, Steps};
use crate::store::users::Known;
use crate::store::{Abort, AnyConnection, StoreError, budgets, guards};

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
    /// How the code left. None: the challenge was consumed by the same code before.
    pub(super) carrier: Option<Carrier>,
    /// Who held the address when the guess was counted.
    pub(super) known: Option<Known>,
}

/// Why a guess proves nothing.
#[derive(Debug, Clone, Copy)]
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

/// What a guess meets.
enum Admission {
    /// It is to be compared with so many codes.
    Evaluated(i32),
    /// There is nothing to guess.
    NoChallenge,
    /// The code was right before, and somebody mints with its grant.
    InFlight,
    /// The guard lets none through.
    Guarded(Guard),
}

impl Unproved {
    /// Its name in metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Wrong { .. } => "wrong",
            Self::TooSoon(_) => "too_soon",
            Self::NoChallenge => "no_challenge",
            Self::InFlight => "in_flight",
        }
    }
}

/// A guess that is to be counted. Its challenge is looked at first: what is written holds to what was seen.
pub(super) struct Counting {
    key: Key,
    otp: Otp,
    network: String,
    now: Timestamp,
}

/// A guess that was counted.
pub(super) struct Counted {
    /// As it was before.
    challenge: Challenge,
    /// As it is then.
    guard: Guard,
    /// Whether it is on record that this guess reached the cap.
    is_cap_recorded: bool,
    known: Option<Known>,
}

/// Tries of a guess whose challenge was changed by others meanwhile: each of them proved it, or had a code sent.
const TRIES: usize = 4;

impl Login {
    /// Counts a guess and compares it.
    pub(super) async fn prove(&self, guess: Guess) -> Result<Result<Proved, Unproved>, LoginError> {
        let now = self.clock.now();
        for _ in 0..TRIES {
            let (key, otp, network) = (guess.key.clone(), self.otp.clone(), guess.client.key());
            let counting = Counting { key, otp, network, now };
            match self.store.write_batched(&self.batches.guesses, counting).await? {
                Ok(Ok(counted)) => return self.compare(counted, guess, now).await,
                Ok(Err(unproved)) => return Ok(Err(unproved)),
                Err(Missed) => {}
            }
        }
        Err(StoreError::Overloaded.into())
    }

    /// Compares a guess that was counted.
    async fn compare(
        &self,
        counted: Counted,
        guess: Guess,
        now: Timestamp,
    ) -> Result<Result<Proved, Unproved>, LoginError> {
        let Counted { challenge, guard, is_cap_recorded, known } = counted;
        if guard.is_at_cap() {
            tracing::warn!(
                alarm = true,
                address = challenge.address.masked(),
                realm = challenge.realm,
                "an address is at the cap of failed guesses; `latchkey guard show` tells more"
            );
            // Others guessed at the same time: what was seen before was less.
            if !is_cap_recorded {
                self.record_cap(&challenge, guess.client.key(), now).await?;
            }
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
            Verdict::Right(carrier) => {
                Ok(Proved { challenge, code, given: guess.code, carrier: Some(carrier), known })
            }
            Verdict::RightAgain => Ok(Proved { challenge, code, given: guess.code, carrier: None, known }),
            Verdict::Wrong => Err(Unproved::Wrong {
                attempts_left: self.attempts_left(challenge.id.clone()).await?,
                next_guess: Wait::of_guard(Some(&guard), now).unwrap_or(Wait::For(Duration::ZERO)),
            }),
        })
    }
}

impl Login {
    /// Guesses that a challenge has left, with all that were counted at the same time as this one.
    async fn attempts_left(&self, id: ChallengeId) -> Result<i32, LoginError> {
        let challenge = self.store.read(move |db| challenges::get(db, &id)).await?;
        let left = |challenge: Challenge| match challenge.state {
            State::Waiting(_) => self.otp.attempts - challenge.guesses,
            State::Proved(_) => REPEATS - challenge.repeats,
        };
        Ok(challenge.map_or(0, left).max(0))
    }

    /// A code came back: whoever brought it is better known for it, and is told where it wants to be.
    pub(super) fn tell_used(&self, to: &Address, message: MessageId, taker: Option<Taker>, code: Code) {
        let Some((provider, provider_id)) = taker else { return };
        let country = to.country().unwrap_or(Country::UNKNOWN);
        self.courier.board().count_verified(&provider, country, self.clock.now());
        if let Some(provider_id) = provider_id {
            let used = UsedCode { id: message, provider_id, to: to.clone(), code };
            self.courier.tell_used(&provider, used);
        }
    }

    async fn record_cap(
        &self,
        challenge: &Challenge,
        network: String,
        now: Timestamp,
    ) -> Result<(), LoginError> {
        let Challenge { id, realm, app_id, address, .. } = challenge;
        let (id, realm, app_id, address) = (id.clone(), realm.clone(), app_id.clone(), address.clone());
        let record = move |once: Once<'_>| {
            let about = about(&id, (&realm, &app_id), &address, &network);
            Steps::new().must(audit::recording(Event::GuardAtCap, about, now)).run(once)
        };
        // It always finds its row.
        let _ = self.store.write_once(record).await?;
        Ok(())
    }
}

impl Batched for Counting {
    type Done = Result<Counted, Unproved>;
    type Refusal = Missed;

    fn subject(&self) -> &str {
        match &self.key {
            Key::Mesibo { address, .. } => address.as_str(),
            Key::V1 { id, .. } => id.as_str(),
        }
    }

    fn alone(&self, db: &mut AnyConnection) -> Result<Self::Done, Abort<Missed>> {
        let found = challenges::find_guarded(db, &self.key)?;
        match admitted(found, &self.otp, self.now) {
            Ok(admitted) => count(admitted, self, Once::within(db)).map(Ok),
            Err(unproved) => Ok(Err(unproved)),
        }
    }

    fn together(db: &mut PgConnection, many: &[&Self]) -> Result<Vec<Option<Self::Done>>, Abort<Missed>> {
        let Some(last) = many.iter().max_by_key(|counting| counting.now) else { return Ok(Vec::new()) };
        let keys: Vec<&Key> = many.iter().map(|counting| &counting.key).collect();
        let found = challenges::find_guarded_each(db, &keys)?;
        let met = |(counting, found): (&&Self, _)| admitted(found, &counting.otp, counting.now);
        let met: Vec<_> = many.iter().zip(found).map(met).collect();
        let mut addresses = HashSet::new();
        let rows = many.iter().zip(&met).map(|(counting, met)| {
            let admitted = met.as_ref().ok().filter(|admitted| admitted.is_plain())?;
            let Admitted { challenge, comparisons, .. } = admitted;
            // In `/v1` an address may have several challenges. It has one guard.
            let is_first = addresses.insert((&challenge.realm, challenge.address.as_str()));
            is_first.then_some(Count { challenge, comparisons: *comparisons, network: &counting.network })
        });
        let Otp { attempts, at_cap, .. } = last.otp;
        let guards = batch::plain(rows, |rows| guesses::make(db, rows, attempts, at_cap, last.now))?;
        let done = |(met, guard): (Result<Admitted, Unproved>, Option<Guard>)| match met {
            Ok(admitted) => guard.map(|guard| Ok(admitted.counted(guard))),
            Err(unproved) => Some(Err(unproved)),
        };
        Ok(met.into_iter().zip(guards).map(done).collect())
    }
}

/// Whether a guess is evaluated. One that is not writes nothing.
fn admit(challenge: &Challenge, guard: Option<Guard>, attempts: i32, now: Timestamp) -> Admission {
    let guessable = match &challenge.state {
        State::Waiting(_) => challenge.expires_at > now && challenge.guesses < attempts,
        State::Proved(proof) if proof.grant.lease_until > now && proof.grant.minted_at.is_none() => {
            return Admission::InFlight;
        }
        State::Proved(proof) => proof.grant.lease_until <= now && challenge.repeats < REPEATS,
    };
    let comparisons = challenge.comparisons(now);
    match guard {
        _ if !guessable || comparisons == 0 => Admission::NoChallenge,
        Some(guard) if guard.opening(now) != Opening::Open => Admission::Guarded(guard),
        Some(_) | None => Admission::Evaluated(comparisons),
    }
}

/// A guess that is to be evaluated.
struct Admitted {
    /// As it was read.
    challenge: Challenge,
    guard: Option<Guard>,
    known: Option<Known>,
    /// Codes that it will be compared with.
    comparisons: i32,
}

impl Admitted {
    fn reaches_cap(&self) -> bool {
        self.guard.map_or(0, |guard| guard.comparisons) + self.comparisons >= CAP_REACHED
    }

    /// Whether it writes what most do.
    fn is_plain(&self) -> bool {
        matches!(self.challenge.state, State::Waiting(_)) && !self.reaches_cap()
    }

    fn counted(self, guard: Guard) -> Counted {
        let is_cap_recorded = self.reaches_cap();
        Counted { challenge: self.challenge, guard, is_cap_recorded, known: self.known }
    }
}

/// Whether a guess at what was found is evaluated.
fn admitted(found: Option<Guarded>, otp: &Otp, now: Timestamp) -> Result<Admitted, Unproved> {
    let Some((challenge, guard, known)) = found else { return Err(Unproved::NoChallenge) };
    match admit(&challenge, guard, otp.attempts, now) {
        Admission::Evaluated(comparisons) => Ok(Admitted { challenge, guard, known, comparisons }),
        Admission::NoChallenge => Err(Unproved::NoChallenge),
        Admission::InFlight => Err(Unproved::InFlight),
        Admission::Guarded(guard) => {
            let wait = Wait::of_guard(Some(&guard), now);
            Err(wait.map_or(Unproved::NoChallenge, Unproved::TooSoon))
        }
    }
}

/// The first write of a guess: both counters, together or not at all.
fn count(admitted: Admitted, counting: &Counting, once: Once<'_>) -> Result<Counted, Abort<Missed>> {
    let Counting { otp, network, now, .. } = counting;
    let Admitted { challenge, comparisons, .. } = &admitted;
    let Challenge { id, realm, app_id, address, .. } = challenge;
    let counted = match challenge.state {
        State::Waiting(_) => challenges::charge_guess(challenge, otp.attempts, *now),
        State::Proved(_) => grants::charge_repeat(challenge, *now),
    };
    let about = about(id, (realm, app_id), address, network);
    let mut steps = Steps::new()
        .must(counted)
        .must(guards::charge(realm, address.as_str(), *comparisons, otp.at_cap, *now))
        .must(audit::recording(Event::GuessCounted, about, *now));
    if admitted.reaches_cap() {
        steps = steps.must(audit::recording(Event::GuardAtCap, about, *now));
    }
    let guard = guards::charged(steps, once, realm, address.as_str())?;
    Ok(admitted.counted(guard))
}

fn about<'a>(
    challenge: &'a ChallengeId,
    (realm, app_id): (&'a str, &'a str),
    address: &'a Address,
    network: &'a str,
) -> Subject<'a> {
    Subject {
        realm: Some(realm),
        app_id: Some(app_id),
        address: Some(address.as_str()),
        challenge: Some(challenge.as_str()),
        network: Some(network),
        ..Subject::default()
    }
}

/// A right code that is to be used up.
pub(super) struct RightCode {
    pub(super) challenge: ChallengeId,
    pub(super) realm: String,
    pub(super) address: Address,
    pub(super) app_id: String,
    pub(super) carrier: Carrier,
    /// At which a network gets a send back.
    pub(super) credit: Rate,
}

impl RightCode {
    pub(super) fn of(challenge: &Challenge, carrier: Carrier, credit: Rate) -> Self {
        Self {
            challenge: challenge.id.clone(),
            realm: challenge.realm.clone(),
            address: challenge.address.clone(),
            app_id: challenge.app_id.clone(),
            carrier,
            credit,
        }
    }
}

impl RightCode {
    /// The budgets that get a send back.
    pub(super) fn credits(&self) -> Vec<(String, Rate)> {
        let network = &self.carrier.network;
        let site = site_of(network).map(|site| (network_key(&site), self.credit.tenfold()));
        [Some((network_key(network), self.credit)), site].into_iter().flatten().collect()
    }

    /// What every right guess writes, behind what is written of who comes: the code is used up, the guard is off, the
    /// network has a send back, and all of it is on record. Who took the message, as far as that is noted.
    pub(super) fn use_up(
        &self,
        arrived: Steps<'_>,
        consumption: &Consumption,
        once: Once<'_>,
        now: Timestamp,
    ) -> Result<Option<Taker>, Abort<Missed>> {
        let message = &self.carrier.message;
        let about = Subject {
            realm: Some(&self.realm),
            app_id: Some(&self.app_id),
            address: Some(self.address.as_str()),
            challenge: Some(self.challenge.as_str()),
            user: Some(consumption.user.as_str()),
            detail: Some(message.as_str()),
            network: None,
        };
        let steps = arrived
            .must(grants::consume(&self.challenge, consumption, now))
            .must(audit::recording(Event::CodeConsumed, about, now))
            .may(guards::open(&self.realm, self.address.as_str()));
        let steps = self
            .credits()
            .into_iter()
            .fold(steps, |steps, (key, rate)| steps.may(budgets::credit_network(key, rate, now)));
        deliveries::taken_beside(steps, once, message)
    }
}
