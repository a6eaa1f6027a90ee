//! How many retries there may be.
//!
//! Guarantees: never more than one for ten calls, from the first call on, so that retries add at most a tenth to what
//! a backend that struggles has to bear. What is saved up in quiet times is bounded, too.

/// A call pays in one part, a retry takes ten.
const RETRY_COST: u32 = 10;
/// Ten retries.
const MAX_SAVED: u32 = 10 * RETRY_COST;

/// Of one backend.
#[derive(Debug, Default)]
pub(super) struct RetryBudget {
    saved: u32,
}

impl RetryBudget {
    /// A call is made.
    pub(super) fn pay_in(&mut self) {
        self.saved = (self.saved + 1).min(MAX_SAVED);
    }

    /// Takes a retry, if there is one.
    pub(super) fn take(&mut self) -> bool {
        let left = self.saved.checked_sub(RETRY_COST);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_gets_one_retry_for_ten_calls_f5() {
        let mut budget = RetryBudget::default();
        assert!(!budget.take(), "nothing is given in advance");
        let (mut calls, mut retries) = (0, 0);
        for _ in 0..10_000 {
            budget.pay_in();
            calls += 1;
            // As many as there are.
            while budget.take() {
                retries += 1;
            }
            assert!(retries * 10 <= calls);
        }
        assert_eq!(retries, 1000);
    }

    #[test]
    fn a_quiet_day_saves_up_ten_retries_and_no_more_f5() {
        let mut budget = RetryBudget::default();
        (0..1_000_000).for_each(|_| budget.pay_in());
        let retries = (0..100).filter(|_| budget.take()).count();
        assert_eq!(retries, 10);
    }
}
