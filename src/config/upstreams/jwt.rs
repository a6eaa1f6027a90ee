//! `kind = "jwt"`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::super::Mode;
use super::super::reader::Section;
use super::LOCAL;

/// `kind = "jwt"`.
#[derive(Debug, Clone)]
pub struct JwtUpstream {
    /// What to sign with.
    pub key: JwtKey,
    /// `iss`.
    pub issuer: String,
    /// `aud`; the app's id when empty.
    pub audience: String,
    /// `exp` after `iat`.
    pub lifetime: Duration,
    /// Further claims, or others in place of the standard ones: minijinja expressions in text.
    pub claims: BTreeMap<String, String>,
}

/// What a JWT is signed with.
#[derive(Debug, Clone)]
pub enum JwtKey {
    /// A shared secret of at least 32 bytes.
    Hs256(SecretString),
    /// An Ed25519 private key, PKCS#8 PEM.
    EdDsa(SecretString),
    /// Development: an Ed25519 key in this file, made at the first start where it is missing.
    GeneratedEdDsa(PathBuf),
}

const DEFAULT_LIFETIME: Duration = Duration::from_hours(24);
const LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(3650 * 24);

/// What development signs with when nothing is configured.
pub(super) fn local(public_url: &Url) -> JwtUpstream {
    JwtUpstream {
        key: JwtKey::GeneratedEdDsa(generated_key(LOCAL)),
        issuer: issuer(public_url),
        audience: String::new(),
        lifetime: DEFAULT_LIFETIME,
        claims: BTreeMap::new(),
    }
}

fn generated_key(name: &str) -> PathBuf {
    format!("latchkey-{name}.pem").into()
}

fn issuer(public_url: &Url) -> String {
    public_url.as_str().trim_end_matches('/').to_owned()
}

/// RFC 7518 §3.2: a key of the hash's size or larger.
const MIN_HS256_BYTES: usize = 32;

pub(super) fn read(section: &Section<'_>, mode: Mode, name: &str, public_url: &Url) -> Option<JwtUpstream> {
    #[derive(Clone, Copy)]
    enum Algorithm {
        EdDsa,
        Hs256,
    }
    let algorithm =
        section.choice("algorithm", "EdDSA", &[("EdDSA", Algorithm::EdDsa), ("HS256", Algorithm::Hs256)]);
    let issuer = section.get("issuer", issuer(public_url));
    let audience = section.get("audience", String::new());
    let lifetime = section.ranged("lifetime", DEFAULT_LIFETIME, LIFETIMES, "the life of a user's token");
    let table = section.section("claims");
    let claims =
        table.keys().into_iter().filter_map(|key| Some((key.clone(), table.optional(&key)?))).collect();
    let key = match algorithm {
        Some(Algorithm::EdDsa) if mode == Mode::Development && !section.has_secret("key") => {
            Some(JwtKey::GeneratedEdDsa(generated_key(name)))
        }
        Some(Algorithm::EdDsa) => {
            let fix =
                "name the file of the private key: run `openssl genpkey -algorithm ed25519 -out key.pem`";
            section.required_secret("key", fix).map(JwtKey::EdDsa)
        }
        Some(Algorithm::Hs256) => {
            let secret = section.required_secret(
                "key",
                "name the file of the shared secret: run `openssl rand -hex 32 > key`",
            );
            if secret.as_ref().is_some_and(|secret| secret.expose_secret().len() < MIN_HS256_BYTES) {
                section.secret_problem("key", "must be at least 32 bytes: run `openssl rand -hex 32`");
            }
            secret.map(JwtKey::Hs256)
        }
        // Read all the same: an unknown algorithm does not make it an unknown key.
        None => section.secret("key").and(None),
    };
    Some(JwtUpstream { key: key?, issuer, audience, lifetime, claims })
}
