//! One login's writes: `login/start.rs`, `login/verify.rs` and `login/mint.rs` without what stands between them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use latchkey::ambient::{Clock, SeededEntropy, SystemClock};
use latchkey::domain::address::Address;
use latchkey::domain::challenge::{Dialect, LIFETIME, NetworkTag, Slot, Slots};
use latchkey::domain::channel::Channel;
use latchkey::domain::code::CodeHash;
use latchkey::domain::guard::AtCap;
use latchkey::domain::ids::{ChallengeId, MessageId, SecretHash, SessionId, UserId};
use latchkey::domain::limits::{Rate, SendWaits};
use latchkey::domain::purpose::Purpose;
use latchkey::domain::time::Timestamp;
use latchkey::store::audit::{self, Event, Subject};
use latchkey::store::challenges::{self, Key, NewChallenge};
use latchkey::store::deliveries::{self, NewDelivery, Outcome, Status};
use latchkey::store::grants::{self, Consumption, Leased};
use latchkey::store::sessions::{self, Hold, NewSession};
use latchkey::store::{Abort, AnyConnection, Store, budgets, guards, users};

/// The writes that somebody waits for; the note on the delivery is the fifth.
pub const STEPS: [&str; 4] = ["start", "charge", "consume", "minted"];

const APP: &str = "com.messenger.appid";
const REALM: &str = "chat";

type Done = Result<(), Abort<Infallible>>;

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

    fn start(&self, db: &mut AnyConnection) -> Done {
        let now = self.now;
        let slot = Slot {
            hash: code_hash(),
            message: self.message.clone(),
            sent_at: now,
            expires_at: now.plus(Duration::from_mins(5)),
            network: NetworkTag::from_bytes([7; NetworkTag::BYTES]),
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
        assert!(challenges::insert(db, &new)?, "the number is new");
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
        deliveries::insert(db, &delivery)?;
        let about =
            Subject { network: Some(&self.network), detail: Some(self.message.as_str()), ..self.about() };
        audit::record(db, Event::CodeSent, about, now)?;
        let address = format!("to:{}", self.address.as_str());
        let day = Rate::per_hours(10, 24);
        let spent = budgets::spend_address(db, &address, day, SendWaits::default(), now)?.is_some()
            && budgets::spend_network(db, &self.from(), unverified(), Rate::per_hours(600, 1), now)?;
        assert!(spent, "the number and its network are new");
        let country = self.address.country().map(|country| format!("country:{country}"));
        for key in [country.unwrap_or_default(), format!("app:{APP}"), "all".to_owned()] {
            assert!(budgets::spend(db, &key, plenty(), now)?, "there is plenty");
        }
        Ok(())
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
        deliveries::note(db, &self.message, &outcome, self.now).map(|_| ())
    }

    fn charge(&self, db: &mut AnyConnection) -> Done {
        let key = Key::Mesibo { app_id: APP.to_owned(), address: self.address.clone() };
        let challenge = challenges::charge_guess(db, &key, 5, self.now)?.expect("it was started");
        let address = challenge.address.as_str();
        let comparisons = challenge.comparisons(self.now);
        assert_eq!(comparisons, 1);
        guards::charge(db, REALM, address, comparisons, AtCap::Slow, self.now)?.expect("it lets one through");
        let about = Subject { network: Some(&self.network), ..self.about() };
        Ok(audit::record(db, Event::GuessCounted, about, self.now)?)
    }

    fn consume(&self, db: &mut AnyConnection) -> Done {
        let (holder, is_new_user) = users::sign_in(db, REALM, self.address.as_str(), &self.user, self.now)?;
        let consumption = Consumption {
            code: code_hash(),
            channel: Some(Channel::Sms),
            user: holder.user.clone(),
            is_new_user,
            grant: None,
            grant_expires_at: self.now.plus(Duration::from_mins(10)),
            lease_until: self.lease(),
        };
        assert!(grants::consume(db, &self.challenge, &consumption, self.now)?, "nobody else guesses");
        guards::open(db, REALM, self.address.as_str())?;
        let delivery = deliveries::verify(db, &self.message, self.now)?.expect("the first time");
        budgets::credit_network(db, &format!("from:{}", delivery.network), unverified(), self.now)?;
        let about = Subject { user: Some(holder.user.as_str()), ..self.about() };
        Ok(audit::record(db, Event::CodeConsumed, about, self.now)?)
    }

    fn minted(&self, db: &mut AnyConnection) -> Done {
        let leased = Leased { id: &self.challenge, dialect: Dialect::Mesibo, lease_until: self.lease() };
        assert!(grants::spend(db, &leased, self.now)?, "the lease is ours");
        let about = Subject { user: Some(self.user.as_str()), address: None, ..self.about() };
        audit::record(db, Event::TokenMinted, about, self.now)?;
        let session = self.session();
        sessions::end_replaced(db, &session, self.now)?;
        sessions::insert(db, &session)?;
        Ok(audit::record(db, Event::SessionStarted, about, self.now)?)
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

/// Runs one login; what each awaited write took, µs.
pub async fn run(store: &Store, login: &Arc<Login>, instant: fn() -> Instant) -> [u64; STEPS.len()] {
    let writes = [Login::start, Login::charge, Login::consume, Login::minted];
    let mut taken = [0; STEPS.len()];
    for (index, (write, taken)) in writes.into_iter().zip(&mut taken).enumerate() {
        let (this, begun) = (Arc::clone(login), instant());
        let Ok(()) = store.write(move |db| write(&this, db)).await.expect("written");
        *taken = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        if index == 0 {
            let this = Arc::clone(login);
            store.write_detached("noting a delivery", move |db| this.note(db));
        }
    }
    taken
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
