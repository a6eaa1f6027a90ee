//! What a message says.
//!
//! Guarantees: a message is made of the configuration, the code and its lifetime, and nothing else; of what a client
//! sends, its languages pick one of the texts, and that is all they do. In an SMS the last line is `@host #code`
//! where the app has a host, and the hash of its Android app stands above it where it has one.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::config::{AppMessages, Apps, LocaleTexts, Sms, Texts, minutes};
use crate::domain::channel::Channel;
use crate::domain::code::{Code, CodeLength};
use crate::domain::locale::{self, Locale};
use crate::domain::purpose::Purpose;
use crate::domain::segments::{Alphabet, segments};
use crate::domain::template::Values;

/// What a message is about.
pub struct Occasion<'a> {
    /// The app as its client names it.
    pub app_id: &'a str,
    /// What the app calls itself.
    pub app_name: &'a str,
    /// How it travels: only an SMS has lines for machines.
    pub channel: Channel,
    /// What the code is good for.
    pub purpose: &'a Purpose,
    /// The languages that the person prefers, best first, as BCP 47 tags.
    pub languages: &'a [String],
    /// The code.
    pub code: &'a Code,
    /// How long it is valid.
    pub lifetime: Duration,
}

/// What a notice is about: the number of an account was changed, and this is for whoever had it.
pub struct NumberChanged<'a> {
    /// The app as its client names it.
    pub app_id: &'a str,
    /// What the app calls itself.
    pub app_name: &'a str,
    /// The languages that the person prefers, best first, as BCP 47 tags.
    pub languages: &'a [String],
}

/// A message, ready to leave. No `Debug`.
pub struct Text {
    /// The language it is in.
    pub locale: String,
    /// What a mail has above it. It never holds the code.
    pub subject: String,
    /// The whole text.
    pub body: Zeroizing<String>,
}

/// A message that costs more than one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Long {
    /// The app; none where every id is taken.
    pub app_id: Option<String>,
    /// The language.
    pub locale: Locale,
    /// What it is sent for.
    pub sms: Sms,
    /// What it is written in.
    pub alphabet: Alphabet,
    /// Its length, in units of that.
    pub units: usize,
    /// What it costs.
    pub segments: usize,
}

/// The texts that are configured.
pub struct Messages {
    texts: Texts,
    apps: Arc<Apps>,
}

impl Messages {
    /// With these texts for these apps.
    #[must_use]
    pub fn new(texts: Texts, apps: Arc<Apps>) -> Self {
        Self { texts, apps }
    }

    /// Writes a message.
    #[must_use]
    pub fn write(&self, occasion: &Occasion<'_>) -> Text {
        let plain = AppMessages::default();
        let app = self.apps.find(occasion.app_id).map_or(&plain, |app| &app.messages);
        let values = Values {
            app: occasion.app_name,
            code: occasion.code.reveal(),
            minutes: minutes(occasion.lifetime),
        };
        let english = Locale::english();
        let (chosen, template, subject) = match occasion.purpose {
            Purpose::Login => {
                let available = app.locales(&self.texts);
                let chosen = locale::choose(occasion.languages, &available).unwrap_or(&app.locale);
                let subject = self.texts.find(chosen).map(|texts| &texts.subject);
                (chosen, app.template(&self.texts, chosen), subject)
            }
            Purpose::ChangePhone(_) => {
                let (chosen, texts) = self.of_all_apps(app, occasion.languages, &english);
                (chosen, texts.map(|texts| &texts.change_phone), None)
            }
            Purpose::LinkEmail(_) => {
                let (chosen, texts) = self.of_all_apps(app, occasion.languages, &english);
                (chosen, texts.map(|texts| &texts.link_email), texts.map(|texts| &texts.link_email_subject))
            }
        };
        let human = template.map(|template| template.render(values));
        let human = human.filter(|text| text.contains(values.code)).unwrap_or_else(|| values.bare());
        let subject = subject.filter(|_| occasion.channel == Channel::Email);
        let subject = subject.map(|subject| subject.render(values).to_string());
        let body = match occasion.channel {
            Channel::Sms => app.marks.compose(&human, values.code),
            Channel::Voice | Channel::Whatsapp | Channel::Telegram | Channel::Email => human,
        };
        let subject = subject.unwrap_or_else(|| occasion.app_name.to_owned());
        Text { locale: chosen.to_string(), subject, body }
    }

    /// Tells whoever had a number that an account has another one now.
    #[must_use]
    pub fn phone_changed(&self, notice: &NumberChanged<'_>) -> Text {
        let plain = AppMessages::default();
        let app = self.apps.find(notice.app_id).map_or(&plain, |app| &app.messages);
        let values = Values { app: notice.app_name, code: "", minutes: 0 };
        let english = Locale::english();
        let (locale, texts) = self.of_all_apps(app, notice.languages, &english);
        let body = texts.map_or_else(|| values.bare(), |texts| texts.phone_changed.render(values));
        Text { locale: locale.to_string(), subject: notice.app_name.to_owned(), body }
    }

    /// Where apps have no texts of their own, the texts in the best language; in the app's own, it may have none.
    fn of_all_apps<'a>(
        &'a self,
        app: &'a AppMessages,
        languages: &[String],
        english: &'a Locale,
    ) -> (&'a Locale, Option<&'a LocaleTexts>) {
        let available: Vec<_> = self.texts.locales().collect();
        let chosen = locale::choose(languages, &available).unwrap_or(&app.locale);
        match self.texts.find(chosen) {
            Some(texts) => (chosen, Some(texts)),
            None => (english, self.texts.find(english)),
        }
    }

    /// The SMS that take more than one segment, per app and language.
    #[must_use]
    pub fn long(&self, length: CodeLength, lifetime: Duration) -> Vec<Long> {
        let of_app = |(id, app): (Option<&str>, &crate::config::App)| {
            let app_id = id.map(str::to_owned);
            let samples = app.messages.samples(&self.texts, &app.name, length, lifetime);
            let sent = samples.into_iter().filter(|sample| sample.sms.is_sent_over(&app.dialects));
            let long = sent.map(|sample| {
                let (alphabet, units, segments) = segments(&sample.text);
                let (locale, sms) = (sample.locale, sample.sms);
                Long { app_id: app_id.clone(), locale, sms, alphabet, units, segments }
            });
            long.collect::<Vec<_>>()
        };
        self.apps.iter().flat_map(of_app).filter(|long| long.segments > 1).collect()
    }

    /// Tells the operator which SMS take more than one segment: each is paid for.
    pub fn warn_of_long(&self, length: CodeLength, lifetime: Duration) {
        for long in self.long(length, lifetime) {
            tracing::warn!(
                app = long.app_id,
                locale = %long.locale,
                text = long.sms.key(),
                alphabet = long.alphabet.as_str(),
                units = long.units,
                segments = long.segments,
                "an SMS takes more than one segment, and each is paid for: shorten [messages] or the app's name"
            );
        }
    }
}

#[cfg(test)]
mod tests;
