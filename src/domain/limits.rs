//! How much may be sent: rates, and the waits between two messages to one address.
//!
//! A rate is a GCRA (generic cell rate algorithm, ITU-T I.371): one timestamp, the *theoretical arrival time*, is
//! its whole state, and spending is one conditional statement. `store/budgets.rs` has that statement; the pure twin
//! here says how long a refused one must wait, and is the model that the statement is tested against.

use std::time::Duration;

use super::time::{Timestamp, millis};

/// So many at once, one back every `period / burst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    burst: u32,
    period: Duration,
}

impl Rate {
    /// `burst` and `period` from 1 and 1 ms; a period shorter than the burst in ms is no rate that a clock of
    /// milliseconds can hold.
    #[must_use]
    pub fn new(burst: u32, period: Duration) -> Option<Self> {
        (burst > 0 && millis(period) >= i64::from(burst)).then_some(Self { burst, period })
    }

    /// `burst` in so many hours; both at least 1.
    #[must_use]
    pub const fn per_hours(burst: u32, hours: u64) -> Self {
        Self::per_minutes(burst, hours * 60)
    }

    /// `burst` in so many minutes; both at least 1.
    #[must_use]
    pub const fn per_minutes(burst: u32, minutes: u64) -> Self {
        Self { burst, period: Duration::from_secs(minutes * 60) }
    }

    /// How many at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// The time in which a whole burst comes back.
    #[must_use]
    pub fn period(self) -> Duration {
        self.period
    }

    /// Ten times as many in the same time.
    #[must_use]
    pub fn tenfold(self) -> Self {
        let burst = self.burst.saturating_mul(10);
        Self { burst, period: self.period.max(Duration::from_millis(u64::from(burst))) }
    }

    /// The time in which one comes back, ms.
    #[must_use]
    pub fn interval_ms(self) -> i64 {
        millis(self.period) / i64::from(self.burst)
    }

    /// A spend is allowed while the arrival time is at most this far ahead of now, ms.
    #[must_use]
    pub fn tolerance_ms(self) -> i64 {
        self.interval_ms() * (i64::from(self.burst) - 1)
    }

    /// When a bucket with this arrival time lets the next one through.
    #[must_use]
    pub fn opens_at(self, arrival: Timestamp) -> Timestamp {
        Timestamp::from_millis(arrival.as_millis().saturating_sub(self.tolerance_ms()))
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}s", self.burst, self.period.as_secs())
    }
}

/// The waits between messages to one address: behind the first, second, third, and each later one.
///
/// Which one applies is read from the address's daily bucket: as its sends come back, the waits shrink again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendWaits(pub [Duration; 4]);

impl Default for SendWaits {
    fn default() -> Self {
        Self([60, 120, 300, 600].map(Duration::from_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_a_day_come_back_one_every_two_hours_twenty_four() {
        let rate = Rate::new(10, Duration::from_hours(24)).expect("a rate");
        assert_eq!(rate.interval_ms(), (2 * 60 + 24) * 60 * 1000);
        let now = Timestamp::from_millis(1_000_000);
        let full = now.plus(Duration::from_hours(24));
        assert_eq!(rate.opens_at(full), now.plus(Duration::from_mins(144)));
    }

    #[test]
    fn a_rate_needs_a_burst_and_a_millisecond_for_each() {
        assert!(Rate::new(0, Duration::from_secs(1)).is_none());
        assert!(Rate::new(1001, Duration::from_secs(1)).is_none());
        assert!(Rate::new(1000, Duration::from_secs(1)).is_some());
    }
}
