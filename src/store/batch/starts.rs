//! Codes that go out: [`challenges::insert`](crate::store::challenges::insert) and what is written with it.

use std::collections::{BTreeMap, HashMap};

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text};

use super::rows::{column, missed, statement};
use crate::domain::ids::SecretHash;
use crate::domain::limits::{Rate, SendWaits};
use crate::domain::money::{DailySpend, Money};
use crate::domain::time::{Timestamp, millis};
use crate::store::audit::Event;
use crate::store::budgets::Budget;
use crate::store::challenges::NewChallenge;
use crate::store::deliveries::NewDelivery;
use crate::store::prepared::prepared;
use crate::store::steps::Missed;
use crate::store::{Abort, slots};

/// A code that goes out, in a challenge of its own.
pub struct Start<'a> {
    /// The challenge.
    pub challenge: &'a NewChallenge,
    /// The message.
    pub delivery: &'a NewDelivery,
    /// For the record.
    pub event: Event,
    /// For the record.
    pub detail: String,
    /// The key of the address's budget.
    pub address: &'a str,
    /// What the others are charged.
    pub charges: Vec<Charge<'a>>,
}

/// What a budget is charged, in the terms of [`crate::domain::limits`].
pub struct Charge<'a> {
    /// Its place in the order in which every start spends.
    rank: u8,
    key: &'a str,
    /// How far its arrival times move, ms.
    steps: [i64; 2],
    /// How far ahead of now they may be then, ms.
    bounds: [i64; 2],
}

impl<'a> Charge<'a> {
    /// One of a plain budget.
    #[must_use]
    pub fn plain(rank: u8, key: &'a str, rate: Rate) -> Self {
        Self { rank, key, steps: [rate.interval_ms(), 0], bounds: [bound(rate), i64::MAX] }
    }

    /// One of both rates of a network.
    #[must_use]
    pub fn network(rank: u8, key: &'a str, unverified: Rate, total: Rate) -> Self {
        let steps = [unverified.interval_ms(), total.interval_ms()];
        Self { rank, key, steps, bounds: [bound(unverified), bound(total)] }
    }

    /// An amount of a day's money.
    #[must_use]
    pub fn money(rank: u8, key: &'a str, limit: DailySpend, amount: Money) -> Self {
        let step = limit.interval_ms(amount);
        let bound = limit.tolerance_ms(amount).saturating_add(step);
        Self { rank, key, steps: [step, 0], bounds: [bound, i64::MAX] }
    }
}

/// How far ahead an arrival time is at most behind a spend, ms.
fn bound(rate: Rate) -> i64 {
    rate.tolerance_ms().saturating_add(rate.interval_ms())
}

/// What several starts charge one budget.
struct Sum {
    steps: [i64; 2],
    bounds: [i64; 2],
}

/// The budgets of many starts, in the order in which every start spends them.
fn sums<'a>(charges: impl IntoIterator<Item = &'a Charge<'a>>) -> Vec<(&'a str, Sum)> {
    let mut sums: BTreeMap<(u8, &str), Sum> = BTreeMap::new();
    for charge in charges {
        let sum =
            sums.entry((charge.rank, charge.key)).or_insert(Sum { steps: [0, 0], bounds: charge.bounds });
        for (sum, step) in sum.steps.iter_mut().zip(charge.steps) {
            *sum = sum.saturating_add(step);
        }
    }
    sums.into_iter().map(|((_, key), sum)| (key, sum)).collect()
}

/// What is charged is compared with its bound behind the charge: all of it is undone where one is over.
const STARTS: &str = "\
WITH asked AS (SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
$19, $20, $21) AS asked (id, dialect, purpose, app_id, realm, address, secret_hash, key_id, salt, slots, created_at, \
expires_at, message, channel, network, status, deadline_at, locale, event, detail, budget)), \
charges AS (SELECT * FROM unnest($22, $23, $24, $25, $26) AS charges (key, step, total_step, bound, total_bound)), \
placed AS (INSERT INTO challenges (id, dialect, purpose, app_id, realm, address, secret_hash, key_id, salt, slots, \
created_at, expires_at, version, guesses, repeats, is_new_user, grant_expires_at, lease_until) \
SELECT id, dialect, purpose, app_id, realm, address, secret_hash, key_id, salt, slots, created_at, expires_at, \
1, 0, 0, FALSE, 0, 0 FROM asked ON CONFLICT DO NOTHING RETURNING 1), \
written AS (INSERT INTO deliveries (id, challenge_id, address, channel, network, status, created_at, deadline_at, \
updated_at, locale) SELECT message, id, address, channel, network, status, created_at, deadline_at, created_at, locale \
FROM asked RETURNING 1), \
recorded AS (INSERT INTO audit (at, event, realm, app_id, address, challenge_id, network, detail) \
SELECT $27, event, realm, app_id, address, id, network, detail FROM asked RETURNING 1), \
addressed AS (INSERT INTO budgets (key, arrival, total_arrival, ready_at) \
SELECT budget, $27 + $28, 0, $27 + $30 FROM asked \
ON CONFLICT (key) DO UPDATE SET arrival = GREATEST(budgets.arrival, $27) + $28, ready_at = $27 + CASE \
WHEN budgets.arrival > $27 + 2 * $28 THEN $33 WHEN budgets.arrival > $27 + $28 THEN $32 \
WHEN budgets.arrival > $27 THEN $31 ELSE $30 END \
WHERE budgets.arrival <= $27 + $29 AND budgets.ready_at <= $27 \
RETURNING key, arrival, total_arrival, ready_at), \
charged AS (INSERT INTO budgets (key, arrival, total_arrival, ready_at) \
SELECT key, $27 + step, CASE WHEN total_step > 0 THEN $27 + total_step ELSE 0 END, 0 FROM charges \
ON CONFLICT (key) DO UPDATE SET arrival = GREATEST(budgets.arrival, $27) + excluded.arrival - $27, \
total_arrival = CASE WHEN excluded.total_arrival > 0 \
THEN GREATEST(budgets.total_arrival, $27) + excluded.total_arrival - $27 ELSE budgets.total_arrival END \
RETURNING key, arrival, total_arrival) \
SELECT key, arrival, total_arrival, ready_at FROM addressed WHERE (\
(SELECT count(*) FROM placed) = cardinality($1) AND (SELECT count(*) FROM written) = cardinality($1) \
AND (SELECT count(*) FROM recorded) = cardinality($1) AND (SELECT count(*) FROM addressed) = cardinality($1) \
AND (SELECT count(*) FROM charged JOIN charges USING (key) WHERE charged.arrival - $27 <= charges.bound \
AND charged.total_arrival - $27 <= charges.total_bound) = cardinality($22))::latchkey_found";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(embed)]
    budget: Budget,
}

/// Writes all of them down, or none: no two of them are about one address. When the next message may go to each.
///
/// # Errors
/// [`Missed`], or the database's.
pub fn make(
    db: &mut PgConnection,
    starts: &[Start<'_>],
    (rate, SendWaits(waits)): (Rate, SendWaits),
    now: Timestamp,
) -> Result<Vec<Timestamp>, Abort<Missed>> {
    let sums = sums(starts.iter().flat_map(|start| &start.charges));
    let at = now.as_millis();
    let text = |value: for<'s> fn(&'s Start<'_>) -> &'s str| column(starts, value);
    let time = |value: fn(&Start<'_>) -> Timestamp| column(starts, |start| value(start).as_millis());
    let query = statement(STARTS)
        .bind::<Array<Text>, _>(text(|start| start.challenge.id.as_str()))
        .bind::<Array<Text>, _>(text(|start| start.challenge.dialect.as_str()))
        .bind::<Array<Text>, _>(column(starts, |start| start.challenge.purpose.as_str()))
        .bind::<Array<Text>, _>(text(|start| &start.challenge.app_id))
        .bind::<Array<Text>, _>(text(|start| &start.challenge.realm))
        .bind::<Array<Text>, _>(text(|start| start.challenge.address.as_str()))
        .bind::<Array<Nullable<Binary>>, _>(column(starts, |start| {
            start.challenge.secret.as_ref().map(SecretHash::as_bytes)
        }))
        .bind::<Array<Text>, _>(text(|start| &start.challenge.key_id))
        .bind::<Array<Binary>, _>(column(starts, |start| &start.challenge.salt[..]))
        .bind::<Array<Binary>, _>(column(starts, |start| slots::encode(&start.challenge.slots)))
        .bind::<Array<BigInt>, _>(time(|start| start.challenge.created_at))
        .bind::<Array<BigInt>, _>(time(|start| start.challenge.expires_at))
        .bind::<Array<Text>, _>(text(|start| start.delivery.id.as_str()))
        .bind::<Array<Text>, _>(text(|start| start.delivery.channel.as_str()))
        .bind::<Array<Text>, _>(text(|start| &start.delivery.network))
        .bind::<Array<Text>, _>(text(|start| start.delivery.status.as_str()))
        .bind::<Array<BigInt>, _>(time(|start| start.delivery.deadline_at))
        .bind::<Array<Text>, _>(text(|start| &start.delivery.locale))
        .bind::<Array<Text>, _>(text(|start| start.event.as_str()))
        .bind::<Array<Text>, _>(text(|start| &start.detail))
        .bind::<Array<Text>, _>(text(|start| start.address))
        .bind::<Array<Text>, _>(column(&sums, |(key, _)| *key))
        .bind::<Array<BigInt>, _>(column(&sums, |(_, sum)| sum.steps[0]))
        .bind::<Array<BigInt>, _>(column(&sums, |(_, sum)| sum.steps[1]))
        .bind::<Array<BigInt>, _>(column(&sums, |(_, sum)| sum.bounds[0]))
        .bind::<Array<BigInt>, _>(column(&sums, |(_, sum)| sum.bounds[1]))
        .bind::<BigInt, _>(at)
        .bind::<BigInt, _>(rate.interval_ms())
        .bind::<BigInt, _>(rate.tolerance_ms());
    let query = waits.iter().fold(query, |query, wait| query.bind::<BigInt, _>(millis(*wait)));
    let rows: Vec<Row> = prepared!(query).get_results(db).map_err(missed)?;
    let opens: HashMap<String, Timestamp> =
        rows.into_iter().map(|row| (row.key, row.budget.address_opens_at(rate))).collect();
    // Every one of them is there: see the counts.
    starts.iter().map(|start| opens.get(start.address).copied().ok_or(Abort::Refused(Missed))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn budgets_are_charged_in_the_order_of_every_start_and_each_once() {
        let rate = Rate::per_hours(6, 1);
        let charges = [
            [Charge::network(1, "from:b", rate, rate.tenfold()), Charge::plain(3, "country:US", rate)],
            [Charge::network(1, "from:a", rate, rate.tenfold()), Charge::plain(3, "country:US", rate)],
        ];
        let sums = sums(charges.iter().flatten());
        let summed: Vec<_> = sums.iter().map(|(key, sum)| (*key, sum.steps, sum.bounds)).collect();
        let (ten_minutes, hour) = (600_000, 3_600_000);
        assert_eq!(
            summed,
            [
                ("from:a", [ten_minutes, ten_minutes / 10], [hour, hour]),
                ("from:b", [ten_minutes, ten_minutes / 10], [hour, hour]),
                ("country:US", [2 * ten_minutes, 0], [hour, i64::MAX]),
            ]
        );
    }

    #[test]
    fn what_may_be_spent_at_once_fits_and_no_more() {
        let (rate, now) = (Rate::per_hours(6, 1), Timestamp::from_millis(0));
        let six = [(); 6].map(|()| Charge::plain(4, "app:a", rate));
        let sums = sums(&six);
        let [(_, Sum { steps, bounds })] = &sums[..] else { panic!("one budget") };
        assert_eq!(steps[0], bounds[0]);
        assert!(rate.opens_at(Timestamp::from_millis(steps[0])) > now, "a seventh would not fit");
    }
}
