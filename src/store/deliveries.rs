//! Messages on their way. What gateways report of them is in [`super::reports`].

use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{Nullable, Text};

use super::Abort;
use super::connection::{AnyConnection, on_each};
use super::prepared::{changed_row, found_its_row, prepared};
use super::schema::deliveries::dsl;
use super::steps::{Missed, Once, Step, Steps, change};
use crate::domain::address::Address;
use crate::domain::channel::Channel;
use crate::domain::ids::{ChallengeId, MessageId};
use crate::domain::time::Timestamp;

/// How far a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Written down before it is sent.
    Pending,
    /// A provider took it.
    Accepted,
    /// It arrived, as a provider reports.
    Delivered,
    /// No provider took it, or the one that did reports that it did not arrive.
    Failed,
    /// Nobody knows, and nothing sends it again.
    Unknown,
    /// Never sent: the address is closed.
    Withheld,
}

impl Status {
    /// As the database holds it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Withheld => "withheld",
        }
    }
}

/// A message to be sent.
#[derive(Clone)]
pub struct NewDelivery {
    /// Ours.
    pub id: MessageId,
    /// What it belongs to.
    pub challenge: ChallengeId,
    /// To whom.
    pub address: Address,
    /// How.
    pub channel: Channel,
    /// The budget of whoever asked for it.
    pub network: String,
    /// [`Status::Pending`] or [`Status::Withheld`].
    pub status: Status,
    /// The language of its text.
    pub locale: String,
    /// The message that it is sent in place of; none where a person asked for it.
    pub resend_of: Option<MessageId>,
    /// Now.
    pub created_at: Timestamp,
    /// After this nobody sends it any more.
    pub deadline_at: Timestamp,
}

/// What became of a message.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Accepted, failed or unknown.
    pub status: Status,
    /// The provider that took it, or the last one that did not.
    pub provider: Option<String>,
    /// The provider's own id for it.
    pub provider_id: Option<String>,
    /// The kind of failure.
    pub error: Option<&'static str>,
    /// Those that did not take it.
    pub failed: Vec<String>,
    /// When another is sent in its place, unless it is reported as delivered.
    pub due_at: Option<Timestamp>,
}

impl Outcome {
    pub(super) fn failed_providers(&self) -> Option<String> {
        (!self.failed.is_empty()).then(|| self.failed.join(","))
    }
}

/// What became of a message, to be written down.
pub struct Note {
    /// Which.
    pub id: MessageId,
    /// What became of it.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

/// Writes a message down before it is sent.
pub fn insert(new: &NewDelivery) -> Step<'_> {
    let row = (
        dsl::id.eq(new.id.as_str()),
        dsl::challenge_id.eq(new.challenge.as_str()),
        dsl::address.eq(new.address.as_str()),
        dsl::channel.eq(new.channel.as_str()),
        dsl::network.eq(&new.network),
        dsl::status.eq(new.status.as_str()),
        dsl::created_at.eq(new.created_at.as_millis()),
        dsl::deadline_at.eq(new.deadline_at.as_millis()),
        dsl::updated_at.eq(new.created_at.as_millis()),
        dsl::locale.eq(&new.locale),
        dsl::resend_of.eq(new.resend_of.as_ref().map(MessageId::as_str)),
    );
    change!(diesel::insert_into(dsl::deliveries).values(row))
}

/// A message that is being sent.
macro_rules! pending {
    ($id:expr) => {{
        use $crate::store::schema::deliveries::dsl;
        // In the text: see `named_by!` in challenges.rs. Not as the partial index has it: PostgreSQL would read all that
        // are pending, and those that were until a moment ago.
        let is_pending = diesel::dsl::sql::<diesel::sql_types::Bool>("COALESCE(status, '') = 'pending'");
        dsl::deliveries.filter(dsl::id.eq($id.as_str())).filter(is_pending)
    }};
}
pub(super) use pending;

/// What an outcome makes of it.
macro_rules! changes {
    ($note:expr) => {{
        let Outcome { status, provider, provider_id, error, due_at, .. } = &$note.outcome;
        (
            dsl::status.eq(status.as_str()),
            dsl::provider.eq(provider),
            dsl::provider_id.eq(provider_id),
            dsl::error.eq(error),
            dsl::failed_providers.eq($note.outcome.failed_providers()),
            dsl::due_at.eq(due_at.map(Timestamp::as_millis)),
            dsl::updated_at.eq($note.at.as_millis()),
        )
    }};
}

/// Notes what became of a pending message; then what its taker reported meanwhile counts, too.
///
/// # Errors
/// The database's.
pub fn note(db: &mut AnyConnection, note: &Note) -> Result<bool, Error> {
    let id = &note.id;
    let unreported = pending!(id).filter(dsl::early_reports.is_null());
    if found_its_row!(db, diesel::update(unreported).set(changes!(note)), dsl::created_at)? {
        return Ok(true);
    }
    let row = dsl::deliveries.find(id.as_str());
    let reported = diesel::update(pending!(id)).set(changes!(note));
    let noted: Option<Option<String>> = changed_row!(db, reported, dsl::early_reports, row)?;
    if let Some(early) = &noted {
        super::reports::settle(db, id, early.as_deref(), note.at)?;
    }
    Ok(noted.is_some())
}

/// The providers that did not take a message of a challenge.
///
/// # Errors
/// The database's.
pub fn failed_providers(db: &mut AnyConnection, challenge: &ChallengeId) -> Result<Vec<String>, Error> {
    let failed = dsl::deliveries
        .filter(dsl::challenge_id.eq(challenge.as_str()))
        .filter(dsl::failed_providers.is_not_null())
        .select(dsl::failed_providers.assume_not_null());
    let rows: Vec<String> = on_each!(db, c => failed.load(c))?;
    Ok(rows.iter().flat_map(|names| names.split(',').map(str::to_owned)).collect())
}

/// The provider that took a message, and its own id for it.
pub type Taker = (String, Option<String>);

/// Makes steps; who took this message, as far as that is noted.
///
/// # Errors
/// [`Missed`], or the database's.
pub fn taken_beside(
    steps: Steps<'_>,
    once: Once<'_>,
    id: &MessageId,
) -> Result<Option<Taker>, Abort<Missed>> {
    type Types = (Nullable<Text>, Nullable<Text>);
    let taker = dsl::deliveries.find(id.as_str()).select((dsl::provider, dsl::provider_id));
    let found: Option<(Option<String>, Option<String>)> =
        steps.run_beside::<Types, _>(once, taker, |c| prepared!(taker).get_result(c))?;
    Ok(found.and_then(|(provider, provider_id)| Some((provider?, provider_id))))
}
