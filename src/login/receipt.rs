//! What gateways report of messages, and the code that is sent again when one does not arrive.
//!
//! Guarantees: a report moves messages, and nothing else: it proves no address, and brings no challenge further. A
//! message that failed, or of which nothing is heard within its route's patience, is taken on by one node, once; the
//! fresh code goes beside the others of its challenge, which stay valid, within the same budgets, and by another way.

use futures_util::StreamExt;

use super::dispatch::{Dispatched, Errand};
use super::draft::Refusal;
use super::start::{Order, Start};
use super::{Login, LoginError};
use crate::delivery::{CallIn, Door, Notice, Progress, Reading, Reply};
use crate::domain::challenge::{Challenge, State};
use crate::domain::channel::Channel;
use crate::domain::guard::Opening;
use crate::domain::ids::{ChallengeId, MessageId};
use crate::domain::network::ClientIp;
use crate::domain::time::Timestamp;
use crate::store::deliveries::Status;
use crate::store::reports::{self, Lost, Named, Report};
use crate::store::{Abort, AnyConnection, challenges, deliveries, guards};
use crate::telemetry::chain;

/// Messages that are sent again at once.
const AT_ONCE: usize = 8;

/// What to answer a gateway.
#[derive(Debug)]
#[must_use]
pub enum Filed {
    /// Its reports were taken, or said nothing that is known.
    Done(Reply),
    /// It did not prove who it is. Nothing was written.
    NotProved,
}

/// What became of a message that was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Resent {
    /// A fresh code is on its way.
    Sent,
    /// Nobody took the fresh one either.
    Undeliverable,
    /// Somebody else took it on, or it arrived after all.
    Taken,
    /// Its challenge waits for no code any more, or for a younger one.
    Over,
    /// It was sent as often as the route allows.
    Enough,
    /// There is no other way to this person.
    NoOtherWay,
    /// A budget, or the guard, lets nothing through.
    Denied,
}

impl Resent {
    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Undeliverable => "undeliverable",
            Self::Taken => "taken",
            Self::Over => "over",
            Self::Enough => "enough",
            Self::NoOtherWay => "no_other_way",
            Self::Denied => "denied",
        }
    }
}

/// What is known when a message is to be sent again.
struct Circumstances {
    challenge: Option<Challenge>,
    failed: Vec<String>,
    resends: i64,
}

impl Login {
    /// Takes a gateway's word for what became of messages. What is said of unknown ones is answered alike.
    ///
    /// # Errors
    /// [`LoginError::Store`]: nothing was written, and the gateway should say it again.
    pub async fn file(&self, door: &Door<'_>, call: &CallIn) -> Result<Filed, LoginError> {
        let (notices, reply) = match self.receipts.read(door, call, self.clock.now()).await {
            Reading::Notices(notices, reply) => (notices, reply),
            Reading::Handshake(reply) => return Ok(Filed::Done(reply)),
            Reading::NotProved => return Ok(Filed::NotProved),
        };
        let reports: Vec<Report> = notices.iter().filter_map(|notice| report(door, notice)).collect();
        let now = self.clock.now();
        let receive = move |db: &mut AnyConnection| {
            let moved =
                reports.iter().map(|report| Ok(reports::receive(db, report, now)?.then_some(report.status)));
            moved.collect::<Result<Vec<_>, diesel::result::Error>>().map_err(Abort::<Never>::Failed)
        };
        if !notices.is_empty() {
            let Ok(moved) = self.store.write(receive).await?;
            for status in moved {
                let outcome = status.map_or("ignored", Status::as_str);
                self.metrics.count_receipt(door.provider, outcome);
            }
        }
        Ok(Filed::Done(reply))
    }

    /// When a message that is on its way is sent again, unless it is reported to have arrived.
    pub(super) fn due_at(
        &self,
        channel: Channel,
        status: Status,
        provider: Option<&str>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let on_its_way = matches!(status, Status::Accepted | Status::Unknown);
        let patience = self.courier.watch(channel).patience?;
        let reported = provider.is_some_and(|provider| self.receipts.are_expected(provider));
        (on_its_way && reported).then(|| now.plus(patience))
    }

    /// Sends the codes of overdue messages again, a batch at most; what became of each.
    ///
    /// # Errors
    /// [`LoginError`] of the look at what is overdue; one message's own error is logged.
    pub async fn resend_overdue(&self) -> Result<Vec<Resent>, LoginError> {
        let now = self.clock.now();
        let due = self.store.read(move |db| reports::overdue(db, now)).await?;
        let done = futures_util::stream::iter(due).map(|id| async move {
            let resent = self.resend_one(&id).await;
            match &resent {
                Ok(resent) => {
                    self.metrics.count_resend(resent.as_str());
                    tracing::info!(message_id = %id, outcome = resent.as_str(), "a message that did not arrive");
                }
                Err(error) => {
                    let error = chain(error);
                    tracing::warn!(message_id = %id, error, "a message that did not arrive was not sent again");
                }
            }
            resent.ok()
        });
        Ok(done.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await)
    }

    async fn resend_one(&self, id: &MessageId) -> Result<Resent, LoginError> {
        let (now, named) = (self.clock.now(), id.clone());
        let take = move |db: &mut AnyConnection| Ok::<_, Abort<Never>>(reports::take(db, &named, now)?);
        let Ok(Some(lost)) = self.store.write(take).await? else { return Ok(Resent::Taken) };
        let Circumstances { challenge, mut failed, resends } = self.circumstances(&lost.challenge).await?;
        let Some(challenge) = challenge.filter(|challenge| self.waits_for(challenge, &lost.id)) else {
            return Ok(Resent::Over);
        };
        if resends >= i64::from(self.courier.watch(lost.channel).max_resends) {
            return Ok(Resent::Enough);
        }
        failed.extend(lost.provider.clone());
        let (realm, address) = (challenge.realm.clone(), challenge.address.as_str().to_owned());
        let guard = self.store.read(move |db| guards::find(db, &realm, &address)).await?;
        if guard.is_some_and(|guard| guard.opening(now) != Opening::Open) {
            return Ok(Resent::Denied);
        }
        for order in self.other_ways(&challenge, &lost) {
            let errand = Errand { secret: challenge.secret_hash, withheld: false, failed: &failed };
            return Ok(match self.dispatch(&order, &errand, Some(challenge.clone()), now).await? {
                Ok(Dispatched { failure: None, .. }) => Resent::Sent,
                Ok(Dispatched { failure: Some(_), .. }) => Resent::Undeliverable,
                Err(Refusal::Changed) => Resent::Over,
                // Nothing was written: only the text itself says who can carry it.
                Err(Refusal::NoOtherWay) => continue,
                Err(Refusal::Spent(_) | Refusal::OutOfMoney(_) | Refusal::Held(_)) => Resent::Denied,
            });
        }
        Ok(Resent::NoOtherWay)
    }

    async fn circumstances(&self, id: &ChallengeId) -> Result<Circumstances, LoginError> {
        let id = id.clone();
        // The challenge first: whatever is written after that changes its version, and the code finds no place.
        let read = move |db: &mut AnyConnection| {
            Ok(Circumstances {
                challenge: challenges::get(db, &id)?,
                failed: deliveries::failed_providers(db, &id)?,
                resends: reports::resends(db, &id)?,
            })
        };
        Ok(self.store.read(read).await?)
    }

    /// Whether a challenge waits for a code, and none that is younger than that of this message is on its way.
    fn waits_for(&self, challenge: &Challenge, message: &MessageId) -> bool {
        let youngest = match &challenge.state {
            State::Waiting(slots) => slots.iter().last().is_some_and(|slot| slot.carrier.message == *message),
            State::Proved(_) => false,
        };
        youngest && self.is_waiting(challenge)
    }

    /// The same channel again, by another provider; then every other channel of the app.
    fn other_ways(&self, challenge: &Challenge, lost: &Lost) -> Vec<Order> {
        let Some(app) = self.apps.find(&challenge.app_id) else { return Vec::new() };
        let others = self.channels(app, &challenge.address).into_iter();
        let others = others.filter(|channel| *channel != lost.channel);
        let order = |channel| {
            let start = Start {
                dialect: challenge.dialect,
                app_id: challenge.app_id.clone(),
                address: challenge.address.clone(),
                channel: Some(channel),
                languages: vec![lost.locale.clone()],
                client: ClientIp::of_key(&lost.network)?,
            };
            let order = self.order(challenge.purpose.clone(), start).ok()?;
            Some(Order { resend_of: Some(lost.id.clone()), ..order })
        };
        std::iter::once(lost.channel).chain(others).filter_map(order).collect()
    }
}

/// None: it names no message.
fn report(door: &Door<'_>, notice: &Notice) -> Option<Report> {
    let (status, error, resend) = match notice.progress() {
        Progress::Accepted => (Status::Accepted, None, false),
        Progress::Delivered => (Status::Delivered, None, false),
        Progress::Failed { kind, allows_another } => (Status::Failed, Some(kind.into()), allows_another),
    };
    let named = door.message.as_ref().or(notice.reference.as_ref()).cloned().map(Named::Ours);
    Some(Report {
        message: named.or_else(|| notice.id.clone().map(Named::Theirs))?,
        provider: door.provider.to_owned(),
        status,
        error,
        resend,
    })
}

/// No job of this file refuses.
type Never = std::convert::Infallible;
