//! ChatSDK: tokens of its `POST /tokens`, of both generations of its server.
//!
//! Guarantees: what is not set is left out of the call, since ChatSDK refuses a null or empty field. How long tokens
//! live is what ChatSDK says: a day in the first generation, 15 minutes in the second. The API key travels in one
//! header to the configured address and nowhere else. A fault that only the operator can mend is logged once, with the
//! fix, until the next success.
//!
//! ChatSDK cannot take a token back: [`Upstream::revoke`] succeeds and changes nothing.
//!
//! Source: `packages/api/src/routes/tokens.ts` and `docs/TOKEN_GENERATION_GUIDE.md` of
//! <https://github.com/Impact-Idol/ChatSDK>.

use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::answer::{Answer, ask, quoted, seconds, secret_header, trimmed};
use super::fault::FaultLog;
use super::{BuildError, ChatToken, Subject, Upstream, UpstreamError};
use crate::config::ChatSdkUpstream;
use crate::outbound::{Client, client};

/// What its clients read beside `token`. The refresh token is of the second generation.
const PASSED_ON: [&str; 4] = ["wsToken", "user", "expiresIn", "refreshToken"];

/// One ChatSDK server.
pub(super) struct ChatSdk {
    faults: FaultLog,
    client: Client,
    /// …/tokens
    tokens: String,
    api_key: SecretString,
    api_key_header: HeaderValue,
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(rename = "userId")]
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

/// Why ChatSDK gave no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// 401: no key, or not one of its own.
    BadKey,
    /// zod's: a field is missing or wrong. This is found before the key is looked at.
    BadRequest,
    /// The second generation in production, as it comes.
    LegacyDisabled,
    /// Too many calls from our one address, for one user, or of the app.
    Throttled,
    /// It cannot count calls at the moment, and takes none.
    LimiterDown,
    /// Its own fault.
    Internal,
    /// It speaks as ChatSDK does, but of something else.
    NotServed,
    /// It does not speak as ChatSDK does.
    NotChatSdk,
}

impl Refusal {
    fn of(answer: &Answer) -> Self {
        let error = answer.body.get("error").filter(|error| error.is_object());
        match (answer.text("/error/code"), answer.status) {
            _ if error.is_none() => Self::NotChatSdk,
            _ if answer.text("/error/name") == "ZodError" => Self::BadRequest,
            ("RATE_LIMIT_UNAVAILABLE", _) => Self::LimiterDown,
            ("RATE_LIMITED", _) | (_, StatusCode::TOO_MANY_REQUESTS) => Self::Throttled,
            (_, StatusCode::UNAUTHORIZED) => Self::BadKey,
            (_, StatusCode::NOT_FOUND) if answer.text("/error/message").contains("Legacy token") => {
                Self::LegacyDisabled
            }
            (_, status) if status.is_server_error() => Self::Internal,
            _ => Self::NotServed,
        }
    }
}

impl ChatSdk {
    pub(super) fn new(name: &str, config: &ChatSdkUpstream) -> Result<Self, BuildError> {
        let api_key = trimmed(&config.api_key);
        Ok(Self {
            faults: FaultLog::new(name),
            client: client(config.call)
                .map_err(|error| BuildError::Client { name: name.to_owned(), error })?,
            tokens: format!("{}/tokens", config.url.as_str().trim_end_matches('/')),
            api_key_header: secret_header(name, "api_key", &api_key)?,
            api_key,
        })
    }

    async fn tokens(&self, subject: &Subject) -> Result<ChatToken, UpstreamError> {
        let user_id = subject.backend_id();
        let name = subject.name.as_deref().filter(|name| !name.is_empty());
        let request = self.client.post(&self.tokens).header("X-API-Key", self.api_key_header.clone());
        let mut answer = ask(request.json(&Request { user_id, name })).await?;
        if !answer.status.is_success() || answer.body.get("error").is_some() {
            return Err(self.error(&answer));
        }
        let Some(token) = answer.take_text("token") else {
            return Err(UpstreamError::Unknown("it reports success without a token".to_owned()));
        };
        let mut take = |key: &str| answer.body.get_mut(key).map(Value::take).filter(|value| !value.is_null());
        let extra = PASSED_ON.iter().filter_map(|key| Some(((*key).to_owned(), take(key)?))).collect();
        Ok(ChatToken {
            provider: "chatsdk",
            token: Zeroizing::new(token),
            user_id: user_id.to_owned(),
            extra,
        })
    }

    fn error(&self, answer: &Answer) -> UpstreamError {
        let name = self.faults.upstream();
        let status = answer.status.as_u16();
        let said = quoted(answer.text("/error/message"), &self.api_key);
        let url_fix = format!(
            "upstreams.{name}.url must be the base address of ChatSDK's API, the one that POST /tokens is below"
        );
        match Refusal::of(answer) {
            Refusal::BadKey => UpstreamError::Misconfigured(format!(
                "ChatSDK does not accept the API key ({said}); fix: copy the key of your ChatSDK application to \
                 upstreams.{name}.api_key_file"
            )),
            Refusal::BadRequest => UpstreamError::Misconfigured(format!(
                "ChatSDK does not take the user ({}); fix: see whether a proxy before it drops Content-Type, and \
                 whether the user's imported id is one of its own",
                self.issues(answer)
            )),
            Refusal::LegacyDisabled => UpstreamError::Misconfigured(
                "ChatSDK's token endpoint is switched off; fix: set CHATSDK_ENABLE_LEGACY_TOKENS=true on the ChatSDK \
                 server"
                    .to_owned(),
            ),
            Refusal::Throttled => UpstreamError::Throttled {
                after: wait(answer),
                said: format!("ChatSDK takes 60 calls a minute from one address ({said})"),
            },
            Refusal::LimiterDown => UpstreamError::Throttled {
                after: wait(answer),
                said: format!("ChatSDK cannot count its calls and takes none ({said})"),
            },
            Refusal::Internal => UpstreamError::Unavailable(format!("HTTP status {status} ({said})")),
            Refusal::NotServed => UpstreamError::Misconfigured(format!(
                "ChatSDK refuses the call with HTTP {status} ({said}); fix: {url_fix}"
            )),
            Refusal::NotChatSdk => answer.by_status("ChatSDK", &url_fix),
        }
    }

    /// The fields that zod finds fault with, and what it finds.
    fn issues(&self, answer: &Answer) -> String {
        let issues = answer.body.pointer("/error/issues").and_then(Value::as_array);
        let text = |issue: &Value| {
            let field = issue.pointer("/path/0").and_then(Value::as_str).unwrap_or("?");
            let message = issue.get("message").and_then(Value::as_str).unwrap_or("?");
            format!("{field}: {message}")
        };
        let all: Vec<String> = issues.into_iter().flatten().map(text).collect();
        let said = if all.is_empty() { answer.text("/error/message").to_owned() } else { all.join(", ") };
        quoted(&said, &self.api_key)
    }
}

/// Its body says it in every generation that limits, the header as well.
fn wait(answer: &Answer) -> Duration {
    let said = answer.body.pointer("/error/retryAfter").and_then(Value::as_f64);
    said.map_or_else(|| answer.wait(&["retry-after"]), seconds)
}

impl Upstream for ChatSdk {
    fn mint<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<ChatToken, UpstreamError>> {
        Box::pin(async move {
            let ended = self.tokens(subject).await;
            self.faults.note(&ended);
            ended
        })
    }

    /// Each mint is a further token; the earlier ones stay valid.
    fn may_mint_twice(&self) -> bool {
        true
    }

    fn revoke<'a>(&'a self, _subject: &'a Subject) -> BoxFuture<'a, Result<(), UpstreamError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests;
