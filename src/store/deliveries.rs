//! Messages on their way. What gateways report of them is in [`super::reports`].

use diesel::prelude::*;
use diesel::result::Error;

use super::connection::{AnyConnection, on_each};
use super::prepared::{changed_row, prepared};
use super::schema::deliveries::dsl;
use super::steps::{Step, change};
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
        // In the text: see `named_by!` in challenges.rs.
        let is_pending = diesel::dsl::sql::<diesel::sql_types::Bool>("status = 'pending'");
        dsl::deliveries.filter(dsl::id.eq($id.as_str())).filter(is_pending)
    }};
}

/// What an outcome makes of it.
macro_rules! changes {
    ($outcome:expr, $now:expr) => {
        (
            dsl::status.eq($outcome.status.as_str()),
            dsl::provider.eq(&$outcome.provider),
            dsl::provider_id.eq(&$outcome.provider_id),
            dsl::error.eq($outcome.error),
            dsl::failed_providers.eq((!$outcome.failed.is_empty()).then(|| $outcome.failed.join(","))),
            dsl::due_at.eq($outcome.due_at.map(Timestamp::as_millis)),
            dsl::updated_at.eq($now.as_millis()),
        )
    };
}

/// Notes what became of a pending message; it does not find its row where something was reported of that already.
pub fn note_unreported<'a>(id: &'a MessageId, outcome: &'a Outcome, now: Timestamp) -> Step<'a> {
    let unreported = pending!(id).filter(dsl::early_reports.is_null());
    change!(diesel::update(unreported).set(changes!(outcome, now)))
}

/// Notes what became of a pending message; then what its taker reported meanwhile counts, too.
///
/// # Errors
/// The database's.
pub fn note(
    db: &mut AnyConnection,
    id: &MessageId,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<bool, Error> {
    if note_unreported(id, outcome, now).run(db)? {
        return Ok(true);
    }
    let row = dsl::deliveries.find(id.as_str());
    let reported = diesel::update(pending!(id)).set(changes!(outcome, now));
    let noted: Option<Option<String>> = changed_row!(db, reported, dsl::early_reports, row)?;
    if let Some(early) = &noted {
        super::reports::settle(db, id, early.as_deref(), now)?;
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

/// A message as a code that comes back needs it.
#[derive(Clone)]
pub struct Carried {
    /// The network that asked for it.
    pub network: String,
    /// How it travelled.
    pub channel: Option<Channel>,
    /// The provider that took it, and its own id for the message.
    pub provider: Option<(String, Option<String>)>,
}

impl From<Row> for Carried {
    fn from((network, channel, provider, id): Row) -> Self {
        Self { network, channel: Channel::parse(&channel), provider: provider.map(|name| (name, id)) }
    }
}

pub(super) type Row = (String, String, Option<String>, Option<String>);

/// A message whose code did not come back yet.
macro_rules! fresh {
    ($id:expr) => {{
        use $crate::store::schema::deliveries::dsl;
        let fresh = dsl::deliveries.filter(dsl::id.eq($id.as_str())).filter(dsl::verified_at.is_null());
        fresh.select((dsl::network, dsl::channel, dsl::provider, dsl::provider_id))
    }};
}
pub(super) use fresh;

/// The message whose code came back, if that did not come back before.
///
/// # Errors
/// The database's.
pub fn carried(db: &mut AnyConnection, id: &MessageId) -> Result<Option<Carried>, Error> {
    let row = on_each!(db, c => prepared!(fresh!(id)).get_result::<Row>(c).optional())?;
    Ok(row.map(Carried::from))
}

/// Notes that the code of a message came back, once.
pub fn verify(id: &MessageId, now: Timestamp) -> Step<'_> {
    let fresh = dsl::deliveries.filter(dsl::id.eq(id.as_str())).filter(dsl::verified_at.is_null());
    change!(diesel::update(fresh).set(dsl::verified_at.eq(now.as_millis())))
}
