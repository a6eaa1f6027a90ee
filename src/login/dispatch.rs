//! A code goes out: drawn, hashed in its place, written down, and offered to the providers.
//!
//! Guarantees: one way for all codes, whoever asks for them. What is offered to a provider is on record; what is on
//! record and was not offered, after a crash, is never sent.

use std::sync::Arc;
use std::time::Duration;

use super::draft::{Draft, Letter, MONEY_KEY, Posting, Refusal};
use super::start::Order;
use super::{Login, LoginError, SEND_DEADLINE};
use crate::config::Trip;
use crate::delivery::{Occasion, OutgoingCode, Plan, SendError};
use crate::domain::challenge::Challenge;
use crate::domain::code::Code;
use crate::domain::ids::SecretHash;
use crate::domain::money::Money;
use crate::domain::segments::is_gsm7;
use crate::domain::time::Timestamp;
use crate::store::budgets;
use crate::store::steps::Missed;

/// What a code is sent with, beside its order.
pub(super) struct Errand<'a> {
    /// Of what the challenge's starter holds, in `/v1`.
    pub(super) secret: Option<SecretHash>,
    /// Whether nothing leaves: the address is closed.
    pub(super) withheld: bool,
    /// Providers that failed the challenge: they come last, and are not tried where nobody asked for the code.
    pub(super) failed: &'a [String],
}

/// A code that was written down, and offered.
pub(super) struct Dispatched {
    pub(super) draft: Arc<Draft>,
    /// When the next one may go.
    pub(super) next_send_at: Timestamp,
    /// Why certainly nobody took it, where that is so.
    pub(super) failure: Option<Failure>,
}

/// Tokio's timers have steps, and fire about one of them late.
const TIMER_STEP: Duration = Duration::from_millis(1);

/// Why a message was certainly not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody can reach the address.
    BadAddress,
    /// Messages over this channel are not wanted.
    Blocked,
    /// It is not the person's doing.
    Undeliverable,
}

impl Login {
    /// Sends a fresh code. The inner error: nothing was written, and nothing left.
    pub(super) async fn dispatch(
        &self,
        order: &Order,
        errand: &Errand<'_>,
        current: Option<Challenge>,
        now: Timestamp,
    ) -> Result<Result<Dispatched, Refusal>, LoginError> {
        let code = Code::generate(&*self.entropy, self.otp.length);
        let text = self.messages.write(&Occasion {
            app_id: &order.app_id,
            app_name: &order.app_name,
            channel: order.channel,
            purpose: &order.purpose,
            languages: &order.languages,
            code: &code,
            lifetime: self.otp.lifetime,
        });
        // Where nobody would take it, a closed address hears what any other hears.
        let (to, app_id, locale) = (&order.address, order.app_id.as_str(), text.locale.as_str());
        let trip = Trip { channel: order.channel, to, app_id, locale };
        let withheld = errand.withheld && self.courier.leads(&trip, || is_gsm7(&text.body));
        let letter = Letter { code: &code, locale, withheld };
        let mut draft = match self.draft(order, errand.secret, current, &letter, now).await? {
            Ok(draft) => draft,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let outgoing = OutgoingCode {
            id: draft.delivery.id.clone(),
            to: order.address.clone(),
            purpose: order.purpose.kind(),
            code: Some(code),
            app_id: order.app_id.clone(),
            app_name: order.app_name.clone(),
            lifetime: self.otp.lifetime,
            text,
        };
        let mut plan = if errand.withheld && !withheld {
            Plan::default()
        } else {
            self.courier.plan(order.channel, &outgoing, errand.failed)
        };
        // A person may ask for the same way again; by ourselves we take another one, or none.
        if order.resend_of.is_some() {
            plan.leave_out(errand.failed);
            if plan.providers.is_empty() {
                return Ok(Err(Refusal::NoOtherWay));
            }
        }
        draft.decide(&plan, &self.limits);
        let draft = Arc::new(draft);
        let posting = Posting { draft: Arc::clone(&draft), limits: self.limits.clone(), now };
        let next_send_at = match self.store.write_batched(&self.batches.starts, posting).await? {
            Ok(next_send_at) => next_send_at,
            Err(Missed) => return Ok(Err(self.why_missed(draft, now).await?)),
        };

        let failure = if withheld {
            tokio::time::sleep(self.pace.of(order.channel).saturating_sub(TIMER_STEP)).await;
            self.give_back(plan.dearest());
            None
        } else {
            let from = self.clock.now();
            let report = self.courier.deliver(&plan, &outgoing, SEND_DEADLINE).await;
            let failure = report.result.as_ref().err().and_then(refused);
            // One that nobody took is no measure for one that seems to be on its way.
            if failure.is_none() {
                self.pace.note(order.channel, self.clock.now().wait_from(from));
            }
            if let Some(writing) = self.note(&draft.matter(&plan), &outgoing, &plan, report) {
                writing.await;
            }
            failure
        };
        Ok(Ok(Dispatched { draft, next_send_at, failure }))
    }

    /// Returns the day's money for a message that did not leave.
    fn give_back(&self, amount: Money) {
        let Some(limit) = self.limits.spend_per_day.filter(|_| amount > Money::ZERO) else { return };
        self.store.write_detached("giving money back", move |db| {
            budgets::refund_money(db, MONEY_KEY, limit, amount)
        });
    }

    async fn why_missed(&self, draft: Arc<Draft>, now: Timestamp) -> Result<Refusal, LoginError> {
        let limits = self.limits.clone();
        let refusal = self.store.read(move |db| draft.why_missed(db, &limits, now)).await?;
        if matches!(refusal, Refusal::OutOfMoney(_)) && self.courier.board().may_alarm(now) {
            tracing::error!(
                alarm = true,
                "codes are not sent: the day's money is spent; look for abuse, or raise limits.spend_per_day"
            );
        }
        Ok(refusal)
    }
}

/// Nothing when it may have been taken.
fn refused(error: &SendError) -> Option<Failure> {
    match error {
        SendError::BadNumber(_) => Some(Failure::BadAddress),
        SendError::Blocked(_) => Some(Failure::Blocked),
        SendError::Unroutable(_)
        | SendError::Rejected(_)
        | SendError::Auth(_)
        | SendError::NoFunds(_)
        | SendError::Throttled { .. }
        | SendError::Temporary(_) => Some(Failure::Undeliverable),
        SendError::Unknown(_) => None,
    }
}
