//! What became of a message: written down, counted, paid for. Nobody waits for it, unless the message failed: then
//! whoever asked may ask again at once, and is answered when that is true.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::Login;
use super::draft::{MONEY_KEY, address_key};
use crate::delivery::{OutgoingCode, Plan, Report, SendError};
use crate::domain::channel::Channel;
use crate::domain::ids::ChallengeId;
use crate::domain::money::Money;
use crate::domain::phone::Country;
use crate::store::audit::{self, Event, Subject};
use crate::store::batch::notes;
use crate::store::deliveries::{self, Note, Outcome, Status};
use crate::store::steps::Once;
use crate::store::{Abort, AnyConnection, budgets, challenges};
use crate::telemetry::chain;

/// What a message belongs to.
pub(super) struct Matter<'a> {
    pub(super) challenge: &'a ChallengeId,
    pub(super) realm: &'a str,
    pub(super) channel: Channel,
    /// What was taken of the day's money for it.
    pub(super) reserved: Money,
    /// Whether a person asked for it, and was told how long to wait for another.
    pub(super) asked_for: bool,
}

impl Login {
    /// Writes down what became of a message; what is given back is to be waited for. A lost note becomes `unknown` by
    /// itself. On the heap: most messages do not fail, and every login would carry the room for it.
    #[must_use]
    pub(super) fn note(
        &self,
        matter: &Matter<'_>,
        message: &OutgoingCode,
        plan: &Plan,
        report: Report,
    ) -> Option<BoxFuture<'_, ()>> {
        let Report { provider, result, failed } = report;
        let (status, provider_id, error) = match result {
            Ok(receipt) => (Status::Accepted, receipt.provider_id, None),
            Err(error @ SendError::Unknown(_)) => (Status::Unknown, None, Some(error)),
            Err(error) => (Status::Failed, None, Some(error)),
        };
        let id = &message.id;
        match &error {
            Some(error) if status == Status::Unknown => {
                let to = message.to.masked();
                tracing::warn!(message_id = %id, to, provider, error = %error, "a code may have been sent: nobody knows");
            }
            Some(error) => {
                let to = message.to.masked();
                tracing::error!(message_id = %id, to, provider, error = %error, "a code was not delivered");
            }
            None => {}
        }
        let now = self.clock.now();
        let refund = error.as_ref().is_some_and(SendError::is_providers_fault);
        let kind = error.as_ref().map(SendError::kind);
        self.metrics.count_delivery(provider.as_deref(), kind.unwrap_or("accepted"));
        // What may have been sent may have to be paid.
        let taker = provider.as_deref().filter(|_| status != Status::Failed);
        let cost = taker.map_or(Money::ZERO, |taker| plan.price(taker));
        if let Some(taker) = taker {
            let country = message.to.country().unwrap_or(Country::UNKNOWN);
            self.courier.board().count_sent(taker, country, now);
            if cost > Money::ZERO {
                self.metrics.count_cost(taker, self.courier.currency(), cost);
            }
        }
        let over = self.limits.spend_per_day.map(|limit| (limit, matter.reserved.less(cost)));
        let over = over.filter(|(_, amount)| *amount > Money::ZERO);
        let story = (failed.len() > 1 || (!failed.is_empty() && status == Status::Accepted))
            .then(|| story(message, &failed, taker.filter(|_| status == Status::Accepted)));
        let failed = failed.into_iter().map(|(name, _)| name).collect();
        let due_at = self.due_at(matter.channel, status, provider.as_deref(), now);
        let outcome = Outcome { status, provider, provider_id, error: kind, due_at, failed };
        let is_plain = status != Status::Failed && !refund && over.is_none() && story.is_none();
        let note = Note { id: message.id.clone(), outcome, at: now };
        if is_plain {
            self.note_with_others(note);
            return None;
        }
        let (rate, challenge) = (self.limits.per_address, matter.challenge.clone());
        let (realm, app_id) = (matter.realm.to_owned(), message.app_id.clone());
        let asked_for = matter.asked_for;
        let (key, address) = (address_key(message.to.as_str()), message.to.as_str().to_owned());
        let write = move |db: &mut AnyConnection| {
            let noted = deliveries::note(db, &note)?;
            if noted && status == Status::Failed {
                // Nobody has this code: it must not keep one that somebody has from being valid, or seem to be one.
                challenges::withdraw_code(db, &challenge, &note.id)?;
            }
            if noted && refund && asked_for {
                budgets::refund_address(db, &key, rate)?;
            } else if noted && refund {
                // It started no wait, and the one that runs belongs to the message that the person did ask for.
                budgets::refund(db, &key, rate)?;
            }
            if noted && let Some((limit, amount)) = over {
                budgets::refund_money(db, MONEY_KEY, limit, amount)?;
            }
            if noted && let Some(story) = &story {
                let about = Subject {
                    realm: Some(&realm),
                    app_id: Some(&app_id),
                    address: Some(&address),
                    challenge: Some(challenge.as_str()),
                    detail: Some(story),
                    ..Subject::default()
                };
                audit::record(db, Event::FailedOver, about, now)?;
            }
            Ok(())
        };
        if status != Status::Failed {
            self.store.write_detached("noting a delivery", write);
            return None;
        }
        Some(Box::pin(async move {
            let written = self.store.write(move |db| write(db).map_err(Abort::<Infallible>::Failed)).await;
            if let Err(error) = written {
                tracing::error!(error = chain(&error), "noting a delivery failed");
            }
        }))
    }

    /// Where nothing else goes with it.
    fn note_with_others(&self, note: Note) {
        let Some(notes) = self.notes.add(note).map(Arc::new) else { return };
        let together = Arc::clone(&notes);
        let once = move |once: Once<'_>| notes::make(once, together.items());
        self.store.write_detached_once("noting deliveries", once, move |db| {
            notes.items().iter().try_for_each(|note| deliveries::note(db, note).map(|_| ()))
        });
    }
}

/// For the record: `msg_… not via twilio (throttled); vonage took it`.
fn story(message: &OutgoingCode, failed: &[(String, &'static str)], taker: Option<&str>) -> String {
    let failed: Vec<String> = failed.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
    format!("{} not via {}; {} took it", message.id, failed.join(", "), taker.unwrap_or("nobody"))
}
