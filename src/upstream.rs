//! The chat backends: what mints a token for a user who has proved an address.
//!
//! Guarantees: an [`Upstream`] call has a deadline, follows no redirect, reads at most 64 KiB, and relays nothing of
//! the backend's own words to a client. An operator's fault is logged once, with the fix. What goes over the network
//! is behind a circuit breaker and a retry budget.

mod answer;
mod chatsdk;
mod fault;
mod guarded;
mod http;
mod jwt;
mod kustomer;
mod mesibo;
mod person;
mod sendbird;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::config::UpstreamConfig;
use crate::domain::address::Address;
use crate::domain::breaker::Circuit;
use crate::domain::ids::UserId;
use crate::domain::time::whole_secs;
use crate::outbound::{self, ClientError};
use guarded::Guarded;

pub use crate::outbound::template::LoadError;
pub use guarded::Surroundings;
pub use jwt::{ClaimError, JwtError, KeyError};

/// Whom a token is for.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Our own user.
    pub user: UserId,
    /// The id that the backend already knows, where the user was imported.
    pub upstream_id: Option<String>,
    /// What the user has proved to hold.
    pub address: Address,
    /// The app as its client named it: mesibo binds a token to it.
    pub app_id: String,
    /// What the user calls themselves.
    pub name: Option<String>,
}

impl Subject {
    /// The id that backends with ids of their own know the user by: the imported one, else ours.
    #[must_use]
    pub fn backend_id(&self) -> &str {
        self.upstream_id.as_deref().unwrap_or(self.user.as_str())
    }
}

/// A backend's token. No `Debug`.
pub struct ChatToken {
    /// The kind of backend, so that a client knows which SDK the body is for.
    pub provider: &'static str,
    /// The token itself.
    pub token: Zeroizing<String>,
    /// The id that the backend knows the user by.
    pub user_id: String,
    /// What else the backend's SDK reads, at the top level of the chat body.
    pub extra: Map<String, Value>,
}

/// Why no token came, sorted by what the caller should do next. `Display` is for the operator's log, never for a
/// client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// The backend refused this user, for good: deactivated, banned.
    #[error("the backend refuses this user: {0}")]
    Refused(String),
    /// The operator's configuration is wrong. The text names the fix.
    #[error("the backend refuses us: {0}")]
    Misconfigured(String),
    /// The backend certainly did not mint, and wants to be left alone for so long.
    #[error("the backend has too much to do: {said}")]
    Throttled {
        /// As it says itself.
        after: Duration,
        /// What it said.
        said: String,
    },
    /// The backend certainly did not mint; trying again may help.
    #[error("the backend is not available: {0}")]
    Unavailable(String),
    /// It was not asked, because it has failed again and again: it certainly did not mint.
    #[error("the backend keeps failing and is left alone for {} s more", whole_secs(*after))]
    Resting {
        /// Until it is looked at again.
        after: Duration,
    },
    /// It may or may not have minted.
    #[error("the backend's answer was lost: {0}")]
    Unknown(String),
}

impl From<outbound::Fault> for UpstreamError {
    fn from(fault: outbound::Fault) -> Self {
        match fault {
            outbound::Fault::NotSent(text) => Self::Unavailable(text),
            outbound::Fault::Unknown(text) => Self::Unknown(text),
        }
    }
}

impl UpstreamError {
    /// Its name in metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Misconfigured(_) => "misconfigured",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable(_) => "unavailable",
            Self::Resting { .. } => "resting",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// Mints and revokes the tokens of one chat backend.
pub trait Upstream: Send + Sync {
    /// Mints a token. Called only for a user who has proved their address, never twice at once for one login.
    fn mint<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<ChatToken, UpstreamError>>;

    /// Ends the user's tokens, where the backend can.
    fn revoke<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<(), UpstreamError>>;

    /// Whether a second mint for the same login does no harm, so that one whose answer was lost may be repeated.
    /// mesibo's does: it ends the first token.
    fn may_mint_twice(&self) -> bool {
        false
    }

    /// What the backend knows somebody by whom it knows by their address; none where it takes our own ids.
    fn id_by_address<'a>(&self, _address: &'a Address) -> Option<&'a str> {
        None
    }

    /// Whether the backend is called or left alone; none where there is nothing to call.
    fn circuit(&self) -> Option<Circuit> {
        None
    }
}

/// An upstream that cannot be had. The text names its configuration key and the fix.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It is called over HTTP, and there is no client.
    #[error("upstreams.{name}: {error}")]
    Client {
        /// The upstream.
        name: String,
        /// Why there is none.
        error: ClientError,
    },
    /// It is called with a secret that cannot be sent.
    #[error(
        "upstreams.{name}.{key} holds what no HTTP header can carry; fix: copy it again, printable ASCII in one line"
    )]
    Secret {
        /// The upstream.
        name: String,
        /// The secret.
        key: &'static str,
    },
    /// It is described, and the description is wrong.
    #[error("upstreams.{name}.{error}")]
    Description {
        /// The upstream.
        name: String,
        /// What is wrong with it.
        error: LoadError,
    },
    /// It signs, and cannot.
    #[error("upstreams.{name}.{error}")]
    Jwt {
        /// The upstream.
        name: String,
        /// Why it cannot.
        error: JwtError,
    },
}

/// Makes every configured backend ready to be called.
///
/// # Errors
/// With each one that cannot be: a signing key that is none, a claim that does not compile, a secret that cannot be
/// sent, no certificate authorities.
pub fn build(
    upstreams: &BTreeMap<String, UpstreamConfig>,
    surroundings: &Surroundings,
) -> Result<BTreeMap<String, Arc<dyn Upstream>>, Vec<BuildError>> {
    let Surroundings { clock, entropy, .. } = surroundings;
    let make = |name: &String, config: &UpstreamConfig| -> Result<Arc<dyn Upstream>, BuildError> {
        match config {
            UpstreamConfig::ChatSdk(config) => Ok(Arc::new(chatsdk::ChatSdk::new(name, config)?)),
            UpstreamConfig::Http(config) => {
                Ok(Arc::new(http::Http::new(name, config, Arc::clone(clock), Arc::clone(entropy))?))
            }
            UpstreamConfig::Jwt(config) => {
                let made = jwt::Jwt::new(name, config, Arc::clone(clock), Arc::clone(entropy));
                Ok(Arc::new(made.map_err(|error| BuildError::Jwt { name: name.clone(), error })?))
            }
            UpstreamConfig::Kustomer(config) => {
                Ok(Arc::new(kustomer::Kustomer::new(name, config, Arc::clone(clock))?))
            }
            UpstreamConfig::Mesibo(config) => {
                let made = mesibo::Mesibo::new(name, config);
                Ok(Arc::new(made.map_err(|error| BuildError::Client { name: name.clone(), error })?))
            }
            UpstreamConfig::Sendbird(config) => {
                Ok(Arc::new(sendbird::Sendbird::new(name, config, Arc::clone(clock))?))
            }
        }
    };
    let guard = |name: &String, config: &UpstreamConfig| -> Result<Arc<dyn Upstream>, BuildError> {
        let upstream = make(name, config)?;
        // It calls nobody.
        if matches!(config, UpstreamConfig::Jwt(_)) {
            return Ok(upstream);
        }
        Ok(Arc::new(Guarded::new(name, upstream, config.deadline(), surroundings.clone())))
    };
    let (mut ready, mut errors) = (BTreeMap::new(), Vec::new());
    for (name, config) in upstreams {
        match guard(name, config) {
            Ok(upstream) => drop(ready.insert(name.clone(), upstream)),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(ready) } else { Err(errors) }
}

#[cfg(test)]
mod tests;
