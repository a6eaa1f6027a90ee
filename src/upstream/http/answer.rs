//! Reading what a backend says.
//!
//! Guarantees: a token is one only where a success status came with a text in its place. What a refusal says is quoted
//! from the places that are configured for it alone, short and without secrets, numbers or mailboxes.

use std::time::Duration;

use reqwest::StatusCode;

use super::super::UpstreamError;
use crate::config::{ExpiryUnit, Matcher, MintCall};
use crate::domain::time::Timestamp;
use crate::outbound::pointer::Pointer;
use crate::outbound::redact::Redactor;
use crate::outbound::template::LoadError;

/// What came back. The body is capped.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Where it asked to be left alone for a while.
    pub(super) after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// How to read answers, compiled.
pub(super) struct Reader {
    token: Pointer,
    expires: Option<(Pointer, ExpiryUnit)>,
    user: Option<Pointer>,
    missing: Option<Match>,
    refused: Option<Match>,
    errors: Vec<Pointer>,
    redactor: Redactor,
}

/// What the answer to a mint means.
pub(super) enum Meaning {
    Minted {
        token: String,
        user: Option<String>,
        expires_in: Option<i64>,
    },
    /// The backend does not know the user.
    Missing,
}

/// What was called, as configuration names it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Mint,
    Create,
    Revoke,
}

impl Which {
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Create => "create",
            Self::Revoke => "revoke",
        }
    }
}

struct Match {
    status: Option<u16>,
    value: Option<(Pointer, Vec<String>)>,
}

fn pointer(key: &str, text: &str) -> Result<Pointer, LoadError> {
    Pointer::parse(text).ok_or_else(|| LoadError::new(key, "must be a JSON pointer such as \"/data/token\""))
}

impl Match {
    fn compile(key: &str, matcher: Option<&Matcher>) -> Result<Option<Self>, LoadError> {
        let Some(Matcher { status, value }) = matcher else { return Ok(None) };
        let value = value.as_ref().map(|(at, is)| Ok((pointer(key, at)?, is.clone())));
        Ok(Some(Self { status: *status, value: value.transpose()? }))
    }

    fn holds(&self, answer: &Answer) -> bool {
        self.status.is_none_or(|status| status == answer.status.as_u16())
            && self
                .value
                .as_ref()
                .is_none_or(|(at, is)| one(at, &answer.body).is_some_and(|found| is.contains(&found)))
    }
}

/// The one value in a place, as text.
fn one(at: &Pointer, body: &[u8]) -> Option<String> {
    at.find(body).into_iter().next().flatten()
}

impl Reader {
    pub(super) fn compile(mint: &MintCall, errors: &[String], redactor: Redactor) -> Result<Self, LoadError> {
        let expires = mint.expires.as_ref().map(|(at, unit)| Ok((pointer("mint.expires", at)?, *unit)));
        Ok(Self {
            token: pointer("mint.token", &mint.token)?,
            expires: expires.transpose()?,
            user: mint.user.as_ref().map(|at| pointer("mint.user", at)).transpose()?,
            missing: Match::compile("mint.missing.at", mint.missing.as_ref())?,
            refused: Match::compile("mint.refused.at", mint.refused.as_ref())?,
            errors: errors.iter().map(|at| pointer("errors", at)).collect::<Result<_, _>>()?,
            redactor,
        })
    }

    /// What the answer to a mint means.
    pub(super) fn minted(
        &self,
        upstream: &str,
        answer: &Answer,
        now: Timestamp,
    ) -> Result<Meaning, UpstreamError> {
        if self.refused.as_ref().is_some_and(|refused| refused.holds(answer)) {
            return Err(UpstreamError::Refused(self.said(answer)));
        }
        if self.is_missing(answer) {
            return Ok(Meaning::Missing);
        }
        if !answer.status.is_success() {
            return Err(self.refusal(upstream, Which::Mint, answer));
        }
        match one(&self.token, &answer.body) {
            Some(token) if !token.is_empty() => Ok(Meaning::Minted {
                token,
                user: self.user.as_ref().and_then(|user| one(user, &answer.body)),
                expires_in: self.expires_in(answer, now),
            }),
            Some(_) | None => {
                Err(UpstreamError::Unknown("it reports success without a token in its place".to_owned()))
            }
        }
    }

    /// Whether the backend says that it does not know the user.
    pub(super) fn is_missing(&self, answer: &Answer) -> bool {
        self.missing.as_ref().is_some_and(|missing| missing.holds(answer))
    }

    fn expires_in(&self, answer: &Answer, now: Timestamp) -> Option<i64> {
        let (at, unit) = self.expires.as_ref()?;
        let number: i64 = one(at, &answer.body)?.parse().ok()?;
        let left = match unit {
            ExpiryUnit::Millis => number.div_euclid(1000).saturating_sub(now.as_secs()),
            ExpiryUnit::Secs => number.saturating_sub(now.as_secs()),
            ExpiryUnit::RelativeSecs => number,
        };
        Some(left.max(0))
    }

    /// The status, and the backend's own words where it is known where they are.
    pub(super) fn said(&self, answer: &Answer) -> String {
        let words = self.errors.iter().filter_map(|at| one(at, &answer.body));
        let words: Vec<String> = words.map(|words| self.redactor.quote(&words, None)).collect();
        let status = format!("HTTP status {}", answer.status.as_u16());
        if words.is_empty() { status } else { format!("{status}, {}", words.join(": ")) }
    }

    /// Sorts an answer that is neither a success nor known.
    pub(super) fn refusal(&self, upstream: &str, which: Which, answer: &Answer) -> UpstreamError {
        let (status, said, key) = (answer.status, self.said(answer), which.key());
        match status {
            _ if status.is_redirection() => UpstreamError::Misconfigured(format!(
                "the address redirects ({said}), and our secrets are not sent on; fix: write the final address as \
                 upstreams.{upstream}.url"
            )),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => UpstreamError::Misconfigured(format!(
                "the backend does not let us make the call {key} ({said}); fix: check the secrets of \
                 upstreams.{upstream}, and what the backend allows them to do"
            )),
            StatusCode::TOO_MANY_REQUESTS => match answer.after {
                Some(after) => UpstreamError::Throttled { after, said },
                None => UpstreamError::Unavailable(said),
            },
            StatusCode::CONFLICT | StatusCode::LOCKED | StatusCode::TOO_EARLY => {
                UpstreamError::Unavailable(said)
            }
            _ if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => {
                UpstreamError::Misconfigured(format!(
                    "the backend does not understand the call {key} ({said}); fix: upstreams.{upstream}.url and what \
                     is called there must be as the backend documents them"
                ))
            }
            _ => UpstreamError::Unknown(said),
        }
    }
}
