//! What a start writes: the code in its place, the message, the record, the budgets. All of it, or nothing.

use std::sync::Arc;

use diesel::pg::PgConnection;

use super::note::Matter;
use super::start::Order;
use super::{LEASE_MARGIN, Login, LoginError, SEND_DEADLINE};
use crate::config::Limits;
use crate::delivery::Plan;
use crate::domain::challenge::{Carrier, Challenge, LIFETIME, Slot, Slots, State};
use crate::domain::code::Code;
use crate::domain::ids::{ChallengeId, MessageId, SecretHash};
use crate::domain::limits::{Rate, SendWaits};
use crate::domain::money::{DailySpend, Money};
use crate::domain::pepper::{Binding, Salt};
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Event, Subject};
use crate::store::batch::starts::{self, Charge};
use crate::store::batch::{self, Batched};
use crate::store::budgets::{self, Budget};
use crate::store::challenges::{self, NewChallenge};
use crate::store::deliveries::{self, NewDelivery, Status};
use crate::store::steps::{Missed, Once, Step, Steps};
use crate::store::{Abort, AnyConnection};

/// Why the write was undone.
pub(super) enum Refusal {
    /// Somebody else changed the challenge since it was read.
    Changed,
    /// A budget is used up until then.
    Spent(Timestamp),
    /// Another network's fresh code holds the place until then.
    Held(Timestamp),
    /// The day's money is, perhaps among others.
    OutOfMoney(Timestamp),
    /// Only providers that are to be left out would take it.
    NoOtherWay,
}

/// A code, and what is written down of the message that carries it.
pub(super) struct Letter<'a> {
    pub(super) code: &'a Code,
    /// The language of its text.
    pub(super) locale: &'a str,
    /// Whether nothing leaves: the address is closed.
    pub(super) withheld: bool,
}

/// One attempt at sending, ready to be written.
pub(super) struct Draft {
    /// The message.
    pub(super) delivery: NewDelivery,
    /// When its challenge ends.
    pub(super) expires_at: Timestamp,
    /// Guesses that are left.
    pub(super) attempts_left: i32,
    place: Place,
    budgets: Vec<(String, Spend)>,
    event: Event,
    pub(super) realm: String,
    pub(super) app_id: String,
    /// Which way it is to go, for the record.
    way: String,
}

/// Where the code goes.
enum Place {
    /// Into a challenge of its own; an old one that is over makes room.
    New { over: Option<(ChallengeId, i32)>, new: Box<NewChallenge> },
    /// Beside the codes of a waiting one.
    Beside { id: ChallengeId, version: i32, slots: Slots, attempts: i32 },
}

/// What a budget is spent as.
#[derive(Clone, Copy)]
enum Spend {
    Address,
    /// Of an address, by ourselves: it counts, and the wait that a person was told of stays as it was.
    Again,
    Network,
    Site,
    Country,
    App,
    All,
    Money(DailySpend, Money),
}

impl Spend {
    /// Its place in the order in which every start spends.
    fn rank(self) -> u8 {
        match self {
            Self::Address | Self::Again => 0,
            Self::Network => 1,
            Self::Site => 2,
            Self::Country => 3,
            Self::App => 4,
            Self::All => 5,
            Self::Money(..) => 6,
        }
    }

    fn rule(self, limits: &Limits) -> Rule {
        let (unverified, total) = (limits.per_ip_unverified, limits.per_ip);
        match self {
            Self::Address => Rule::Address(limits.per_address, limits.send_waits),
            Self::Again => Rule::Plain(limits.per_address),
            Self::Network => Rule::Network(unverified, total),
            Self::Site => Rule::Network(unverified.tenfold(), total.tenfold()),
            Self::Country => Rule::Plain(limits.per_country),
            Self::App => Rule::Plain(limits.per_app),
            Self::All => Rule::Plain(limits.overall),
            Self::Money(limit, amount) => Rule::Money(limit, amount),
        }
    }
}

/// The rule that a budget is spent by.
enum Rule {
    Address(Rate, SendWaits),
    Plain(Rate),
    Network(Rate, Rate),
    Money(DailySpend, Money),
}

impl Rule {
    /// Spends one of the budget with this key.
    fn step(self, key: &str, now: Timestamp) -> Step<'_> {
        match self {
            Self::Address(rate, waits) => budgets::spend_address(key, rate, waits, now),
            Self::Plain(rate) => budgets::spend(key, rate, now),
            Self::Network(unverified, total) => budgets::spend_network(key, unverified, total, now),
            Self::Money(limit, amount) => budgets::spend_money(key, limit, amount, now),
        }
    }

    /// The same in a batch. None: the wait of an address comes with it.
    fn charge(self, rank: u8, key: &str) -> Option<Charge<'_>> {
        match self {
            Self::Address(..) => None,
            Self::Plain(rate) => Some(Charge::plain(rank, key, rate)),
            Self::Network(unverified, total) => Some(Charge::network(rank, key, unverified, total)),
            Self::Money(limit, amount) => Some(Charge::money(rank, key, limit, amount)),
        }
    }

    /// When a budget that is spent like this lets the next one through.
    fn opens_at(self, budget: Option<&Budget>, now: Timestamp) -> Timestamp {
        if let Self::Money(limit, amount) = self
            && limit.tolerance_ms(amount) < 0
        {
            return Timestamp::NEVER;
        }
        let Some(budget) = budget else { return now };
        match self {
            Self::Address(rate, _) => budget.address_opens_at(rate),
            Self::Plain(rate) => budget.opens_at(rate),
            Self::Network(unverified, total) => budget.network_opens_at(unverified, total),
            Self::Money(limit, amount) => budget.money_opens_at(limit, amount),
        }
    }
}

impl Login {
    /// When the last budget of a start lets one through.
    pub(super) async fn budgets_open_at(
        &self,
        start: &Order,
        now: Timestamp,
    ) -> Result<Timestamp, LoginError> {
        let (keys, limits) = (budgets_of(start), self.limits.clone());
        let latest = move |db: &mut AnyConnection| last_opens_at(db, &keys, &limits, now);
        Ok(self.store.read(latest).await?)
    }

    /// Hashes the code in its place: beside the codes of the current challenge while that waits, otherwise in a new
    /// one. The inner error: why there is no place for it.
    pub(super) async fn draft(
        &self,
        start: &Order,
        secret: Option<SecretHash>,
        current: Option<Challenge>,
        letter: &Letter<'_>,
        now: Timestamp,
    ) -> Result<Result<Draft, Refusal>, LoginError> {
        let (waiting, over) = match current {
            Some(challenge) if self.is_waiting(&challenge) => (Some(challenge), None),
            Some(over) => (None, Some((over.id, over.version))),
            None => (None, None),
        };
        let (id, key_id, salt, expires_at, guesses) = if let Some(challenge) = &waiting {
            let Challenge { id, key_id, salt, expires_at, guesses, .. } = challenge;
            (id.clone(), key_id.clone(), *salt, *expires_at, *guesses)
        } else {
            let mut salt = Salt::default();
            self.entropy.fill(&mut salt);
            let id = ChallengeId::generate_at(now, &*self.entropy);
            (id, self.hasher.current_key().to_owned(), salt, now.plus(LIFETIME), 0)
        };
        let binding = Binding {
            realm: &start.realm,
            purpose: &start.purpose.as_str(),
            challenge: &id,
            address: &start.address,
            client_secret: secret,
        };
        let (message, network) = (MessageId::generate_at(now, &*self.entropy), start.client.key());
        let slot = Slot {
            hash: self.hash(&key_id, &binding, &salt, letter.code).await?,
            carrier: Carrier { message: message.clone(), channel: start.channel, network: network.clone() },
            sent_at: now,
            // A code never outlives its challenge.
            expires_at: now.plus(self.otp.lifetime).min(expires_at),
        };
        let place = match waiting {
            Some(Challenge { state: State::Waiting(slots), version, .. }) => match slots.place(slot, now) {
                Ok(slots) => Place::Beside { id: id.clone(), version, slots, attempts: self.otp.attempts },
                Err(free_at) => return Ok(Err(Refusal::Held(free_at))),
            },
            Some(Challenge { state: State::Proved(_), .. }) | None => {
                let new = NewChallenge {
                    id: id.clone(),
                    dialect: start.dialect,
                    purpose: start.purpose.clone(),
                    app_id: start.app_id.clone(),
                    realm: start.realm.clone(),
                    address: start.address.clone(),
                    secret,
                    key_id,
                    salt,
                    slots: Slots::new(vec![slot]),
                    created_at: now,
                    expires_at,
                };
                Place::New { over, new: Box::new(new) }
            }
        };
        let delivery = NewDelivery {
            id: message,
            challenge: id,
            address: start.address.clone(),
            channel: start.channel,
            network,
            status: if letter.withheld { Status::Withheld } else { Status::Pending },
            locale: letter.locale.to_owned(),
            resend_of: start.resend_of.clone(),
            created_at: now,
            deadline_at: now.plus(SEND_DEADLINE + LEASE_MARGIN),
        };
        Ok(Ok(Draft {
            delivery,
            expires_at,
            attempts_left: self.otp.attempts - guesses,
            place,
            budgets: budgets_of(start),
            event: match start.resend_of {
                _ if letter.withheld => Event::CodeWithheld,
                Some(_) => Event::CodeResent,
                None => Event::CodeSent,
            },
            realm: start.realm.clone(),
            app_id: start.app_id.clone(),
            way: String::new(),
        }))
    }
}

impl Draft {
    /// What its message belongs to.
    pub(super) fn matter(&self, plan: &Plan) -> Matter<'_> {
        let NewDelivery { challenge, channel, resend_of, .. } = &self.delivery;
        let (reserved, asked_for) = (plan.dearest(), resend_of.is_none());
        Matter { challenge, realm: &self.realm, channel: *channel, reserved, asked_for }
    }

    /// Takes down which way the message is to go, and what it may cost.
    pub(super) fn decide(&mut self, plan: &Plan, limits: &Limits) {
        self.way = plan.to_string();
        if let Some(limit) = limits.spend_per_day {
            // Last: everybody needs this row.
            self.budgets.push((MONEY_KEY.to_owned(), Spend::Money(limit, plan.dearest())));
        }
    }

    /// Writes all of it, or nothing; when the next message may go.
    pub(super) fn commit(
        &self,
        once: Once<'_>,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Timestamp, Abort<Missed>> {
        let steps = match &self.place {
            Place::New { over: None, new } => Steps::new().must(challenges::insert(new)),
            Place::New { over: Some((id, version)), new } => {
                Steps::new().must(challenges::end(id, *version, now)).must(challenges::insert(new))
            }
            Place::Beside { id, version, slots, attempts } => {
                Steps::new().must(challenges::put_codes(id, *version, slots, *attempts, now))
            }
        };
        let detail = self.detail();
        let about = Subject {
            realm: Some(&self.realm),
            app_id: Some(&self.app_id),
            address: Some(self.delivery.address.as_str()),
            challenge: Some(self.delivery.challenge.as_str()),
            network: Some(&self.delivery.network),
            detail: Some(&detail),
            user: None,
        };
        let mut steps =
            steps.must(deliveries::insert(&self.delivery)).must(audit::recording(self.event, about, now));
        for (key, spend) in &self.budgets {
            steps = steps.must(spend.rule(limits).step(key, now));
        }
        match self.address_budget() {
            Some(key) => budgets::spent_address(steps, once, key, limits.per_address),
            None => steps.run(once).map(|()| now),
        }
    }

    /// The budget that starts the wait of an address.
    fn address_budget(&self) -> Option<&str> {
        self.budgets.iter().find(|(_, spend)| matches!(spend, Spend::Address)).map(|(key, _)| key.as_str())
    }

    /// For the record.
    fn detail(&self) -> String {
        format!("{} {}", self.delivery.id, self.way)
    }

    /// What it writes, where that is plain: a challenge of its own that a person asked for.
    fn start(&self, limits: &Limits) -> Option<starts::Start<'_>> {
        let Place::New { over: None, new } = &self.place else { return None };
        let address = self.address_budget()?;
        let charges = self
            .budgets
            .iter()
            .filter_map(|(key, spend)| spend.rule(limits).charge(spend.rank(), key))
            .collect();
        Some(starts::Start {
            challenge: new,
            delivery: &self.delivery,
            event: self.event,
            detail: self.detail(),
            address,
            charges,
        })
    }

    /// Why nothing was written, as far as can be seen behind it.
    pub(super) fn why_missed(
        &self,
        db: &mut AnyConnection,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Refusal, diesel::result::Error> {
        let (money, others): (Vec<_>, Vec<_>) =
            self.budgets.iter().partition(|(_, spend)| matches!(spend, Spend::Money(..)));
        let until = last_opens_at(db, others, limits, now)?;
        let money_until = last_opens_at(db, money, limits, now)?;
        Ok(if money_until > now {
            Refusal::OutOfMoney(money_until.max(until))
        } else if until > now {
            Refusal::Spent(until)
        } else {
            Refusal::Changed
        })
    }
}

/// A draft that is to be written down.
pub(super) struct Posting {
    pub(super) draft: Arc<Draft>,
    pub(super) limits: Limits,
    pub(super) now: Timestamp,
}

impl Batched for Posting {
    /// When the next message may go.
    type Done = Timestamp;
    type Refusal = Missed;

    fn subject(&self) -> &str {
        // Of a mailbox several spellings have one.
        self.draft.address_budget().unwrap_or_else(|| self.draft.delivery.address.as_str())
    }

    fn alone(&self, db: &mut AnyConnection) -> Result<Timestamp, Abort<Missed>> {
        self.draft.commit(Once::within(db), &self.limits, self.now)
    }

    fn together(db: &mut PgConnection, many: &[&Self]) -> Result<Vec<Option<Timestamp>>, Abort<Missed>> {
        let Some(last) = many.iter().max_by_key(|posting| posting.now) else { return Ok(Vec::new()) };
        let Limits { per_address, send_waits, .. } = last.limits;
        let rows = many.iter().map(|posting| posting.draft.start(&posting.limits));
        batch::plain(rows, |rows| starts::make(db, rows, (per_address, send_waits), last.now))
    }
}

/// When the last of these budgets lets one through.
fn last_opens_at<'a>(
    db: &mut AnyConnection,
    budgets: impl IntoIterator<Item = &'a (String, Spend)>,
    limits: &Limits,
    now: Timestamp,
) -> Result<Timestamp, diesel::result::Error> {
    budgets.into_iter().try_fold(now, |latest, (key, spend)| {
        Ok(latest.max(spend.rule(limits).opens_at(budgets::find(db, key)?.as_ref(), now)))
    })
}

/// In the one order in which every start spends them.
fn budgets_of(start: &Order) -> Vec<(String, Spend)> {
    let site = start.client.site_key().map(|site| (network_key(&site), Spend::Site));
    let country = start.address.country().map(|country| format!("country:{country}"));
    let country = country.map(|key| (key, Spend::Country));
    let spend = if start.resend_of.is_some() { Spend::Again } else { Spend::Address };
    let address = (address_key(start.address.as_str()), spend);
    let network = (network_key(&start.client.key()), Spend::Network);
    let app = (format!("app:{}", start.app_id), Spend::App);
    let all = ("all".to_owned(), Spend::All);
    [Some(address), Some(network), site, country, Some(app), Some(all)].into_iter().flatten().collect()
}

/// The budget of an address.
pub(super) fn address_key(address: &str) -> String {
    // Of a mailbox most servers take every spelling.
    format!("to:{}", address.to_ascii_lowercase())
}

/// The budget of all that costs money.
pub(super) const MONEY_KEY: &str = "money";

/// The budget of a network.
pub(super) fn network_key(network: &str) -> String {
    format!("from:{network}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_has_one_budget_in_every_spelling() {
        assert_eq!(address_key("Ann.Lee@mail.example"), address_key("ann.lee@mail.example"));
        assert_ne!(address_key("+18005551234"), address_key("+18005551235"));
    }
}
