//! How long an answer takes when nothing is sent.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::SEND_DEADLINE;
use crate::domain::channel::Channel;

/// Remembers how long the last message over each channel took, so that one that is withheld takes as long: whoever
/// asks with a watch in hand learns nothing.
#[derive(Debug, Default)]
pub struct Pace(Mutex<BTreeMap<Channel, Duration>>);

impl Pace {
    /// A message took this long.
    pub(super) fn note(&self, channel: Channel, took: Duration) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The clock may have been set meanwhile.
        last.insert(channel, took.min(SEND_DEADLINE));
    }

    /// How long the next one will take; nothing before the first.
    pub(super) fn of(&self, channel: Channel) -> Duration {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(&channel).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_send_over_a_channel_sets_its_pace_within_the_deadline_e5() {
        let pace = Pace::default();
        assert_eq!(pace.of(Channel::Sms), Duration::ZERO);
        pace.note(Channel::Sms, Duration::from_millis(300));
        pace.note(Channel::Sms, Duration::from_millis(40));
        pace.note(Channel::Voice, Duration::from_hours(1));
        assert_eq!(pace.of(Channel::Sms), Duration::from_millis(40));
        assert_eq!(pace.of(Channel::Voice), SEND_DEADLINE);
        assert_eq!(pace.of(Channel::Email), Duration::ZERO);
    }
}
