//! `[messages.LOCALE]`, and what `[[apps]]` say about messages.
//!
//! Guarantees: every text has been tried, and for an app with an Android hash every one of its messages is short
//! enough to be read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::reader::Section;
use crate::domain::challenge::Dialect;
use crate::domain::code::CodeLength;
use crate::domain::locale::Locale;
use crate::domain::message::{AndroidHash, MAX_RETRIEVER_BYTES, Marks, WebDomain};
use crate::domain::template::{Template, Values};

/// The texts that need no configuration.
const EMBEDDED: &str = include_str!("messages.toml");
/// None of them says another thing with another lifetime.
const EMBEDDED_MINUTES: u64 = 5;
/// The subject of a language that has none: the app's name says enough in each.
const PLAIN_SUBJECT: &str = "{{ app }}";

/// What is said in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocaleTexts {
    /// The message with a code to log in with.
    pub text: Template,
    /// What a mail has above it.
    pub subject: Template,
    /// The message with a code that makes a number that of an account.
    pub change_phone: Template,
    /// The mail with a code that adds the mailbox to an account.
    pub link_email: Template,
    /// What that mail has above it.
    pub link_email_subject: Template,
    /// What a number is told whose account has another one now.
    pub phone_changed: Template,
}

/// What is said, by language: the embedded texts, those of `[messages]` in their place or beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts(BTreeMap<Locale, LocaleTexts>);

impl Texts {
    /// In this language.
    #[must_use]
    pub fn find(&self, locale: &Locale) -> Option<&LocaleTexts> {
        self.0.get(locale)
    }

    /// The languages that there are.
    pub fn locales(&self) -> impl Iterator<Item = &Locale> {
        self.0.keys()
    }

    fn embedded() -> Self {
        let table: toml::Table = EMBEDDED.parse().unwrap_or_default();
        let read = |(tag, texts): (&String, &toml::Value)| {
            let source = |key: &str| texts.get(key)?.as_str();
            let message = |key: &str| Template::message(source(key)?, EMBEDDED_MINUTES).ok();
            let subject = |key: &str| Template::subject(source(key)?).ok();
            let texts = LocaleTexts {
                text: message("text")?,
                subject: subject("subject")?,
                change_phone: message("change_phone")?,
                link_email: message("link_email")?,
                link_email_subject: subject("link_email_subject")?,
                phone_changed: Template::notice(source("phone_changed")?).ok()?,
            };
            Some((Locale::parse(tag)?, texts))
        };
        Self(table.iter().filter_map(read).collect())
    }
}

/// What messages to an app's users are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppMessages {
    /// The language for those who can be served in none that they prefer.
    pub locale: Locale,
    /// The lines for machines.
    pub marks: Marks,
    /// Texts for logins in place of, or beside, those of all apps.
    pub texts: BTreeMap<Locale, Template>,
}

impl Default for AppMessages {
    fn default() -> Self {
        Self { locale: Locale::english(), marks: Marks::default(), texts: BTreeMap::new() }
    }
}

impl AppMessages {
    /// The languages in which an app's users can be written to.
    #[must_use]
    pub fn locales<'a>(&'a self, texts: &'a Texts) -> Vec<&'a Locale> {
        let all: BTreeSet<&Locale> = texts.locales().chain(self.texts.keys()).collect();
        all.into_iter().collect()
    }

    /// The text for a login in one of them.
    #[must_use]
    pub fn template<'a>(&'a self, texts: &'a Texts, locale: &Locale) -> Option<&'a Template> {
        self.texts.get(locale).or_else(|| texts.find(locale).map(|texts| &texts.text))
    }

    /// Each SMS that an app sends in each language, codes and times as configured.
    #[must_use]
    pub fn samples(&self, texts: &Texts, app: &str, length: CodeLength, lifetime: Duration) -> Vec<Sample> {
        let code = "0".repeat(usize::from(length.digits()));
        let values = Values { app, code: &code, minutes: minutes(lifetime) };
        let of_locale = |locale: &Locale| {
            let marked = |template: &Template| self.marks.compose(&template.render(values), &code);
            let known = texts.find(locale);
            let sms = [
                (Sms::Login, self.template(texts, locale).map(marked)),
                (Sms::ChangePhone, known.map(|texts| marked(&texts.change_phone))),
                (Sms::PhoneChanged, known.map(|texts| texts.phone_changed.render(values))),
            ];
            sms.map(|(sms, text)| Some(Sample { locale: locale.clone(), sms, text: text?.to_string() }))
        };
        self.locales(texts).into_iter().flat_map(of_locale).flatten().collect()
    }
}

/// What an SMS is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sms {
    /// A code to log in with.
    Login,
    /// A code that makes a number that of an account.
    ChangePhone,
    /// A notice to the number that was an account's.
    PhoneChanged,
}

impl Sms {
    /// The key of its text in `[messages.LOCALE]`.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Login => "text",
            Self::ChangePhone => "change_phone",
            Self::PhoneChanged => "phone_changed",
        }
    }

    /// Whether an app sends it that speaks these: numbers are changed over our own API alone.
    #[must_use]
    pub fn is_sent_over(self, dialects: &[Dialect]) -> bool {
        self == Self::Login || dialects.contains(&Dialect::V1)
    }
}

/// An SMS as an app would send it. Its code is nobody's.
pub struct Sample {
    /// The language.
    pub locale: Locale,
    /// What for.
    pub sms: Sms,
    /// All of it.
    pub text: String,
}

/// A lifetime as messages tell it: in minutes, and never less than one.
#[must_use]
pub fn minutes(lifetime: Duration) -> u64 {
    lifetime.as_secs().div_ceil(60)
}

pub(super) fn read_texts(root: &Section<'_>, lifetime: Duration) -> Texts {
    let Texts(mut texts) = Texts::embedded();
    let outer = root.section("messages");
    let mut seen = BTreeSet::new();
    let english = texts.get(&Locale::english()).cloned();
    let message = |text: &str| Template::message(text, minutes(lifetime));
    for key in outer.keys() {
        let section = outer.section(&key);
        let text = section.required::<String>("text", "set the text, such as \"{{ code }} is your code.\"");
        let text = text.and_then(|text| checked(&section, "text", message(&text)));
        let read = |key: &str, read: &dyn Fn(&str) -> Result<Template, String>| {
            section.optional::<String>(key).and_then(|text| checked(&section, key, read(&text)))
        };
        let subject = read("subject", &Template::subject);
        let change_phone = read("change_phone", &message);
        let link_email = read("link_email", &message);
        let link_email_subject = read("link_email_subject", &Template::subject);
        let phone_changed = read("phone_changed", &Template::notice);
        section.finish();
        let Some(locale) = read_tag(&outer, &key, &mut seen) else { continue };
        let plain = Template::subject(PLAIN_SUBJECT).ok();
        let foreign =
            || english.clone().zip(plain).map(|(english, subject)| LocaleTexts { subject, ..english });
        let (Some(text), Some(old)) = (text, texts.get(&locale).cloned().or_else(foreign)) else { continue };
        let new = LocaleTexts {
            text,
            subject: subject.unwrap_or(old.subject),
            change_phone: change_phone.unwrap_or(old.change_phone),
            link_email: link_email.unwrap_or(old.link_email),
            link_email_subject: link_email_subject.unwrap_or(old.link_email_subject),
            phone_changed: phone_changed.unwrap_or(old.phone_changed),
        };
        texts.insert(locale, new);
    }
    outer.finish();
    Texts(texts)
}

pub(super) fn read_app(section: &Section<'_>, texts: &Texts, lifetime: Duration) -> AppMessages {
    let named = section.get("locale", Locale::english().to_string());
    let android_hash = section.optional::<String>("android_hash");
    let web_domain = section.optional::<String>("web_domain");
    let marks = Marks {
        android_hash: android_hash.as_deref().and_then(AndroidHash::parse),
        web_domain: web_domain.as_deref().and_then(WebDomain::parse),
    };
    if android_hash.is_some() && marks.android_hash.is_none() {
        let fix = "must be the 11 characters of base64 that Google's SMS Retriever wants for your package and \
                   certificate, such as \"FA+9qCX9VSu\"";
        section.problem("android_hash", fix);
    }
    if web_domain.is_some() && marks.web_domain.is_none() {
        let fix =
            "must be a host name in lower case, such as \"example.com\", without https://, port or path";
        section.problem("web_domain", fix);
    }
    let outer = section.section("messages");
    let mut seen = BTreeSet::new();
    let mut own = BTreeMap::new();
    for key in outer.keys() {
        let text = outer.optional::<String>(&key);
        let text = text.and_then(|text| checked(&outer, &key, Template::message(&text, minutes(lifetime))));
        let locale = read_tag(&outer, &key, &mut seen);
        own.extend(locale.zip(text));
    }
    outer.finish();
    let locale =
        Locale::parse(&named).filter(|locale| texts.find(locale).is_some() || own.contains_key(locale));
    if locale.is_none() {
        section.problem(
            "locale",
            "there is no text in this language: write [messages.…] for it, or name another",
        );
    }
    AppMessages { locale: locale.unwrap_or_else(Locale::english), marks, texts: own }
}

/// Notes which of an app's messages with a code are longer than Android reads.
pub(super) fn check_length<'a>(
    section: &Section<'_>,
    messages: &AppMessages,
    samples: impl Iterator<Item = &'a Sample>,
) {
    if messages.marks.android_hash.is_none() {
        return;
    }
    let with_code = samples.filter(|sample| sample.sms != Sms::PhoneChanged);
    let long = with_code.filter(|sample| sample.text.len() > MAX_RETRIEVER_BYTES);
    let shown = |sample: &Sample| {
        let Sample { locale, sms, text } = sample;
        format!("{locale} {} ({} bytes)", sms.key(), text.len())
    };
    let long: Vec<String> = long.map(shown).collect();
    if !long.is_empty() {
        let text = format!(
            "Android reads messages of {MAX_RETRIEVER_BYTES} bytes at most, with the hash; longer are {}: shorten the \
             name or web_domain, or write shorter texts into [messages] or [apps.messages]",
            long.join(", ")
        );
        section.problem("android_hash", &text);
    }
}

/// Notes what is no language among `locales`.
pub(super) fn check_tags(section: &Section<'_>, tags: &[String]) {
    for tag in tags {
        match Locale::parse(tag).map(|locale| locale.to_string()) {
            Some(known) if known == *tag => {}
            Some(known) => section.problem("locales", &format!("{tag:?}: write {known:?}")),
            None => {
                let fix = format!("{tag:?} is no language tag: write such as en, pt-BR or zh-Hans");
                section.problem("locales", &fix);
            }
        }
    }
}

fn read_tag(outer: &Section<'_>, key: &str, seen: &mut BTreeSet<Locale>) -> Option<Locale> {
    let locale = Locale::parse(key);
    match &locale {
        None => outer.problem(key, "must be named by a language tag, such as en, pt-BR or zh-Hans"),
        Some(locale) if !seen.insert(locale.clone()) => {
            outer.problem(key, &format!("{locale} is written twice; keep one"));
        }
        Some(_) => {}
    }
    locale
}

fn checked(section: &Section<'_>, key: &str, template: Result<Template, String>) -> Option<Template> {
    template.map_err(|fix| section.problem(key, &fix)).ok()
}
