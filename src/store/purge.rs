//! Forgetting, a little at a time.
//!
//! Guarantees: one job changes at most [`BATCH`] rows, and what was picked for deletion is deleted only while it
//! still qualifies, so that a limit that is used again meanwhile is kept.

use std::time::Duration;

use diesel::prelude::*;
use diesel::result::Error;

use super::connection::{AnyConnection, on_each};
use super::deliveries::Status;
use super::schema::{audit, budgets, challenges, deliveries, guards, provider_outcomes, sessions};
use crate::domain::time::Timestamp;

/// Rows of one job.
pub const BATCH: usize = 500;
const BATCH_ROWS: i64 = 500;

const DAY: Duration = Duration::from_hours(24);
/// A challenge is kept this long past its end, so that its story can be read.
const CHALLENGE_KEPT: Duration = DAY;
/// How far back dead codes are looked for.
const DEAD_CODES_SOUGHT: Duration = Duration::from_hours(2);
const OUTCOME_KEPT: Duration = Duration::from_hours(168);
const HOUR_MS: i64 = 3_600_000;
const DELIVERY_KEPT: Duration = Duration::from_hours(2160);
const SESSION_KEPT: Duration = Duration::from_hours(720);
/// Failures outlive every reasonable attack.
const GUARD_KEPT: Duration = Duration::from_hours(9600);
const AUDIT_KEPT: Duration = Duration::from_hours(9600);

/// What there is to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chore {
    /// Messages whose sender never told what became of them.
    LostDeliveries,
    /// Codes of challenges that are over.
    DeadCodes,
    /// Challenges that are long over.
    Challenges,
    /// Messages that are long past.
    Deliveries,
    /// Sessions that are long over.
    Sessions,
    /// Guards that nobody touched for more than a year.
    Guards,
    /// Budgets that are full again.
    Budgets,
    /// What became of messages, once nothing looks at it any more.
    ProviderOutcomes,
    /// The oldest records.
    Audit,
}

impl Chore {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::LostDeliveries,
        Self::DeadCodes,
        Self::Challenges,
        Self::Deliveries,
        Self::Sessions,
        Self::Guards,
        Self::Budgets,
        Self::ProviderOutcomes,
        Self::Audit,
    ];
}

/// Does one batch of a chore; the number of rows that it changed. Fewer than [`BATCH`]: there are no more.
///
/// # Errors
/// The database's.
pub fn run(db: &mut AnyConnection, chore: Chore, now: Timestamp) -> Result<usize, Error> {
    let at = now.as_millis();
    let before = |age: Duration| now.minus(age).as_millis();
    match chore {
        Chore::LostDeliveries => {
            let lost = deliveries::status.eq(Status::Pending.as_str()).and(deliveries::deadline_at.lt(at));
            let change = (deliveries::status.eq(Status::Unknown.as_str()), deliveries::updated_at.eq(at));
            on_each!(db, c => {
                let ids: Vec<String> =
                    deliveries::table.filter(lost).select(deliveries::id).limit(BATCH_ROWS).load(c)?;
                diesel::update(deliveries::table.filter(deliveries::id.eq_any(ids)).filter(lost)).set(change).execute(c)
            })
        }
        Chore::DeadCodes => {
            // The index on expires_at keeps the search short: what ended earlier was erased by an earlier run, or
            // goes with its challenge.
            let recent = challenges::expires_at.gt(before(DEAD_CODES_SOUGHT));
            let unproved = challenges::consumed_at.is_null().and(challenges::expires_at.lt(at));
            let proved = challenges::consumed_at.is_not_null().and(challenges::grant_expires_at.lt(at));
            let over = recent.and(unproved.or(proved));
            let holding = challenges::slots.ne(Vec::new()).or(challenges::code_hash.is_not_null());
            let change = (challenges::slots.eq(Vec::new()), challenges::code_hash.eq(None::<Vec<u8>>));
            on_each!(db, c => {
                let ids: Vec<String> = challenges::table
                    .filter(over)
                    .filter(holding.clone())
                    .select(challenges::id)
                    .limit(BATCH_ROWS)
                    .load(c)?;
                let still = challenges::table.filter(challenges::id.eq_any(ids)).filter(over);
                diesel::update(still).set(change).execute(c)
            })
        }
        Chore::Challenges => {
            let over = challenges::expires_at.lt(before(CHALLENGE_KEPT));
            on_each!(db, c => {
                let ids: Vec<String> =
                    challenges::table.filter(over).select(challenges::id).limit(BATCH_ROWS).load(c)?;
                diesel::delete(challenges::table.filter(challenges::id.eq_any(ids))).execute(c)
            })
        }
        Chore::Deliveries => {
            let past = deliveries::created_at.lt(before(DELIVERY_KEPT));
            on_each!(db, c => {
                let ids: Vec<String> =
                    deliveries::table.filter(past).select(deliveries::id).limit(BATCH_ROWS).load(c)?;
                diesel::delete(deliveries::table.filter(deliveries::id.eq_any(ids))).execute(c)
            })
        }
        Chore::Sessions => {
            // One that was ended has expired with it.
            let past = sessions::expires_at.lt(before(SESSION_KEPT));
            on_each!(db, c => {
                let ids: Vec<String> =
                    sessions::table.filter(past).select(sessions::id).limit(BATCH_ROWS).load(c)?;
                diesel::delete(sessions::table.filter(sessions::id.eq_any(ids)).filter(past)).execute(c)
            })
        }
        Chore::Guards => {
            // A guard that waits for an operator is never forgotten.
            let idle = guards::updated_at
                .lt(before(GUARD_KEPT))
                .and(guards::next_guess_at.lt(Timestamp::NEVER.as_millis()));
            on_each!(db, c => {
                let keys: Vec<(String, String)> = guards::table
                    .filter(idle)
                    .select((guards::realm, guards::address))
                    .limit(BATCH_ROWS)
                    .load(c)?;
                keys.iter().try_fold(0, |done, (realm, address)| {
                    let row = guards::table.find((realm, address)).filter(idle);
                    Ok(done + diesel::delete(row).execute(c)?)
                })
            })
        }
        Chore::Budgets => {
            let full =
                budgets::arrival.lt(at).and(budgets::total_arrival.lt(at)).and(budgets::ready_at.lt(at));
            on_each!(db, c => {
                let keys: Vec<String> = budgets::table.filter(full).select(budgets::key).limit(BATCH_ROWS).load(c)?;
                diesel::delete(budgets::table.filter(budgets::key.eq_any(keys)).filter(full)).execute(c)
            })
        }
        Chore::ProviderOutcomes => {
            // Hours that ended before then.
            let first_kept = (before(OUTCOME_KEPT) + HOUR_MS - 1).div_euclid(HOUR_MS) - 1;
            let past = provider_outcomes::hour.lt(first_kept);
            on_each!(db, c => {
                let keys: Vec<(String, String, i64)> = provider_outcomes::table
                    .filter(past)
                    .select((provider_outcomes::provider, provider_outcomes::country, provider_outcomes::hour))
                    .limit(BATCH_ROWS)
                    .load(c)?;
                keys.iter().try_fold(0, |done, (provider, country, hour)| {
                    Ok(done + diesel::delete(provider_outcomes::table.find((provider, country, *hour))).execute(c)?)
                })
            })
        }
        Chore::Audit => on_each!(db, c => {
            let oldest: Vec<(i64, i64)> =
                audit::table.select((audit::id, audit::at)).order(audit::id).limit(BATCH_ROWS).load(c)?;
            let past = oldest.into_iter().filter(|(_, written)| *written < before(AUDIT_KEPT)).map(|(id, _)| id);
            diesel::delete(audit::table.filter(audit::id.eq_any(past.collect::<Vec<_>>()))).execute(c)
        }),
    }
}
