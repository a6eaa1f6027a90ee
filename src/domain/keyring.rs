//! The keys of our own tokens: next, current, previous.
//!
//! Guarantees: the current key alone signs, all of them verify, and all are published. A rotation makes the *next* key
//! current: whoever has read the keys once in the time between two rotations knows the one that begins to sign. A
//! token's header is one of the texts that we write ourselves, byte by byte: there is no algorithm, key or type in it
//! that a stranger could choose, and none of its members is ever acted on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::claims::TokenError;
use super::ed25519::{KeyPair, NotSigned, generate_pem};
use crate::ambient::Entropy;

/// Longer than any token of ours.
const MAX_TOKEN_BYTES: usize = 4096;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// What a token is for (RFC 8725 §3.11: one kind never passes for another).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// An access token (RFC 9068).
    Access,
}

impl TokenType {
    /// The header's `typ`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
        }
    }
}

/// What is wrong with a key file. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// No block at all.
    #[error("it holds no key: run `openssl genpkey -algorithm ed25519`")]
    Empty,
    /// A line belongs to nothing.
    #[error("line {0} is neither part of a private key in PEM nor a comment that begins with #")]
    Form(usize),
    /// A block is another kind of key.
    #[error(
        "key {0} is no unencrypted Ed25519 private key in PKCS#8 PEM: run `openssl genpkey -algorithm ed25519`"
    )]
    Key(usize),
    /// Two blocks are one key.
    #[error("key {0} occurs twice: a key is either next, current or previous")]
    Duplicate(usize),
    /// More blocks than have a meaning.
    #[error("it holds more than three keys: next, current and previous are all there are")]
    TooMany,
}

/// What a rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Another key signs now.
    Rotated,
    /// There was no next key to be known beforehand: there is one now, and the current one still signs.
    NextAdded,
}

struct Key {
    pem: Zeroizing<String>,
    pair: KeyPair,
}

/// The keys by what they do.
pub struct KeyRing {
    next: Option<Key>,
    current: Key,
    previous: Option<Key>,
}

impl KeyRing {
    /// Reads one to three PEM blocks: `current`; `next, current`; `next, current, previous`.
    ///
    /// # Errors
    /// With the block's or the line's number, from 1.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, pem) in blocks(text)?.into_iter().enumerate() {
            let number = index + 1;
            let pair = KeyPair::from_pem(&pem).ok_or(KeyRingError::Key(number))?;
            if keys.iter().any(|other| other.pair.id() == pair.id()) {
                return Err(KeyRingError::Duplicate(number));
            }
            keys.push(Key { pem, pair });
        }
        let mut keys = keys.into_iter();
        match (keys.next(), keys.next(), keys.next(), keys.next()) {
            (None, ..) => Err(KeyRingError::Empty),
            (Some(current), None, ..) => Ok(Self { next: None, current, previous: None }),
            (next, Some(current), previous, None) => Ok(Self { next, current, previous }),
            (.., Some(_)) => Err(KeyRingError::TooMany),
        }
    }

    /// A file's text with a fresh next and current key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Zeroizing<String> {
        write([(NEXT, Some(&*generate_pem(entropy))), (CURRENT, Some(&*generate_pem(entropy)))])
    }

    /// A file's text one rotation later.
    #[must_use]
    pub fn rotated(&self, entropy: &dyn Entropy) -> (Rotation, Zeroizing<String>) {
        let fresh = generate_pem(entropy);
        let (rotation, current, previous) = match &self.next {
            Some(next) => (Rotation::Rotated, next, Some(&self.current)),
            None => (Rotation::NextAdded, &self.current, self.previous.as_ref()),
        };
        let parts = [
            (NEXT, Some(fresh.as_str())),
            (CURRENT, Some(current.pem.as_str())),
            (PREVIOUS, previous.map(|key| key.pem.as_str())),
        ];
        (rotation, write(parts))
    }

    /// Signs with the current key.
    ///
    /// # Errors
    /// [`NotSigned`].
    pub fn sign(&self, kind: TokenType, payload: &[u8]) -> Result<Zeroizing<String>, NotSigned> {
        let Key { pair, .. } = &self.current;
        let mut token = Zeroizing::new(header(kind, pair.id()));
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = pair.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }

    /// What a token of this kind holds, if one of the keys signed it.
    ///
    /// # Errors
    /// [`TokenError::Form`] or [`TokenError::Signature`].
    pub fn open(&self, kind: TokenType, token: &str) -> Result<Vec<u8>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Form);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
        let (found, payload) = message.split_once('.').ok_or(TokenError::Form)?;
        let key = self.keys().find(|key| header(kind, key.pair.id()) == found).ok_or(TokenError::Form)?;
        if !key.pair.verifies(message.as_bytes(), signature) {
            return Err(TokenError::Signature);
        }
        URL_SAFE_NO_PAD.decode(payload).or(Err(TokenError::Form))
    }

    /// The public halves (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({"keys": self.keys().map(|key| key.pair.jwk()).collect::<Vec<_>>()})
    }

    /// The id of the key that signs.
    #[must_use]
    pub fn current_id(&self) -> &str {
        self.current.pair.id()
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.next.iter().chain([&self.current]).chain(&self.previous)
    }
}

/// The first part of a token.
fn header(kind: TokenType, key_id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"EdDSA","typ":"{}","kid":"{key_id}"}}"#, kind.as_str()))
}

const NEXT: &str = "next: published already, signs after the next rotation";
const CURRENT: &str = "current: signs";
const PREVIOUS: &str = "previous: what it signed is valid still";

fn write<const N: usize>(keys: [(&str, Option<&str>); N]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    for (what, pem) in keys {
        if let Some(pem) = pem {
            text.push_str("# ");
            text.push_str(what);
            text.push('\n');
            text.push_str(pem);
        }
    }
    text
}

/// The PEM blocks of a text, each with its first and last line.
fn blocks(text: &str) -> Result<Vec<Zeroizing<String>>, KeyRingError> {
    let mut done = Vec::new();
    let mut open: Option<(usize, Zeroizing<String>)> = None;
    for (index, line) in text.lines().map(str::trim).enumerate() {
        let number = index + 1;
        let (start, mut block) = match open.take() {
            Some((_, _)) if line.starts_with(BEGIN) => return Err(KeyRingError::Form(number)),
            Some(block) => block,
            None if line.starts_with(BEGIN) => (number, Zeroizing::new(String::with_capacity(256))),
            None if line.is_empty() || line.starts_with('#') => continue,
            None => return Err(KeyRingError::Form(number)),
        };
        block.push_str(line);
        block.push('\n');
        if line.starts_with(END) {
            done.push(block);
        } else {
            open = Some((start, block));
        }
    }
    open.map_or(Ok(done), |(start, _)| Err(KeyRingError::Form(start)))
}

#[cfg(test)]
mod tests;
