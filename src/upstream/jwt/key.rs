//! What a JWT is signed with.
//!
//! Guarantees: a key that is made here has signed once, so that a bad one is a start-up error. The algorithm belongs
//! to the key. However many processes make a development key at once, all sign with the same one.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::EllipticCurve;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::ambient::Entropy;
use crate::config::secret_file::read_or_create;
use crate::config::{JwtAlgorithm, JwtKey};
use crate::domain::ed25519::generate_pem;

/// 96 bits: enough to tell keys apart, short in every token.
const KEY_ID_CHARS: usize = 16;

/// Why there is nothing to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no such key. Its own error is not kept: parsers quote what they read.
    #[error("key_file: this is no unencrypted {} in PEM: run `{}`", kind(*.0), .0.key_command())]
    Private(JwtAlgorithm),
    /// The key cannot sign.
    #[error("key_file: the shared secret cannot sign: run `openssl rand -hex 32`")]
    Hs256,
    /// The development key's file.
    #[error("key_file: {} cannot be read or made ({error}): check the folder and its permissions", path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
        /// Why it is not.
        error: std::io::Error,
    },
}

fn kind(algorithm: JwtAlgorithm) -> &'static str {
    match algorithm {
        JwtAlgorithm::EdDSA => "Ed25519 private key (PKCS#8)",
        JwtAlgorithm::ES256 => "P-256 private key (PKCS#8)",
        JwtAlgorithm::RS256 => "RSA private key of 2048 bits or more",
        JwtAlgorithm::HS256 => "shared secret",
    }
}

/// A key and the header that names it. No `Debug`.
pub(in crate::upstream) struct SigningKey {
    key: EncodingKey,
    header: Header,
}

impl SigningKey {
    pub(super) fn new(config: &JwtKey, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        match config {
            JwtKey::Hs256(secret) => Self::shared(secret.expose_secret()),
            JwtKey::EdDsa(pem) => Self::private(JwtAlgorithm::EdDSA, pem.expose_secret()),
            JwtKey::Es256(pem) => Self::private(JwtAlgorithm::ES256, pem.expose_secret()),
            JwtKey::Rs256(pem) => Self::private(JwtAlgorithm::RS256, pem.expose_secret()),
            JwtKey::GeneratedEdDsa(path) => {
                let mut unique = [0; 8];
                entropy.fill(&mut unique);
                let unique = URL_SAFE_NO_PAD.encode(unique);
                let file = read_or_create(path, &generate_pem(entropy), &unique)
                    .map_err(|error| KeyError::File { path: path.clone(), error })?;
                if file.created {
                    tracing::warn!(
                        path = %path.display(),
                        "made a key for development, which signs users' chat tokens: keep it, and out of git"
                    );
                }
                Self::private(JwtAlgorithm::EdDSA, &file.text)
            }
        }
    }

    /// HS256; its header names no key.
    pub(in crate::upstream) fn shared(secret: &str) -> Result<Self, KeyError> {
        let key = EncodingKey::from_secret(secret.as_bytes());
        let made = Self { key, header: Header::new(Algorithm::HS256) };
        made.sign(&()).ok().map(|_| made).ok_or(KeyError::Hs256)
    }

    fn private(algorithm: JwtAlgorithm, pem: &str) -> Result<Self, KeyError> {
        let made = read_private(algorithm, pem.as_bytes()).and_then(|(key, public, algorithm)| {
            let mut header = Header::new(algorithm);
            let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(&public));
            header.kid = Some(digest.chars().take(KEY_ID_CHARS).collect());
            let made = Self { key, header };
            made.sign(&()).ok().map(|_| made)
        });
        made.ok_or(KeyError::Private(algorithm))
    }

    /// Adds members to the header; `None` where there is no such header.
    pub(super) fn with_header(mut self, members: Map<String, Value>) -> Option<Self> {
        let Value::Object(mut header) = serde_json::to_value(&self.header).ok()? else { return None };
        header.extend(members);
        self.header = serde_json::from_value(Value::Object(header)).ok()?;
        Some(self)
    }

    /// The JWT.
    pub(in crate::upstream) fn sign(
        &self,
        claims: &impl Serialize,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&self.header, claims, &self.key)
    }
}

/// The key, the bytes of its public part, and how it signs.
fn read_private(algorithm: JwtAlgorithm, pem: &[u8]) -> Option<(EncodingKey, Vec<u8>, Algorithm)> {
    let utils = &DEFAULT_PROVIDER.key_utils;
    match algorithm {
        JwtAlgorithm::EdDSA => {
            let key = EncodingKey::from_ed_pem(pem).ok()?;
            let public =
                (utils.ed_pub_components_from_private_key)(key.as_bytes(), &EllipticCurve::Ed25519).ok()?;
            Some((key, public, Algorithm::EdDSA))
        }
        JwtAlgorithm::ES256 => {
            let key = EncodingKey::from_ec_pem(pem).ok()?;
            let (_, x, y) =
                (utils.ec_pub_components_from_private_key)(key.as_bytes(), Algorithm::ES256).ok()?;
            Some((key, [x, y].concat(), Algorithm::ES256))
        }
        JwtAlgorithm::RS256 => {
            let key = EncodingKey::from_rsa_pem(pem).ok()?;
            // The library takes none of fewer than 2048 bits (RFC 7518 §3.3).
            let (n, e) = (utils.rsa_pub_components_from_private_key)(key.as_bytes()).ok()?;
            Some((key, [n, e].concat(), Algorithm::RS256))
        }
        JwtAlgorithm::HS256 => None,
    }
}
