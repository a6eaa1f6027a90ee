//! What a message says.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::code::Code;

/// What a message is about.
pub struct Occasion<'a> {
    /// The app as its client names it.
    pub app_id: &'a str,
    /// What the app calls itself.
    pub app_name: &'a str,
    /// The languages that the person prefers, best first, as BCP 47 tags.
    pub languages: &'a [String],
    /// The code.
    pub code: &'a Code,
    /// How long it is valid.
    pub lifetime: Duration,
}

/// A message, ready to leave. No `Debug`.
pub struct Text {
    /// The language it is in.
    pub locale: String,
    /// The whole text.
    pub body: Zeroizing<String>,
}

/// The texts that are configured.
#[derive(Default)]
pub struct Messages;

impl Messages {
    /// Writes a message.
    #[must_use]
    pub fn write(&self, occasion: &Occasion<'_>) -> Text {
        let minutes = occasion.lifetime.as_secs().div_ceil(60);
        let (app, code) = (occasion.app_name, occasion.code.reveal());
        let body = format!("Your {app} code is {code}. It is valid for {minutes} minutes. Never share it.");
        Text { locale: "en".to_owned(), body: Zeroizing::new(body) }
    }
}
