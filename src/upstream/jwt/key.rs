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
use sha2::{Digest, Sha256};

use crate::ambient::Entropy;
use crate::config::JwtKey;
use crate::config::secret_file::read_or_create;
use crate::domain::ed25519::generate_pem;

/// 96 bits: enough to tell keys apart, short in every token.
const KEY_ID_CHARS: usize = 16;

/// Why there is nothing to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no such key. Its own error is not kept: parsers quote what they read.
    #[error(
        "key_file: this is no unencrypted Ed25519 private key in PKCS#8 PEM: run `openssl genpkey -algorithm ed25519`"
    )]
    Ed25519,
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

/// A key and the header that names it. No `Debug`.
pub(super) struct SigningKey {
    key: EncodingKey,
    header: Header,
}

impl SigningKey {
    pub(super) fn new(config: &JwtKey, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        match config {
            JwtKey::Hs256(secret) => {
                let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
                let made = Self { key, header: Header::new(Algorithm::HS256) };
                made.sign(&()).ok().map(|_| made).ok_or(KeyError::Hs256)
            }
            JwtKey::EdDsa(pem) => Self::ed25519(pem.expose_secret()),
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
                Self::ed25519(&file.text)
            }
        }
    }

    fn ed25519(pem: &str) -> Result<Self, KeyError> {
        let key = EncodingKey::from_ed_pem(pem.as_bytes()).or(Err(KeyError::Ed25519))?;
        let public_key_of = DEFAULT_PROVIDER.key_utils.ed_pub_components_from_private_key;
        let public = public_key_of(key.as_bytes(), &EllipticCurve::Ed25519).or(Err(KeyError::Ed25519))?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid =
            Some(URL_SAFE_NO_PAD.encode(Sha256::digest(&public)).chars().take(KEY_ID_CHARS).collect());
        let made = Self { key, header };
        made.sign(&()).ok().map(|_| made).ok_or(KeyError::Ed25519)
    }

    /// The JWT.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&self.header, claims, &self.key)
    }
}
