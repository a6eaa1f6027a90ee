//! A code goes out: drawn, hashed in its place, written down, and offered to the providers.
//!
//! Guarantees: one way for all codes, whoever asks for them. What is offered to a provider is on record; what is on
//! record and was not offered, after a crash, is never sent.

use std::sync::Arc;

use super::draft::{Draft, Letter, Refusal, address_key};
use super::start::{Order, Started};
use super::{Login, LoginError, SEND_DEADLINE};
use crate::delivery::{Occasion, OutgoingCode, Report, SendError};
use crate::domain::challenge::Challenge;
use crate::domain::code::Code;
use crate::domain::ids::{ChallengeId, SecretHash};
use crate::domain::time::Timestamp;
use crate::store::deliveries::{self, Outcome, Status};
use crate::store::{budgets, challenges};

/// What a code is sent with, beside its order.
pub(super) struct Errand<'a> {
    /// Of what the challenge's starter holds, in `/v1`.
    pub(super) secret: Option<SecretHash>,
    /// Whether nothing leaves: the address is closed.
    pub(super) withheld: bool,
    /// Providers that are not tried.
    pub(super) without: &'a [String],
}

/// A code that was written down, and offered.
pub(super) struct Dispatched {
    pub(super) draft: Arc<Draft>,
    /// When the next one may go.
    pub(super) next_send_at: Timestamp,
    /// What to tell where certainly nobody took it.
    pub(super) failure: Option<Started>,
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
            languages: &order.languages,
            code: &code,
            lifetime: self.otp.lifetime,
        });
        let letter = Letter { code: &code, locale: &text.locale, withheld: errand.withheld };
        let draft = match self.draft(order, errand.secret, current, &letter, now).await? {
            Ok(draft) => Arc::new(draft),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (limits, drafted) = (self.limits.clone(), Arc::clone(&draft));
        let next_send_at = match self.store.write(move |db| drafted.commit(db, &limits, now)).await? {
            Ok(next_send_at) => next_send_at,
            Err(refusal) => return Ok(Err(refusal)),
        };

        let outgoing = OutgoingCode {
            id: draft.delivery.id.clone(),
            to: order.address.clone(),
            code,
            app_id: order.app_id.clone(),
            app_name: order.app_name.clone(),
            lifetime: self.otp.lifetime,
            text,
        };
        let failure = if errand.withheld {
            tokio::time::sleep(self.pace.of(order.channel)).await;
            None
        } else {
            let from = self.clock.now();
            let report = self.courier.deliver(order.channel, &outgoing, SEND_DEADLINE, errand.without).await;
            self.pace.note(order.channel, self.clock.now().wait_from(from));
            let failure = report.result.as_ref().err().and_then(refused);
            self.note(&draft.delivery.challenge, order, &outgoing, report);
            failure
        };
        Ok(Ok(Dispatched { draft, next_send_at, failure }))
    }

    /// Writes down what became of a message. Nobody waits for it: a lost note becomes `unknown` by itself.
    fn note(&self, challenge: &ChallengeId, order: &Order, message: &OutgoingCode, report: Report) {
        let (status, provider_id, error) = match report.result {
            Ok(receipt) => (Status::Accepted, receipt.provider_id, None),
            Err(error @ SendError::Unknown(_)) => (Status::Unknown, None, Some(error)),
            Err(error) => (Status::Failed, None, Some(error)),
        };
        if let Some(error) = &error {
            tracing::error!(
                message_id = %message.id,
                to = message.to.masked(),
                provider = report.provider,
                error = %error,
                "a code was not delivered"
            );
        }
        let refund = error.as_ref().is_some_and(SendError::is_providers_fault);
        let kind = error.as_ref().map(SendError::kind);
        self.metrics.count_delivery(report.provider.as_deref(), kind.unwrap_or("accepted"));
        let now = self.clock.now();
        let due_at = self.due_at(order.channel, status, report.provider.as_deref(), now);
        let outcome = Outcome { status, provider: report.provider, provider_id, error: kind, due_at };
        let (id, rate) = (message.id.clone(), self.limits.per_address);
        let challenge = challenge.clone();
        let key = address_key(message.to.as_str());
        self.store.write_detached("noting a delivery", move |db| {
            let noted = deliveries::note(db, &id, &outcome, now)?;
            if noted && outcome.status == Status::Failed {
                // Nobody has this code: it must not keep one that somebody has from being valid, or seem to be one.
                challenges::withdraw_code(db, &challenge, &id)?;
            }
            if noted && refund {
                budgets::refund_address(db, &key, rate)?;
            }
            Ok(())
        });
    }
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
