//! The brake on guessing, one per (realm, address).
//!
//! Guarantees: guesses grow slower the more of them fail, whatever the challenge, app, channel, node or network, and
//! only success or an audited operator act takes the brake off. At [`CAP`] comparisons since the last success one
//! guess a day is left, or none.

use std::time::Duration;

use super::time::Timestamp;

/// Failures that cost no wait.
pub const FREE_FAILURES: i32 = 5;

/// The wait behind each failure past the free ones; the last one repeats.
pub const WAITS: [Duration; 8] = [
    Duration::from_secs(30),
    Duration::from_mins(1),
    Duration::from_mins(2),
    Duration::from_mins(4),
    Duration::from_mins(8),
    Duration::from_mins(15),
    Duration::from_mins(30),
    Duration::from_hours(1),
];

/// Comparisons since the last success (NIST SP 800-63B §3.2.2: no more than 100 consecutive failures).
pub const CAP: i32 = 100;

/// A guess may cost three comparisons: past this many the next one could cross [`CAP`].
pub const CAP_REACHED: i32 = CAP - 2;

/// The pace at [`AtCap::Slow`].
pub const SLOW_WAIT: Duration = Duration::from_hours(24);

/// What happens at [`CAP`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCap {
    /// One guess in 24 hours, and an alarm.
    Slow,
    /// Nothing until an operator opens the guard.
    Close,
}

impl AtCap {
    /// When the guess after one at the cap may come.
    #[must_use]
    pub fn next_guess(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Slow => now.plus(SLOW_WAIT),
            Self::Close => Timestamp::NEVER,
        }
    }
}

/// The wait that stands behind failure number `failures`.
#[must_use]
pub fn wait_after(failures: i32) -> Duration {
    match usize::try_from(failures - FREE_FAILURES - 1) {
        Ok(step) => WAITS.get(step).or(WAITS.last()).copied().unwrap_or_default(),
        Err(_) => Duration::ZERO,
    }
}

/// A guard as the database holds it. An address that never failed has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// Guesses since the last success.
    pub failures: i32,
    /// Guesses times the live codes each was compared with.
    pub comparisons: i32,
    /// No guess is evaluated before.
    pub next_guess_at: Timestamp,
}

/// Whether a guess may be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Now.
    Open,
    /// From then on.
    At(Timestamp),
    /// When an operator says so.
    Closed,
}

impl Guard {
    /// What the guard says at `now`.
    #[must_use]
    pub fn opening(&self, now: Timestamp) -> Opening {
        if self.next_guess_at == Timestamp::NEVER {
            Opening::Closed
        } else if self.next_guess_at > now {
            Opening::At(self.next_guess_at)
        } else {
            Opening::Open
        }
    }

    /// Whether this guess was the one that reached the cap.
    #[must_use]
    pub fn is_at_cap(&self) -> bool {
        self.comparisons >= CAP_REACHED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_are_free_then_waits_grow_to_an_hour_b4() {
        let secs: Vec<u64> = (0..=15).map(|failures| wait_after(failures).as_secs()).collect();
        assert_eq!(secs, [0, 0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 1800, 3600, 3600, 3600]);
    }

    #[test]
    fn the_widest_guess_never_crosses_the_cap_b4() {
        assert_eq!(CAP_REACHED - 1 + 3, CAP);
    }

    #[test]
    fn a_guard_opens_at_its_time_and_a_closed_one_never_b4() {
        let at = Timestamp::from_millis(1_000);
        let guard = Guard { failures: 6, comparisons: 6, next_guess_at: at };
        assert_eq!(guard.opening(Timestamp::from_millis(999)), Opening::At(at));
        assert_eq!(guard.opening(at), Opening::Open);
        let closed = Guard { next_guess_at: AtCap::Close.next_guess(at), ..guard };
        assert_eq!(closed.opening(Timestamp::from_millis(i64::MAX - 1)), Opening::Closed);
    }
}
