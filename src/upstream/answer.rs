//! A backend's answer to one call, for backends that are asked over HTTP.
//!
//! Guarantees: no answer is followed elsewhere or read beyond its cap; what a backend says of itself goes to the log
//! short, on one line, and without our secret, numbers or mailboxes.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{BuildError, UpstreamError};
use crate::outbound::{MAX_ANSWER_BYTES, classify, read_capped};

/// Enough of a backend's own words to recognise the fault by.
const MAX_QUOTED_CHARS: usize = 120;
/// A word with as many digits may be a phone number.
const PHONE_DIGITS: usize = 7;
/// Rates are counted by the second or the minute.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);
/// Nobody waits longer: a grant is over by then.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// One answer, whatever it says.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Null where the body is not JSON.
    pub(super) body: Value,
}

/// Asks, and reads all of the answer.
pub(super) async fn ask(request: RequestBuilder) -> Result<Answer, UpstreamError> {
    let response = request.send().await.map_err(|error| UpstreamError::from(classify(&error)))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = read_capped(response, MAX_ANSWER_BYTES).await?;
    Ok(Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or_default() })
}

impl Answer {
    /// A text within the body; empty where there is none.
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Takes a text out of the body; none where it is empty.
    pub(super) fn take_text(&mut self, key: &str) -> Option<String> {
        match self.body.get_mut(key).map(Value::take) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            Some(_) | None => None,
        }
    }

    /// How long the backend wants to be left alone: what the first of these headers says, in seconds, which may have
    /// a fraction.
    pub(super) fn wait(&self, headers: &[&str]) -> Duration {
        let said = |name: &&str| self.headers.get(*name)?.to_str().ok()?.trim().parse::<f64>().ok();
        headers.iter().find_map(said).map_or(DEFAULT_WAIT, seconds)
    }

    /// Sorts an answer that is not in the form of `backend`. `fix` is what to do about a wrong address.
    pub(super) fn by_status(&self, backend: &str, fix: &str) -> UpstreamError {
        let status = self.status.as_u16();
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => UpstreamError::Throttled {
                after: self.wait(&["retry-after"]),
                said: format!("HTTP status {status}"),
            },
            _ if self.status.is_redirection() => UpstreamError::Misconfigured(format!(
                "the address redirects, and our secret is not sent on; fix: {fix}"
            )),
            _ if self.status.is_client_error() && self.status != StatusCode::REQUEST_TIMEOUT => {
                UpstreamError::Misconfigured(format!(
                    "the address answers HTTP {status} and not as {backend} does; fix: {fix}"
                ))
            }
            _ => UpstreamError::Unknown(format!(
                "HTTP status {status} with something that is not {backend}'s JSON"
            )),
        }
    }
}

/// A wait of so many seconds; the default where that is no time.
pub(super) fn seconds(wait: f64) -> Duration {
    Duration::try_from_secs_f64(wait).unwrap_or(DEFAULT_WAIT).min(LONGEST_WAIT)
}

/// A backend's words for the log: one short line without `secret`, numbers or mailboxes.
pub(super) fn quoted(text: &str, secret: &SecretString) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let hidden = |word: &str| {
        word.contains(secret.expose_secret())
            || word.contains('@')
            || word.chars().filter(char::is_ascii_digit).count() >= PHONE_DIGITS
    };
    let words: Vec<&str> =
        plain.split_whitespace().map(|word| if hidden(word) { "•••" } else { word }).collect();
    words.join(" ").chars().take(MAX_QUOTED_CHARS).collect()
}

/// A secret less what a console was copied with too much.
pub(super) fn trimmed(secret: &SecretString) -> SecretString {
    secret.expose_secret().trim().into()
}

/// A secret as a header that libraries do not print.
pub(super) fn secret_header(
    upstream: &str,
    key: &'static str,
    secret: &SecretString,
) -> Result<HeaderValue, BuildError> {
    let text = secret.expose_secret();
    let value = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii());
    let mut value = value.ok_or(BuildError::Secret { name: upstream.to_owned(), key })?;
    value.set_sensitive(true);
    Ok(value)
}
