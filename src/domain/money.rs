//! What messages cost.
//!
//! Guarantees: amounts are whole millionths of one unit of the operator's currency; nothing is rounded down where it
//! guards a budget.

use std::collections::BTreeMap;
use std::time::Duration;

use super::address::Address;
use super::time::millis;

/// An amount: millionths of the currency's unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(u64);

const DECIMALS: usize = 6;
const UNIT: u64 = 1_000_000;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads "0.0079": digits, with up to six more behind a point.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) || fraction.len() > DECIMALS {
            return None;
        }
        let units = whole.parse::<u64>().ok()?.checked_mul(UNIT)?;
        let millionths: u64 = format!("{fraction:0<DECIMALS$}").parse().ok()?;
        units.checked_add(millionths).map(Self)
    }

    /// In units of the currency, for arithmetic that may be inexact.
    #[must_use]
    pub fn units(self) -> f64 {
        let part = |number: u64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        part(self.0 / UNIT) + part(self.0 % UNIT) / 1e6
    }

    /// So many of these.
    #[must_use]
    pub fn times(self, count: usize) -> Self {
        Self(self.0.saturating_mul(u64::try_from(count).unwrap_or(u64::MAX)))
    }

    /// What is left of this without `other`; nothing where that is more.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{}.{:06}", self.0 / UNIT, self.0 % UNIT);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// What one provider takes for a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices {
    /// Where no prefix matches.
    pub default: Money,
    /// By the beginning of a number in E.164, such as `+1` or `+4477`.
    pub by_prefix: BTreeMap<String, Money>,
}

impl Prices {
    /// The price of one message: that of the longest prefix.
    #[must_use]
    pub fn of(&self, address: &Address) -> Money {
        let matching =
            self.by_prefix.iter().filter(|(prefix, _)| address.as_str().starts_with(prefix.as_str()));
        matching.max_by_key(|(prefix, _)| prefix.len()).map_or(self.default, |(_, price)| *price)
    }
}

/// How much may be spent in a day. Like a rate of messages it is a GCRA: what is spent comes back evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DailySpend(Money);

const DAY: Duration = Duration::from_hours(24);

impl DailySpend {
    /// More than nothing.
    #[must_use]
    pub fn new(limit: Money) -> Option<Self> {
        (limit > Money::ZERO).then_some(Self(limit))
    }

    /// The time in which an amount comes back, ms, rounded up.
    #[must_use]
    pub fn interval_ms(self, amount: Money) -> i64 {
        let day = u128::try_from(millis(DAY)).unwrap_or_default();
        let interval = (u128::from(amount.0) * day).div_ceil(u128::from(self.0.0));
        i64::try_from(interval).unwrap_or(i64::MAX)
    }

    /// How far ahead of now the arrival time may be for an amount to fit, ms. Negative: it never does.
    #[must_use]
    pub fn tolerance_ms(self, amount: Money) -> i64 {
        millis(DAY).saturating_sub(self.interval_ms(amount))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Money {
        Money::parse(text).expect(text)
    }

    #[test]
    fn amounts_read_back_as_they_are_shown_to_the_millionth() {
        for text in ["0", "0.0079", "12", "1.5", "0.000001", "1000000"] {
            assert_eq!(money(text).to_string(), text);
        }
        assert_eq!(money("0.50"), money("0.5"));
        for bad in ["", ".", "1.", ".5", "-1", "1e3", "0.0000001", "1,5", "99999999999999999999"] {
            assert_eq!(Money::parse(bad), None, "{bad:?}");
        }
        assert!((money("12.0079").units() - 12.0079).abs() < 1e-9);
    }

    #[test]
    fn the_longest_prefix_names_the_price() {
        let by_prefix = [("+4", "0.04"), ("+44", "0.05"), ("+4477", "0.06")];
        let by_prefix = by_prefix.map(|(prefix, price)| (prefix.to_owned(), money(price))).into();
        let prices = Prices { default: money("0.1"), by_prefix };
        let price = |number: &str| prices.of(&Address::parse(number).expect("a number"));
        assert_eq!(price("+447700900123"), money("0.06"));
        assert_eq!(price("+442071838750"), money("0.05"));
        assert_eq!(price("+18005551234"), money("0.1"));
    }

    #[test]
    fn a_days_money_is_a_day_of_time_and_never_rounded_in_the_spenders_favour() {
        let limit = DailySpend::new(money("100")).expect("some");
        assert_eq!(limit.interval_ms(money("100")), 86_400_000);
        assert_eq!(limit.tolerance_ms(money("100")), 0);
        assert!(limit.tolerance_ms(money("100.01")) < 0, "more than a day's money never fits");
        assert_eq!(limit.interval_ms(money("0.000001")), 1);
        assert_eq!(limit.interval_ms(Money::ZERO), 0);
        assert_eq!(DailySpend::new(Money::ZERO), None);
    }
}
