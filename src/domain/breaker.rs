//! When to leave a backend or a gateway alone.
//!
//! Guarantees: pure. Only failures (no answer, or none that can be used) open the circuit, and only in an unbroken
//! row; a refusal is an answer. While it is open nobody calls; then exactly one probe does, and what becomes of it
//! decides. Calls that began before the circuit changed have no say any more. A backend that asks to be left alone is. One
//! that nobody but an operator can bring back opens the circuit at once.

use std::time::Duration;

use crate::domain::time::Timestamp;

/// So many failures in a row are no accident.
pub(crate) const MAX_FAILURES: u32 = 5;
/// The first wait; each probe that fails doubles it.
pub(crate) const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest: a backend that is back is found within this.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// While a probe is on its way.
pub(crate) const PROBE_WAIT: Duration = Duration::from_secs(1);
/// A backend's own word is taken up to this: a wrong one should not close us for a day.
pub(crate) const LONGEST_THROTTLE: Duration = Duration::from_mins(5);

/// Whether a backend is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// It is.
    Closed,
    /// One call is on its way to find out.
    HalfOpen,
    /// It is left alone.
    Open,
}

impl Circuit {
    /// As the readiness probe writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }

    /// For dashboards.
    #[must_use]
    pub fn gauge(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// The right to make one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The circuit's changes so far.
    epoch: u64,
}

/// May a call be made?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Yes; what becomes of it must be noted.
    Call(Ticket),
    /// No: it fails. Until it is looked at again.
    Resting(Duration),
    /// No: it asked to be left alone. Until then.
    Throttled(Duration),
}

/// What became of a call, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Any answer, good or bad.
    Answered,
    /// It wants to be left alone for so long.
    Throttled(Duration),
    /// None that can be used.
    Failed,
    /// An answer that will be the same until an operator does something.
    Hopeless,
}

/// One backend's circuit.
pub(crate) struct Breaker {
    state: State,
    epoch: u64,
    throttled: Throttle,
}

#[derive(Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { since: Timestamp, wait: Duration },
    HalfOpen { wait: Duration },
}

/// Since when, and for how long; kept apart so that a clock that is set back cannot prolong it.
#[derive(Clone, Copy)]
struct Throttle {
    since: Timestamp,
    wait: Duration,
}

/// What is left of a wait. None where the clock stands before its beginning: it was set back.
fn left(since: Timestamp, wait: Duration, now: Timestamp) -> Duration {
    if now < since { Duration::ZERO } else { since.plus(wait).wait_from(now) }
}

impl Breaker {
    pub(crate) fn new() -> Self {
        let throttled = Throttle { since: Timestamp::from_millis(0), wait: Duration::ZERO };
        Self { state: State::Closed { failures: 0 }, epoch: 0, throttled }
    }

    /// Does something to it. Some: what the circuit became by that.
    pub(crate) fn change<T>(&mut self, action: impl FnOnce(&mut Self) -> T) -> (T, Option<Circuit>) {
        let before = self.circuit();
        let done = action(self);
        let after = self.circuit();
        (done, (before != after).then_some(after))
    }

    pub(crate) fn circuit(&self) -> Circuit {
        match self.state {
            State::Closed { .. } => Circuit::Closed,
            State::HalfOpen { .. } => Circuit::HalfOpen,
            State::Open { .. } => Circuit::Open,
        }
    }

    /// Asks for a call.
    pub(crate) fn admit(&mut self, now: Timestamp) -> Admission {
        let throttled = left(self.throttled.since, self.throttled.wait, now);
        if !throttled.is_zero() {
            return Admission::Throttled(throttled);
        }
        match self.state {
            State::Closed { .. } => {}
            State::HalfOpen { .. } => return Admission::Resting(PROBE_WAIT),
            State::Open { since, wait } => {
                let rest = left(since, wait, now);
                if !rest.is_zero() {
                    return Admission::Resting(rest);
                }
                self.turn(State::HalfOpen { wait });
            }
        }
        Admission::Call(Ticket { epoch: self.epoch })
    }

    /// Takes note of what became of a call.
    pub(crate) fn note(&mut self, ticket: Ticket, outcome: Outcome, now: Timestamp) {
        if let Outcome::Throttled(wait) = outcome {
            let wait = wait.min(LONGEST_THROTTLE);
            if wait > left(self.throttled.since, self.throttled.wait, now) {
                self.throttled = Throttle { since: now, wait };
            }
        }
        if ticket.epoch != self.epoch {
            return;
        }
        match (self.state, outcome) {
            (State::Closed { .. }, Outcome::Answered | Outcome::Throttled(_)) => {
                self.state = State::Closed { failures: 0 };
            }
            (State::Closed { .. } | State::HalfOpen { .. }, Outcome::Hopeless) => {
                self.turn(State::Open { since: now, wait: LONGEST_WAIT });
            }
            (State::Closed { failures }, Outcome::Failed) if failures + 1 < MAX_FAILURES => {
                self.state = State::Closed { failures: failures + 1 };
            }
            (State::Closed { .. }, Outcome::Failed) => {
                self.turn(State::Open { since: now, wait: FIRST_WAIT });
            }
            (State::HalfOpen { .. }, Outcome::Answered | Outcome::Throttled(_)) => {
                self.turn(State::Closed { failures: 0 });
            }
            (State::HalfOpen { wait }, Outcome::Failed) => {
                let wait = wait.saturating_mul(2).min(LONGEST_WAIT);
                self.turn(State::Open { since: now, wait });
            }
            // Its epoch has no tickets.
            (State::Open { .. }, _) => {}
        }
    }

    /// It answers: whoever called without asking has seen it.
    pub(crate) fn restore(&mut self) {
        if self.circuit() != Circuit::Closed {
            self.turn(State::Closed { failures: 0 });
        }
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests;
