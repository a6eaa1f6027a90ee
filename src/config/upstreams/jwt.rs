//! `kind = "jwt"`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::super::Mode;
use super::super::reader::Section;
use super::super::recipes::{SettingValue, read_settings, trimmed, whole};
use super::LOCAL;
use super::presets::{self, JwtPreset, KeyRule};

/// `kind = "jwt"`.
#[derive(Debug, Clone)]
pub struct JwtUpstream {
    /// What to sign with.
    pub key: JwtKey,
    /// `exp` after `iat`.
    pub lifetime: Duration,
    /// Further claims, or others in place of those of the form: minijinja expressions in text.
    pub claims: BTreeMap<String, String>,
    /// What a token says without them.
    pub form: JwtForm,
}

/// What a token says.
#[derive(Debug, Clone)]
pub enum JwtForm {
    /// The claims of RFC 7519.
    Standard {
        /// `iss`.
        issuer: String,
        /// `aud`; the app's id when empty.
        audience: String,
    },
    /// What one backend wants, and no more.
    Preset {
        /// Its name in `preset = "…"`.
        name: &'static str,
        /// What it wants.
        preset: &'static JwtPreset,
        /// A value for every setting that it declares.
        settings: BTreeMap<String, SettingValue>,
    },
}

/// What a JWT is signed with.
#[derive(Debug, Clone)]
pub enum JwtKey {
    /// A shared secret.
    Hs256(SecretString),
    /// An RSA private key of at least 2048 bits, PEM.
    Rs256(SecretString),
    /// A P-256 private key, PKCS#8 PEM.
    Es256(SecretString),
    /// An Ed25519 private key, PKCS#8 PEM.
    EdDsa(SecretString),
    /// Development: an Ed25519 key in this file, made at the first start where it is missing.
    GeneratedEdDsa(PathBuf),
}

/// How a JWT is signed (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum JwtAlgorithm {
    /// Ed25519.
    EdDSA,
    /// ECDSA on P-256.
    ES256,
    /// RSASSA-PKCS1-v1_5.
    RS256,
    /// HMAC: whoever can verify can sign.
    HS256,
}

impl JwtAlgorithm {
    const ALL: [Self; 4] = [Self::EdDSA, Self::ES256, Self::RS256, Self::HS256];

    /// As headers name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
            Self::HS256 => "HS256",
        }
    }

    /// How to make a key.
    #[must_use]
    pub fn key_command(self) -> &'static str {
        match self {
            Self::EdDSA => "openssl genpkey -algorithm ed25519 -out key.pem",
            Self::ES256 => "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
            Self::RS256 => "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem",
            Self::HS256 => "openssl rand -hex 32 > key",
        }
    }
}

const DEFAULT_LIFETIME: Duration = Duration::from_hours(24);
const MIN_LIFETIME: Duration = Duration::from_secs(1);
const MAX_LIFETIME: Duration = Duration::from_hours(3650 * 24);

/// RFC 7518 §3.2: a key of the hash's size or larger.
const MIN_HS256_BYTES: usize = 32;

/// What development signs with when nothing is configured.
pub(super) fn local(public_url: &Url) -> JwtUpstream {
    JwtUpstream {
        key: JwtKey::GeneratedEdDsa(generated_key(LOCAL)),
        lifetime: DEFAULT_LIFETIME,
        claims: BTreeMap::new(),
        form: JwtForm::Standard { issuer: issuer(public_url), audience: String::new() },
    }
}

fn generated_key(name: &str) -> PathBuf {
    format!("latchkey-{name}.pem").into()
}

fn issuer(public_url: &Url) -> String {
    public_url.as_str().trim_end_matches('/').to_owned()
}

pub(super) fn read(section: &Section<'_>, mode: Mode, name: &str, public_url: &Url) -> Option<JwtUpstream> {
    if section.has("preset") {
        return read_preset(section);
    }
    let algorithm = read_algorithm(section, &JwtAlgorithm::ALL);
    let issuer = section.get("issuer", issuer(public_url));
    let audience = section.get("audience", String::new());
    let lifetime = read_lifetime(section, DEFAULT_LIFETIME, MAX_LIFETIME);
    let claims = read_claims(section);
    let key = match algorithm {
        Some(JwtAlgorithm::EdDSA) if mode == Mode::Development && !section.has_secret("key") => {
            Some(JwtKey::GeneratedEdDsa(generated_key(name)))
        }
        Some(algorithm) => read_key(section, algorithm, None),
        // Read all the same: an unknown algorithm does not make it an unknown key.
        None => section.secret("key").and(None),
    };
    Some(JwtUpstream { key: key?, lifetime, claims, form: JwtForm::Standard { issuer, audience } })
}

fn read_preset(section: &Section<'_>) -> Option<JwtUpstream> {
    let (name, preset) = presets::jwt(section)?;
    let algorithm = read_algorithm(section, &preset.algorithms);
    let lifetime = read_lifetime(section, preset.lifetime, preset.max_lifetime.unwrap_or(MAX_LIFETIME));
    let claims = read_claims(section);
    let settings = read_settings(section, &preset.settings);
    let key = match algorithm {
        Some(algorithm) => read_key(section, algorithm, Some(&preset.key)),
        None => section.secret("key").and(None),
    };
    let form = JwtForm::Preset { name, preset, settings: settings? };
    Some(JwtUpstream { key: key?, lifetime, claims, form })
}

/// The first of them is the default.
fn read_algorithm(section: &Section<'_>, known: &[JwtAlgorithm]) -> Option<JwtAlgorithm> {
    let words: Vec<_> = known.iter().map(|algorithm| (algorithm.as_str(), *algorithm)).collect();
    section.choice("algorithm", words.first()?.0, &words)
}

fn read_lifetime(section: &Section<'_>, default: Duration, longest: Duration) -> Duration {
    section.ranged("lifetime", default, MIN_LIFETIME..=longest, "the life of a user's token")
}

fn read_claims(section: &Section<'_>) -> BTreeMap<String, String> {
    let table = section.section("claims");
    table.keys().into_iter().filter_map(|key| Some((key.clone(), table.optional(&key)?))).collect()
}

/// `rule` is the vendor's, where the key is one's.
fn read_key(section: &Section<'_>, algorithm: JwtAlgorithm, rule: Option<&KeyRule>) -> Option<JwtKey> {
    let command = algorithm.key_command();
    let make = match algorithm {
        JwtAlgorithm::HS256 => return read_shared_secret(section, rule).map(JwtKey::Hs256),
        JwtAlgorithm::RS256 => JwtKey::Rs256,
        JwtAlgorithm::ES256 => JwtKey::Es256,
        JwtAlgorithm::EdDSA => JwtKey::EdDsa,
    };
    section.required_secret("key", &format!("name the file of the private key: run `{command}`")).map(make)
}

fn read_shared_secret(section: &Section<'_>, rule: Option<&KeyRule>) -> Option<SecretString> {
    let command = JwtAlgorithm::HS256.key_command();
    let Some(rule) = rule else {
        let fix = format!("name the file of the shared secret: run `{command}`");
        let secret = section.required_secret("key", &fix)?;
        check_length(section, &secret, MIN_HS256_BYTES, "run `openssl rand -hex 32`");
        return Some(secret);
    };
    let secret = section.required_secret("key", &format!("name the file that holds it: {}", rule.label))?;
    let secret = trimmed(&secret);
    check_length(section, &secret, rule.min_bytes, &format!("it is {}", rule.label));
    let admitted = whole(&rule.pattern).is_ok_and(|pattern| pattern.is_match(secret.expose_secret()));
    if !rule.pattern.is_empty() && !admitted {
        section.secret_problem("key", &format!("must match {}: it is {}", rule.pattern, rule.label));
    }
    Some(secret)
}

fn check_length(section: &Section<'_>, secret: &SecretString, min_bytes: usize, fix: &str) {
    if secret.expose_secret().len() < min_bytes {
        section.secret_problem("key", &format!("must be at least {min_bytes} bytes: {fix}"));
    }
}
