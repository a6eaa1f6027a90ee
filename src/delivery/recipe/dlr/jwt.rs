//! Calls that carry a JWT with hashes of what they hold, or hold it itself: Vonage Messages, `MessageBird`,
//! `GatewayAPI`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::signature::unhex;
use crate::delivery::receipts::CallIn;
use crate::domain::time::Timestamp;

/// How far clocks differ.
const LEEWAY_S: i64 = 60;

/// Compiled.
pub(super) struct Jwt {
    /// The setting with the key.
    pub(super) secret: String,
    pub(super) header: String,
    pub(super) issuer: Option<String>,
    /// The claim with the hash of the URL.
    pub(super) url_hash: Option<String>,
    /// The claim with the hash of the body; it is missing where there is none.
    pub(super) payload_hash: Option<String>,
    pub(super) claims_are_payload: bool,
}

impl Jwt {
    /// The claims of a token that is right for this call.
    pub(super) fn claims(&self, secret: &str, call: &CallIn, now: Timestamp) -> Option<Vec<u8>> {
        let header = call.header(&self.header)?;
        let token = header.strip_prefix("Bearer ").unwrap_or(header);
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let key = DecodingKey::from_secret(secret.as_bytes());
        if !crypto::verify(signature, signed.as_bytes(), &key, algorithm(head)?).ok()? {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(claims).ok()?;
        let claims: Map<String, Value> = serde_json::from_slice(&bytes).ok()?;
        (self.is_valid(&claims, now) && self.is_for(&claims, call)).then_some(bytes)
    }

    fn is_valid(&self, claims: &Map<String, Value>, now: Timestamp) -> bool {
        let now = now.as_millis().div_euclid(1000);
        // One that is there must be a number that fits.
        let time = |name: &str, fits: &dyn Fn(i64) -> bool| {
            claims.get(name).is_none_or(|value| value.as_i64().is_some_and(fits))
        };
        let issued = self.issuer.as_ref();
        time("nbf", &|at| at <= now.saturating_add(LEEWAY_S))
            && time("exp", &|at| at > now.saturating_sub(LEEWAY_S))
            && issued.is_none_or(|name| claims.get("iss").and_then(Value::as_str) == Some(name))
    }

    fn is_for(&self, claims: &Map<String, Value>, call: &CallIn) -> bool {
        let hash_of = |name: &str, bytes: &[u8]| {
            let given = claims.get(name).and_then(Value::as_str).and_then(unhex);
            given.is_some_and(|given| Sha256::digest(bytes).ct_eq(&given).into())
        };
        let url = self.url_hash.as_ref().is_none_or(|name| hash_of(name, call.url.as_bytes()));
        let payload = self.payload_hash.as_ref().is_none_or(|name| {
            if call.body.is_empty() { !claims.contains_key(name) } else { hash_of(name, &call.body) }
        });
        url && payload
    }
}

/// None: it is none of the three that a shared secret makes.
fn algorithm(head: &str) -> Option<Algorithm> {
    let head: Map<String, Value> = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()?;
    match head.get("alg")?.as_str()? {
        "HS256" => Some(Algorithm::HS256),
        "HS384" => Some(Algorithm::HS384),
        "HS512" => Some(Algorithm::HS512),
        _ => None,
    }
}
