//! mesibo's backend API.
//!
//! Guarantees: the app token travels in the body of one POST to the configured URL and nowhere else; not in an
//! error, not in a log, not after a redirect. Answers are judged by `result`, since the HTTP status is always 200.
//! A fault that only the operator can mend is logged once, with the fix, until the next success.

use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};
use url::Url;
use zeroize::Zeroizing;

use super::answer::{quoted, trimmed};
use super::fault::FaultLog;
use super::{ChatToken, Subject, Upstream, UpstreamError};
use crate::config::MesiboUpstream;
use crate::domain::address::Address;
use crate::outbound::{Client, ClientError, MAX_ANSWER_BYTES, classify, client, read_capped};

/// mesibo's clients take nothing shorter for a token.
const MIN_TOKEN_CHARS: usize = 17;

/// One mesibo app.
pub(super) struct Mesibo {
    faults: FaultLog,
    client: Client,
    url: Url,
    app_token: SecretString,
    token_minutes: u32,
    token_v2: bool,
}

#[derive(Serialize)]
struct Request<'a> {
    op: &'static str,
    token: &'a str,
    user: User<'a>,
}

#[derive(Serialize)]
struct User<'a> {
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<bool>,
    token: TokenWish<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum TokenWish<'a> {
    Mint {
        appid: &'a str,
        /// Minutes; 0 is for ever.
        expiry: u32,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        v2: bool,
    },
    Remove {
        remove: bool,
    },
}

impl Mesibo {
    pub(super) fn new(name: &str, config: &MesiboUpstream) -> Result<Self, ClientError> {
        Ok(Self {
            faults: FaultLog::new(name),
            client: client(config.call)?,
            url: config.url.clone(),
            app_token: trimmed(&config.app_token),
            token_minutes: config.token_minutes,
            token_v2: config.token_v2,
        })
    }

    async fn useradd(&self, subject: &Subject) -> Result<ChatToken, UpstreamError> {
        let address = address_of(subject);
        let wish = TokenWish::Mint { appid: &subject.app_id, expiry: self.token_minutes, v2: self.token_v2 };
        let user = User { address, name: subject.name.as_deref(), active: Some(true), token: wish };
        let mut answer = self.call("useradd", user).await?;
        // Anything else that calls itself a success may have minted: the old token may be dead.
        match answer.pointer_mut("/user/token").map(Value::take) {
            Some(Value::String(token)) if token.chars().count() >= MIN_TOKEN_CHARS => Ok(ChatToken {
                provider: "mesibo",
                token: Zeroizing::new(token),
                user_id: address.to_owned(),
                extra: Map::new(),
            }),
            Some(_) | None => {
                Err(UpstreamError::Unknown("it reports success without a user token".to_owned()))
            }
        }
    }

    async fn userset_remove(&self, subject: &Subject) -> Result<(), UpstreamError> {
        let wish = TokenWish::Remove { remove: true };
        let user = User { address: address_of(subject), name: None, active: None, token: wish };
        self.call("userset", user).await.map(drop)
    }

    /// One call, and its answer when that is a success.
    async fn call(&self, op: &'static str, user: User<'_>) -> Result<Value, UpstreamError> {
        let request = Request { op, token: self.app_token.expose_secret(), user };
        let outcome = self.post(&request).await;
        self.faults.note(&outcome);
        outcome
    }

    async fn post(&self, request: &Request<'_>) -> Result<Value, UpstreamError> {
        let sent = self.client.post(self.url.clone()).json(request).send().await;
        let response = sent.map_err(|error| UpstreamError::from(classify(&error)))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(UpstreamError::Misconfigured(format!(
                "the address redirects, and the app token is not sent on; fix: write the final address, normally \
                 https://api.mesibo.com/backend/, as upstreams.{}.url",
                self.faults.upstream()
            )));
        }
        if status.is_server_error() {
            return Err(UpstreamError::Unknown(format!("HTTP status {}", status.as_u16())));
        }
        let body = read_capped(response, MAX_ANSWER_BYTES).await?;
        match serde_json::from_slice::<Value>(&body) {
            Ok(answer) if answer.get("result") == Some(&Value::Bool(true)) && status.is_success() => {
                Ok(answer)
            }
            // "FAIL" is how the API for clients says it, which some put into the configuration by mistake.
            Ok(answer)
                if answer.get("result").is_some_and(|result| *result == false || *result == "FAIL") =>
            {
                Err(self.refusal(&answer))
            }
            Ok(_) | Err(_) => Err(self.unreadable(status)),
        }
    }

    /// Sorts mesibo's own refusal.
    fn refusal(&self, answer: &Value) -> UpstreamError {
        let name = self.faults.upstream();
        let word = |key| answer.get(key).and_then(Value::as_str).unwrap_or_default();
        let said = quoted(&format!("{} {}", word("error"), word("cause")), &self.app_token);
        match (word("error"), answer.get("code").and_then(Value::as_u64)) {
            ("TOKENBREACH", _) => UpstreamError::Misconfigured(format!(
                "mesibo has disabled the app, because its backend API was called from more than five IP addresses \
                 (TOKENBREACH); fix: let all nodes leave through at most five fixed egress addresses, renew the App \
                 token in the mesibo console and put it into upstreams.{name}.app_token_file"
            )),
            ("AUTHFAIL", _) | (_, Some(401)) => UpstreamError::Misconfigured(format!(
                "mesibo does not accept the app token ({said}); fix: copy the App token from the mesibo console to \
                 upstreams.{name}.app_token_file"
            )),
            ("BADOP" | "MISSINGPARA", _) | (_, Some(400)) => UpstreamError::Misconfigured(format!(
                "mesibo does not understand the call ({said}); fix: upstreams.{name}.url must be the backend API, \
                 normally https://api.mesibo.com/backend/, and the app's id the one in the mesibo console"
            )),
            (_, Some(429)) => UpstreamError::Unavailable(format!("too many calls ({said})")),
            _ => UpstreamError::Unavailable(format!("refused ({said})")),
        }
    }

    /// Sorts an answer that is not in mesibo's form.
    fn unreadable(&self, status: StatusCode) -> UpstreamError {
        match status {
            StatusCode::TOO_MANY_REQUESTS => UpstreamError::Unavailable("HTTP status 429".to_owned()),
            _ if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => {
                UpstreamError::Misconfigured(format!(
                    "the address answers HTTP {} and not as mesibo does; fix: upstreams.{}.url must be the backend \
                     API, normally https://api.mesibo.com/backend/",
                    status.as_u16(),
                    self.faults.upstream()
                ))
            }
            _ => UpstreamError::Unknown(format!(
                "HTTP status {} with something that is not mesibo's JSON",
                status.as_u16()
            )),
        }
    }
}

/// mesibo knows people by their digits; an imported user by whatever they had.
fn address_of(subject: &Subject) -> &str {
    subject.upstream_id.as_deref().unwrap_or_else(|| spelled(&subject.address))
}

fn spelled(address: &Address) -> &str {
    match address {
        Address::Phone(phone) => phone.digits(),
        Address::Email(email) => email.as_str(),
    }
}

impl Upstream for Mesibo {
    fn mint<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<ChatToken, UpstreamError>> {
        Box::pin(self.useradd(subject))
    }

    fn revoke<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<(), UpstreamError>> {
        Box::pin(self.userset_remove(subject))
    }

    fn id_by_address<'a>(&self, address: &'a Address) -> Option<&'a str> {
        Some(spelled(address))
    }
}

#[cfg(test)]
mod tests;
