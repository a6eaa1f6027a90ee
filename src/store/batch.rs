//! What PostgreSQL does for many in one statement: there the statement costs, not the row.
//!
//! Guarantees: all that wait while every connection is busy are done together, and what comes while one is free is done
//! alone, at once. A batch is all or nothing; where it comes to nothing, each of it is done by itself, so that every
//! caller hears what is true of its own. A batch is done in the order of its subjects, so that two of them never wait
//! for each other in a circle.

pub mod acceptances;
pub mod guesses;
pub mod looks;
pub mod mints;
pub mod notes;
mod rows;
pub mod starts;

use diesel::pg::PgConnection;

use super::gathering::{Gathered, Gathering};
use super::pool::{Waiting, at_once, caught};
use super::steps::Missed;
use super::{Abort, AnyConnection, StoreError, is_retryable};
use crate::telemetry::chain;

/// A write, or a look, that can be done together with others of its kind.
pub trait Batched: Send + Sync + 'static {
    /// What it comes to.
    type Done: Send + 'static;
    /// Why it comes to nothing: [`Missed`], or for a look `Infallible`.
    type Refusal: Send + 'static;

    /// What it is about. No two of a batch are about the same.
    fn subject(&self) -> &str;

    /// Does it by itself; what it writes, in one statement.
    ///
    /// # Errors
    /// Its refusal, or the database's.
    fn alone(&self, db: &mut AnyConnection) -> Result<Self::Done, Abort<Self::Refusal>>;

    /// Does many as [`Batched::alone`] does each, or none; what they came to, in their order. None: it was left out,
    /// because it is not plain.
    ///
    /// # Errors
    /// [`Missed`], where one of them would miss; or the database's.
    fn together(db: &mut PgConnection, many: &[&Self]) -> Result<Vec<Option<Self::Done>>, Abort<Missed>>;
}

/// Writes rows in one statement; what each came to. None: it is not a row.
///
/// # Errors
/// Those of `write`.
pub fn plain<R, D>(
    rows: impl Iterator<Item = Option<R>>,
    write: impl FnOnce(&[R]) -> Result<Vec<D>, Abort<Missed>>,
) -> Result<Vec<Option<D>>, Abort<Missed>> {
    let rows: Vec<Option<R>> = rows.collect();
    let is_plain: Vec<bool> = rows.iter().map(Option::is_some).collect();
    let rows: Vec<R> = rows.into_iter().flatten().collect();
    let mut made = if rows.is_empty() { Vec::new() } else { write(&rows)? }.into_iter();
    Ok(is_plain.into_iter().map(|is_plain| if is_plain { made.next() } else { None }).collect())
}

/// What waits to be done together.
pub type Batch<W> = Gathering<Member<W>>;

/// One of them, and who waits for it.
pub struct Member<W: Batched> {
    pub(super) work: W,
    pub(super) waiting: Waiting<Result<W::Done, W::Refusal>>,
}

/// Behind so many failures of single ones a connection is not tried any more.
const FAILURES: usize = 2;

/// Does all that wait by now. The connection, where it may be used again.
pub(super) fn work_off<W: Batched>(
    gathered: Gathered<Member<W>>,
    mut db: AnyConnection,
) -> Option<AnyConnection> {
    let mut members = gathered.into_items();
    members.retain(|member| member.waiting.begin());
    let (firsts, others) = by_subject(members);
    // What is not there was not done.
    let made = do_together(&firsts, &mut db).into_iter();
    let made = made.chain(std::iter::repeat_with(|| None));
    let mut failures = 0;
    for (Member { work, waiting }, done) in firsts.into_iter().chain(others).zip(made) {
        let done = match done {
            Some(done) => Ok(Ok(done)),
            None if failures == FAILURES => Err(StoreError::Overloaded),
            None => waiting.within(|| caught(|| at_once(&mut db, &|db| work.alone(db)))),
        };
        failures = match &done {
            Ok(_) => failures,
            // Nobody knows what it left behind.
            Err(StoreError::Panicked) => FAILURES,
            Err(_) => FAILURES.min(failures + 1),
        };
        waiting.answer(done);
    }
    (failures == 0).then_some(db)
}

/// One of each subject, in the order of these; and the others.
fn by_subject<W: Batched>(mut members: Vec<Member<W>>) -> (Vec<Member<W>>, Vec<Member<W>>) {
    members.sort_by(|a, b| a.work.subject().cmp(b.work.subject()));
    let (mut firsts, mut others): (Vec<Member<W>>, _) = (Vec::with_capacity(members.len()), Vec::new());
    for member in members {
        let is_another = firsts.last().is_some_and(|last| last.work.subject() == member.work.subject());
        if is_another { others.push(member) } else { firsts.push(member) }
    }
    (firsts, others)
}

/// What each of them came to, where they could be made together.
fn do_together<W: Batched>(members: &[Member<W>], db: &mut AnyConnection) -> Vec<Option<W::Done>> {
    let AnyConnection::Postgres(db) = db else { return Vec::new() };
    if members.len() < 2 {
        return Vec::new();
    }
    let many: Vec<&W> = members.iter().map(|member| &member.work).collect();
    match caught(|| Ok(W::together(db, &many))) {
        Ok(Ok(made)) => made,
        Ok(Err(Abort::Failed(error))) if !is_retryable(&error) => {
            tracing::warn!(error = chain(&error), "a batch failed: each of it is made by itself");
            Vec::new()
        }
        Ok(Err(Abort::Refused(Missed) | Abort::Failed(_))) | Err(_) => Vec::new(),
    }
}
