//! What stands between us and a backend that is not well.
//!
//! Guarantees: a backend that keeps failing is not called, but for one probe at a time; whoever asks then is told so at
//! once, and nothing was minted. A call is repeated only where that is safe: it certainly did not mint, or minting
//! twice does no harm. Repeats come after a random pause, within the first half of the deadline, and are never more
//! than a tenth of the calls.

mod budget;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{ChatToken, Subject, Upstream, UpstreamError};
use crate::ambient::{Clock, Entropy};
use crate::domain::address::Address;
use crate::domain::breaker::{Admission, Breaker, Circuit, Outcome, Ticket};
use crate::domain::time::Timestamp;
use crate::telemetry::Metrics;
use budget::RetryBudget;

/// Behind the first try.
const MAX_RETRIES: u32 = 2;
/// The first pause is up to this; the next up to twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A backend behind a circuit breaker.
pub(super) struct Guarded {
    name: String,
    inner: Arc<dyn Upstream>,
    /// How long all tries may take together.
    deadline: Duration,
    breaker: Mutex<Breaker>,
    budget: Mutex<RetryBudget>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: Arc<Metrics>,
}

/// What all guards share.
#[derive(Clone)]
pub struct Surroundings {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// A call that is on its way. Dropped without a word, it has failed: whoever waited for it gave up.
struct OnItsWay<'a> {
    guarded: &'a Guarded,
    ticket: Ticket,
    outcome: Outcome,
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        let now = self.guarded.clock.now();
        self.guarded.change(|breaker| breaker.note(self.ticket, self.outcome, now));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guarded {
    pub(super) fn new(
        name: &str,
        inner: Arc<dyn Upstream>,
        deadline: Duration,
        surroundings: Surroundings,
    ) -> Self {
        let Surroundings { clock, entropy, metrics } = surroundings;
        metrics.set_circuit(name, Circuit::Closed.gauge());
        let (breaker, budget) = (Mutex::new(Breaker::new()), Mutex::default());
        Self { name: name.to_owned(), inner, deadline, breaker, budget, clock, entropy, metrics }
    }

    /// Calls, and calls again where that is safe and worth it.
    async fn call<'a, T>(
        &'a self,
        is_repeatable: bool,
        once: impl Fn() -> BoxFuture<'a, Result<T, UpstreamError>> + Send,
    ) -> Result<T, UpstreamError> {
        let began = self.clock.now();
        let mut retries = 0;
        loop {
            let on_its_way = self.admit()?;
            if retries == 0 {
                lock(&self.budget).pay_in();
            }
            let ended = watch(on_its_way, once()).await;
            let Err(error) = &ended else { return ended };
            let Some(pause) = self.pause_before_retry(error, is_repeatable, retries, began) else {
                return ended;
            };
            tokio::time::sleep(pause).await;
            retries += 1;
        }
    }

    fn admit(&self) -> Result<OnItsWay<'_>, UpstreamError> {
        let now = self.clock.now();
        match self.change(|breaker| breaker.admit(now)) {
            Admission::Call(ticket) => Ok(OnItsWay { guarded: self, ticket, outcome: Outcome::Failed }),
            Admission::Resting(after) => Err(UpstreamError::Resting { after }),
            Admission::Throttled(after) => {
                Err(UpstreamError::Throttled { after, said: "it asked to be left alone".to_owned() })
            }
        }
    }

    /// How long to wait before trying again; none where that is over.
    fn pause_before_retry(
        &self,
        error: &UpstreamError,
        is_repeatable: bool,
        retries: u32,
        began: Timestamp,
    ) -> Option<Duration> {
        let is_safe = match error {
            UpstreamError::Unavailable(_) => true,
            UpstreamError::Unknown(_) => is_repeatable,
            UpstreamError::Refused(_)
            | UpstreamError::Misconfigured(_)
            | UpstreamError::Throttled { .. }
            | UpstreamError::Resting { .. } => false,
        };
        if !is_safe || retries >= MAX_RETRIES || lock(&self.breaker).circuit() != Circuit::Closed {
            return None;
        }
        let pause = self.jitter(FIRST_PAUSE * (1 << retries));
        let ends = began.plus(self.deadline / 2);
        let in_time = self.clock.now().plus(pause) < ends;
        if !in_time || !lock(&self.budget).take() {
            return None;
        }
        self.metrics.count_retry(&self.name);
        Some(pause)
    }

    /// Any time up to `longest`: whoever failed together does not come back together.
    fn jitter(&self, longest: Duration) -> Duration {
        let mut random = [0; 4];
        self.entropy.fill(&mut random);
        longest.mul_f64(f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX))
    }

    /// Does something to the breaker, and tells of what that changed.
    fn change<T>(&self, action: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = lock(&self.breaker);
        let (done, changed) = breaker.change(action);
        // Under the lock still: the last change is the last one told.
        if let Some(after) = changed {
            self.metrics.set_circuit(&self.name, after.gauge());
            let upstream = self.name.as_str();
            match after {
                Circuit::Open => {
                    tracing::warn!(upstream, "the backend keeps failing: it is left alone");
                }
                Circuit::HalfOpen => {
                    tracing::info!(upstream, "one call finds out whether the backend is back");
                }
                Circuit::Closed => tracing::info!(upstream, "the backend is back"),
            }
        }
        done
    }
}

/// Waits for a call, and notes what became of it.
async fn watch<T>(
    mut on_its_way: OnItsWay<'_>,
    call: BoxFuture<'_, Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    let ended = call.await;
    on_its_way.outcome = match &ended {
        Ok(_) | Err(UpstreamError::Refused(_) | UpstreamError::Misconfigured(_)) => Outcome::Answered,
        Err(UpstreamError::Throttled { after, .. } | UpstreamError::Resting { after }) => {
            Outcome::Throttled(*after)
        }
        Err(UpstreamError::Unavailable(_) | UpstreamError::Unknown(_)) => Outcome::Failed,
    };
    ended
}

impl Upstream for Guarded {
    fn mint<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<ChatToken, UpstreamError>> {
        Box::pin(self.call(self.inner.may_mint_twice(), || self.inner.mint(subject)))
    }

    fn revoke<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<(), UpstreamError>> {
        // What is revoked twice is revoked.
        Box::pin(self.call(true, || self.inner.revoke(subject)))
    }

    fn may_mint_twice(&self) -> bool {
        self.inner.may_mint_twice()
    }

    fn id_by_address<'a>(&self, address: &'a Address) -> Option<&'a str> {
        self.inner.id_by_address(address)
    }

    fn circuit(&self) -> Option<Circuit> {
        Some(lock(&self.breaker).circuit())
    }
}

#[cfg(test)]
mod tests;
