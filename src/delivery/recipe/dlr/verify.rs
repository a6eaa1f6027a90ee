//! Whether a call is the gateway's own. Each kind is a value of one closed set.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::file::{self, Alg, KeyForm};
use super::signature::{Key, Signature};
use super::{Certificate, NotProved, Settings, jwt, reveal, sns, vonage};
use crate::delivery::receipts::CallIn;
use crate::domain::time::Timestamp;
use crate::outbound::template::LoadError;

/// Compiled. Secrets are named by their settings; one that is optional and not set asks for no proof but the path.
pub(super) enum Verify {
    Path,
    Basic { user: String, secret: String },
    Header { name: String, secret: String },
    Query { name: String, secret: String },
    Hmac { alg: Alg, secret: String, key: KeyForm, signature: Signature },
    Ed25519 { public_key: String, signature: Signature },
    Jwt(jwt::Jwt),
    VonageSms { secret: String, alg: Alg },
    AwsSns { topic: String },
}

/// What was proved.
pub(super) enum Proof {
    /// That the call is the gateway's.
    OfCall,
    /// And that its words are these.
    Holding(Vec<u8>),
}

impl Verify {
    pub(super) fn compile(verify: &file::Verify) -> Result<Self, LoadError> {
        let header = |name: &String| name.to_ascii_lowercase();
        Ok(match verify {
            file::Verify::Path => Self::Path,
            file::Verify::Basic { user, secret } => {
                Self::Basic { user: user.clone(), secret: secret.clone() }
            }
            file::Verify::Header { name, secret } => {
                Self::Header { name: header(name), secret: secret.clone() }
            }
            file::Verify::Query { name, secret } => {
                Self::Query { name: name.clone(), secret: secret.clone() }
            }
            file::Verify::Hmac { alg, secret, key, signature } => Self::Hmac {
                alg: *alg,
                secret: secret.clone(),
                key: *key,
                signature: Signature::compile(signature)?,
            },
            file::Verify::Ed25519 { public_key, signature } => {
                Self::Ed25519 { public_key: public_key.clone(), signature: Signature::compile(signature)? }
            }
            file::Verify::Jwt {
                secret,
                header: name,
                issuer,
                url_hash,
                payload_hash,
                claims_are_payload,
            } => {
                if payload_hash.is_none() && !claims_are_payload {
                    let fix = "nothing ties the token to the body: name the claim with its SHA-256, or set \
                               claims_are_payload = true";
                    return Err(LoadError::new("dlr.verify.payload_hash", fix));
                }
                Self::Jwt(jwt::Jwt {
                    secret: secret.clone(),
                    header: header(name),
                    issuer: issuer.clone(),
                    url_hash: url_hash.clone(),
                    payload_hash: payload_hash.clone(),
                    claims_are_payload: *claims_are_payload,
                })
            }
            file::Verify::VonageSms { secret, alg } => Self::VonageSms { secret: secret.clone(), alg: *alg },
            file::Verify::AwsSns { topic } => Self::AwsSns { topic: topic.clone() },
        })
    }

    /// The settings that it names.
    pub(super) fn settings(&self) -> Vec<&str> {
        match self {
            Self::Path => Vec::new(),
            Self::Basic { user, secret } => vec![user, secret],
            Self::Header { secret, .. }
            | Self::Query { secret, .. }
            | Self::Hmac { secret, .. }
            | Self::VonageSms { secret, .. } => vec![secret],
            Self::Ed25519 { public_key, .. } => vec![public_key],
            Self::Jwt(jwt) => vec![&jwt.secret],
            Self::AwsSns { topic } => vec![topic],
        }
    }

    /// The header that the proof is in, where it is in one.
    pub(super) fn header(&self) -> Option<&str> {
        match self {
            Self::Path | Self::Query { .. } | Self::VonageSms { .. } | Self::AwsSns { .. } => None,
            Self::Basic { .. } => Some("authorization"),
            Self::Header { name, .. } => Some(name),
            Self::Hmac { signature, .. } | Self::Ed25519 { signature, .. } => Some(&signature.header),
            Self::Jwt(jwt) => Some(&jwt.header),
        }
    }

    /// Whether a change to this part of a call is seen.
    pub(super) fn is_bound_to(&self, part: &str, settings: &Settings) -> bool {
        let set = self.settings().into_iter().all(|name| !reveal(settings, name).is_empty());
        let bound = match self {
            Self::Path => false,
            Self::Basic { .. } | Self::Header { .. } | Self::Query { .. } => part == "proof",
            Self::Hmac { signature, .. } | Self::Ed25519 { signature, .. } => {
                part == "proof" || signature.covers_body()
            }
            Self::VonageSms { .. } | Self::AwsSns { .. } => true,
            Self::Jwt(jwt) => part == "proof" || jwt.payload_hash.is_some(),
        };
        set && bound
    }

    /// Whether any call can prove to be the gateway's.
    pub(super) fn can_succeed(&self, settings: &Settings) -> bool {
        match self {
            // Anybody has a topic of their own.
            Self::AwsSns { topic } => !reveal(settings, topic).is_empty(),
            // A recipe declares its secret as required where the gateway always signs; without it the path is all.
            Self::Path
            | Self::Basic { .. }
            | Self::Header { .. }
            | Self::Query { .. }
            | Self::Hmac { .. }
            | Self::Ed25519 { .. }
            | Self::Jwt(_)
            | Self::VonageSms { .. } => true,
        }
    }

    /// Whether a call is the gateway's.
    pub(super) fn check(
        &self,
        settings: &Settings,
        call: &CallIn,
        certificate: Option<&Certificate>,
        now: Timestamp,
    ) -> Result<Proof, NotProved> {
        let unset = |name: &str| reveal(settings, name).is_empty();
        if self.settings().into_iter().any(unset) {
            return if self.can_succeed(settings) { Ok(Proof::OfCall) } else { Err(NotProved) };
        }
        let proved = match self {
            Self::Path => true,
            Self::Basic { user, secret } => {
                let pair = format!("{}:{}", reveal(settings, user), reveal(settings, secret));
                same(call.header("authorization"), &format!("Basic {}", STANDARD.encode(pair)))
            }
            Self::Header { name, secret } => same(call.header(name), reveal(settings, secret)),
            Self::Query { name, secret } => {
                let mut pairs = url::form_urlencoded::parse(call.query.as_bytes());
                let given = pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
                same(given.as_deref(), reveal(settings, secret))
            }
            Self::Hmac { alg, secret, key, signature } => {
                let key = Key::hmac(*alg, *key, reveal(settings, secret));
                key.is_some_and(|key| signature.proves(&key, call, now))
            }
            Self::Ed25519 { public_key, signature } => Key::ed25519(reveal(settings, public_key))
                .is_some_and(|key| signature.proves(&key, call, now)),
            Self::Jwt(jwt) => {
                let claims = jwt.claims(reveal(settings, &jwt.secret), call, now).ok_or(NotProved)?;
                return Ok(if jwt.claims_are_payload { Proof::Holding(claims) } else { Proof::OfCall });
            }
            Self::VonageSms { secret, alg } => vonage::proves(reveal(settings, secret), *alg, call, now),
            Self::AwsSns { topic } => {
                let message = sns::message(&call.body, reveal(settings, topic), certificate);
                return message.map(Proof::Holding).ok_or(NotProved);
            }
        };
        if proved { Ok(Proof::OfCall) } else { Err(NotProved) }
    }
}

/// In constant time.
fn same(given: Option<&str>, expected: &str) -> bool {
    given.is_some_and(|given| given.as_bytes().ct_eq(expected.as_bytes()).into())
}
