//! The `sig` among the values of a Vonage SMS receipt.
//!
//! <https://developer.vonage.com/en/getting-started/concepts/signing-messages>. Its two kinds of MD5 are not taken: the
//! operator chooses an HMAC with SHA-256 or SHA-512 in the dashboard.

use aws_lc_rs::hmac;
use serde_json::{Map, Value};

use super::file::{Alg, Format};
use super::object;
use super::signature::{algorithm, is_fresh, unhex};
use crate::delivery::receipts::CallIn;
use crate::domain::time::Timestamp;

/// What was signed longer ago was seen before; Vonage repeats for a day, and signs anew.
const MAX_AGE_S: u32 = 300;

pub(super) fn proves(secret: &str, alg: Alg, call: &CallIn, now: Timestamp) -> bool {
    let values = match Format::Auto.of(call) {
        Format::Query => object(call.query.as_bytes()),
        Format::Form => object(&call.body),
        Format::Json | Format::Auto => call.body.clone(),
    };
    let Ok(values) = serde_json::from_slice::<Map<String, Value>>(&values) else { return false };
    let fresh = values.get("timestamp").and_then(Value::as_str);
    fresh.is_some_and(|time| is_fresh(time, MAX_AGE_S, now)) && is_signed(secret, alg, &values)
}

fn is_signed(secret: &str, alg: Alg, values: &Map<String, Value>) -> bool {
    let Some(given) = values.get("sig").and_then(Value::as_str).and_then(unhex) else { return false };
    let mut pairs: Vec<_> = values.iter().filter(|(name, _)| *name != "sig").collect();
    pairs.sort_by_key(|(name, _)| *name);
    let mut payload = String::new();
    for (name, value) in pairs {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        payload.extend(["&", name, "=", &text.replace(['&', '='], "_")]);
    }
    let key = hmac::Key::new(algorithm(alg), secret.as_bytes());
    hmac::verify(&key, payload.as_bytes(), &given).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of Vonage's own libraries: vonage-python-sdk, `tests/test_signature.py`. (What older Ruby ones test is no HMAC.)
    const VECTORS: [(Alg, &str); 3] = [
        (Alg::Sha1, "3e19a4e6880fdc2c1426bfd0587c98b9532f0210"),
        (Alg::Sha256, "a321e824b9b816be7c3f28859a31749a098713d39f613c80d455bbaffae1cd24"),
        (
            Alg::Sha512,
            "812a18f76680fa0fe1b8bd9ee1625466ceb1bd96242e4d050d2cfd9a7b40166c63ed26ec9702168781b6edcf1633db8ff95af9341701004eec3fcf9550572ee8",
        ),
    ];

    fn values(sig: &str, a: &str) -> Map<String, Value> {
        let pairs = [("b", "2"), ("timestamp", "1461605396"), ("sig", sig), ("a", a)];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }

    #[test]
    fn the_published_vectors_verify_and_one_changed_byte_does_not() {
        for (alg, sig) in VECTORS {
            assert!(is_signed("secret", alg, &values(sig, "1")), "{alg:?}");
            assert!(is_signed("secret", alg, &values(&sig.to_uppercase(), "1")), "{alg:?}");
            assert!(!is_signed("secret", alg, &values(sig, "2")));
            assert!(!is_signed("secreT", alg, &values(sig, "1")));
            let (head, tail) = sig.split_at(1);
            let flipped = format!("{}{tail}", if head == "0" { "1" } else { "0" });
            assert!(!is_signed("secret", alg, &values(&flipped, "1")));
        }
    }
}
