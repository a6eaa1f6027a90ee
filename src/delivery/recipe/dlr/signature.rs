//! Signatures in a header: HMAC and Ed25519, over parts of the call that the recipe names.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::file::{self, Alg, Encoding, KeyForm};
use crate::delivery::receipts::CallIn;
use crate::domain::time::Timestamp;
use crate::outbound::template::LoadError;

/// What every secret of Standard Webhooks begins with.
const SECRET_PREFIX: &str = "whsec_";
/// Signatures of one header that are tried.
const MAX_SIGNATURES: usize = 8;
/// Unix times above this are in milliseconds: in seconds it is the year 5138.
const MILLIS_FROM: i64 = 100_000_000_000;

/// Compiled.
pub(super) struct Signature {
    pub(super) header: String,
    encoding: Encoding,
    prefix: String,
    separator: String,
    payload: Vec<Part>,
    timestamp: Option<String>,
    max_age_s: u32,
}

/// What a signature covers, piece by piece.
enum Part {
    /// The public URL, as we gave it to the gateway.
    Url,
    /// The same without its query.
    UrlBase,
    /// The form's names and values, sorted by name, with nothing between them.
    FormSorted,
    Body,
    Header(String),
    Text(String),
}

/// What signatures are verified with.
pub(super) enum Key {
    Hmac(Box<hmac::Key>),
    Ed25519(UnparsedPublicKey<Vec<u8>>),
}

impl Key {
    pub(super) fn hmac(alg: Alg, form: KeyForm, secret: &str) -> Option<Self> {
        let key = match form {
            KeyForm::Text => secret.as_bytes().to_vec(),
            KeyForm::Base64 => STANDARD.decode(secret).ok()?,
            KeyForm::Sha256 => digest::digest(&digest::SHA256, secret.as_bytes()).as_ref().to_vec(),
            KeyForm::Whsec => STANDARD.decode(secret.strip_prefix(SECRET_PREFIX)?).ok()?,
        };
        (!key.is_empty()).then(|| Self::Hmac(Box::new(hmac::Key::new(algorithm(alg), &key))))
    }

    /// Of 32 bytes in base64.
    pub(super) fn ed25519(public_key: &str) -> Option<Self> {
        let bytes = STANDARD.decode(public_key).ok()?;
        Some(Self::Ed25519(UnparsedPublicKey::new(&ED25519, bytes)))
    }

    /// In constant time.
    fn verifies(&self, payload: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hmac(key) => hmac::verify(key, payload, signature).is_ok(),
            Self::Ed25519(key) => key.verify(payload, signature).is_ok(),
        }
    }
}

pub(super) fn algorithm(alg: Alg) -> hmac::Algorithm {
    match alg {
        // Twilio has no other. HMAC does not ask for what SHA-1 lost.
        Alg::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Alg::Sha256 => hmac::HMAC_SHA256,
        Alg::Sha512 => hmac::HMAC_SHA512,
    }
}

/// None: it is no hexadecimal.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

/// Whether a unix time, in seconds or milliseconds, is within so many seconds of now.
pub(super) fn is_fresh(text: &str, max_age_s: u32, now: Timestamp) -> bool {
    let Ok(time) = text.trim().parse::<i64>() else { return false };
    let millis = if time.saturating_abs() > MILLIS_FROM { time } else { time.saturating_mul(1000) };
    millis.abs_diff(now.as_millis()) <= u64::from(max_age_s) * 1000
}

impl Signature {
    pub(super) fn compile(signature: &file::Signature) -> Result<Self, LoadError> {
        let part = |(index, text): (usize, &String)| {
            Part::parse(text).ok_or_else(|| {
                let fix =
                    "must be \"url\", \"url_base\", \"form_sorted\", \"body\", \"header:NAME\" or \"text:…\"";
                LoadError::new(&format!("dlr.verify.signature.payload[{index}]"), fix)
            })
        };
        let payload: Vec<Part> = signature.payload.iter().enumerate().map(part).collect::<Result<_, _>>()?;
        let covered =
            |name: &String| payload.iter().any(|part| matches!(part, Part::Header(header) if header == name));
        let timestamp = signature.timestamp.as_ref().map(|name| name.to_ascii_lowercase());
        if timestamp.as_ref().is_some_and(|name| !covered(name)) {
            let fix = "the signature must cover it, or anybody sets it anew: add it to payload";
            return Err(LoadError::new("dlr.verify.signature.timestamp", fix));
        }
        Ok(Self {
            header: signature.header.to_ascii_lowercase(),
            encoding: signature.encoding,
            prefix: signature.prefix.clone(),
            separator: signature.separator.clone(),
            payload,
            timestamp,
            max_age_s: signature.max_age_s,
        })
    }

    /// Whether it covers more than the address.
    pub(super) fn covers_body(&self) -> bool {
        self.payload.iter().any(|part| matches!(part, Part::Body | Part::FormSorted))
    }

    /// Whether one of the signatures is right, and fresh.
    pub(super) fn proves(&self, key: &Key, call: &CallIn, now: Timestamp) -> bool {
        if let Some(name) = &self.timestamp
            && !call.header(name).is_some_and(|time| is_fresh(time, self.max_age_s, now))
        {
            return false;
        }
        let Some(payload) = self.covered(call) else { return false };
        let Some(given) = call.header(&self.header) else { return false };
        let each: Vec<&str> = if self.separator.is_empty() {
            vec![given]
        } else {
            given.split(self.separator.as_str()).take(MAX_SIGNATURES).collect()
        };
        let decode = |text: &str| {
            let text = text.trim().strip_prefix(self.prefix.as_str())?;
            match self.encoding {
                Encoding::Base64 => STANDARD.decode(text).ok(),
                Encoding::Hex => unhex(text),
            }
        };
        each.into_iter().filter_map(decode).any(|signature| key.verifies(&payload, &signature))
    }

    /// None: a header is missing that it covers.
    fn covered(&self, call: &CallIn) -> Option<Vec<u8>> {
        let mut payload = Vec::new();
        for part in &self.payload {
            match part {
                Part::Url => payload.extend_from_slice(call.url.as_bytes()),
                Part::UrlBase => {
                    payload.extend_from_slice(call.url.split('?').next().unwrap_or_default().as_bytes());
                }
                Part::FormSorted => {
                    let mut pairs: Vec<_> = url::form_urlencoded::parse(&call.body).collect();
                    pairs.sort();
                    payload.extend(pairs.iter().flat_map(|(name, value)| name.bytes().chain(value.bytes())));
                }
                Part::Body => payload.extend_from_slice(&call.body),
                Part::Header(name) => payload.extend_from_slice(call.header(name)?.as_bytes()),
                Part::Text(text) => payload.extend_from_slice(text.as_bytes()),
            }
        }
        Some(payload)
    }
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "url" => Some(Self::Url),
            "url_base" => Some(Self::UrlBase),
            "form_sorted" => Some(Self::FormSorted),
            "body" => Some(Self::Body),
            _ => {
                let header = text.strip_prefix("header:").map(|name| Self::Header(name.to_ascii_lowercase()));
                header.or_else(|| text.strip_prefix("text:").map(|text| Self::Text(text.to_owned())))
            }
        }
    }
}
