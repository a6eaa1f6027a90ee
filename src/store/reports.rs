//! What gateways report of messages, and the messages that did not arrive.
//!
//! Guarantees: a report never moves a message back, comes from the provider that took it or moves nothing, and is the
//! same however often and in whichever order it comes: also where it comes before it is noted who took the message.
//! Who takes an overdue message on has it alone.

mod early;

use std::borrow::Cow;

use diesel::dsl::case_when;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};

pub(super) use self::early::settle;
use super::connection::{AnyConnection, on_each};
use super::deliveries::Status;
use super::prepared::{changed_row, found_its_row};
use super::schema::deliveries::{self, dsl};
use crate::domain::channel::Channel;
use crate::domain::ids::{ChallengeId, MessageId};
use crate::domain::time::Timestamp;

/// Messages that are looked at in one round.
pub const BATCH: i64 = 50;

/// [`Status::rank`], as both databases count it.
const RANK: &str = "CASE status WHEN 'pending' THEN 0 WHEN 'unknown' THEN 1 WHEN 'accepted' THEN 2 \
                    WHEN 'failed' THEN 3 WHEN 'delivered' THEN 4 ELSE 9 END";

impl Status {
    /// How far along it is; none where no report moves it.
    fn rank(self) -> Option<i32> {
        match self {
            Self::Pending => Some(0),
            Self::Unknown => Some(1),
            Self::Accepted => Some(2),
            Self::Failed => Some(3),
            // It arrived, whatever was said before.
            Self::Delivered => Some(4),
            Self::Withheld => None,
        }
    }

    /// The ranks that a report of this moves up from.
    fn reached_from(self) -> std::ops::Range<i32> {
        match self {
            // None moves one that is being sent: it is not known yet who takes it.
            Self::Failed => 1..3,
            Self::Delivered => 1..4,
            Self::Accepted => 1..2,
            Self::Pending | Self::Unknown | Self::Withheld => 0..0,
        }
    }

    /// Whether a report of `to` moves a message that is here.
    #[must_use]
    pub fn moves_to(self, to: Self) -> bool {
        self.rank().is_some_and(|rank| to.reached_from().contains(&rank))
    }
}

/// How a report names a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// By our id.
    Ours(MessageId),
    /// By the provider's.
    Theirs(String),
}

/// What a provider reports.
#[derive(Debug, Clone)]
pub struct Report {
    /// Of which message.
    pub message: Named,
    /// By which provider.
    pub provider: String,
    /// Accepted, delivered or failed.
    pub status: Status,
    /// The kind of failure.
    pub error: Option<Cow<'static, str>>,
    /// Whether another message may be sent in its place: where it failed, and that can help.
    pub resend: bool,
}

/// Moves the message that a report names, as [`Status::moves_to`] says, or keeps the report until it is known who took
/// the message; whether it did.
///
/// # Errors
/// The database's.
pub fn receive(db: &mut AnyConnection, report: &Report, now: Timestamp) -> Result<bool, Error> {
    // In this order: what is noted between the two is moved by the second.
    Ok(early::keep(db, report, now)? || apply(db, report, now)?)
}

fn apply(db: &mut AnyConnection, report: &Report, now: Timestamp) -> Result<bool, Error> {
    let at = now.as_millis();
    let from = report.status.reached_from();
    let rank = || diesel::dsl::sql::<Integer>(RANK);
    let behind = rank().ge(from.start).and(rank().lt(from.end));
    // Where it was never noted who took it, whoever brought it did; who failed may have been one of several.
    let brought = (report.status != Status::Failed).into_sql::<Bool>();
    let taken_by = dsl::provider.eq(&report.provider).or(dsl::provider.is_null().and(brought));
    let due = (report.status == Status::Failed && report.resend).then_some(at);
    let due_at = case_when((report.status == Status::Accepted).into_sql::<Bool>(), dsl::due_at)
        .otherwise(due.into_sql::<Nullable<BigInt>>());
    // Beside those that did not take it before: see `deliveries::failed_providers`.
    let joined = case_when(dsl::failed_providers.is_null(), (&report.provider).into_sql::<Nullable<Text>>())
        .otherwise(dsl::failed_providers.concat(",").concat(&report.provider));
    let failed_providers = case_when((report.status == Status::Failed).into_sql::<Bool>(), joined)
        .otherwise(dsl::failed_providers);
    let change = (
        dsl::status.eq(report.status.as_str()),
        dsl::error.eq(report.error.as_deref()),
        dsl::provider.eq(&report.provider),
        dsl::failed_providers.eq(failed_providers),
        dsl::due_at.eq(due_at),
        dsl::reported_at.eq(at),
        dsl::updated_at.eq(at),
    );
    let moved = dsl::deliveries.filter(behind).filter(taken_by);
    match &report.message {
        Named::Ours(id) => {
            let named = moved.filter(dsl::id.eq(id.as_str()));
            found_its_row!(db, diesel::update(named).set(change), dsl::updated_at)
        }
        Named::Theirs(id) => {
            // The second time, so that the index is used.
            let theirs = dsl::provider.eq(&report.provider).and(dsl::provider_id.eq(id));
            let named = moved.filter(theirs);
            found_its_row!(db, diesel::update(named).set(change), dsl::updated_at)
        }
    }
}

/// A message that did not arrive in time, or at all.
#[derive(Debug, Clone)]
pub struct Lost {
    /// Which.
    pub id: MessageId,
    /// What it belongs to.
    pub challenge: ChallengeId,
    /// How it went.
    pub channel: Channel,
    /// Who was to bring it.
    pub provider: Option<String>,
    /// The budget of whoever asked for it.
    pub network: String,
    /// The language of its text.
    pub locale: String,
}

/// The messages that are overdue, longest first, a batch at most.
///
/// # Errors
/// The database's.
pub fn overdue(db: &mut AnyConnection, now: Timestamp) -> Result<Vec<MessageId>, Error> {
    let due = dsl::deliveries
        .filter(dsl::due_at.is_not_null())
        .filter(dsl::due_at.le(now.as_millis()))
        .order(dsl::due_at)
        .limit(BATCH)
        .select(dsl::id);
    let ids: Vec<String> = on_each!(db, c => due.load(c))?;
    Ok(ids.into_iter().map(MessageId::from_stored).collect())
}

/// Takes an overdue message on. None: somebody else did, or it arrived after all.
///
/// # Errors
/// The database's.
pub fn take(db: &mut AnyConnection, id: &MessageId, now: Timestamp) -> Result<Option<Lost>, Error> {
    type Row = (String, String, String, Option<String>, String, String);
    let due = dsl::deliveries
        .filter(dsl::id.eq(id.as_str()))
        .filter(dsl::due_at.is_not_null())
        .filter(dsl::due_at.le(now.as_millis()));
    let columns = (
        deliveries::id,
        deliveries::challenge_id,
        deliveries::channel,
        deliveries::provider,
        deliveries::network,
        deliveries::locale,
    );
    let taken = diesel::update(due).set(dsl::due_at.eq(None::<i64>));
    let row: Option<Row> = changed_row!(db, taken, columns, dsl::deliveries.find(id.as_str()))?;
    let Some((id, challenge, channel, provider, network, locale)) = row else { return Ok(None) };
    let unreadable = || Error::DeserializationError(format!("delivery {id}: what is {channel}?").into());
    Ok(Some(Lost {
        channel: Channel::parse(&channel).ok_or_else(unreadable)?,
        id: MessageId::from_stored(id),
        challenge: ChallengeId::from_stored(challenge),
        provider,
        network,
        locale,
    }))
}

/// How many messages of a challenge were sent in place of others.
///
/// # Errors
/// The database's.
pub fn resends(db: &mut AnyConnection, challenge: &ChallengeId) -> Result<i64, Error> {
    let sent =
        dsl::deliveries.filter(dsl::challenge_id.eq(challenge.as_str())).filter(dsl::resend_of.is_not_null());
    on_each!(db, c => sent.count().get_result(c))
}

#[cfg(test)]
mod tests {
    use super::Status::{self, Accepted, Delivered, Failed, Pending, Unknown, Withheld};

    #[test]
    fn a_report_moves_a_message_forward_or_not_at_all() {
        let moves = [
            (Unknown, Accepted),
            (Unknown, Failed),
            (Unknown, Delivered),
            (Accepted, Failed),
            (Accepted, Delivered),
            (Failed, Delivered),
        ];
        let all = [Pending, Accepted, Delivered, Failed, Unknown, Withheld];
        for from in all {
            for to in all {
                assert_eq!(Status::moves_to(from, to), moves.contains(&(from, to)), "{from:?} to {to:?}");
            }
        }
    }
}
