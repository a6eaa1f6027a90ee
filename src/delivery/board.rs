//! What is known of providers, in memory: what operators said, and what became of their messages.
//!
//! Guarantees: sending looks here and nowhere else. What was counted here and is not in the database yet is counted,
//! too; of a process that dies a few seconds of it are lost, which no limit depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::domain::phone::Country;
use crate::domain::selection::{Ruling, Says, Tally};
use crate::domain::time::Timestamp;

/// A provider and a country; [`Country::UNKNOWN`] stands for mailboxes.
pub type Pair = (String, Country);

/// The hour that something was counted in, since the epoch.
pub type Hour = i64;

/// Shared by all who send, also over a change of the configuration.
#[derive(Default)]
pub struct Board {
    rulings: ArcSwap<BTreeMap<String, Ruling>>,
    /// As the database has it: of all nodes.
    known: ArcSwap<BTreeMap<Pair, Tally>>,
    /// Not in the database yet.
    fresh: Mutex<BTreeMap<(Pair, Hour), Tally>>,
    /// Who has reported what became of a message.
    reporting: Mutex<BTreeSet<String>>,
    /// When the last alarm was, unix ms.
    alarmed_at: AtomicI64,
}

/// Between two alarms about money: each refused start would be one.
const ALARM_EVERY: Duration = Duration::from_mins(1);

impl Board {
    /// What an operator says of a provider now.
    #[must_use]
    pub fn ruling(&self, provider: &str, now: Timestamp) -> Option<Says> {
        let rulings = self.rulings.load();
        rulings.get(provider).filter(|ruling| ruling.until > now).map(|ruling| ruling.says)
    }

    /// What became of a provider's messages to a country.
    #[must_use]
    pub fn tally(&self, provider: &str, country: Country) -> Tally {
        let pair = (provider.to_owned(), country);
        let known = self.known.load().get(&pair).copied().unwrap_or_default();
        let fresh = self.fresh();
        let of_pair = fresh.range((pair.clone(), Hour::MIN)..=(pair, Hour::MAX));
        of_pair.fold(known, |sum, (_, tally)| sum.plus(*tally))
    }

    /// A provider took a message, or may have.
    pub fn count_sent(&self, provider: &str, country: Country, now: Timestamp) {
        self.count(provider, country, now, Tally { sent: 1, verified: 0 });
    }

    /// The code of one of its messages came back.
    pub fn count_verified(&self, provider: &str, country: Country, now: Timestamp) {
        self.count(provider, country, now, Tally { sent: 0, verified: 1 });
    }

    fn count(&self, provider: &str, country: Country, now: Timestamp, tally: Tally) {
        let mut fresh = self.fresh();
        let sum = fresh.entry(((provider.to_owned(), country), hour_of(now))).or_default();
        *sum = sum.plus(tally);
    }

    /// What is to be written down, which is not kept here any more.
    pub fn take_fresh(&self) -> BTreeMap<(Pair, Hour), Tally> {
        mem::take(&mut *self.fresh())
    }

    /// It was not written down.
    pub fn give_back(&self, counts: BTreeMap<(Pair, Hour), Tally>) {
        let mut fresh = self.fresh();
        for (key, tally) in counts {
            let sum = fresh.entry(key).or_default();
            *sum = sum.plus(tally);
        }
    }

    /// What the database knows now.
    pub fn update(&self, rulings: BTreeMap<String, Ruling>, known: BTreeMap<Pair, Tally>) {
        self.rulings.store(Arc::new(rulings));
        self.known.store(Arc::new(known));
    }

    /// A provider has reported what became of a message.
    pub fn note_report(&self, provider: &str) {
        let mut reporting = self.reporting();
        if !reporting.contains(provider) {
            reporting.insert(provider.to_owned());
        }
    }

    /// Whether a provider has reported anything since the process began.
    #[must_use]
    pub fn has_reported(&self, provider: &str) -> bool {
        self.reporting().contains(provider)
    }

    fn reporting(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.reporting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an alarm about money is due; then it counts as given.
    pub fn may_alarm(&self, now: Timestamp) -> bool {
        let last = self.alarmed_at.load(Ordering::Relaxed);
        let is_due = now >= Timestamp::from_millis(last).plus(ALARM_EVERY);
        is_due
            && self
                .alarmed_at
                .compare_exchange(last, now.as_millis(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn fresh(&self) -> MutexGuard<'_, BTreeMap<(Pair, Hour), Tally>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hour of a time.
#[must_use]
pub fn hour_of(now: Timestamp) -> Hour {
    const HOUR_SECS: i64 = Duration::from_hours(1).as_secs().cast_signed();
    now.as_secs().div_euclid(HOUR_SECS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000)
    }

    #[test]
    fn what_is_not_written_down_yet_is_counted_with_what_is() {
        let (board, us) = (Board::default(), Country::of("US"));
        board.update(BTreeMap::new(), [(("a".to_owned(), us), Tally { sent: 10, verified: 5 })].into());
        board.count_sent("a", us, at(1));
        board.count_sent("a", us, at(2));
        board.count_verified("a", us, at(2));
        board.count_sent("a", Country::of("GB"), at(2));
        board.count_sent("b", us, at(2));
        assert_eq!(board.tally("a", us), Tally { sent: 12, verified: 6 });
        let fresh = board.take_fresh();
        assert_eq!(fresh.len(), 4, "by provider, country and hour");
        assert_eq!(board.tally("a", us), Tally { sent: 10, verified: 5 });
        board.give_back(fresh);
        assert_eq!(board.tally("a", us), Tally { sent: 12, verified: 6 });
    }

    #[test]
    fn a_ruling_holds_until_its_time() {
        let board = Board::default();
        let ruling = Ruling { says: Says::Disabled, until: at(2) };
        board.update([("a".to_owned(), ruling)].into(), BTreeMap::new());
        assert_eq!(board.ruling("a", at(1)), Some(Says::Disabled));
        assert_eq!((board.ruling("a", at(2)), board.ruling("b", at(1))), (None, None));
    }
}
