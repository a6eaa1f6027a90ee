//! Tokens that we sign ourselves, for any backend that takes a JWT.
//!
//! Guarantees: the algorithm is the configured key's, and nothing a client sends touches the header. `iss`, `sub`,
//! `aud`, `iat`, `nbf`, `exp` and `jti` are there unless a configured claim takes their place, or a preset has a list
//! of its own; times are numbers and `exp` cannot be configured away. No network: nothing here waits, and nothing can be lost.
//!
//! A JWT cannot be taken back before its `exp`: [`Upstream::revoke`] succeeds and changes nothing. Short lifetimes
//! are what bounds a stolen one.
//!
//! `{{ name }}` in a claim is the user's own word. It proves nothing.

mod claims;
mod key;
mod preset;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::fault::FaultLog;
use super::person::{Ids, Person, SAMPLES};
use super::{ChatToken, Subject, Upstream, UpstreamError};
use crate::ambient::{Clock, Entropy};
use crate::config::{IdRule, JwtForm, JwtUpstream};
use crate::outbound::template::LoadError;
use claims::{Claims, Context};
use preset::Preset;

pub use claims::ClaimError;
pub use key::KeyError;
pub(super) use key::SigningKey;

/// Random, so that no two tokens share a `jti`.
const JTI_BYTES: usize = 16;

/// Signs for one backend.
pub(super) struct Jwt {
    faults: FaultLog,
    key: SigningKey,
    terms: Terms,
}

/// What a token says.
struct Terms {
    form: Form,
    lifetime: Duration,
    /// The longest that the backend takes.
    longest: Option<Duration>,
    claims: Claims,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

enum Form {
    Standard {
        issuer: String,
        /// The app's id when empty.
        audience: String,
        ids: Ids,
    },
    Preset(Box<Preset>),
}

/// Why no token can be signed.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    /// There is nothing to sign with.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A configured claim is wrong.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A preset is wrong, which its tests do not let happen.
    #[error(transparent)]
    Preset(#[from] LoadError),
}

/// When a token is made, and which.
struct Moment {
    iat: i64,
    exp: i64,
    jti: String,
}

impl Jwt {
    pub(super) fn new(
        name: &str,
        config: &JwtUpstream,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, JwtError> {
        let (form, header, longest) = match &config.form {
            JwtForm::Standard { issuer, audience } => {
                let (issuer, audience) = (issuer.clone(), audience.clone());
                (Form::Standard { issuer, audience, ids: Ids::new(&IdRule::default()) }, Map::new(), None)
            }
            JwtForm::Preset { name, preset, settings } => {
                let mut form = Preset::new(name, preset, settings)?;
                let header = form.header()?;
                (Form::Preset(Box::new(form)), header, preset.max_lifetime)
            }
        };
        let claims = Claims::compile(&config.claims)?;
        let terms = Terms { form, lifetime: config.lifetime, longest, claims, clock, entropy };
        for sample in &SAMPLES {
            let claims = terms.claims_of(&Person::sample(sample, terms.ids()))?;
            terms.known_as(&claims, "").map_err(|BadId { claim, says }| {
                let reason = format!("the backend takes no such id as it makes, but {says}");
                JwtError::Claim(ClaimError { key: claim, reason })
            })?;
        }
        // Last, so that a wrong claim leaves no key file behind.
        let key = SigningKey::new(&config.key, &*terms.entropy)?;
        let key = key.with_header(header).ok_or_else(|| LoadError::new("preset", "it makes no header"))?;
        Ok(Self { faults: FaultLog::new(name), key, terms })
    }

    fn sign(&self, subject: &Subject) -> Result<ChatToken, UpstreamError> {
        let upstream = self.faults.upstream();
        let person = Person::of(subject, self.terms.ids());
        // The reason stays here: a template's error may quote what it was given, which is a number or a name.
        let claims = self.terms.claims_of(&person).map_err(|ClaimError { key, reason: _ }| {
            UpstreamError::Misconfigured(format!(
                "upstreams.{upstream}.claims.{key} cannot be made for this user; fix: its template must do for every \
                 user, whatever they call themselves"
            ))
        })?;
        let user_id = self.terms.known_as(&claims, &person.user_id).map_err(|BadId { claim, says }| {
            if subject.upstream_id.is_some() {
                return UpstreamError::Refused(format!(
                    "the id that the user was imported with is none of the backend's, which takes {says}"
                ));
            }
            UpstreamError::Misconfigured(format!(
                "upstreams.{upstream}.claims.{claim} makes an id that the backend does not take; fix: it takes {says}"
            ))
        })?;
        // The library's error says nothing of the claims or the key, but there is nothing to learn from it either.
        let token = self
            .key
            .sign(&claims)
            .or(Err(UpstreamError::Unavailable("the token could not be signed".to_owned())))?;
        let mut extra = Map::new();
        if let Some(exp) = claims.get("exp").and_then(Value::as_i64) {
            let left = exp.saturating_sub(self.terms.clock.now().as_secs());
            extra.insert("expires_in".to_owned(), left.into());
        }
        let provider = match &self.terms.form {
            Form::Standard { .. } => "jwt",
            Form::Preset(preset) => preset.name,
        };
        Ok(ChatToken { provider, token: Zeroizing::new(token), user_id, extra })
    }
}

/// The id in a claim is none that the backend takes.
struct BadId {
    claim: String,
    says: String,
}

impl Terms {
    fn ids(&self) -> &Ids {
        match &self.form {
            Form::Standard { ids, .. } => ids,
            Form::Preset(preset) => &preset.ids,
        }
    }

    fn claims_of(&self, person: &Person<'_>) -> Result<Map<String, Value>, ClaimError> {
        let now = self.clock.now();
        let mut random = [0; JTI_BYTES];
        self.entropy.fill(&mut random);
        let jti = URL_SAFE_NO_PAD.encode(random);
        let at = Moment { iat: now.as_secs(), exp: now.plus(self.lifetime).as_secs(), jti };
        let mut claims = match &self.form {
            Form::Standard { issuer, audience, .. } => standard(issuer, audience, person, &at),
            Form::Preset(preset) => preset.claims_of(person, &at)?,
        };
        let Person { user_id, phone, phone_digits, email, app_id, name } = person;
        let Moment { iat, exp, jti } = &at;
        let context =
            Context { user_id, phone, phone_digits, email, app_id, name, iat: *iat, exp: *exp, jti };
        for (key, value) in self.claims.render(&context)? {
            match value {
                Some(value) => claims.insert(key.to_owned(), value),
                None => claims.shift_remove(key),
            };
        }
        let latest = self.longest.map(|longest| now.plus(longest).as_secs());
        check_times(&claims, latest)?;
        Ok(claims)
    }

    /// The id that the app is told: what the backend knows the user by, which a configured claim may have set.
    fn known_as(&self, claims: &Map<String, Value>, own: &str) -> Result<String, BadId> {
        match &self.form {
            Form::Standard { .. } => Ok(claims.get("sub").and_then(Value::as_str).unwrap_or(own).to_owned()),
            Form::Preset(preset) => match preset.id_in(claims) {
                Some(id) => Ok(preset.known_as(id)),
                None => Err(BadId { claim: preset.user_claim().to_owned(), says: preset.ids.says.clone() }),
            },
        }
    }
}

/// RFC 7519 §4.1.
fn standard(issuer: &str, audience: &str, person: &Person<'_>, at: &Moment) -> Map<String, Value> {
    let audience = if audience.is_empty() { person.app_id } else { audience };
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), issuer.into());
    claims.insert("sub".to_owned(), person.user_id.as_ref().into());
    claims.insert("aud".to_owned(), audience.into());
    claims.insert("iat".to_owned(), at.iat.into());
    claims.insert("nbf".to_owned(), at.iat.into());
    claims.insert("exp".to_owned(), at.exp.into());
    claims.insert("jti".to_owned(), at.jti.as_str().into());
    claims
}

/// A token without an end, or with a time that readers pass over, would be worse than none.
fn check_times(claims: &Map<String, Value>, latest: Option<i64>) -> Result<(), ClaimError> {
    let fault = |key: &str, reason: &str| Err(ClaimError { key: key.to_owned(), reason: reason.to_owned() });
    for key in ["exp", "iat", "nbf"] {
        let right = match claims.get(key) {
            Some(value) => value.is_i64(),
            None => key != "exp",
        };
        if !right {
            return fault(key, "must be a whole number of seconds, as in \"{{ iat + 900 }}\"");
        }
    }
    let exp = claims.get("exp").and_then(Value::as_i64);
    if exp.zip(latest).is_some_and(|(exp, latest)| exp > latest) {
        return fault("exp", "is later than the backend allows");
    }
    Ok(())
}

impl Upstream for Jwt {
    fn mint<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<ChatToken, UpstreamError>> {
        Box::pin(async move {
            let minted = self.sign(subject);
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
