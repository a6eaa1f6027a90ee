//! How a gateway knows us.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Value;

use super::sign::{self, aliyun, aws, azure, canonical_query, hmac_sha256, tencent};
use super::token::Grant;
use super::{file, sign::Proof as Headers};
use crate::domain::time::Timestamp;
use crate::outbound::request::Request;
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
    Oauth2(Grant),
    AwsSigv4 { service: Template, region: Template, id: Template, secret: Template, session_token: Template },
    TencentTc3 { service: Template, id: Template, secret: Template },
    AliyunAcs3 { id: Template, secret: Template },
    AzureHmac { key: Template },
}

/// What is added to a request.
pub(super) enum Proof {
    Nothing,
    Headers(Headers),
    Query(String, String),
}

/// What a proof may be made of, beside the settings.
pub(super) struct Occasion<'a> {
    /// The message's id.
    pub(super) id: &'a str,
    pub(super) now: Timestamp,
    /// The token that was granted to us, where one is needed.
    pub(super) token: &'a str,
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
            file::Auth::Oauth2Cc(grant) => Self::Oauth2(Grant::compile(templates, grant)?),
            file::Auth::AwsSigv4 { service, region, id, secret, session_token } => Self::AwsSigv4 {
                service: compile("service", service)?,
                region: compile("region", region)?,
                id: compile("id", id)?,
                secret: compile("secret", secret)?,
                session_token: compile("session_token", session_token)?,
            },
            file::Auth::TencentTc3 { service, id, secret } => Self::TencentTc3 {
                service: compile("service", service)?,
                id: compile("id", id)?,
                secret: compile("secret", secret)?,
            },
            file::Auth::AliyunAcs3 { id, secret } => {
                Self::AliyunAcs3 { id: compile("id", id)?, secret: compile("secret", secret)? }
            }
            file::Auth::AzureHmac { key } => Self::AzureHmac { key: compile("key", key)? },
        })
    }

    /// The headers or parameters that it adds.
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Self::None => Vec::new(),
            Self::Basic { .. } | Self::Oauth2(_) => vec!["Authorization"],
            Self::Header { name, .. } | Self::Query { name, .. } => vec![name],
            Self::StandardWebhooks { .. } => vec!["webhook-id", "webhook-timestamp", "webhook-signature"],
            Self::AwsSigv4 { .. } => vec!["x-amz-date", "Authorization"],
            Self::TencentTc3 { .. } => vec!["X-TC-Timestamp", "Authorization"],
            Self::AliyunAcs3 { .. } => {
                vec!["x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "Authorization"]
            }
            Self::AzureHmac { .. } => vec!["x-ms-date", "x-ms-content-sha256", "Authorization"],
        }
    }

    /// What goes into the URL, if anything.
    pub(super) fn in_url(&self) -> Option<&Template> {
        match self {
            Self::Query { value, .. } => Some(value),
            Self::None
            | Self::Basic { .. }
            | Self::Header { .. }
            | Self::StandardWebhooks { .. }
            | Self::Oauth2(_)
            | Self::AwsSigv4 { .. }
            | Self::TencentTc3 { .. }
            | Self::AliyunAcs3 { .. }
            | Self::AzureHmac { .. } => None,
        }
    }

    /// The token that has to be granted first, if any.
    pub(super) fn grant(&self) -> Option<&Grant> {
        if let Self::Oauth2(grant) = self { Some(grant) } else { None }
    }

    /// Proves who we are. The query is put into the spelling that is signed.
    pub(super) fn prove(
        &self,
        templates: &Templates,
        context: &Value,
        occasion: &Occasion<'_>,
        request: &mut Request,
    ) -> Result<Proof, String> {
        let render = |template: &Template| templates.render(template, context);
        if request.url.query().is_some() && matches!(self, Self::AwsSigv4 { .. } | Self::AliyunAcs3 { .. }) {
            let query = canonical_query(&request.url);
            request.url.set_query(Some(&query));
        }
        Ok(match self {
            Self::None => Proof::Nothing,
            Self::Basic { user, pass } => {
                let pair = STANDARD.encode(format!("{}:{}", render(user)?, render(pass)?));
                Proof::Headers(vec![("Authorization".to_owned(), format!("Basic {pair}"))])
            }
            Self::Oauth2(_) => {
                Proof::Headers(vec![("Authorization".to_owned(), format!("Bearer {}", occasion.token))])
            }
            Self::Header { name, value } => Proof::Headers(vec![(name.clone(), render(value)?)]),
            Self::Query { name, value } => Proof::Query(name.clone(), render(value)?),
            Self::StandardWebhooks { secret } => {
                let body = request.body.as_deref().unwrap_or_default();
                Proof::Headers(sign_webhook(&render(secret)?, occasion, body)?)
            }
            Self::AwsSigv4 { service, region, id, secret, session_token } => {
                let [service, region, id] = [render(service)?, render(region)?, render(id)?];
                let [secret, session_token] = [render(secret)?, render(session_token)?];
                let key = aws::Key {
                    service: &service,
                    region: &region,
                    id: &id,
                    secret: &secret,
                    session_token: &session_token,
                };
                Proof::Headers(aws::sign(&key, request, occasion.now))
            }
            Self::TencentTc3 { service, id, secret } => {
                let [service, id, secret] = [render(service)?, render(id)?, render(secret)?];
                let key = tencent::Key { service: &service, id: &id, secret: &secret };
                Proof::Headers(tencent::sign(&key, request, occasion.now))
            }
            Self::AliyunAcs3 { id, secret } => {
                let [id, secret] = [render(id)?, render(secret)?];
                let key = aliyun::Key { id: &id, secret: &secret, nonce: occasion.id };
                Proof::Headers(aliyun::sign(&key, request, occasion.now))
            }
            Self::AzureHmac { key } => {
                let fix = "send.auth.key: must be base64, as Azure's portal shows it";
                Proof::Headers(azure::sign(&render(key)?, request, occasion.now).ok_or(fix)?)
            }
        })
    }
}

/// Standard Webhooks, version 1, symmetric.
fn sign_webhook(secret: &str, occasion: &Occasion<'_>, body: &[u8]) -> Result<sign::Proof, String> {
    let fix = "send.auth.secret: must be whsec_ and base64: run `echo whsec_$(openssl rand -base64 32)`";
    let key = secret.strip_prefix(SECRET_PREFIX).and_then(|text| STANDARD.decode(text).ok());
    let key = key.filter(|key| !key.is_empty()).ok_or(fix)?;
    let (id, now) = (occasion.id, occasion.now.as_secs());
    let signed = [format!("{id}.{now}.").as_bytes(), body].concat();
    let signature = STANDARD.encode(hmac_sha256(&key, &signed));
    Ok(vec![
        ("webhook-id".to_owned(), id.to_owned()),
        ("webhook-timestamp".to_owned(), now.to_string()),
        ("webhook-signature".to_owned(), format!("v1,{signature}")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64, id: &str) -> Occasion<'_> {
        Occasion { id, now: Timestamp::from_millis(secs * 1000), token: "" }
    }

    #[test]
    fn the_signature_is_that_of_the_published_vector_of_standard_webhooks() {
        let occasion = at(1_614_265_330, "msg_p5jXN8AQM9LWM0D4loKWxJek");
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signature = |body: &[u8]| {
            sign_webhook(secret, &occasion, body).expect("a secret").pop().expect("a signature").1
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature(b"{\"test\": 2432232314}"), expected);
        assert_ne!(signature(b"{\"test\": 2432232315}"), expected);
    }

    #[test]
    fn what_is_no_secret_of_a_webhook_is_named_and_not_quoted() {
        for secret in ["canary", "whsec_canary!", "whsec_", ""] {
            let error = sign_webhook(secret, &at(0, "a"), b"").expect_err("no secret");
            assert!(error.contains("send.auth.secret") && !error.contains("canary"), "{error}");
        }
    }
}
