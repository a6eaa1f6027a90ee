//! Bringing a code to a person.
//!
//! Guarantees: one [`OutgoingCode`] is offered to the providers of its route in their order, until one may have
//! accepted it. Nothing is sent a second time after an uncertain answer, and nothing waits past the deadline.

mod board;
mod console;
mod lane;
mod messages;
mod receipts;
pub(crate) mod recipe;
mod route;
pub(crate) mod smtp;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use self::board::{Board, Hour, Pair, hour_of};
pub use self::messages::{Long, Messages, NumberChanged, Occasion, Text};
pub use self::receipts::{CallIn, Callbacks, Door, Method, Notice, Progress, Reading, Receipts, Reply};
pub use self::route::{Courier, Plan, Report, Rules, Surroundings};
use crate::ambient::Clock;
use crate::config::ProviderConfig;
use crate::domain::address::Address;
use crate::domain::channel::Channel;
use crate::domain::code::Code;
use crate::domain::ids::MessageId;

/// A code, or a notice, on its way out. No `Debug`.
pub struct OutgoingCode {
    /// Ours; the same on every try.
    pub id: MessageId,
    /// To whom.
    pub to: Address,
    /// What it is for: one of `domain::purpose::Purpose::KINDS`.
    pub purpose: &'static str,
    /// The code. None: a notice, whose text is all there is.
    pub code: Option<Code>,
    /// The app as its client names it.
    pub app_id: String,
    /// What the app calls itself.
    pub app_name: String,
    /// How long the code is valid.
    pub lifetime: Duration,
    /// What to say.
    pub text: Text,
}

/// A code that came back: its message arrived. No `Debug`.
pub struct UsedCode {
    /// Our id of the message.
    pub id: MessageId,
    /// The provider's own id for it.
    pub provider_id: String,
    /// To whom it was sent.
    pub to: Address,
    /// The code.
    pub code: Code,
}

/// A provider took the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's own id for it, where it gives one.
    pub provider_id: Option<String>,
}

/// Why a provider did not take a message, sorted by what the caller should do next. Texts are for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Tell the user: nobody can reach this address.
    #[error("bad number: {0}")]
    BadNumber(String),
    /// Offer another channel: the person opted out, or the carrier blocks us.
    #[error("blocked: {0}")]
    Blocked(String),
    /// Next provider: this one does not reach that network.
    #[error("unroutable: {0}")]
    Unroutable(String),
    /// Next provider, and an alarm: sender, template or content is not allowed.
    #[error("rejected: {0}")]
    Rejected(String),
    /// Next provider, and an alarm: our credentials are wrong.
    #[error("auth: {0}")]
    Auth(String),
    /// Next provider, and an alarm: the account is empty.
    #[error("no funds: {0}")]
    NoFunds(String),
    /// Next provider: this one asks us to slow down.
    #[error("throttled: {said}")]
    Throttled {
        /// What it said, for the log.
        said: String,
        /// How long it asks to be left alone, where it says so.
        after: Option<Duration>,
    },
    /// Next provider: certainly not accepted.
    #[error("temporary: {0}")]
    Temporary(String),
    /// Never again for this message: it may have been sent.
    #[error("unknown: {0}")]
    Unknown(String),
}

impl SendError {
    /// Its kind, for the database and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BadNumber(_) => "bad_number",
            Self::Blocked(_) => "blocked",
            Self::Unroutable(_) => "unroutable",
            Self::Rejected(_) => "rejected",
            Self::Auth(_) => "auth",
            Self::NoFunds(_) => "no_funds",
            Self::Throttled { .. } => "throttled",
            Self::Temporary(_) => "temporary",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Whether the next provider may be tried: this one certainly sent nothing, and another may.
    #[must_use]
    pub fn allows_another(&self) -> bool {
        match self {
            Self::BadNumber(_) | Self::Blocked(_) | Self::Unknown(_) => false,
            Self::Unroutable(_)
            | Self::Rejected(_)
            | Self::Auth(_)
            | Self::NoFunds(_)
            | Self::Throttled { .. }
            | Self::Temporary(_) => true,
        }
    }

    /// Whether the address gets its send back: the person did nothing wrong, and nothing was sent.
    #[must_use]
    pub fn is_providers_fault(&self) -> bool {
        self.allows_another()
    }
}

/// A provider that cannot be had. The text names its configuration key and the fix.
#[derive(Debug, thiserror::Error)]
#[error("providers.{name}: {reason}")]
pub struct BuildError {
    /// Its name in the configuration.
    pub name: String,
    /// Why, and what to do.
    pub reason: String,
}

/// Builds the configured providers. With `callbacks`, gateways are told where to report.
///
/// # Errors
/// With each one that cannot be: a recipe that is wrong, no certificate authorities.
pub fn build(
    providers: &BTreeMap<String, ProviderConfig>,
    clock: &Arc<dyn Clock>,
    callbacks: Option<&Arc<Callbacks>>,
) -> Result<Vec<Arc<dyn Provider>>, Vec<BuildError>> {
    let build = |(name, config): (&String, &ProviderConfig)| -> Result<Arc<dyn Provider>, BuildError> {
        match config {
            ProviderConfig::Console(console) => Ok(Arc::new(console::Console::new(name, console))),
            ProviderConfig::Smtp(config) => Ok(Arc::new(smtp::Smtp::new(name, config)?)),
            ProviderConfig::Recipe(config) => {
                let made = recipe::Gateway::new(name, config, Arc::clone(clock), callbacks);
                let fault = |error: recipe::GatewayError| BuildError {
                    name: name.clone(),
                    reason: error.to_string(),
                };
                Ok(Arc::new(made.map_err(fault)?))
            }
        }
    };
    let (mut ready, mut errors) = (Vec::new(), Vec::new());
    for provider in providers.iter().map(build) {
        match provider {
            Ok(provider) => ready.push(provider),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(ready) } else { Err(errors) }
}

/// Brings a code to a person: SMS, voice, WhatsApp, Telegram, e-mail.
pub trait Provider: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;
    /// How its messages travel.
    fn channel(&self) -> Channel;
    /// Hands the message over. Dropped at the deadline.
    fn send<'a>(&'a self, message: &'a OutgoingCode) -> BoxFuture<'a, Result<Receipt, SendError>>;
    /// Tells the provider that a code came back; `None` where it does not ask for that. Nothing depends on it.
    fn feedback<'a>(&'a self, _used: &'a UsedCode) -> Option<BoxFuture<'a, Result<(), SendError>>> {
        None
    }
}
