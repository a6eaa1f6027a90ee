//! What starts look at: [`challenges::find_beside`].

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{Array, Nullable, Text};

use super::rows::{column, statement};
use crate::domain::guard::Guard;
use crate::store::budgets::Budget;
use crate::store::challenges::{self, Beside};
use crate::store::guards;
use crate::store::prepared::prepared;

/// What a start looks at.
pub struct Look<'a> {
    /// The app, in the mesibo dialect: there a challenge may be there already.
    pub app_id: Option<&'a str>,
    /// The set of apps that share an upstream.
    pub realm: &'a str,
    /// To whom the code is to go.
    pub address: &'a str,
    /// The key of the address's budget.
    pub budget: &'a str,
}

/// OFFSET keeps each of them a look-up of its own: joined, PostgreSQL would read a table that seems small to it whole.
const LOOK: &str = "\
SELECT challenges.*, guards.*, budgets.* \
FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS asked (app_id, realm, address, budget, nth) \
LEFT JOIN LATERAL (SELECT * FROM challenges WHERE dialect = 'mesibo' AND ended_at IS NULL \
AND app_id = asked.app_id AND address = asked.address OFFSET 0) AS challenges ON TRUE \
LEFT JOIN LATERAL (SELECT failures, comparisons, next_guess_at FROM guards \
WHERE realm = asked.realm AND address = asked.address OFFSET 0) AS guards ON TRUE \
LEFT JOIN LATERAL (SELECT arrival, total_arrival, ready_at FROM budgets \
WHERE key = asked.budget OFFSET 0) AS budgets ON TRUE ORDER BY asked.nth";

#[derive(QueryableByName)]
struct Row {
    #[diesel(embed)]
    challenge: Option<challenges::Row>,
    #[diesel(embed)]
    guard: Option<guards::Row>,
    #[diesel(embed)]
    budget: Option<Budget>,
}

/// What each of them finds.
///
/// # Errors
/// The database's.
pub fn make(db: &mut PgConnection, looks: &[Look<'_>]) -> Result<Vec<Beside>, Error> {
    let text = |value: for<'s> fn(&'s Look<'_>) -> &'s str| column(looks, value);
    let query = statement(LOOK)
        .bind::<Array<Nullable<Text>>, _>(column(looks, |look| look.app_id))
        .bind::<Array<Text>, _>(text(|look| look.realm))
        .bind::<Array<Text>, _>(text(|look| look.address))
        .bind::<Array<Text>, _>(text(|look| look.budget));
    let rows: Vec<Row> = prepared!(query).get_results(db)?;
    let found = |Row { challenge, guard, budget }| {
        let challenge = challenge.map(challenges::Row::into_challenge).transpose()?;
        Ok((challenge, guard.map(Guard::from), budget))
    };
    rows.into_iter().map(found).collect()
}
