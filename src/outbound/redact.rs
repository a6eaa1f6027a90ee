//! Keeping secrets out of what people read.

use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderMap;
use zeroize::Zeroizing;

/// In place of what is not shown.
const HIDDEN: &str = "•••";
/// Enough of another's words to recognise the fault by.
const MAX_QUOTED_CHARS: usize = 160;
/// A shorter word proves nothing.
const MIN_PROOF_CHARS: usize = 8;
/// A word with as many digits may be a code or a phone number.
const SUSPECT_DIGITS: usize = 6;

/// Knows what must not be shown.
pub(crate) struct Redactor {
    /// Of every call.
    secrets: Arc<[Zeroizing<String>]>,
    /// Of one.
    proofs: Vec<Zeroizing<String>>,
}

impl Redactor {
    /// For these secrets, as they are and as URLs and forms spell them.
    pub(crate) fn new<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let spellings = secrets.filter(|secret| !secret.is_empty()).flat_map(|secret| {
            let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let url = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
            [secret.to_owned(), form, url].map(Zeroizing::new)
        });
        Self { secrets: spellings.collect(), proofs: Vec::new() }
    }

    /// And for what proved to the other end who we are: some of them send it back.
    pub(crate) fn and(&self, proof: &HeaderMap) -> Self {
        let words = proof.values().filter_map(|value| value.to_str().ok()?.rsplit(' ').next());
        let words = words.filter(|word| word.len() >= MIN_PROOF_CHARS).map(|word| word.to_owned().into());
        Self { secrets: Arc::clone(&self.secrets), proofs: words.collect() }
    }

    /// The text without them.
    pub(crate) fn hide(&self, text: &str) -> String {
        let hidden = self.secrets.iter().chain(&self.proofs);
        hidden.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), HIDDEN))
    }

    /// Another's words for the log: one short line without secrets, numbers or mailboxes, and without `code`, where
    /// there is one.
    pub(crate) fn quote(&self, text: &str, code: Option<&str>) -> String {
        let plain: String = self.hide(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let suspect = |word: &str| {
            code.is_some_and(|code| word.contains(code))
                || word.contains('@')
                || word.chars().filter(char::is_ascii_digit).count() >= SUSPECT_DIGITS
        };
        let words: Vec<&str> =
            plain.split_whitespace().map(|word| if suspect(word) { HIDDEN } else { word }).collect();
        words.join(" ").chars().take(MAX_QUOTED_CHARS).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_in_every_spelling_f7() {
        let redactor = Redactor::new(["s3c ret&", ""].into_iter());
        let text = "a s3c ret& b s3c+ret%26 c s3c%20ret%26 d";
        assert_eq!(redactor.hide(text), "a ••• b ••• c ••• d");
    }

    #[test]
    fn what_proved_who_we_are_is_hidden_too_f7() {
        let proof = [("authorization", "Basic dXNlcjpodW50ZXIy")];
        let proof =
            proof.map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        let redactor = Redactor::new(["hunter2"].into_iter()).and(&proof.into_iter().collect());
        assert_eq!(redactor.hide("got Basic dXNlcjpodW50ZXIy, hunter2"), "got Basic •••, •••");
    }

    #[test]
    fn a_quote_holds_no_code_number_or_mailbox() {
        let redactor = Redactor::new(["hunter2"].into_iter());
        let quote =
            redactor.quote("To +14155552671\nor a@b.c: 482913, key=hunter2; error 21610", Some("482913"));
        assert_eq!(quote, "To ••• or ••• ••• key=•••; error 21610");
        assert_eq!(redactor.quote(&"a".repeat(500), None).chars().count(), MAX_QUOTED_CHARS);
    }
}
