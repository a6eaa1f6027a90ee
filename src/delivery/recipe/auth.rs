//! How a gateway knows us.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use minijinja::value::Value;
use sha2::Sha256;

use super::file;
use crate::outbound::template::{LoadError, Template, Templates};

/// What every secret of Standard Webhooks begins with.
const SECRET_PREFIX: &str = "whsec_";

/// Compiled.
pub(super) enum Auth {
    None,
    Basic { user: Template, pass: Template },
    Header { name: String, value: Template },
    Query { name: String, value: Template },
    StandardWebhooks { secret: Template },
}

/// What is added to a request.
pub(super) enum Proof {
    Nothing,
    Headers(Vec<(String, String)>),
    Query(String, String),
}

/// What a signature covers.
pub(super) struct Signed<'a> {
    pub(super) id: &'a str,
    /// Unix seconds.
    pub(super) now: i64,
    pub(super) body: &'a [u8],
}

impl Auth {
    pub(super) fn compile(templates: &mut Templates, auth: &file::Auth) -> Result<Self, LoadError> {
        let mut compile = |key: &str, text: &str| templates.compile(&format!("send.auth.{key}"), text);
        Ok(match auth {
            file::Auth::None => Self::None,
            file::Auth::Basic { user, pass } => {
                Self::Basic { user: compile("user", user)?, pass: compile("pass", pass)? }
            }
            file::Auth::Bearer { token } => Self::Header {
                name: "Authorization".to_owned(),
                value: compile("token", &format!("Bearer {token}"))?,
            },
            file::Auth::Header { name, value } => {
                Self::Header { name: name.clone(), value: compile("value", value)? }
            }
            file::Auth::Query { name, value } => {
                Self::Query { name: name.clone(), value: compile("value", value)? }
            }
            file::Auth::StandardWebhooks { secret } => {
                Self::StandardWebhooks { secret: compile("secret", secret)? }
            }
        })
    }

    /// The headers or parameters that it adds.
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Self::None => Vec::new(),
            Self::Basic { .. } => vec!["Authorization"],
            Self::Header { name, .. } | Self::Query { name, .. } => vec![name],
            Self::StandardWebhooks { .. } => vec!["webhook-id", "webhook-timestamp", "webhook-signature"],
        }
    }

    /// What goes into the URL, if anything.
    pub(super) fn in_url(&self) -> Option<&Template> {
        match self {
            Self::Query { value, .. } => Some(value),
            Self::None | Self::Basic { .. } | Self::Header { .. } | Self::StandardWebhooks { .. } => None,
        }
    }

    pub(super) fn prove(
        &self,
        templates: &Templates,
        context: &Value,
        signed: &Signed<'_>,
    ) -> Result<Proof, String> {
        let render = |template: &Template| templates.render(template, context);
        Ok(match self {
            Self::None => Proof::Nothing,
            Self::Basic { user, pass } => {
                let pair = STANDARD.encode(format!("{}:{}", render(user)?, render(pass)?));
                Proof::Headers(vec![("Authorization".to_owned(), format!("Basic {pair}"))])
            }
            Self::Header { name, value } => Proof::Headers(vec![(name.clone(), render(value)?)]),
            Self::Query { name, value } => Proof::Query(name.clone(), render(value)?),
            Self::StandardWebhooks { secret } => Proof::Headers(sign(&render(secret)?, signed)?),
        })
    }
}

/// Standard Webhooks, version 1, symmetric.
fn sign(secret: &str, signed: &Signed<'_>) -> Result<Vec<(String, String)>, String> {
    let fix = "send.auth.secret: must be whsec_ and base64: run `echo whsec_$(openssl rand -base64 32)`";
    let key = secret.strip_prefix(SECRET_PREFIX).and_then(|text| STANDARD.decode(text).ok());
    let key = key.filter(|key| !key.is_empty()).ok_or(fix)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).or(Err(fix))?;
    mac.update(format!("{}.{}.", signed.id, signed.now).as_bytes());
    mac.update(signed.body);
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    Ok(vec![
        ("webhook-id".to_owned(), signed.id.to_owned()),
        ("webhook-timestamp".to_owned(), signed.now.to_string()),
        ("webhook-signature".to_owned(), format!("v1,{signature}")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_published_vector_of_standard_webhooks() {
        let signed = Signed {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            now: 1_614_265_330,
            body: b"{\"test\": 2432232314}",
        };
        let headers = sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &signed).expect("a secret");
        let signature = &headers.last().expect("a signature").1;
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_of_a_webhook_is_named_and_not_quoted() {
        let signed = Signed { id: "a", now: 0, body: b"" };
        for secret in ["canary", "whsec_canary!", "whsec_", ""] {
            let error = sign(secret, &signed).expect_err("no secret");
            assert!(error.contains("send.auth.secret") && !error.contains("canary"), "{error}");
        }
    }
}
