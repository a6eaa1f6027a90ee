//! Where gateways report what became of a message.
//!
//! Guarantees: the path of a report holds a token that nobody makes without our key, for one provider and one message
//! (or, where a gateway reports to one address only, for that provider). Tokens are compared in constant time. A key
//! that was replaced is good for as long as it stays in the pepper's file.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::ids::MessageId;
use super::pepper::Peppers;

/// What the keys are derived for; part of no other derivation.
const PURPOSE: &str = "latchkey receipt paths, 1";
/// 128 bits: more is only a longer URL, which some gateways cut.
const TOKEN_BYTES: usize = 16;

/// The keys of the paths, the current one first. No `Debug`.
pub struct PathKeys(Vec<Zeroizing<[u8; 32]>>);

impl PathKeys {
    /// Out of the pepper, which each node has and the database has not.
    #[must_use]
    pub fn new(peppers: &Peppers) -> Self {
        Self(peppers.derive(PURPOSE))
    }

    /// The token for a message of a provider; without a message, for all that it reports.
    #[must_use]
    pub fn token(&self, provider: &str, message: Option<&MessageId>) -> String {
        let token = self.0.first().and_then(|key| token(key, provider, message));
        token.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_default()
    }

    /// Whether a token is one of ours for that.
    #[must_use]
    pub fn admits(&self, given: &str, provider: &str, message: Option<&MessageId>) -> bool {
        let Ok(given) = URL_SAFE_NO_PAD.decode(given) else { return false };
        let expected = self.0.iter().filter_map(|key| token(key, provider, message));
        expected.map(|token| token.ct_eq(&given)).fold(subtle::Choice::from(0), |any, one| any | one).into()
    }
}

fn token(key: &[u8; 32], provider: &str, message: Option<&MessageId>) -> Option<[u8; TOKEN_BYTES]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    let length = u64::try_from(provider.len()).unwrap_or(u64::MAX);
    mac.update(&length.to_be_bytes());
    mac.update(provider.as_bytes());
    mac.update(message.map_or("", MessageId::as_str).as_bytes());
    mac.finalize().into_bytes().first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    const OLD: &str = "k1 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const BOTH: &str = "k2 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n\
                        k1 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn keys(text: &str) -> PathKeys {
        PathKeys::new(&Peppers::parse(text).expect("a pepper"))
    }

    #[test]
    fn a_token_is_for_one_provider_and_one_message() {
        let entropy = SeededEntropy::new(1);
        let (message, other) = (MessageId::generate(&entropy), MessageId::generate(&entropy));
        let keys = keys(OLD);
        let token = keys.token("twilio", Some(&message));
        assert!(keys.admits(&token, "twilio", Some(&message)));
        for (provider, message) in [
            ("twilio", Some(&other)),
            ("twilio", None),
            ("twili", Some(&message)),
            ("vonage", Some(&message)),
        ] {
            assert!(!keys.admits(&token, provider, message), "{provider}");
        }
        assert!(keys.admits(&keys.token("twilio", None), "twilio", None));
        assert!(!keys.admits(&keys.token("twilio", None), "twilio", Some(&message)));
    }

    #[test]
    fn a_flipped_a_short_and_no_token_are_none() {
        let message = MessageId::generate(&SeededEntropy::new(1));
        let keys = keys(OLD);
        let token = keys.token("twilio", Some(&message));
        let (first, rest) = token.split_at(1);
        let flipped = format!("{}{rest}", if first == "A" { "B" } else { "A" });
        for wrong in [flipped.as_str(), token.split_at(20).0, "", "é", "=", &format!("{token}AA")] {
            assert!(!keys.admits(wrong, "twilio", Some(&message)), "{wrong:?}");
        }
    }

    #[test]
    fn a_replaced_key_is_good_while_it_is_in_the_file_k2() {
        let old = keys(OLD).token("twilio", None);
        assert!(keys(BOTH).admits(&old, "twilio", None));
        let new = keys(BOTH).token("twilio", None);
        assert!(new != old && !keys(OLD).admits(&new, "twilio", None));
    }
}
