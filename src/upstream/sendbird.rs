//! Sendbird's Platform API, version 3: session tokens.
//!
//! Guarantees: a login asks once for a token, and only when Sendbird does not know the user creates them and asks
//! once more; so a returning user costs one call and a new one three. Answers are judged by `code`, hardly ever by
//! HTTP status. The API token travels in one header to the configured address and nowhere else. A fault that only the
//! operator can mend is logged once, with the fix, until the next success.
//!
//! Sendbird never learns an address: it wants no phone number, mailbox or name as a user id, and gets our own opaque id
//! or the one that was imported.
//!
//! A session token does not end those before it. [`Upstream::revoke`] ends all of a user's.
//!
//! Source: <https://sendbird.com/docs/chat/platform-api/v3/overview>.

mod code;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::answer::{Answer, ask, quoted, secret_header, trimmed};
use super::fault::FaultLog;
use super::{BuildError, ChatToken, Subject, Upstream, UpstreamError};
use crate::ambient::Clock;
use crate::config::SendbirdUpstream;
use crate::outbound::{Client, client};
use code::{Meaning, meaning};

/// What JavaScript's `encodeURIComponent` escapes, as Sendbird's own SDKs do.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// Sendbird takes no longer nickname.
const MAX_NICKNAME_CHARS: usize = 80;

/// In this order: Sendbird's own, with a fraction, and everybody's.
const WAIT_HEADERS: [&str; 2] = ["x-ratelimit-retryafter", "retry-after"];

/// One Sendbird application.
pub(super) struct Sendbird {
    faults: FaultLog,
    client: Client,
    /// …/v3/users
    users: String,
    api_token: SecretString,
    api_token_header: HeaderValue,
    token_lifetime: Duration,
    profile_url: String,
    clock: Arc<dyn Clock>,
}

/// All three are required, empty or not.
#[derive(Serialize)]
struct NewUser<'a> {
    user_id: &'a str,
    nickname: &'a str,
    profile_url: &'a str,
}

/// A call that brought nothing: what Sendbird means by it, where it says so, and what it comes to.
struct Refusal {
    meaning: Option<Meaning>,
    error: UpstreamError,
}

impl From<UpstreamError> for Refusal {
    fn from(error: UpstreamError) -> Self {
        Self { meaning: None, error }
    }
}

impl From<Refusal> for UpstreamError {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

impl Sendbird {
    pub(super) fn new(
        name: &str,
        config: &SendbirdUpstream,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BuildError> {
        let api_token = trimmed(&config.api_token);
        // Sendbird's documents call the address with and without the version a base URL.
        let base = config.url.as_str().trim_end_matches('/');
        Ok(Self {
            faults: FaultLog::new(name),
            client: client(config.call)
                .map_err(|error| BuildError::Client { name: name.to_owned(), error })?,
            users: format!("{}/v3/users", base.strip_suffix("/v3").unwrap_or(base)),
            api_token_header: secret_header(name, "api_token", &api_token)?,
            api_token,
            token_lifetime: config.token_lifetime,
            profile_url: config.profile_url.clone(),
            clock,
        })
    }

    async fn session(&self, subject: &Subject) -> Result<ChatToken, UpstreamError> {
        let id = subject.backend_id();
        let path = self.token_path(id)?;
        match self.token(&path, id).await {
            Err(Refusal { meaning: Some(Meaning::NoSuchUser), .. }) => {
                self.create(id, subject.name.as_deref().unwrap_or_default()).await?;
                Ok(self.token(&path, id).await?)
            }
            ended => Ok(ended?),
        }
    }

    async fn token(&self, path: &str, id: &str) -> Result<ChatToken, Refusal> {
        let wanted = self.clock.now().plus(self.token_lifetime).as_millis();
        let wish = json!({"expires_at": wanted});
        let mut answer = self.call(Method::POST, path, Some(&wish)).await?;
        let Some(token) = answer.take_text("token") else {
            return Err(UpstreamError::Unknown("it reports success without a token".to_owned()).into());
        };
        let expires_at = answer.body.get("expires_at").and_then(Value::as_i64).unwrap_or(wanted);
        let mut extra = Map::new();
        extra.insert("access_token".to_owned(), token.as_str().into());
        extra.insert("expires_at".to_owned(), expires_at.into());
        Ok(ChatToken { provider: "sendbird", token: Zeroizing::new(token), user_id: id.to_owned(), extra })
    }

    async fn create(&self, id: &str, name: &str) -> Result<(), UpstreamError> {
        let nickname: String = name.chars().take(MAX_NICKNAME_CHARS).collect();
        let mut created = self.create_as(id, &nickname).await;
        // A name that Sendbird does not take locks nobody out.
        let is_refused =
            created.as_ref().is_err_and(|refusal| refusal.meaning == Some(Meaning::BadParameter));
        if is_refused && !nickname.is_empty() {
            created = self.create_as(id, "").await;
        }
        match created {
            Ok(_) | Err(Refusal { meaning: Some(Meaning::UserExists), .. }) => Ok(()),
            // Whatever became of the user, nobody has asked for their token yet.
            Err(Refusal { error: UpstreamError::Unknown(text), .. }) => Err(UpstreamError::Unavailable(text)),
            Err(refusal) => Err(refusal.error),
        }
    }

    async fn create_as(&self, id: &str, nickname: &str) -> Result<Answer, Refusal> {
        let user = NewUser { user_id: id, nickname, profile_url: &self.profile_url };
        self.call(Method::POST, &self.users, Some(&user)).await
    }

    async fn end_sessions(&self, subject: &Subject) -> Result<(), UpstreamError> {
        let path = self.token_path(subject.backend_id())?;
        match self.call(Method::DELETE, &path, None::<&Value>).await {
            Ok(_) | Err(Refusal { meaning: Some(Meaning::NoSuchUser), .. }) => Ok(()),
            Err(refusal) => Err(refusal.error),
        }
    }

    fn token_path(&self, id: &str) -> Result<String, UpstreamError> {
        // No segment of a URL is either of these, escaped or not (WHATWG URL §4.1), and the call would go elsewhere.
        if matches!(id, "" | "." | "..") {
            return Err(self.error(Meaning::BadParameter, "an id that is no part of a URL", Duration::ZERO));
        }
        Ok(format!("{}/{}/token", self.users, utf8_percent_encode(id, COMPONENT)))
    }

    /// One call, and its answer when that is a success.
    async fn call(
        &self,
        method: Method,
        url: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, Refusal> {
        let request = self.client.request(method, url).header("Api-Token", self.api_token_header.clone());
        let request = match body {
            Some(body) => request.json(body),
            // Demanded of every request, also of one without a body.
            None => request.header(CONTENT_TYPE, "application/json"),
        };
        let answer = ask(request).await?;
        let code = answer.body.get("code").and_then(Value::as_u64);
        match code {
            Some(code) if !answer.status.is_success() || answer.body.get("error") == Some(&true.into()) => {
                Err(self.refusal(code, &answer))
            }
            _ if answer.status.is_success() && answer.body.is_object() => Ok(answer),
            _ => Err(answer.by_status("Sendbird", &self.address_fix()).into()),
        }
    }

    /// Sorts Sendbird's own refusal.
    fn refusal(&self, code: u64, answer: &Answer) -> Refusal {
        let said = quoted(&format!("{code} {}", answer.text("/message")), &self.api_token);
        match meaning(code) {
            Some(meaning) => {
                let error = self.error(meaning, &said, answer.wait(&WAIT_HEADERS));
                Refusal { meaning: Some(meaning), error }
            }
            None if answer.status == reqwest::StatusCode::TOO_MANY_REQUESTS => {
                UpstreamError::Throttled { after: answer.wait(&WAIT_HEADERS), said }.into()
            }
            None => UpstreamError::Unavailable(format!("refused ({said})")).into(),
        }
    }

    fn error(&self, meaning: Meaning, said: &str, after: Duration) -> UpstreamError {
        let name = self.faults.upstream();
        match meaning {
            Meaning::NoSuchUser | Meaning::UserExists | Meaning::Down => {
                UpstreamError::Unavailable(format!("refused ({said})"))
            }
            Meaning::Closed => UpstreamError::Refused(format!("deactivated or deleted ({said})")),
            Meaning::Throttled => UpstreamError::Throttled { after, said: said.to_owned() },
            Meaning::BadToken => UpstreamError::Misconfigured(format!(
                "Sendbird does not accept the API token ({said}); fix: copy a secondary API token from Sendbird's \
                 dashboard (Settings, Application, General) to upstreams.{name}.api_token_file, and see that the \
                 dashboard's allowed IPs name this server"
            )),
            Meaning::WrongAddress => UpstreamError::Misconfigured(format!(
                "Sendbird knows no such application or call ({said}); fix: {}",
                self.address_fix()
            )),
            Meaning::NotServed => UpstreamError::Misconfigured(format!(
                "Sendbird does not serve the application to this server ({said}); fix: see in Sendbird's dashboard \
                 whether the application is active, and which domains and IPs it allows"
            )),
            Meaning::NoQuota => UpstreamError::Misconfigured(format!(
                "the quota of the Sendbird plan is used up ({said}); fix: raise it in Sendbird's dashboard"
            )),
            Meaning::BadParameter => UpstreamError::Misconfigured(format!(
                "Sendbird does not take the user or the token asked for ({said}); fix: upstreams.{name}.profile_url \
                 and upstreams.{name}.token_lifetime must be what it takes, and an imported id one of its user ids, \
                 of at most 80 characters"
            )),
        }
    }

    fn address_fix(&self) -> String {
        format!(
            "write the API request URL that Sendbird's dashboard shows, such as https://api-APPID.sendbird.com, as \
             upstreams.{}.url",
            self.faults.upstream()
        )
    }
}

impl Upstream for Sendbird {
    fn mint<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<ChatToken, UpstreamError>> {
        Box::pin(async move {
            let ended = self.session(subject).await;
            self.faults.note(&ended);
            ended
        })
    }

    /// Each mint is a further token; the earlier ones stay valid.
    fn may_mint_twice(&self) -> bool {
        true
    }

    fn revoke<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<(), UpstreamError>> {
        Box::pin(async move {
            let ended = self.end_sessions(subject).await;
            self.faults.note(&ended);
            ended
        })
    }
}

#[cfg(test)]
mod tests;
