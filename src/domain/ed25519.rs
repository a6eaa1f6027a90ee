//! One Ed25519 key pair: how it is written in files, and how it signs.
//!
//! Guarantees: a pair that is made has signed once. Its id is the RFC 7638 thumbprint of the public key, so that two
//! nodes name a key alike, and no name can lead anywhere. The private half has no `Debug`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::EllipticCurve;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ambient::Entropy;

/// RFC 8410 §7: all of a version 1 private key but its 32 bytes.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The cryptography library would not sign. It has no reason to: each key has signed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key did not sign")]
pub struct NotSigned;

/// A private key and its public half.
pub struct KeyPair {
    private: EncodingKey,
    public: DecodingKey,
    /// The public key, base64url: a JWK's `x`.
    x: String,
    id: String,
}

/// A fresh private key in PKCS#8 PEM, as `openssl genpkey -algorithm ed25519` writes it.
#[must_use]
pub fn generate_pem(entropy: &dyn Entropy) -> Zeroizing<String> {
    let mut der = Zeroizing::new([0; 48]);
    let (prefix, seed) = der.split_at_mut(PKCS8_PREFIX.len());
    prefix.copy_from_slice(&PKCS8_PREFIX);
    entropy.fill(seed);
    let body = Zeroizing::new(STANDARD.encode(der.as_slice()));
    Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *body))
}

impl KeyPair {
    /// Reads one unencrypted private key in PKCS#8 PEM; `None` where it is another kind of key, or none at all.
    #[must_use]
    pub fn from_pem(pem: &str) -> Option<Self> {
        let private = EncodingKey::from_ed_pem(pem.as_bytes()).ok()?;
        let public_of = DEFAULT_PROVIDER.key_utils.ed_pub_components_from_private_key;
        let x = URL_SAFE_NO_PAD.encode(public_of(private.as_bytes(), &EllipticCurve::Ed25519).ok()?);
        // RFC 7638 §3 and RFC 8037 §2: these members, in this order, without blanks.
        let named = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(named));
        let pair = Self { private, public: DecodingKey::from_ed_components(&x).ok()?, x, id };
        let signature = pair.sign(b"once").ok()?;
        pair.verifies(b"once", &signature).then_some(pair)
    }

    /// Its `kid`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public half as a JWK (RFC 8037).
    #[must_use]
    pub fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": self.x, "kid": self.id, "use": "sig", "alg": "EdDSA"})
    }

    /// A signature, base64url.
    pub(super) fn sign(&self, message: &[u8]) -> Result<String, NotSigned> {
        crypto::sign(message, &self.private, Algorithm::EdDSA).or(Err(NotSigned))
    }

    /// Whether a signature, base64url, is ours.
    pub(super) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        crypto::verify(signature, message, &self.public, Algorithm::EdDSA).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    /// The key of RFC 8037, appendix A.
    const PUBLISHED: &str = "-----BEGIN PRIVATE KEY-----\n\
                             MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                             -----END PRIVATE KEY-----\n";

    #[test]
    fn public_key_thumbprint_and_signature_are_those_of_rfc_8037_g3() {
        let pair = KeyPair::from_pem(PUBLISHED).expect("a key");
        assert_eq!(pair.jwk()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(pair.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature =
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(pair.sign(message.as_bytes()).as_deref(), Ok(signature));
        assert!(pair.verifies(message.as_bytes(), signature));
    }

    #[test]
    fn fresh_keys_differ_and_read_back() {
        let entropy = SeededEntropy::new(1);
        let ids =
            [(); 2].map(|()| KeyPair::from_pem(&generate_pem(&entropy)).expect("a key").id().to_owned());
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn other_keys_are_no_ed25519_key_g3() {
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
                      -----END PUBLIC KEY-----\n";
        let p256 = "-----BEGIN PRIVATE KEY-----\n\
                    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2\n\
                    OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r\n\
                    1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G\n\
                    -----END PRIVATE KEY-----\n";
        let cut = PUBLISHED.replace("JLsLMREScVpezJpGXA7rAMcrn9g", "");
        for wrong in ["", "hunter2", public, p256, &cut] {
            assert!(KeyPair::from_pem(wrong).is_none(), "{wrong}");
        }
    }
}
