//! Kustomer's settings endpoint, where the secret is.
//!
//! Guarantees: the secret is fetched once and kept; however many mints need it at once, one asks, and all of them get
//! what became of it. A fetch that failed is made again by the next mint. Nothing is minted by it, so that its failure
//! is never an unknown outcome.

use std::sync::Arc;

use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::{SigningKey, UpstreamError};
use crate::config::CallLimits;
use crate::outbound::shared::Shared;
use crate::outbound::{
    Client, ClientError, Fault, MAX_ANSWER_BYTES, classify, client, read_capped, retry_after,
};

type Fetched = Result<Arc<SigningKey>, UpstreamError>;

/// The secret behind a call.
pub(super) struct Settings {
    upstream: String,
    client: Client,
    url: Url,
    api_key: SecretString,
    fetched: Shared<Arc<SigningKey>, UpstreamError>,
}

impl Settings {
    pub(super) fn new(
        upstream: &str,
        url: Url,
        api_key: SecretString,
        call: CallLimits,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            upstream: upstream.to_owned(),
            client: client(call)?,
            url,
            api_key,
            fetched: Shared::new(),
        })
    }

    /// What to sign with.
    pub(super) async fn key(&self) -> Fetched {
        self.fetched.get(|_| true, self.fetch()).await
    }

    async fn fetch(&self) -> Fetched {
        let request = self.client.get(self.url.clone()).bearer_auth(self.api_key.expose_secret());
        let request = request.header(CONTENT_TYPE, "application/json").header(ACCEPT, "application/json");
        let response = request.send().await.map_err(|error| unavailable(classify(&error)))?;
        let status = response.status();
        let after = retry_after(response.headers());
        if !status.is_success() {
            return Err(self.refusal(status, after));
        }
        let body = read_capped(response, MAX_ANSWER_BYTES).await.map_err(unavailable)?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        // The documentation shows the inner object alone, real answers are JSON:API documents around it.
        let secret =
            ["/data/attributes/secret", "/attributes/secret"].iter().find_map(|at| answer.pointer(at));
        let secret = secret.and_then(Value::as_str).filter(|secret| !secret.is_empty());
        let key = secret.and_then(|secret| SigningKey::shared(secret).ok()).map(Arc::new);
        key.ok_or_else(|| {
            UpstreamError::Misconfigured(format!(
                "Kustomer's settings hold no secret; fix: upstreams.{}.url must be the settings endpoint, and the API \
                 key have the roles org.admin and org.user",
                self.upstream
            ))
        })
    }

    fn refusal(&self, status: StatusCode, after: Option<std::time::Duration>) -> UpstreamError {
        let (name, code) = (&self.upstream, status.as_u16());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => UpstreamError::Misconfigured(format!(
                "Kustomer does not accept the API key (HTTP {code}); fix: put one with the roles org.admin and \
                 org.user into upstreams.{name}.api_key_file, or the secret itself into upstreams.{name}.secret_file"
            )),
            StatusCode::TOO_MANY_REQUESTS => {
                let said = "HTTP status 429".to_owned();
                match after {
                    Some(after) => UpstreamError::Throttled { after, said },
                    None => UpstreamError::Unavailable(said),
                }
            }
            _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                UpstreamError::Unavailable(format!("HTTP status {code}"))
            }
            _ => UpstreamError::Misconfigured(format!(
                "the settings endpoint answers HTTP {code}, and the API key is not sent on; fix: upstreams.{name}.org \
                 must be the first part of your Kustomer's address, or upstreams.{name}.url the final address"
            )),
        }
    }
}

/// A lost answer was no mint.
fn unavailable(fault: Fault) -> UpstreamError {
    match fault {
        Fault::NotSent(text) | Fault::Unknown(text) => UpstreamError::Unavailable(text),
    }
}
