//! The form of a text message: what people read, then what phones and browsers read.
//!
//! Guarantees: the lines for machines come from the configuration alone, keyed by the app, and nothing that is put
//! into the human text can pass for one of them.

use std::fmt;

use zeroize::Zeroizing;

/// What Google's SMS Retriever reads of a message at most.
pub const MAX_RETRIEVER_BYTES: usize = 140;

/// Longer names are cut by nobody and fit no segment.
const MAX_NAME_CHARS: usize = 40;

/// The eleven characters by which Android hands a message to one app: the head of base64(SHA-256(package, space,
/// certificate in hex)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AndroidHash(String);

impl AndroidHash {
    const CHARS: usize = 11;

    /// Eleven characters of base64, or none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let base64 = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
        (text.len() == Self::CHARS && text.bytes().all(base64)).then(|| Self(text.to_owned()))
    }
}

/// The host whose pages a browser may fill the code into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebDomain(String);

impl WebDomain {
    /// A host name in lower case, or none: no scheme, port, path or address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let label = |part: &str| {
            (1..=63).contains(&part.len())
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let last = text.rsplit('.').next().unwrap_or_default();
        let named = last.bytes().any(|b| b.is_ascii_lowercase());
        (text.len() <= 253 && named && text.split('.').all(label)).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for WebDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The lines for machines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// For Android's SMS Retriever.
    pub android_hash: Option<AndroidHash>,
    /// For browsers and iOS: the origin-bound line (WICG sms-one-time-codes).
    pub web_domain: Option<WebDomain>,
}

impl Marks {
    /// The whole message: the human text, the hash, and last, because only there browsers look, `@host #code`.
    #[must_use]
    pub fn compose(&self, human: &str, code: &str) -> Zeroizing<String> {
        let mut message = Zeroizing::new(String::with_capacity(human.len() + MAX_RETRIEVER_BYTES));
        message.push_str(human);
        if let Some(AndroidHash(hash)) = &self.android_hash {
            message.push('\n');
            message.push_str(hash);
        }
        if let Some(WebDomain(host)) = &self.web_domain {
            for part in ["\n@", host, " #", code] {
                message.push_str(part);
            }
        }
        message
    }
}

/// Whether a text stays on its line and says what it shows: no control characters, no line ends of any kind, no marks
/// that turn the direction of writing, nothing invisible but the joiners that scripts and emoji need.
#[must_use]
pub fn is_inert(text: &str) -> bool {
    let invisible = |c: char| {
        matches!(c, '\u{61c}' | '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    !text.chars().any(|c| c.is_control() || invisible(c))
}

/// Whether a line could be read as `@host #code`.
#[must_use]
pub fn looks_bound(line: &str) -> bool {
    line.trim_start().starts_with('@') && line.contains('#')
}

/// Whether an app may be called so in messages.
///
/// # Errors
/// With what to change.
pub fn check_app_name(name: &str) -> Result<(), &'static str> {
    if name.trim() != name || !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) {
        return Err("must be 1 to 40 characters without blanks around them: it stands in every message");
    }
    if !is_inert(name) {
        return Err("must have no control characters, line ends or marks of writing direction");
    }
    if name.contains('@') && name.contains('#') || name.starts_with('@') {
        return Err("must not begin with @, or hold both @ and #: browsers read \"@host #code\" in messages");
    }
    if name.contains("://") {
        return Err("must not be a link: messages with codes have none");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_hosts_are_exact_d2() {
        assert!(AndroidHash::parse("FA+9qCX9VSu").is_some());
        for bad in ["", "FA+9qCX9VS", "FA+9qCX9VSu=", "FA-9qCX9VSu", "FA+9qCX9VS\n", "FA+9qCX9VSü"] {
            assert_eq!(AndroidHash::parse(bad), None, "{bad:?}");
        }
        for good in ["example.com", "login.example.com", "xn--bcher-kva.example", "localhost", "a1.b-c.de"] {
            assert_eq!(WebDomain::parse(good).map(|host| host.to_string()).as_deref(), Some(good));
        }
        for bad in [
            "",
            "Example.com",
            "https://example.com",
            "example.com:443",
            "example.com/",
            "example.com ",
            "a..b",
            ".com",
            "com.",
            "-a.com",
            "127.0.0.1",
            "bücher.example",
            "a b.com",
            "example.com #1",
            "a\nb.com",
        ] {
            assert_eq!(WebDomain::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_that_could_do_more_than_name_are_refused_d5() {
        for good in ["Messenger", "Mein Chat", "Café №1", "चैट", "👩‍👩‍👧 Chat", "A & B", "C#", "me@work"]
        {
            assert_eq!(check_app_name(good), Ok(()), "{good:?}");
        }
        for bad in [
            "",
            " Messenger",
            "a\nb",
            "a\r\nb",
            "a\u{2028}b",
            "a\u{85}b",
            "a\0",
            "\u{202e}abc",
            "a\u{2066}b",
            "a\u{200f}",
            "a\u{200b}b",
            "@evil.example #1",
            "x @evil.example #1",
            "@a",
            "https://evil.example",
            &"a".repeat(41),
        ] {
            assert!(check_app_name(bad).is_err(), "{bad:?}");
        }
    }
}
