//! What sending may cost: GCRA rows. See [`crate::domain::limits`] for the rules.
//!
//! Guarantees: a spend is one statement, which either fits or does nothing. A start spends in one order (address,
//! network, site, country, app, all), so that two of them never wait for each other in a circle, and the row that
//! everybody needs is held shortest.

use diesel::dsl::case_when;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::BigInt;

use super::Abort;
use super::connection::{AnyConnection, on_each};
use super::prepared::{found_its_row, prepared};
use super::schema::budgets::{self, dsl};
use super::steps::{Missed, Once, Step, Steps, change};
use crate::domain::limits::{Rate, SendWaits};
use crate::domain::money::{DailySpend, Money};
use crate::domain::time::{Timestamp, millis};

/// A row as it stands.
#[derive(Debug, Clone, Copy, Queryable, QueryableByName)]
#[diesel(table_name = budgets)]
pub struct Budget {
    arrival: i64,
    total_arrival: i64,
    ready_at: i64,
}

impl Budget {
    /// When an address can be sent to again.
    #[must_use]
    pub fn address_opens_at(&self, rate: Rate) -> Timestamp {
        rate.opens_at(Timestamp::from_millis(self.arrival)).max(Timestamp::from_millis(self.ready_at))
    }

    /// When a network can ask again.
    #[must_use]
    pub fn network_opens_at(&self, unverified: Rate, total: Rate) -> Timestamp {
        let unverified = unverified.opens_at(Timestamp::from_millis(self.arrival));
        unverified.max(total.opens_at(Timestamp::from_millis(self.total_arrival)))
    }

    /// When a day's money covers an amount of no more than that.
    #[must_use]
    pub fn money_opens_at(&self, limit: DailySpend, amount: Money) -> Timestamp {
        Timestamp::from_millis(self.arrival.saturating_sub(limit.tolerance_ms(amount)))
    }

    /// When a plain budget lets the next one through.
    #[must_use]
    pub fn opens_at(&self, rate: Rate) -> Timestamp {
        rate.opens_at(Timestamp::from_millis(self.arrival))
    }
}

/// The arrival time after a spend.
macro_rules! advanced {
    ($column:expr, $rate:expr, $at:expr) => {
        case_when($column.gt($at), $column + $rate.interval_ms())
            .otherwise($at.saturating_add($rate.interval_ms()).into_sql::<BigInt>())
    };
}

/// Adds a row, or changes it where it fits.
macro_rules! upsert {
    ($first:expr, $change:expr, $fits:expr) => {
        diesel::insert_into(dsl::budgets)
            .values($first)
            .on_conflict(dsl::key)
            .do_update()
            .set($change)
            .filter($fits)
    };
}

/// The row of a key.
macro_rules! by_key {
    ($key:expr) => {{
        use $crate::store::schema::budgets::dsl;
        dsl::budgets.find($key).select((dsl::arrival, dsl::total_arrival, dsl::ready_at))
    }};
}
pub(super) use by_key;

/// Spends one of a plain budget; it does not find its row where that is used up.
pub fn spend(key: &str, rate: Rate, now: Timestamp) -> Step<'_> {
    use diesel::query_dsl::methods::FilterDsl;
    let at = now.as_millis();
    let first = row(key, at.saturating_add(rate.interval_ms()), 0, 0);
    let change = dsl::arrival.eq(advanced!(budgets::arrival, rate, at));
    let fits = budgets::arrival.le(at.saturating_add(rate.tolerance_ms()));
    change!(upsert!(first, change, fits))
}

/// Spends one message to an address, and starts the wait behind it; it does not find its row while that must wait.
/// [`spent_address`] makes it.
pub fn spend_address(key: &str, rate: Rate, waits: SendWaits, now: Timestamp) -> Step<'_> {
    use diesel::query_dsl::methods::FilterDsl;
    let (at, interval) = (now.as_millis(), rate.interval_ms());
    let [first_wait, second_wait, third_wait, later_wait] =
        waits.0.map(|wait| at.saturating_add(millis(wait)));
    let first = row(key, at.saturating_add(interval), 0, first_wait);
    // How far the arrival time is ahead says how many of the day's sends are not back yet.
    let ready_at =
        case_when(budgets::arrival.gt(at.saturating_add(interval * 2)), later_wait.into_sql::<BigInt>())
            .when(budgets::arrival.gt(at.saturating_add(interval)), third_wait.into_sql::<BigInt>())
            .when(budgets::arrival.gt(at), second_wait.into_sql::<BigInt>())
            .otherwise(first_wait.into_sql::<BigInt>());
    let change = (dsl::arrival.eq(advanced!(budgets::arrival, rate, at)), dsl::ready_at.eq(ready_at));
    let fits = budgets::arrival.le(at.saturating_add(rate.tolerance_ms())).and(budgets::ready_at.le(at));
    change!(upsert!(first, change, fits)).keeping("arrival, total_arrival, ready_at")
}

/// Makes steps of which one is [`spend_address`] with this key; when the next message may go.
///
/// # Errors
/// [`Missed`], or the database's.
pub fn spent_address(
    steps: Steps<'_>,
    once: Once<'_>,
    key: &str,
    rate: Rate,
) -> Result<Timestamp, Abort<Missed>> {
    type Columns = (BigInt, BigInt, BigInt);
    let spent: Budget = steps.run_kept::<Columns, _>(once, |c| prepared!(by_key!(key)).get_result(c))?;
    Ok(spent.address_opens_at(rate))
}

/// Spends one of both rates of a network; it does not find its row where one of them is used up.
pub fn spend_network(key: &str, unverified: Rate, total: Rate, now: Timestamp) -> Step<'_> {
    use diesel::query_dsl::methods::FilterDsl;
    let at = now.as_millis();
    let first =
        row(key, at.saturating_add(unverified.interval_ms()), at.saturating_add(total.interval_ms()), 0);
    let change = (
        dsl::arrival.eq(advanced!(budgets::arrival, unverified, at)),
        dsl::total_arrival.eq(advanced!(budgets::total_arrival, total, at)),
    );
    let fits = budgets::arrival
        .le(at.saturating_add(unverified.tolerance_ms()))
        .and(budgets::total_arrival.le(at.saturating_add(total.tolerance_ms())));
    change!(upsert!(first, change, fits))
}

/// The row of a key.
///
/// # Errors
/// The database's.
pub fn find(db: &mut AnyConnection, key: &str) -> Result<Option<Budget>, Error> {
    on_each!(db, c => prepared!(by_key!(key)).get_result::<Budget>(c).optional())
}

/// Spends an amount of a day's money; it does not find its row where that does not fit.
pub fn spend_money(key: &str, limit: DailySpend, amount: Money, now: Timestamp) -> Step<'_> {
    use diesel::query_dsl::methods::FilterDsl;
    let (at, interval, tolerance) = (now.as_millis(), limit.interval_ms(amount), limit.tolerance_ms(amount));
    if tolerance < 0 {
        return Step::never();
    }
    let later = at.saturating_add(interval);
    let advanced =
        case_when(budgets::arrival.gt(at), budgets::arrival + interval).otherwise(later.into_sql::<BigInt>());
    let first = row(key, later, 0, 0);
    let change = dsl::arrival.eq(advanced);
    let fits = budgets::arrival.le(at.saturating_add(tolerance));
    change!(upsert!(first, change, fits))
}

/// Gives an amount back that was not spent after all.
///
/// # Errors
/// The database's.
pub fn refund_money(
    db: &mut AnyConnection,
    key: &str,
    limit: DailySpend,
    amount: Money,
) -> Result<(), Error> {
    let refund =
        diesel::update(dsl::budgets.find(key)).set(dsl::arrival.eq(dsl::arrival - limit.interval_ms(amount)));
    found_its_row!(db, refund, dsl::arrival).map(|_| ())
}

/// Gives a network one unverified send back, never below empty: the code was verified.
pub fn credit_network<'a>(key: String, unverified: Rate, now: Timestamp) -> Step<'a> {
    change!(
        diesel::update(dsl::budgets.find(key).filter(dsl::arrival.gt(now.as_millis())))
            .set(dsl::arrival.eq(dsl::arrival - unverified.interval_ms()))
    )
}

/// Gives a plain budget one back.
///
/// # Errors
/// The database's.
pub fn refund(db: &mut AnyConnection, key: &str, rate: Rate) -> Result<(), Error> {
    let refund =
        diesel::update(dsl::budgets.find(key)).set(dsl::arrival.eq(dsl::arrival - rate.interval_ms()));
    found_its_row!(db, refund, dsl::arrival).map(|_| ())
}

/// Gives an address its send back, and ends the wait behind it: the fault was a provider's.
///
/// # Errors
/// The database's.
pub fn refund_address(db: &mut AnyConnection, key: &str, rate: Rate) -> Result<(), Error> {
    let refund = diesel::update(dsl::budgets.find(key))
        .set((dsl::arrival.eq(dsl::arrival - rate.interval_ms()), dsl::ready_at.eq(0)));
    found_its_row!(db, refund, dsl::arrival).map(|_| ())
}

type NewRow<'a> = (
    diesel::dsl::Eq<dsl::key, &'a str>,
    diesel::dsl::Eq<dsl::arrival, i64>,
    diesel::dsl::Eq<dsl::total_arrival, i64>,
    diesel::dsl::Eq<dsl::ready_at, i64>,
);

fn row(key: &str, arrival: i64, total_arrival: i64, ready_at: i64) -> NewRow<'_> {
    (
        dsl::key.eq(key),
        dsl::arrival.eq(arrival),
        dsl::total_arrival.eq(total_arrival),
        dsl::ready_at.eq(ready_at),
    )
}
