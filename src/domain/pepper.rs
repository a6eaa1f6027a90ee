//! How a code is kept at rest.
//!
//! Guarantees: a hash is of the code *in its place*. Argon2id takes the pepper as its secret input and, as its
//! associated data, a digest of realm, purpose, challenge, address and the client secret's hash, so that a row moved to another
//! place never verifies, and a database without the pepper says nothing about its codes. The cost is a setting: 20
//! bits are protected by the pepper, not by the cost.

use std::cell::RefCell;

use argon2::{Algorithm, Argon2, AssociatedData, Block, ParamsBuilder, Version};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::address::Address;
use super::code::{Code, CodeHash};
use super::ids::{ChallengeId, SecretHash};

/// Shorter secrets are refused.
const MIN_PEPPER_BYTES: usize = 32;
const MAX_KEY_ID_BYTES: usize = 16;

/// Random bytes of one challenge.
pub type Salt = [u8; 16];

/// The secret keys that codes are hashed under: new codes under the first, older ones while they live.
pub struct Peppers(Vec<Pepper>);

struct Pepper {
    id: String,
    key: Zeroizing<Vec<u8>>,
}

/// What is wrong with a pepper file. Never quotes it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PepperError {
    /// No line holds a key.
    #[error("it holds no key: write one line `k1 <64 hex digits>`")]
    Empty,
    /// A line has another form.
    #[error("line {0} is not `<key id> <hex>`, with a key id of 1 to 16 of a-z, 0-9 and -")]
    Form(usize),
    /// A key is too short.
    #[error("the key in line {0} is shorter than 32 bytes (64 hex digits)")]
    Short(usize),
    /// Two lines share an id.
    #[error("the key id in line {0} occurs twice")]
    Duplicate(usize),
}

impl Peppers {
    /// Reads lines of `<key id> <hex>`; the first is current, `#` starts a comment.
    ///
    /// # Errors
    /// With the line's number.
    pub fn parse(text: &str) -> Result<Self, PepperError> {
        let mut peppers: Vec<Pepper> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (line, number) = (line.trim(), index + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (id, hex) = line.split_once(char::is_whitespace).ok_or(PepperError::Form(number))?;
            let good_id = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if !(1..=MAX_KEY_ID_BYTES).contains(&id.len()) || !id.bytes().all(good_id) {
                return Err(PepperError::Form(number));
            }
            let key = Zeroizing::new(decode_hex(hex.trim()).ok_or(PepperError::Form(number))?);
            if key.len() < MIN_PEPPER_BYTES {
                return Err(PepperError::Short(number));
            }
            if peppers.iter().any(|other| other.id == id) {
                return Err(PepperError::Duplicate(number));
            }
            peppers.push(Pepper { id: id.to_owned(), key });
        }
        if peppers.is_empty() { Err(PepperError::Empty) } else { Ok(Self(peppers)) }
    }

    /// A key for another purpose out of each of these, the current one first.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Vec<Zeroizing<[u8; 32]>> {
        let derived = |pepper: &Pepper| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&pepper.key).ok()?;
            mac.update(purpose.as_bytes());
            Some(Zeroizing::new(mac.finalize().into_bytes().into()))
        };
        self.0.iter().filter_map(derived).collect()
    }

    /// A file's text with one fresh key.
    #[must_use]
    pub fn generate(entropy: &dyn crate::ambient::Entropy) -> Zeroizing<String> {
        let mut key = Zeroizing::new([0u8; MIN_PEPPER_BYTES]);
        entropy.fill(&mut *key);
        let digits = key.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let hex: String = digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect();
        Zeroizing::new(format!("k1 {hex}\n"))
    }
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// The place that a hash is bound to.
pub struct Binding<'a> {
    /// The set of apps that share an upstream.
    pub realm: &'a str,
    /// What a right code is good for.
    pub purpose: &'a str,
    /// The challenge.
    pub challenge: &'a ChallengeId,
    /// Who is to prove that they hold it.
    pub address: &'a Address,
    /// Of what the starter holds; none in the mesibo dialect. Its hash, which is stored, and not the secret: a code
    /// that we send by ourselves is hashed without it. A code is worth nothing to whoever lacks the secret.
    pub client_secret: Option<SecretHash>,
}

impl Binding<'_> {
    /// SHA-256 over the parts, each behind its length. (Argon2's associated data takes at most 32 bytes here.)
    fn digest(&self) -> [u8; 32] {
        let secret = self.client_secret.as_ref().map_or(&[][..], SecretHash::as_bytes);
        let parts = [self.realm, self.purpose, self.challenge.as_str(), self.address.as_str()];
        let mut digest = Sha256::new();
        for part in parts.map(str::as_bytes).into_iter().chain([secret]) {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

/// Argon2id's memory and passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashCost {
    /// Memory in KiB, from 8.
    pub memory_kib: u32,
    /// Passes over it, from 1.
    pub passes: u32,
}

/// A key id on a row names a pepper that is not loaded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pepper file has no key `{0}`: keep a replaced key in it until the last code under it has expired"
)]
pub struct UnknownKey(pub String);

/// Hashes codes.
pub struct CodeHasher {
    peppers: Peppers,
    cost: HashCost,
}

impl CodeHasher {
    /// With these keys, at this cost.
    #[must_use]
    pub fn new(peppers: Peppers, cost: HashCost) -> Self {
        Self { peppers, cost }
    }

    /// The key that new challenges pin.
    #[must_use]
    pub fn current_key(&self) -> &str {
        self.peppers.0.first().map_or("", |pepper| pepper.id.as_str())
    }

    /// Whether a hash is so quick that handing it to another thread would cost more.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.cost.memory_kib.saturating_mul(self.cost.passes) <= 256
    }

    /// Argon2id(P = code, K = the key, X = the binding, S = the salt).
    ///
    /// # Errors
    /// When no such key is loaded.
    pub fn hash(
        &self,
        key_id: &str,
        binding: &Binding<'_>,
        salt: &Salt,
        code: &Code,
    ) -> Result<CodeHash, UnknownKey> {
        self.finish(&Unhashed::new(key_id, binding, salt, code))
    }

    /// As [`CodeHasher::hash`], of what can be sent to another thread.
    ///
    /// # Errors
    /// When no such key is loaded.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "lengths are fixed here and the cost was checked when it was parsed"
    )]
    pub fn finish(&self, unhashed: &Unhashed) -> Result<CodeHash, UnknownKey> {
        let pepper = self.peppers.0.iter().find(|pepper| pepper.id == unhashed.key_id);
        let pepper = pepper.ok_or_else(|| UnknownKey(unhashed.key_id.clone()))?;
        let data = AssociatedData::new(&unhashed.binding).expect("32 bytes fit");
        let params = ParamsBuilder::new()
            .m_cost(self.cost.memory_kib)
            .t_cost(self.cost.passes)
            .p_cost(1)
            .data(data)
            .output_len(CodeHash::BYTES)
            .build()
            .expect("the cost is in range");
        let argon2 = Argon2::new_with_secret(&pepper.key, Algorithm::Argon2id, Version::V0x13, params)
            .expect("a key of at least 32 bytes");
        let mut out = [0u8; CodeHash::BYTES];
        let (code, salt) = (unhashed.code.as_bytes(), &unhashed.salt);
        if self.is_quick() {
            MEMORY.with_borrow_mut(|memory| {
                memory.resize(argon2.params().block_count(), Block::new());
                argon2.hash_password_into_with_memory(code, salt, &mut out, memory)
            })
        } else {
            argon2.hash_password_into(code, salt, &mut out)
        }
        .expect("lengths are right");
        Ok(CodeHash::new(out))
    }
}

thread_local! {
    /// Of quick hashes: to ask the allocator for so much each time costs as much as a tenth of the hash.
    static MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// A code with its place, ready to be hashed.
pub struct Unhashed {
    key_id: String,
    binding: [u8; 32],
    salt: Salt,
    code: Zeroizing<String>,
}

impl Unhashed {
    /// Copies what hashing needs.
    #[must_use]
    pub fn new(key_id: &str, binding: &Binding<'_>, salt: &Salt, code: &Code) -> Self {
        let code = Zeroizing::new(code.reveal().to_owned());
        Self { key_id: key_id.to_owned(), binding: binding.digest(), salt: *salt, code }
    }
}

/// The smallest and largest memory cost, KiB: Argon2 wants 8 per lane; above 1 GiB no login server stays up.
pub const MEMORY_KIB: std::ops::RangeInclusive<u32> = 8..=1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;
    use crate::domain::code::CodeLength;
    use crate::domain::ids::ClientSecret;

    const KEYS: &str = "k2 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n\
                        # replaced in May\n\
                        k1 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n";

    fn hasher(keys: &str) -> CodeHasher {
        CodeHasher::new(Peppers::parse(keys).expect("keys"), HashCost { memory_kib: 64, passes: 1 })
    }

    #[test]
    fn a_code_verifies_only_in_its_own_place_a6() {
        let entropy = SeededEntropy::new(1);
        let (challenge, other_challenge) = (ChallengeId::generate(&entropy), ChallengeId::generate(&entropy));
        let (address, other) =
            (Address::parse("+18005551234").unwrap(), Address::parse("+18005551235").unwrap());
        let secret = ClientSecret::generate(&entropy);
        let code = Code::parse("123456", CodeLength::SIX).unwrap();
        let hasher = hasher(KEYS);
        let home = || Binding {
            realm: "chat",
            purpose: "login",
            challenge: &challenge,
            address: &address,
            client_secret: Some(secret.hash()),
        };
        let hash = |key: &str, binding: &Binding<'_>, salt: &Salt, code: &Code| {
            hasher.hash(key, binding, salt, code).unwrap()
        };
        let right = hash("k2", &home(), &[1; 16], &code);
        assert!(bool::from(right.matches(&hash("k2", &home(), &[1; 16], &code))));

        let moved = [
            hash("k1", &home(), &[1; 16], &code),
            hash("k2", &home(), &[2; 16], &code),
            hash("k2", &home(), &[1; 16], &Code::parse("123457", CodeLength::SIX).unwrap()),
            hash("k2", &Binding { realm: "chaT", ..home() }, &[1; 16], &code),
            hash("k2", &Binding { purpose: "change", ..home() }, &[1; 16], &code),
            hash("k2", &Binding { challenge: &other_challenge, ..home() }, &[1; 16], &code),
            hash("k2", &Binding { address: &other, ..home() }, &[1; 16], &code),
            hash("k2", &Binding { client_secret: None, ..home() }, &[1; 16], &code),
        ];
        for (index, hash) in moved.iter().enumerate() {
            assert!(!bool::from(right.matches(hash)), "swap {index} still verifies");
        }
    }

    #[test]
    fn neighbouring_parts_cannot_trade_letters_a6() {
        let entropy = SeededEntropy::new(1);
        let (challenge, address) = (ChallengeId::generate(&entropy), Address::parse("+18005551234").unwrap());
        let digest = |realm, purpose| {
            Binding { realm, purpose, challenge: &challenge, address: &address, client_secret: None }.digest()
        };
        assert_ne!(digest("ab", "c"), digest("a", "bc"));
    }

    #[test]
    fn the_first_key_is_current_and_a_lost_key_is_named_k2() {
        let hasher = hasher(KEYS);
        assert_eq!(hasher.current_key(), "k2");
        let (challenge, address) =
            (ChallengeId::generate(&SeededEntropy::new(1)), Address::parse("+18005551234").unwrap());
        let binding = Binding {
            realm: "r",
            purpose: "p",
            challenge: &challenge,
            address: &address,
            client_secret: None,
        };
        let code = Code::parse("123456", CodeLength::SIX).unwrap();
        assert_eq!(hasher.hash("k9", &binding, &[0; 16], &code).err(), Some(UnknownKey("k9".to_owned())));
    }

    #[test]
    fn weak_or_malformed_keys_are_refused_by_line_k2() {
        let key = "a".repeat(64);
        assert_eq!(Peppers::parse("").err(), Some(PepperError::Empty));
        assert_eq!(Peppers::parse("k1 abcd").err(), Some(PepperError::Short(1)));
        assert_eq!(Peppers::parse(&format!("#\n{key}")).err(), Some(PepperError::Form(2)));
        assert_eq!(Peppers::parse(&format!("K1 {key}")).err(), Some(PepperError::Form(1)));
        assert_eq!(Peppers::parse(&format!("k1 {key}g")).err(), Some(PepperError::Form(1)));
        assert_eq!(Peppers::parse(&format!("k1 {key}\nk1 {key}")).err(), Some(PepperError::Duplicate(2)));
        assert!(Peppers::parse(&Peppers::generate(&SeededEntropy::new(3))).is_ok());
    }
}
