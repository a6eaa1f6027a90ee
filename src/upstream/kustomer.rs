//! Kustomer: a short proof of who somebody is, signed here; its SDK changes it for a session of its own.
//!
//! Guarantees: a token is made for each mint and kept by nobody. Its header is `{"typ": "JWT", "alg": "HS256"}`, its
//! claims are `iat` and `externalId`, or `iat` and `email` where the operator says so; never both, since Kustomer would
//! then pass over the id. The secret is configured, or fetched once.
//!
//! A proof cannot be taken back before its fifteen minutes are over: [`Upstream::revoke`] succeeds and changes nothing.

mod settings;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use serde_json::{Map, json};
use zeroize::Zeroizing;

use super::fault::FaultLog;
use super::jwt::SigningKey;
use super::{BuildError, ChatToken, Subject, Upstream, UpstreamError};
use crate::ambient::Clock;
use crate::config::{IdentifyBy, KustomerSecret, KustomerUpstream};
use crate::domain::address::Address;
use settings::Settings;

/// Kustomer refuses an `iat` that is older, seconds.
const LIFETIME: u64 = 900;

/// One Kustomer organisation.
pub(super) struct Kustomer {
    faults: FaultLog,
    secret: Secret,
    identify_by: IdentifyBy,
    clock: Arc<dyn Clock>,
}

enum Secret {
    Given(Arc<SigningKey>),
    Fetched(Box<Settings>),
}

impl Kustomer {
    pub(super) fn new(
        name: &str,
        config: &KustomerUpstream,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BuildError> {
        let secret = match &config.secret {
            KustomerSecret::Given(secret) => {
                let key = SigningKey::shared(secret.expose_secret());
                let fault = |error| BuildError::Jwt { name: name.to_owned(), error };
                Secret::Given(Arc::new(key.map_err(|error| fault(error.into()))?))
            }
            KustomerSecret::Fetched { url, api_key, call } => {
                let settings = Settings::new(name, url.clone(), api_key.clone(), *call);
                Secret::Fetched(
                    settings
                        .map(Box::new)
                        .map_err(|error| BuildError::Client { name: name.to_owned(), error })?,
                )
            }
        };
        Ok(Self { faults: FaultLog::new(name), secret, identify_by: config.identify_by, clock })
    }

    async fn prove(&self, subject: &Subject) -> Result<ChatToken, UpstreamError> {
        let (claim, id) = match (self.identify_by, &subject.address) {
            (IdentifyBy::ExternalId, _) => {
                ("externalId", subject.upstream_id.as_deref().unwrap_or(subject.user.as_str()))
            }
            (IdentifyBy::Email, Address::Email(email)) => ("email", email.as_str()),
            (IdentifyBy::Email, Address::Phone(_)) => {
                let name = self.faults.upstream();
                return Err(UpstreamError::Misconfigured(format!(
                    "somebody logged in by phone, and customers are identified by e-mail; fix: set \
                     upstreams.{name}.identify_by = \"external_id\", or offer login by e-mail alone"
                )));
            }
        };
        let key = match &self.secret {
            Secret::Given(key) => Arc::clone(key),
            Secret::Fetched(settings) => settings.key().await?,
        };
        // Later than the fetch: the fifteen minutes run from here.
        let token = key.sign(&json!({claim: id, "iat": self.clock.now().as_secs()}));
        let token = token.or(Err(UpstreamError::Unavailable("the token could not be signed".to_owned())))?;
        let mut extra = Map::new();
        extra.insert("expires_in".to_owned(), LIFETIME.into());
        Ok(ChatToken { provider: "kustomer", token: Zeroizing::new(token), user_id: id.to_owned(), extra })
    }
}

impl Upstream for Kustomer {
    fn mint<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<ChatToken, UpstreamError>> {
        Box::pin(async move {
            let minted = self.prove(subject).await;
            self.faults.note(&minted);
            minted
        })
    }

    fn revoke<'a>(&'a self, _subject: &'a Subject) -> BoxFuture<'a, Result<(), UpstreamError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests;
