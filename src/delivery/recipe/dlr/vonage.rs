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

    /// Of Vonage's own libraries: vonage-ruby-sdk, test/vonage/signature_test.rb.
    const VECTORS: [(Alg, &str); 3] = [
        (Alg::Sha1, "879d0c829f44d32d29793187a8c9ec882a97dc0b"),
        (Alg::Sha256, "21c048bfc4fdcd3532ceb8dc110779d0fd2b754ea38b9eeb4ac17800a09d9ccd"),
        (
            Alg::Sha512,
            "022fb2c734fcffc959fe66cdd8b625b9783ae7c38e1c7cc90bbe0bdde25688bdfbf2dc98abbfac2d3ef73ce3cc305d30bfaba370c831059c6fc336c9557f0d75",
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
