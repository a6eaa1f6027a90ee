//! One provider, and what keeps us from it for a while.
//!
//! Guarantees: what became of each call is noted, also of one that nobody waits for any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{OutgoingCode, Provider, Receipt, SendError};
use crate::ambient::Clock;
use crate::config::Terms;
use crate::domain::breaker::{Admission, Breaker, Circuit, Outcome, Ticket};
use crate::domain::time::Timestamp;
use crate::telemetry::Metrics;

/// A gateway that asks us to slow down is left alone for this long, where it does not say how long.
const THROTTLED_FOR: Duration = Duration::from_secs(5);

/// Nobody waits longer than this for a turn.
const LONGEST_TURN: Duration = Duration::from_secs(3);

/// A provider behind its circuit breaker and its own pace.
pub(super) struct Lane {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) terms: Terms,
    breaker: Mutex<Breaker>,
    pace: Mutex<Pace>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// Messages in a second, kept in memory: it is politeness, and guards nothing of ours.
#[derive(Default)]
struct Pace {
    /// Microseconds: the theoretical arrival time of the next message.
    arrival: i64,
}

impl Pace {
    /// Takes a turn, and says how long to wait for it. None: longer than `patience`, and nothing is taken.
    fn take(&mut self, per_second: u32, now: Timestamp, patience: Duration) -> Option<Duration> {
        const SECOND: i64 = 1_000_000;
        let Some(interval) = SECOND.checked_div(i64::from(per_second)) else { return Some(Duration::ZERO) };
        let now = now.as_millis().saturating_mul(1000);
        // A clock that was set back must not close the lane.
        let arrival = self.arrival.clamp(now, now.saturating_add(4 * SECOND));
        let wait =
            u64::try_from(arrival + interval - SECOND - now).map_or(Duration::ZERO, Duration::from_micros);
        let fits = wait <= patience;
        if fits {
            self.arrival = arrival + interval;
        }
        fits.then_some(wait)
    }
}

/// Whether a provider is asked while it would rather be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// There are others.
    Spare,
    /// There is nobody else.
    LastResort,
}

/// A call that is on its way. Dropped without a word, it has failed: whoever waited for it gave up.
struct OnItsWay<'a> {
    lane: &'a Lane,
    ticket: Option<Ticket>,
    outcome: Outcome,
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        let now = self.lane.clock.now();
        let (ticket, outcome) = (self.ticket, self.outcome);
        self.lane.change(|breaker| match ticket {
            Some(ticket) => breaker.note(ticket, outcome, now),
            None if outcome == Outcome::Answered => breaker.restore(),
            None => {}
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lane {
    pub(super) fn new(
        provider: Arc<dyn Provider>,
        terms: Terms,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        metrics.set_provider_circuit(provider.name(), Circuit::Closed.gauge());
        Self { provider, terms, breaker: Mutex::new(Breaker::new()), pace: Mutex::default(), clock, metrics }
    }

    /// Hands the message over. None: the provider is left alone now.
    pub(super) async fn send(
        &self,
        message: &OutgoingCode,
        urgency: Urgency,
    ) -> Option<Result<Receipt, SendError>> {
        let now = self.clock.now();
        let patience = if urgency == Urgency::LastResort { LONGEST_TURN } else { Duration::ZERO };
        let turn = lock(&self.pace).take(self.terms.per_second, now, patience)?;
        let ticket = match self.change(|breaker| breaker.admit(now)) {
            Admission::Call(ticket) => Some(ticket),
            Admission::Resting(_) | Admission::Throttled(_) if urgency == Urgency::LastResort => None,
            Admission::Resting(_) | Admission::Throttled(_) => return None,
        };
        let mut on_its_way = OnItsWay { lane: self, ticket, outcome: Outcome::Failed };
        if !turn.is_zero() {
            tokio::time::sleep(turn).await;
        }
        let result = self.provider.send(message).await;
        on_its_way.outcome = outcome_of(&result);
        Some(result)
    }

    /// Does something to the breaker, and tells of what that changed.
    fn change<T>(&self, action: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = lock(&self.breaker);
        let (done, changed) = breaker.change(action);
        if let Some(after) = changed {
            let provider = self.provider.name();
            self.metrics.set_provider_circuit(provider, after.gauge());
            match after {
                Circuit::Open => tracing::warn!(provider, "the provider fails: others are tried before it"),
                Circuit::HalfOpen => {
                    tracing::info!(provider, "one message finds out whether the provider is back");
                }
                Circuit::Closed => tracing::info!(provider, "the provider is back"),
            }
        }
        done
    }
}

/// What a circuit breaker makes of it: a refusal is an answer.
fn outcome_of(result: &Result<Receipt, SendError>) -> Outcome {
    match result {
        Ok(_)
        | Err(
            SendError::BadNumber(_)
            | SendError::Blocked(_)
            | SendError::Unroutable(_)
            | SendError::Rejected(_),
        ) => Outcome::Answered,
        Err(SendError::Auth(_) | SendError::NoFunds(_)) => Outcome::Hopeless,
        Err(SendError::Throttled { after, .. }) => Outcome::Throttled(after.unwrap_or(THROTTLED_FOR)),
        Err(SendError::Temporary(_) | SendError::Unknown(_)) => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_messages_and_who_must_wait_is_told_how_long() {
        let at = |millis: i64| Timestamp::from_millis(1_000_000 + millis);
        let mut pace = Pace::default();
        let mut take = |millis, patience| pace.take(4, at(millis), Duration::from_millis(patience));
        for _ in 0..4 {
            assert_eq!(take(0, 0), Some(Duration::ZERO));
        }
        assert_eq!(take(0, 0), None);
        assert_eq!(
            take(0, 250),
            Some(Duration::from_millis(250)),
            "the fifth takes the turn of the next quarter"
        );
        assert_eq!(take(100, 300), None);
        assert_eq!(take(100, 400), Some(Duration::from_millis(400)));
        assert_eq!(take(2000, 0), Some(Duration::ZERO));
        let mut free = Pace::default();
        assert!((0..1000).all(|_| free.take(0, at(0), Duration::ZERO) == Some(Duration::ZERO)));
    }

    #[test]
    fn a_clock_that_is_set_back_closes_no_lane() {
        let mut pace = Pace::default();
        let at = |secs: i64| Timestamp::from_millis(secs * 1000);
        assert_eq!(pace.take(1, at(1_000_000), Duration::ZERO), Some(Duration::ZERO));
        assert!(pace.take(1, at(10), LONGEST_TURN * 2).is_some());
    }
}
