//! The record of what happened: written in the same transaction as what it records, or neither is.

use diesel::prelude::*;
use diesel::result::Error;

use super::AnyConnection;
use super::schema::audit::dsl;
use super::steps::{Step, change};
use crate::domain::session::Session;
use crate::domain::time::Timestamp;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A code was made, and a message written down.
    CodeSent,
    /// A code was made, and a message written down, in place of one that did not arrive.
    CodeResent,
    /// A code was made for an address that is closed: nothing left.
    CodeWithheld,
    /// A guess was counted. The next event of its challenge says whether it was right.
    GuessCounted,
    /// The guess that reached the cap.
    GuardAtCap,
    /// A right code was consumed: that of the message in the detail.
    CodeConsumed,
    /// A token was minted.
    TokenMinted,
    /// The backend minted none.
    MintFailed,
    /// The code went another way than the first: some provider did not take it.
    FailedOver,
    /// An operator keeps messages from a provider.
    ProviderDisabled,
    /// An operator has a provider tried first.
    ProviderPromoted,
    /// An operator took back what was said of a provider.
    ProviderEnabled,
    /// A session was born.
    SessionStarted,
    /// A refresh token came that was used before: its session was ended.
    SessionReuse,
    /// A session was ended.
    SessionEnded,
    /// A session got another chat token.
    ChatTokenMinted,
    /// A user has another number; detail says both, masked.
    PhoneChanged,
    /// A user can also log in with a mailbox; detail says both, masked, where it took another's place.
    EmailLinked,
    /// A user cannot log in with their mailbox any more.
    EmailUnlinked,
    /// An address was parted from a user who had not used it for so long that it may be another's.
    NumberRecycled,
    /// An operator took the brake off an address.
    GuardOpened,
    /// An operator ended all sessions of a user.
    SessionsEnded,
    /// An operator imported a user.
    UserImported,
}

impl Event {
    /// As the database holds it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CodeSent => "code.sent",
            Self::CodeResent => "code.resent",
            Self::CodeWithheld => "code.withheld",
            Self::GuessCounted => "guess.counted",
            Self::GuardAtCap => "guard.at_cap",
            Self::CodeConsumed => "code.consumed",
            Self::TokenMinted => "token.minted",
            Self::MintFailed => "mint.failed",
            Self::FailedOver => "code.failed_over",
            Self::ProviderDisabled => "provider.disabled",
            Self::ProviderPromoted => "provider.promoted",
            Self::ProviderEnabled => "provider.enabled",
            Self::SessionStarted => "session.started",
            Self::SessionReuse => "session.reuse",
            Self::SessionEnded => "session.ended",
            Self::ChatTokenMinted => "chat_token.minted",
            Self::PhoneChanged => "phone.changed",
            Self::EmailLinked => "email.linked",
            Self::EmailUnlinked => "email.unlinked",
            Self::NumberRecycled => "number.recycled",
            Self::GuardOpened => "guard.opened",
            Self::SessionsEnded => "sessions.ended",
            Self::UserImported => "user.imported",
        }
    }
}

/// About whom and what. Leave out what does not apply.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// The realm.
    pub realm: Option<&'a str>,
    /// The app.
    pub app_id: Option<&'a str>,
    /// The address.
    pub address: Option<&'a str>,
    /// The challenge.
    pub challenge: Option<&'a str>,
    /// The user.
    pub user: Option<&'a str>,
    /// The network that asked.
    pub network: Option<&'a str>,
    /// Anything else; for an operator's act, who and why.
    pub detail: Option<&'a str>,
}

impl<'a> From<&'a Session> for Subject<'a> {
    /// Without its network: who acts on a session may be elsewhere.
    fn from(session: &'a Session) -> Self {
        Self {
            realm: Some(&session.realm),
            app_id: Some(&session.app_id),
            address: Some(session.address.as_str()),
            user: Some(session.user.as_str()),
            detail: Some(session.id.as_str()),
            ..Self::default()
        }
    }
}

/// Adds to the record.
pub fn recording(event: Event, about: Subject<'_>, now: Timestamp) -> Step<'_> {
    let row = (
        dsl::at.eq(now.as_millis()),
        dsl::event.eq(event.as_str()),
        dsl::realm.eq(about.realm),
        dsl::app_id.eq(about.app_id),
        dsl::address.eq(about.address),
        dsl::challenge_id.eq(about.challenge),
        dsl::user_id.eq(about.user),
        dsl::network.eq(about.network),
        dsl::detail.eq(about.detail),
    );
    change!(diesel::insert_into(dsl::audit).values(row))
}

/// The same, at once.
///
/// # Errors
/// The database's.
pub fn record(db: &mut AnyConnection, event: Event, about: Subject<'_>, now: Timestamp) -> Result<(), Error> {
    recording(event, about, now).run(db).map(|_| ())
}
