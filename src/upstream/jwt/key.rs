//! What a JWT is signed with.
//!
//! Guarantees: a key that is made here has signed once, so that a bad one is a start-up error. The algorithm belongs
//! to the key. However many processes make a development key at once, all sign with the same one.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::EllipticCurve;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::ExposeSecret;
use serde::Serialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ambient::Entropy;
use crate::config::JwtKey;
use crate::config::secret_file::read_or_create;

/// RFC 8410 §7: all of a version 1 private key but its 32 bytes.
const ED25519_PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

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

/// The form that `openssl genpkey -algorithm ed25519` writes.
fn generate_pem(entropy: &dyn Entropy) -> Zeroizing<String> {
    let mut der = Zeroizing::new([0; 48]);
    let (prefix, seed) = der.split_at_mut(ED25519_PKCS8_PREFIX.len());
    prefix.copy_from_slice(&ED25519_PKCS8_PREFIX);
    entropy.fill(seed);
    let body = Zeroizing::new(STANDARD.encode(der.as_slice()));
    Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *body))
}
