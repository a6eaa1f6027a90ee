//! What PostgreSQL does for many in one statement: there the statement costs, not the row.
//!
//! Guarantees: all that wait while every connection is busy are done together, and what comes while one is free is done
//! alone, at once. A batch is all or nothing; where it comes to nothing, its halves are tried, and theirs, down to single
//! ones over whichever connection is free, so that every caller hears what is true of its own and no one's trouble is
//! the others'. Batches of a kind are done in the order of their subjects, and so seldom wait for each other in a circle;
//! where they do, the database breaks it.

pub mod acceptances;
pub mod guesses;
pub mod looks;
pub mod mints;
pub mod notes;
mod rows;
pub mod starts;

use diesel::pg::PgConnection;

use super::gathering::Gathering;
use super::pool::{Waiting, at_once, caught, over};
use super::steps::Missed;
use super::{Abort, AnyConnection, is_retryable};
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

    /// Does many as [`Batched::alone`] does each, all of them when the last one came, or none; what they came to, in
    /// their order. None: it was left out, because it is not plain.
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

/// What of a batch is yet to be done, in parts of which each is a batch.
type Left<W> = Vec<Vec<Member<W>>>;

/// Does these together; where that comes to nothing, each half is to be tried. With the connection, where it may be used
/// again.
pub(super) fn work_off<W: Batched>(
    mut members: Vec<Member<W>>,
    mut db: AnyConnection,
) -> (Left<W>, Option<AnyConnection>) {
    members.retain(|member| !member.waiting.is_given_up());
    let (mut firsts, others) = by_subject(members);
    let mut left: Left<W> = others.into_iter().map(|member| vec![member]).collect();
    firsts.retain(|member| member.waiting.begin());
    if firsts.len() < 2 {
        let kept = match firsts.pop() {
            Some(only) => do_alone(only, db),
            None => Some(db),
        };
        return (left, kept);
    }
    let many: Vec<&W> = firsts.iter().map(|member| &member.work).collect();
    let done = match &mut db {
        AnyConnection::Postgres(db) => caught(|| Ok(W::together(db, &many))),
        AnyConnection::Sqlite(_) => Ok(Err(Abort::Refused(Missed))),
    };
    let is_sound = match &done {
        Ok(Ok(_) | Err(Abort::Refused(Missed))) => true,
        Ok(Err(Abort::Failed(error))) => {
            tracing::warn!(error = chain(error), "a batch failed: its parts are tried by themselves");
            is_retryable(error)
        }
        Err(_panicked) => false,
    };
    if let Ok(Ok(made)) = done {
        for (member, made) in firsts.into_iter().zip(made) {
            match made {
                Some(done) => member.waiting.answer(Ok(Ok(done))),
                None => left.push(vec![put_off(member)]),
            }
        }
    } else {
        let second = firsts.split_off(firsts.len() / 2);
        left.extend([firsts, second].map(|half| half.into_iter().map(put_off).collect()));
    }
    (left, is_sound.then_some(db))
}

fn put_off<W: Batched>(member: Member<W>) -> Member<W> {
    member.waiting.put_off();
    member
}

fn do_alone<W: Batched>(Member { work, waiting }: Member<W>, db: AnyConnection) -> Option<AnyConnection> {
    let (done, kept) = over(db, |db| waiting.within(|| at_once(db, &|db| work.alone(db))));
    waiting.answer(done);
    kept
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
