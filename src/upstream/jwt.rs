//! Tokens that we sign ourselves, for any backend that takes a JWT.
//!
//! Guarantees: the algorithm is the configured key's, and nothing a client sends touches the header. `iss`, `sub`,
//! `aud`, `iat`, `nbf`, `exp` and `jti` are there unless a configured claim takes their place; times are numbers and
//! `exp` cannot be configured away. No network: nothing here waits, and nothing can be lost.
//!
//! A JWT cannot be taken back before its `exp`: [`Upstream::revoke`] succeeds and changes nothing. Short lifetimes
//! are what bounds a stolen one.
//!
//! `{{ name }}` in a claim is the user's own word. It proves nothing.

mod claims;
mod key;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::fault::FaultLog;
use super::{ChatToken, Subject, Upstream, UpstreamError};
use crate::ambient::{Clock, Entropy};
use crate::config::JwtUpstream;
use crate::domain::address::Address;
use claims::{Claims, Context};
use key::SigningKey;

pub use claims::ClaimError;
pub use key::KeyError;

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
    issuer: String,
    /// The app's id when empty.
    audience: String,
    lifetime: Duration,
    claims: Claims,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
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
}

/// Whom a token is about, as claims see them.
struct Person<'a> {
    user_id: &'a str,
    phone: &'a str,
    phone_digits: &'a str,
    email: &'a str,
    app_id: &'a str,
    name: &'a str,
}

/// A user has a number or a mailbox, and claims must do with either.
const SAMPLES: [Person<'static>; 2] = [
    Person {
        user_id: "usr_sample",
        phone: "+18005551234",
        phone_digits: "18005551234",
        email: "",
        app_id: "com.example.app",
        name: "",
    },
    Person {
        user_id: "usr_sample",
        phone: "",
        phone_digits: "",
        email: "ann@mail.example",
        app_id: "com.example.app",
        name: "Ann",
    },
];

impl<'a> Person<'a> {
    fn of(subject: &'a Subject) -> Self {
        let (phone, phone_digits, email) = match &subject.address {
            Address::Phone(phone) => (phone.e164(), phone.digits(), ""),
            Address::Email(email) => ("", "", email.as_str()),
        };
        Self {
            user_id: subject.backend_id(),
            phone,
            phone_digits,
            email,
            app_id: &subject.app_id,
            name: subject.name.as_deref().unwrap_or_default(),
        }
    }
}

impl Jwt {
    pub(super) fn new(
        name: &str,
        config: &JwtUpstream,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, JwtError> {
        let terms = Terms {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            lifetime: config.lifetime,
            claims: Claims::compile(&config.claims)?,
            clock,
            entropy,
        };
        for sample in &SAMPLES {
            terms.claims_of(sample)?;
        }
        // Last, so that a wrong claim leaves no key file behind.
        let key = SigningKey::new(&config.key, &*terms.entropy)?;
        Ok(Self { faults: FaultLog::new(name), key, terms })
    }

    fn sign(&self, subject: &Subject) -> Result<ChatToken, UpstreamError> {
        let person = Person::of(subject);
        // The reason stays here: a template's error may quote what it was given, which is a number or a name.
        let claims = self.terms.claims_of(&person).map_err(|ClaimError { key, reason: _ }| {
            let upstream = self.faults.upstream();
            UpstreamError::Misconfigured(format!(
                "upstreams.{upstream}.claims.{key} cannot be made for this user; fix: its template must do for every \
                 user, whatever they call themselves"
            ))
        })?;
        // The library's error says nothing of the claims or the key, but there is nothing to learn from it either.
        let token = self
            .key
            .sign(&claims)
            .or(Err(UpstreamError::Unavailable("the token could not be signed".to_owned())))?;
        // Backends know the user by `sub`, which a configured claim may have set.
        let user_id = claims.get("sub").and_then(Value::as_str).unwrap_or(person.user_id).to_owned();
        let mut extra = Map::new();
        if let Some(exp) = claims.get("exp").and_then(Value::as_i64) {
            let left = exp.saturating_sub(self.terms.clock.now().as_secs());
            extra.insert("expires_in".to_owned(), left.into());
        }
        Ok(ChatToken { provider: "jwt", token: Zeroizing::new(token), user_id, extra })
    }
}

impl Terms {
    fn claims_of(&self, person: &Person<'_>) -> Result<Map<String, Value>, ClaimError> {
        let now = self.clock.now();
        let (iat, exp) = (now.as_secs(), now.plus(self.lifetime).as_secs());
        let mut random = [0; JTI_BYTES];
        self.entropy.fill(&mut random);
        let jti = URL_SAFE_NO_PAD.encode(random);
        let &Person { user_id, phone, phone_digits, email, app_id, name } = person;
        let audience = if self.audience.is_empty() { app_id } else { &self.audience };
        let context = Context { user_id, phone, phone_digits, email, app_id, name, iat, exp, jti: &jti };
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), self.issuer.as_str().into());
        claims.insert("sub".to_owned(), user_id.into());
        claims.insert("aud".to_owned(), audience.into());
        claims.insert("iat".to_owned(), iat.into());
        claims.insert("nbf".to_owned(), iat.into());
        claims.insert("exp".to_owned(), exp.into());
        claims.insert("jti".to_owned(), jti.as_str().into());
        for (key, value) in self.claims.render(&context)? {
            match value {
                Some(value) => claims.insert(key.to_owned(), value),
                None => claims.shift_remove(key),
            };
        }
        check_times(&claims)?;
        Ok(claims)
    }
}

/// A token without an end, or with a time that readers pass over, would be worse than none.
fn check_times(claims: &Map<String, Value>) -> Result<(), ClaimError> {
    for key in ["exp", "iat", "nbf"] {
        let right = match claims.get(key) {
            Some(value) => value.is_i64(),
            None => key != "exp",
        };
        if !right {
            let reason = "must be a whole number of seconds, as in \"{{ iat + 900 }}\"".to_owned();
            return Err(ClaimError { key: key.to_owned(), reason });
        }
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
