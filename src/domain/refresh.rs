//! Refresh tokens: one secret after the other, each the child of the last.
//!
//! Guarantees: a token is `rt_`, 131 random bits that all tokens of a session share (their *family*), 256 random bits
//! of its own, and a checksum. Only SHA-256 of either is ever stored. A [`Successor`] is the child's secret under a
//! one-time pad out of the parent: whoever holds the parent can be given the same child again, and whoever reads the
//! database learns nothing.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::ids::{SecretHash, base62_of, checksum, random_base62};
use crate::ambient::Entropy;

const PREFIX: &str = "rt_";
/// 22 × log2(62) = 131 bits.
const FAMILY_CHARS: usize = 22;
/// 43 × log2(62) = 256 bits.
const SECRET_CHARS: usize = 43;
/// Sets the pad apart from every other hash of a token.
const PAD_LABEL: &[u8] = b"latchkey refresh successor";

/// What a client keeps to stay logged in. No `Debug`.
#[derive(Clone)]
pub struct RefreshToken {
    text: Zeroizing<String>,
    family: Zeroizing<String>,
}

/// A child's secret that only the parent opens.
#[derive(Clone, Copy)]
pub struct Successor([u8; 32]);

impl RefreshToken {
    /// The first of a new family.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self::of(Zeroizing::new(random_base62(entropy, FAMILY_CHARS)), &random_secret(entropy))
    }

    /// Reads one that a client sent; `None` when its form or checksum is wrong.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let (body, sum) = rest.split_at_checked(FAMILY_CHARS + SECRET_CHARS)?;
        let (family, _) = body.split_at_checked(FAMILY_CHARS)?;
        let ours = body.bytes().all(|b| b.is_ascii_alphanumeric()) && checksum(body) == sum;
        ours.then(|| Self {
            text: Zeroizing::new(text.to_owned()),
            family: Zeroizing::new(family.to_owned()),
        })
    }

    /// Draws its child, and what the database keeps to give the same one again.
    #[must_use]
    pub fn child(&self, entropy: &dyn Entropy) -> (Self, Successor) {
        let secret = random_secret(entropy);
        let child = Self::of(self.family.clone(), &secret);
        (child, Successor(*xor(&secret, &self.pad())))
    }

    /// The child that was drawn before.
    #[must_use]
    pub fn same_child(&self, successor: &Successor) -> Self {
        Self::of(self.family.clone(), &xor(&successor.0, &self.pad()))
    }

    /// The token itself, for the one answer that carries it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What its session is found by.
    #[must_use]
    pub fn family(&self) -> SecretHash {
        SecretHash::of(&self.family)
    }

    /// What the database keeps of it.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.text)
    }

    fn of(family: Zeroizing<String>, secret: &[u8; 32]) -> Self {
        let body = Zeroizing::new(format!("{}{}", *family, *base62_of(secret)));
        let text = Zeroizing::new(format!("{PREFIX}{}{}", *body, checksum(&body)));
        Self { text, family }
    }

    fn pad(&self) -> Zeroizing<[u8; 32]> {
        let pad = Sha256::new().chain_update(PAD_LABEL).chain_update(self.text.as_bytes());
        Zeroizing::new(pad.finalize().into())
    }
}

impl Successor {
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
}

fn random_secret(entropy: &dyn Entropy) -> Zeroizing<[u8; 32]> {
    let mut secret = Zeroizing::new([0; 32]);
    entropy.fill(&mut *secret);
    secret
}

fn xor(one: &[u8; 32], other: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let mut sum = Zeroizing::new(*one);
    sum.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    #[test]
    fn a_token_reads_back_and_one_changed_letter_is_refused_g4() {
        let token = RefreshToken::generate(&SeededEntropy::new(1));
        let text = token.reveal().to_owned();
        assert_eq!(text.len(), 3 + FAMILY_CHARS + SECRET_CHARS + 6);
        let again = RefreshToken::parse(&text).expect("its own form");
        assert!(again.hash().matches(&token.hash()) && again.family().matches(&token.family()));
        for at in 3..text.len() {
            let mut letters: Vec<char> = text.chars().collect();
            letters[at] = if letters[at] == 'x' { 'y' } else { 'x' };
            assert!(RefreshToken::parse(&letters.into_iter().collect::<String>()).is_none(), "{at}");
        }
        let bare = text.replace("rt_", "");
        for strange in ["", "rt_", "rt_é", &bare, &format!("{text}x"), &format!("gr_{bare}")] {
            assert!(RefreshToken::parse(strange).is_none(), "{strange}");
        }
    }

    #[test]
    fn a_parent_opens_its_child_again_and_no_other_token_does_g4() {
        let entropy = SeededEntropy::new(2);
        let parent = RefreshToken::generate(&entropy);
        let (child, successor) = parent.child(&entropy);
        assert!(parent.same_child(&successor).hash().matches(&child.hash()));
        assert!(child.family().matches(&parent.family()) && !child.hash().matches(&parent.hash()));
        let (grandchild, _) = child.child(&entropy);
        for other in [&child, &grandchild, &RefreshToken::generate(&entropy)] {
            assert!(!other.same_child(&successor).hash().matches(&child.hash()));
        }
        let (sibling, other) = parent.child(&entropy);
        assert!(!sibling.hash().matches(&child.hash()));
        assert_ne!(other.as_bytes(), successor.as_bytes());
    }
}
