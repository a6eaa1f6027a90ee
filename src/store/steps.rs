//! Writes that are all or nothing.
//!
//! A write of a login is a list of guarded statements, each about one row, that are good for something only together.
//! On SQLite each is run in the transaction of its group. On PostgreSQL, where every statement is a round trip, the
//! list is one statement (`WITH s0 AS (INSERT …), s1 AS (UPDATE …) …`), which is a transaction by itself.
//!
//! Guarantees: where a guarded step does not find its row, nothing of the list stays. Guards are made in the order of
//! the list, so that two writes never wait for each other in a circle. No step sees what another changed: no two of a
//! list are about one row.

use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::pg::{Pg, PgConnection};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error, QueryResult};
use diesel::sql_types::Integer;
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel::{OptionalExtension, RunQueryDsl};

use super::prepared::{Counted, Prepared};
use super::{Abort, AnyConnection};

/// A guarded step did not find its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed;

/// The constraint that is violated then: see the migration.
const FOUND: &str = "latchkey_found";

/// The right to one statement outside of any transaction of ours, or within one.
pub struct Once<'db>(&'db mut AnyConnection);

impl<'db> Once<'db> {
    /// Within the transaction that a job runs in.
    pub fn within(db: &'db mut AnyConnection) -> Self {
        Self(db)
    }

    /// For a statement that is no list.
    pub(super) fn connection(self) -> &'db mut AnyConnection {
        self.0
    }
}

/// A statement about one row. Made by itself, or in a list.
#[must_use]
pub struct Step<'a> {
    statement: Box<dyn Statement + 'a>,
    is_guard: bool,
    /// The columns that are asked for afterwards.
    kept: Option<&'static str>,
}

/// A statement of either database.
trait Statement {
    /// Runs it on SQLite; the rows that it found.
    fn run(&self, db: &mut SqliteConnection) -> QueryResult<usize>;
    /// Its text for PostgreSQL, without what is to be returned.
    fn text(&self) -> &dyn QueryFragment<Pg>;
    /// Whether its text can be asked to return something.
    fn is_change(&self) -> bool;
}

/// An INSERT, UPDATE or DELETE. `Place` is a type that no other statement has.
pub(super) struct Change<S, Place>(S, PhantomData<Place>);

impl<S, Place> Change<S, Place> {
    pub(super) fn new(statement: S) -> Self {
        Self(statement, PhantomData)
    }
}

impl<S, Place: 'static> Statement for Change<S, Place>
where
    S: QueryFragment<Sqlite> + QueryFragment<Pg>,
{
    fn run(&self, db: &mut SqliteConnection) -> QueryResult<usize> {
        Counted::<_, Place>::new(&self.0).execute(db)
    }

    fn text(&self) -> &dyn QueryFragment<Pg> {
        &self.0
    }

    fn is_change(&self) -> bool {
        true
    }
}

/// Finds its row where a look finds none.
pub(super) struct Absence<S, Place>(S, PhantomData<Place>);

impl<S, Place> Absence<S, Place> {
    pub(super) fn new(look: S) -> Self {
        Self(look, PhantomData)
    }
}

impl<DB: Backend, S: QueryFragment<DB>, Place> QueryFragment<DB> for Absence<S, Place> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        pass.push_sql("SELECT 1 WHERE NOT EXISTS (");
        self.0.walk_ast(pass.reborrow())?;
        pass.push_sql(")");
        Ok(())
    }
}

impl<S, Place> Query for &Absence<S, Place> {
    type SqlType = Integer;
}

impl<S, Place> QueryId for Absence<S, Place> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<S, Place: 'static> Statement for Absence<S, Place>
where
    S: QueryFragment<Sqlite> + QueryFragment<Pg>,
{
    fn run(&self, db: &mut SqliteConnection) -> QueryResult<usize> {
        let found: Option<i32> = Prepared::<_, Place>::new(self).get_result(db).optional()?;
        Ok(usize::from(found.is_some()))
    }

    fn text(&self) -> &dyn QueryFragment<Pg> {
        self
    }

    fn is_change(&self) -> bool {
        false
    }
}

/// Makes a step of a statement.
macro_rules! change {
    ($statement:expr) => {{
        struct Here;
        $crate::store::steps::Step::change($crate::store::steps::Change::<_, Here>::new($statement))
    }};
}

/// Makes a step of a look that is to find nothing.
macro_rules! absence {
    ($look:expr) => {{
        struct Here;
        $crate::store::steps::Step::absence($crate::store::steps::Absence::<_, Here>::new($look))
    }};
}
pub(super) use {absence, change};

impl<'a> Step<'a> {
    fn new(statement: impl Statement + 'a) -> Self {
        Self { statement: Box::new(statement), is_guard: true, kept: None }
    }

    pub(super) fn change<S, Place: 'static>(change: Change<S, Place>) -> Self
    where
        S: QueryFragment<Sqlite> + QueryFragment<Pg> + 'a,
    {
        Self::new(change)
    }

    pub(super) fn absence<S, Place: 'static>(absence: Absence<S, Place>) -> Self
    where
        S: QueryFragment<Sqlite> + QueryFragment<Pg> + 'a,
    {
        Self::new(absence)
    }

    /// One that never finds its row.
    pub(super) fn never() -> Self {
        absence!(diesel::select(diesel::dsl::sql::<Integer>("1")))
    }

    /// The row as it is afterwards is asked for: these columns of it.
    pub(super) fn keeping(self, columns: &'static str) -> Self {
        Self { kept: Some(columns), ..self }
    }

    /// Runs it alone; whether it found its row.
    ///
    /// # Errors
    /// The database's.
    pub fn run(self, db: &mut AnyConnection) -> Result<bool, Error> {
        match db {
            AnyConnection::Sqlite(c) => self.statement.run(c).map(|rows| rows == 1),
            AnyConnection::Postgres(c) => {
                let rows: Vec<i32> = Alone(&self).load(c)?;
                Ok(rows.len() == 1)
            }
        }
    }
}

/// Steps that are made all together.
#[derive(Default)]
#[must_use]
pub struct Steps<'a>(Vec<Step<'a>>);

impl<'a> Steps<'a> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that must find its row.
    pub fn must(mut self, step: Step<'a>) -> Self {
        self.0.push(step);
        self
    }

    /// One that may find its row or not.
    pub fn may(mut self, step: Step<'a>) -> Self {
        self.0.push(Step { is_guard: false, ..step });
        self
    }

    /// These behind those.
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Makes them.
    ///
    /// # Errors
    /// [`Missed`], or the database's.
    pub fn run(self, once: Once<'_>) -> Result<(), Abort<Missed>> {
        let Once(db) = once;
        match db {
            AnyConnection::Sqlite(c) => self.run_each(c),
            AnyConnection::Postgres(c) if self.0.len() > 1 => {
                self.run_as_one::<Integer, i32>(c, None).map(|_| ())
            }
            // One of its own needs no list around it.
            AnyConnection::Postgres(_) => {
                for step in self.0 {
                    let is_guard = step.is_guard;
                    if !step.run(db)? && is_guard {
                        return Err(Abort::Refused(Missed));
                    }
                }
                Ok(())
            }
        }
    }

    /// Makes them, and gives the row that is kept; on SQLite `again` finds it.
    pub(super) fn run_kept<ST, T>(
        self,
        once: Once<'_>,
        again: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<T, Abort<Missed>>
    where
        Together<'a, ST>: diesel::query_dsl::LoadQuery<'a, PgConnection, T>,
    {
        self.run_seeing(once, None, again)
    }

    /// Makes them, and gives what `look` finds at the same time, if anything; on SQLite `see` does that.
    pub(super) fn run_beside<ST, T>(
        self,
        once: Once<'_>,
        look: impl QueryFragment<Pg> + 'a,
        see: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<Option<T>, Abort<Missed>>
    where
        Together<'a, ST>: diesel::query_dsl::LoadQuery<'a, PgConnection, T>,
    {
        match self.run_seeing(once, Some(Box::new(look)), see) {
            // The steps were made: none of them ends like this.
            Err(Abort::Failed(Error::NotFound)) => Ok(None),
            done => done.map(Some),
        }
    }

    fn run_seeing<ST, T>(
        self,
        once: Once<'_>,
        look: Option<Look<'a>>,
        see: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<T, Abort<Missed>>
    where
        Together<'a, ST>: diesel::query_dsl::LoadQuery<'a, PgConnection, T>,
    {
        let Once(db) = once;
        match db {
            AnyConnection::Sqlite(c) => {
                self.run_each(c)?;
                Ok(see(c)?)
            }
            AnyConnection::Postgres(c) => self.run_as_one::<ST, T>(c, look),
        }
    }

    fn run_each(self, db: &mut SqliteConnection) -> Result<(), Abort<Missed>> {
        for step in self.0 {
            if step.statement.run(db)? != 1 && step.is_guard {
                return Err(Abort::Refused(Missed));
            }
        }
        Ok(())
    }

    fn run_as_one<ST, T>(self, db: &mut PgConnection, look: Option<Look<'a>>) -> Result<T, Abort<Missed>>
    where
        Together<'a, ST>: diesel::query_dsl::LoadQuery<'a, PgConnection, T>,
    {
        let together = Together { steps: self.0, look, row: PhantomData };
        together
            .get_result(db)
            .map_err(|error| if is_missed(&error) { Abort::Refused(Missed) } else { Abort::Failed(error) })
    }
}

pub(super) fn is_missed(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(DatabaseErrorKind::CheckViolation, info)
        if info.constraint_name() == Some(FOUND))
}

type Look<'a> = Box<dyn QueryFragment<Pg> + 'a>;

/// Steps as one statement of PostgreSQL.
pub(super) struct Together<'a, ST> {
    steps: Vec<Step<'a>>,
    /// What is looked for beside them.
    look: Option<Look<'a>>,
    row: PhantomData<ST>,
}

impl<ST> QueryFragment<Pg> for Together<'_, ST> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let changes = self.steps.iter().enumerate().filter(|(_, step)| step.statement.is_change());
        for (nth, (index, step)) in changes.enumerate() {
            pass.push_sql(if nth == 0 { "WITH s" } else { ", s" });
            pass.push_sql(&index.to_string());
            pass.push_sql(" AS (");
            step.statement.text().walk_ast(pass.reborrow())?;
            pass.push_sql(" RETURNING ");
            pass.push_sql(step.kept.unwrap_or("1"));
            pass.push_sql(")");
        }
        // The condition is about none of these rows, and so it is asked before any of them is looked for.
        match (&self.look, self.steps.iter().position(|step| step.kept.is_some())) {
            (Some(look), _) => {
                pass.push_sql(" SELECT seen.* FROM (");
                look.walk_ast(pass.reborrow())?;
                pass.push_sql(") AS seen WHERE (");
            }
            (None, Some(kept)) => pass.push_sql(&format!(" SELECT s{kept}.* FROM s{kept} WHERE (")),
            (None, None) => pass.push_sql(" SELECT 1 WHERE ("),
        }
        // AND asks from left to right, and a step is made where it is first asked for. What nobody asks for is made
        // at the end.
        let guards = self.steps.iter().enumerate().filter(|(_, step)| step.is_guard);
        for (nth, (index, step)) in guards.enumerate() {
            pass.push_sql(if nth == 0 { "EXISTS (" } else { " AND EXISTS (" });
            if step.statement.is_change() {
                pass.push_sql("SELECT FROM s");
                pass.push_sql(&index.to_string());
            } else {
                step.statement.text().walk_ast(pass.reborrow())?;
            }
            pass.push_sql(")");
        }
        pass.push_sql(")::");
        pass.push_sql(FOUND);
        Ok(())
    }

    /// Every value is bound, and the text is the key.
    fn is_safe_to_cache_prepared(&self, _backend: &Pg) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<ST> QueryId for Together<'_, ST> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<ST> Query for Together<'_, ST> {
    type SqlType = ST;
}

impl<ST> RunQueryDsl<PgConnection> for Together<'_, ST> {}

/// One step as a statement of PostgreSQL.
struct Alone<'s, 'a>(&'s Step<'a>);

impl QueryFragment<Pg> for Alone<'_, '_> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.statement.text().walk_ast(pass.reborrow())?;
        if self.0.statement.is_change() {
            pass.push_sql(" RETURNING 1");
        }
        Ok(())
    }

    fn is_safe_to_cache_prepared(&self, _backend: &Pg) -> QueryResult<bool> {
        Ok(true)
    }
}

impl QueryId for Alone<'_, '_> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Alone<'_, '_> {
    type SqlType = Integer;
}

impl RunQueryDsl<PgConnection> for Alone<'_, '_> {}
