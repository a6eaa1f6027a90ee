//! What operators say of providers, and what became of their messages. Small tables, read whole from time to time.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::result::Error;

use super::connection::{AnyConnection, on_each};
use super::schema::{provider_outcomes, provider_state};
use crate::domain::phone::Country;
use crate::domain::selection::{Ruling, Says, Tally};
use crate::domain::time::Timestamp;

/// All that operators say, by the provider's name; also what is over.
///
/// # Errors
/// The database's.
pub fn rulings(db: &mut AnyConnection) -> Result<BTreeMap<String, Ruling>, Error> {
    use provider_state::dsl;
    let rows: Vec<(String, String, i64)> =
        on_each!(db, c => dsl::provider_state.select((dsl::provider, dsl::state, dsl::until)).load(c))?;
    let ruling = |(provider, state, until): (String, String, i64)| {
        Some((provider, Ruling { says: Says::parse(&state)?, until: Timestamp::from_millis(until) }))
    };
    Ok(rows.into_iter().filter_map(ruling).collect())
}

/// Says something of a provider, in place of what was said before; nothing takes it back. False: there was nothing.
///
/// # Errors
/// The database's.
pub fn rule(
    db: &mut AnyConnection,
    provider: &str,
    ruling: Option<Ruling>,
    now: Timestamp,
) -> Result<bool, Error> {
    use provider_state::dsl;
    let Some(Ruling { says, until }) = ruling else {
        let gone = on_each!(db, c => diesel::delete(dsl::provider_state.find(provider)).execute(c))?;
        return Ok(gone > 0);
    };
    let change =
        (dsl::state.eq(says.as_str()), dsl::until.eq(until.as_millis()), dsl::changed_at.eq(now.as_millis()));
    let row = (dsl::provider.eq(provider), change);
    on_each!(db, c => diesel::insert_into(dsl::provider_state)
        .values(row)
        .on_conflict(dsl::provider)
        .do_update()
        .set(change)
        .execute(c))?;
    Ok(true)
}

/// Adds to what became of a provider's messages to a country in an hour.
///
/// # Errors
/// The database's.
pub fn add(
    db: &mut AnyConnection,
    provider: &str,
    country: Country,
    hour: i64,
    tally: Tally,
) -> Result<(), Error> {
    use provider_outcomes::dsl;
    let (sent, verified) = (i64::from(tally.sent), i64::from(tally.verified));
    let row = (
        dsl::provider.eq(provider),
        dsl::country.eq(country.to_string()),
        dsl::hour.eq(hour),
        dsl::sent.eq(sent),
        dsl::verified.eq(verified),
    );
    let change = (
        dsl::sent.eq(provider_outcomes::sent + sent),
        dsl::verified.eq(provider_outcomes::verified + verified),
    );
    on_each!(db, c => diesel::insert_into(dsl::provider_outcomes)
        .values(row)
        .on_conflict((dsl::provider, dsl::country, dsl::hour))
        .do_update()
        .set(change)
        .execute(c))?;
    Ok(())
}

/// What became of all messages since an hour.
///
/// # Errors
/// The database's.
pub fn tallies(db: &mut AnyConnection, since: i64) -> Result<BTreeMap<(String, Country), Tally>, Error> {
    use provider_outcomes::dsl;
    let rows: Vec<(String, String, i64, i64)> = on_each!(db, c => dsl::provider_outcomes
        .filter(dsl::hour.ge(since))
        .select((dsl::provider, dsl::country, dsl::sent, dsl::verified))
        .load(c))?;
    let mut tallies = BTreeMap::new();
    for (provider, country, sent, verified) in rows {
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        let sum: &mut Tally = tallies.entry((provider, Country::of(&country))).or_default();
        *sum = sum.plus(Tally { sent: count(sent), verified: count(verified) });
    }
    Ok(tallies)
}
