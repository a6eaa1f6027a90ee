//! One login's writes: `login/start.rs`, `login/verify.rs` and `login/mint.rs` without what stands between them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use latchkey::ambient::{Clock, SeededEntropy, SystemClock};
use latchkey::domain::address::Address;
use latchkey::domain::challenge::{Carrier, Challenge, Dialect, LIFETIME, Slot, Slots};
use latchkey::domain::channel::Channel;
use latchkey::domain::code::CodeHash;
use latchkey::domain::guard::AtCap;
use latchkey::domain::ids::{ChallengeId, MessageId, SecretHash, SessionId, UserId};
use latchkey::domain::limits::{Rate, SendWaits};
use latchkey::domain::purpose::Purpose;
use latchkey::domain::time::Timestamp;
use latchkey::store::audit::{self, Event, Subject};
use latchkey::store::challenges::{self, Guarded, Key, NewChallenge};
use latchkey::store::deliveries::{self, NewDelivery, Note, Outcome, Status};
use latchkey::store::grants::{self, Consumption, Leased};
use latchkey::store::sessions::{self, Hold, NewSession};
use latchkey::store::steps::{Missed, Once, Steps};
use latchkey::store::users;
use latchkey::store::{Abort, AnyConnection, Store, budgets, guards};

/// The steps that somebody waits for; the note on the delivery is the fifth.
pub const STEPS: [&str; 4] = ["start", "charge", "consume", "minted"];

const APP: &str = "com.messenger.appid";
const REALM: &str = "chat";
const DAY: Rate = Rate::per_hours(10, 24);

type Done = Result<(), Abort<Missed>>;

/// Everything that one login writes, drawn beforehand.
pub struct Login {
    challenge: ChallengeId,
    message: MessageId,
    user: UserId,
    address: Address,
    network: String,
    now: Timestamp,
}

impl Login {
    /// The login number `n`: its own address, from its own network.
    pub fn new(n: u64) -> Self {
        let entropy = SeededEntropy::new(n);
        let number = match n % 5 {
            0 => format!("+1212{}", 2_000_000 + n / 5),
            1 => format!("+447400{:06}", n / 5),
            2 => format!("+491512{:07}", n / 5),
            3 => format!("+9198{:08}", n / 5),
            _ => format!("+336{}", 10_000_000 + n / 5),
        };
        Self {
            challenge: ChallengeId::generate(&entropy),
            message: MessageId::generate(&entropy),
            user: UserId::generate(&entropy),
            address: Address::parse(&number).expect("a number"),
            network: format!("10.{}.{}.{}", (n >> 16) & 255, (n >> 8) & 255, n & 255),
            now: SystemClock.now(),
        }
    }

    fn lease(&self) -> Timestamp {
        self.now.plus(Duration::from_secs(15))
    }

    fn about(&self) -> Subject<'_> {
        Subject {
            realm: Some(REALM),
            app_id: Some(APP),
            address: Some(self.address.as_str()),
            challenge: Some(self.challenge.as_str()),
            ..Subject::default()
        }
    }

    fn key(&self) -> Key {
        Key::Mesibo { app_id: APP.to_owned(), address: self.address.clone() }
    }

    fn start(&self, once: Once<'_>) -> Done {
        let now = self.now;
        let slot = Slot {
            hash: code_hash(),
            carrier: Carrier {
                message: self.message.clone(),
                channel: Channel::Sms,
                network: self.network.clone(),
            },
            sent_at: now,
            expires_at: now.plus(Duration::from_mins(5)),
        };
        let new = NewChallenge {
            id: self.challenge.clone(),
            dialect: Dialect::Mesibo,
            purpose: Purpose::Login,
            app_id: APP.to_owned(),
            realm: REALM.to_owned(),
            address: self.address.clone(),
            secret: None,
            key_id: "k1".to_owned(),
            salt: [7; 16],
            slots: Slots::new(vec![slot]),
            created_at: now,
            expires_at: now.plus(LIFETIME),
        };
        let delivery = NewDelivery {
            id: self.message.clone(),
            challenge: self.challenge.clone(),
            address: self.address.clone(),
            channel: Channel::Sms,
            network: self.network.clone(),
            status: Status::Pending,
            locale: "en".to_owned(),
            resend_of: None,
            created_at: now,
            deadline_at: now.plus(Duration::from_secs(20)),
        };
        let about =
            Subject { network: Some(&self.network), detail: Some(self.message.as_str()), ..self.about() };
        let address = format!("to:{}", self.address.as_str());
        let country = self.address.country().map(|country| format!("country:{country}")).unwrap_or_default();
        let (app, from) = (format!("app:{APP}"), self.from());
        let steps = Steps::new()
            .must(challenges::insert(&new))
            .must(deliveries::insert(&delivery))
            .must(audit::recording(Event::CodeSent, about, now))
            .must(budgets::spend_address(&address, DAY, SendWaits::default(), now))
            .must(budgets::spend_network(&from, unverified(), Rate::per_hours(600, 1), now))
            .must(budgets::spend(&country, plenty(), now))
            .must(budgets::spend(&app, plenty(), now))
            .must(budgets::spend("all", plenty(), now));
        budgets::spent_address(steps, once, &address, DAY).map(|_| ())
    }

    fn note(&self, db: &mut AnyConnection) -> Result<(), diesel::result::Error> {
        let outcome = Outcome {
            status: Status::Accepted,
            provider: Some("console".to_owned()),
            provider_id: None,
            error: None,
            due_at: None,
            failed: Vec::new(),
        };
        let note = Note { id: self.message.clone(), outcome, at: self.now };
        deliveries::note(db, &note).map(|_| ())
    }

    fn charge(&self, challenge: &Challenge, once: Once<'_>) -> Done {
        let address = challenge.address.as_str();
        let comparisons = challenge.comparisons(self.now);
        assert_eq!(comparisons, 1);
        let about = Subject { network: Some(&self.network), ..self.about() };
        let steps = Steps::new()
            .must(challenges::charge_guess(challenge, 5, self.now))
            .must(guards::charge(REALM, address, comparisons, AtCap::Slow, self.now))
            .must(audit::recording(Event::GuessCounted, about, self.now));
        guards::charged(steps, once, REALM, address).map(|_| ())
    }

    fn consume(&self, once: Once<'_>) -> Done {
        let consumption = Consumption {
            code: code_hash(),
            channel: Channel::Sms,
            user: self.user.clone(),
            is_new_user: true,
            grant: None,
            grant_expires_at: self.now.plus(Duration::from_mins(10)),
            lease_until: self.lease(),
        };
        let about = Subject { user: Some(self.user.as_str()), ..self.about() };
        let steps = users::make(REALM, self.address.as_str(), &self.user, None, self.now)
            .must(grants::consume(&self.challenge, &consumption, self.now))
            .must(audit::recording(Event::CodeConsumed, about, self.now))
            .may(guards::open(REALM, self.address.as_str()))
            .may(budgets::credit_network(self.from(), unverified(), self.now));
        deliveries::taken_beside(steps, once, &self.message).map(|_| ())
    }

    fn minted(&self, once: Once<'_>) -> Done {
        let leased = Leased { id: &self.challenge, dialect: Dialect::Mesibo, lease_until: self.lease() };
        let about = Subject { user: Some(self.user.as_str()), address: None, ..self.about() };
        Steps::new()
            .must(grants::spend(&leased, self.now))
            .must(audit::recording(Event::TokenMinted, about, self.now))
            .must(sessions::none_left(&self.user))
            .must(sessions::insert(&self.session()))
            .must(audit::recording(Event::SessionStarted, about, self.now))
            .run(once)
    }

    fn session(&self) -> NewSession {
        NewSession {
            id: SessionId::from_stored(self.challenge.as_str().replace("ch_", "ses_")),
            user: self.user.clone(),
            realm: REALM.to_owned(),
            app_id: APP.to_owned(),
            address: self.address.clone(),
            challenge: self.challenge.clone(),
            channel: Some(Channel::Sms),
            label: None,
            network: self.network.clone(),
            created_at: self.now,
            expires_at: self.now.plus(Duration::from_hours(24 * 180)),
            hold: Hold::ChatToken(SecretHash::of(self.challenge.as_str())),
        }
    }

    fn from(&self) -> String {
        format!("from:{}", self.network)
    }
}

/// Runs one login; what each awaited step took, with what it reads first, µs.
pub async fn run(store: &Store, login: &Arc<Login>, instant: fn() -> Instant) -> [u64; STEPS.len()] {
    let mut begun = instant();
    let mut lap = || {
        let taken = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        begun = instant();
        taken
    };
    let this = Arc::clone(login);
    let look = move |db: &mut AnyConnection| {
        let address = this.address.as_str();
        challenges::find_beside(db, Some(&this.key()), (REALM, address), &format!("to:{address}"))
    };
    let (challenge, guard, budget) = store.read(look).await.expect("read");
    assert!(challenge.is_none() && guard.is_none() && budget.is_none(), "the number is new");
    write(store, login, Login::start).await;
    let start = lap();
    let this = Arc::clone(login);
    store.write_detached("noting a delivery", move |db| this.note(db));

    let (this, looks) = (Arc::clone(login), Arc::clone(login));
    let look = move |db: &mut AnyConnection| challenges::find_guarded(db, &looks.key());
    let charge = move |found: Option<Guarded>, once: Once<'_>| {
        let (challenge, _, known) = found.expect("it was started");
        assert_eq!(known, None, "the user is new");
        this.charge(&challenge, once)
    };
    assert_eq!(store.write_after(look, charge).await.expect("written"), Ok(()), "nobody else guesses");
    let charge = lap();

    write(store, login, Login::consume).await;
    let consume = lap();

    write(store, login, Login::minted).await;
    [start, charge, consume, lap()]
}

async fn write(store: &Store, login: &Arc<Login>, step: impl Fn(&Login, Once<'_>) -> Done + Send + 'static) {
    let this = Arc::clone(login);
    let made = store.write_once(move |once| step(&this, once)).await.expect("written");
    assert_eq!(made, Ok(()), "nobody else logs in with this number");
}

fn code_hash() -> CodeHash {
    CodeHash::from_bytes(&[7; CodeHash::BYTES]).expect("so many bytes")
}

fn unverified() -> Rate {
    Rate::per_hours(60, 1)
}

/// More than a benchmark can spend.
fn plenty() -> Rate {
    Rate::per_hours(3_600_000, 1)
}
