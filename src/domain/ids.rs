//! Identifiers and bearer secrets: a type prefix, then base62 of random bits.
//!
//! Guarantees: identifiers carry 131 random bits. Secrets carry 256 and a checksum, so that a mistyped one is
//! refused without a look into the database; they have no `Debug`, and only their SHA-256 is ever stored.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::time::Timestamp;
use crate::ambient::Entropy;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 22 × log2(62) = 131 bits.
const ID_CHARS: usize = 22;
/// 43 × log2(62) = 256 bits.
const SECRET_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;
/// 62^8 ms are 6,900 years.
const TIME_CHARS: usize = 8;

/// The time in letters that sort as it runs.
fn base62_time(now: Timestamp) -> String {
    let mut rest = u64::try_from(now.as_millis()).unwrap_or(0);
    let mut letters = [b'0'; TIME_CHARS];
    for letter in letters.iter_mut().rev() {
        *letter =
            usize::try_from(rest % 62).ok().and_then(|digit| ALPHABET.get(digit)).copied().unwrap_or(b'0');
        rest /= 62;
    }
    letters.map(char::from).iter().collect()
}

/// So many random letters.
pub(super) fn random_base62(entropy: &dyn Entropy, length: usize) -> String {
    let mut text = String::with_capacity(length);
    let mut bytes = Zeroizing::new([0u8; 64]);
    while text.len() < length {
        entropy.fill(&mut *bytes);
        // 248 = 4 × 62: larger bytes would favour the first letters.
        let fair =
            bytes.iter().filter(|byte| **byte < 248).filter_map(|byte| ALPHABET.get(usize::from(byte % 62)));
        text.extend(fair.take(length - text.len()).map(|letter| char::from(*letter)));
    }
    text
}

/// 256 bits as the digits of one number: 43 letters.
pub(super) fn base62_of(bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut rest = Zeroizing::new(*bytes);
    let mut letters = Zeroizing::new([b'0'; SECRET_CHARS]);
    for letter in letters.iter_mut().rev() {
        let mut digit = 0u16;
        for byte in rest.iter_mut() {
            let value = digit * 256 + u16::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            digit = value % 62;
        }
        *letter = ALPHABET.get(usize::from(digit)).copied().unwrap_or(b'0');
    }
    Zeroizing::new(letters.iter().copied().map(char::from).collect())
}

/// Tells a mistyped secret from a wrong one.
pub(super) fn checksum(body: &str) -> String {
    let digest = Sha256::digest(body.as_bytes());
    digest
        .iter()
        .take(CHECKSUM_CHARS)
        .filter_map(|byte| ALPHABET.get(usize::from(byte % 62)))
        .map(|b| char::from(*b))
        .collect()
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// Draws a new one.
            #[must_use]
            pub fn generate(entropy: &dyn Entropy) -> Self {
                Self(format!(concat!($prefix, "{}"), random_base62(entropy, ID_CHARS)))
            }

            /// Draws a new one that sorts by the time it was drawn at: rows that are written together lie together.
            #[must_use]
            pub fn generate_at(now: Timestamp, entropy: &dyn Entropy) -> Self {
                Self(format!(concat!($prefix, "{}{}"), base62_time(now), random_base62(entropy, ID_CHARS)))
            }

            /// Reads one that a client sent; `None` when it has another form, and so cannot be one of ours.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let rest = text.strip_prefix($prefix)?;
                let ours = [ID_CHARS, TIME_CHARS + ID_CHARS].contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric());
                ours.then(|| Self(text.to_owned()))
            }

            /// Takes one that the store gave back.
            #[must_use]
            pub fn from_stored(text: String) -> Self {
                Self(text)
            }

            /// As written on the wire and in the database.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Zeroizing<String>);

        impl $name {
            /// Draws a new one.
            #[must_use]
            pub fn generate(entropy: &dyn Entropy) -> Self {
                let body = random_base62(entropy, SECRET_CHARS);
                Self(Zeroizing::new(format!(concat!($prefix, "{}{}"), body, checksum(&body))))
            }

            /// Reads one that a client sent; `None` when its form or checksum is wrong.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let rest = text.strip_prefix($prefix)?;
                let (body, sum) = rest.split_at_checked(SECRET_CHARS)?;
                (checksum(body) == sum).then(|| Self(Zeroizing::new(text.to_owned())))
            }

            /// The secret itself, for the one answer that carries it.
            #[must_use]
            pub fn reveal(&self) -> &str {
                &self.0
            }

            /// What the database keeps.
            #[must_use]
            pub fn hash(&self) -> SecretHash {
                SecretHash::of(&self.0)
            }
        }
    };
}

identifier!(
    /// A challenge: one attempt to prove an address.
    ChallengeId, "ch_");
identifier!(
    /// One message on its way to a person.
    MessageId, "msg_");
identifier!(
    /// A user of a realm, opaque to everybody outside.
    UserId, "usr_");
identifier!(
    /// One login that lives on: what refreshes and access tokens belong to.
    SessionId, "ses_");
identifier!(
    /// One access token: its `jti`.
    AccessTokenId, "at_");
secret!(
    /// What the starter of a `/v1` challenge holds: without it nobody can guess against, or burn, the challenge.
    ClientSecret, "cs_");
secret!(
    /// What a right code turns into: the right to mint a token without another code.
    GrantToken, "gr_");

/// SHA-256 of a secret that is too random to be guessed from it.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Of this secret.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// From the database; `None` when it is not 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// For the database.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are of one secret, in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    #[test]
    fn a_secret_reads_back_and_one_changed_letter_is_refused() {
        let secret = GrantToken::generate(&SeededEntropy::new(1));
        let text = secret.reveal().to_owned();
        assert_eq!(text.len(), 3 + SECRET_CHARS + CHECKSUM_CHARS);
        let again = GrantToken::parse(&text).expect("its own form");
        assert!(again.hash().matches(&secret.hash()));
        let changed = text.replace(char::from(text.as_bytes()[10]), "-");
        assert!(GrantToken::parse(&changed).is_none());
        assert!(ClientSecret::parse(&text).is_none(), "a grant is no client secret");
        assert!(GrantToken::parse("gr_é").is_none());
    }

    #[test]
    fn bytes_are_one_number_in_base_62() {
        let mut bytes = [0; 32];
        bytes[31] = 61;
        assert_eq!(*base62_of(&bytes), format!("{}z", "0".repeat(42)));
        bytes[31] = 62;
        assert_eq!(*base62_of(&bytes), format!("{}10", "0".repeat(41)));
        bytes[30] = 1;
        assert_eq!(*base62_of(&bytes), format!("{}58", "0".repeat(41)), "256 + 62 = 5 × 62 + 8");
        // 2^256 - 1, by another's arithmetic.
        assert_eq!(*base62_of(&[0xff; 32]), "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1");
    }

    #[test]
    fn identifiers_of_a_time_sort_by_it_and_are_fresh_too() {
        let entropy = SeededEntropy::new(3);
        let at =
            |millis| ChallengeId::generate_at(Timestamp::from_millis(millis), &entropy).as_str().to_owned();
        let ids = [at(0), at(61), at(62), at(1_767_225_600_000), at(1_767_225_600_001)];
        assert!(ids.is_sorted() && ids[4].len() == 3 + TIME_CHARS + ID_CHARS);
        assert_ne!(at(5), at(5));
        assert!(ChallengeId::parse(&ids[3]).is_some());
    }

    #[test]
    fn identifiers_are_fresh_each_time_and_carry_their_type() {
        let entropy = SeededEntropy::new(2);
        let (first, second) = (ChallengeId::generate(&entropy), ChallengeId::generate(&entropy));
        assert_ne!(first, second);
        assert!(first.as_str().starts_with("ch_") && first.as_str().len() == 3 + ID_CHARS);
        assert_eq!(ChallengeId::parse(first.as_str()), Some(first));
        for strange in [
            "",
            "ch_",
            "msg_aaaaaaaaaaaaaaaaaaaaaa",
            "ch_aaaaaaaaaaaaaaaaaaaaa\0",
            "ch_aaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(ChallengeId::parse(strange), None, "{strange:?}");
        }
    }
}
