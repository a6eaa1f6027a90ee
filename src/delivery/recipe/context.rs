//! What templates are filled in with.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::context;
use minijinja::value::{Object, Value};

use crate::config::{BASE_URL, Kind, SettingValue, Vars};
use crate::domain::address::Address;
use crate::domain::phone::Country;
use crate::domain::segments;
use crate::domain::time::Timestamp;

/// A message, as a recipe sees it.
pub(super) struct Subject<'a> {
    pub(super) id: &'a str,
    pub(super) to: &'a Address,
    pub(super) channel: &'a str,
    pub(super) text: &'a str,
    /// Of a mail.
    pub(super) title: &'a str,
    pub(super) code: &'a str,
    pub(super) ttl_s: u64,
    pub(super) purpose: &'a str,
    pub(super) locale: &'a str,
    pub(super) app_name: &'a str,
    /// Empty where none is asked for.
    pub(super) receipt_url: &'a str,
}

/// A message whose code came back.
pub(super) struct Used<'a> {
    pub(super) id: &'a str,
    pub(super) to: &'a Address,
    pub(super) code: &'a str,
    pub(super) provider_id: &'a str,
}

/// The text; what is asked of it is found out then.
#[derive(Debug)]
struct Message {
    id: String,
    text: String,
    subject: String,
}

impl Object for Message {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "id" => Some(Value::from(self.id.as_str())),
            "text" => Some(Value::from(self.text.as_str())),
            "subject" => Some(Value::from(self.subject.as_str())),
            "gsm7" => Some(Value::from(segments::is_gsm7(&self.text))),
            "segments" => Some(Value::from(segments::segments(&self.text).2)),
            _ => None,
        }
    }
}

/// The operator's words for one message; one that is not set is empty.
#[derive(Debug)]
struct Words {
    vars: Arc<Vars>,
    purpose: String,
    locale: String,
    country: Option<Country>,
}

impl Object for Words {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let kind = Kind { purpose: &self.purpose, locale: &self.locale, country: self.country };
        Some(Value::from(self.vars.get(key.as_str()?, kind).unwrap_or_default()))
    }
}

/// What stays the same from message to message.
pub(super) struct Standing {
    cfg: Value,
    vars: Arc<Vars>,
}

impl Standing {
    /// With the settings as they are.
    pub(super) fn new(settings: &BTreeMap<String, SettingValue>, vars: Arc<Vars>) -> Self {
        Self::with(settings, vars, |_, value| value.reveal().to_owned())
    }

    /// With each secret's name in its place: what is made of it can be shown, however it is encoded.
    pub(super) fn redacted(settings: &BTreeMap<String, SettingValue>, vars: Arc<Vars>) -> Self {
        Self::with(settings, vars, |key, value| match value {
            SettingValue::Plain(text) => text.clone(),
            SettingValue::Secret(_) => format!("REDACTED-{key}"),
        })
    }

    fn with(
        settings: &BTreeMap<String, SettingValue>,
        vars: Arc<Vars>,
        show: impl Fn(&str, &SettingValue) -> String,
    ) -> Self {
        let cfg = settings.iter().map(|(key, value)| {
            let text = show(key, value);
            let value = if key == BASE_URL {
                Value::from_safe_string(text.trim_end_matches('/').to_owned())
            } else {
                Value::from(text)
            };
            (key.clone(), value)
        });
        Self { cfg: Value::from_pairs(cfg), vars }
    }

    /// Everything that a template can name.
    pub(super) fn context(&self, subject: &Subject<'_>, now: Timestamp) -> Value {
        let (digits, country) = (digits(subject.to), country(subject.to));
        let words = Words {
            vars: Arc::clone(&self.vars),
            purpose: subject.purpose.to_owned(),
            locale: subject.locale.to_owned(),
            country: subject.to.country(),
        };
        let message = Message {
            id: subject.id.to_owned(),
            text: subject.text.to_owned(),
            subject: subject.title.to_owned(),
        };
        context! {
            to => subject.to.as_str(),
            to_country => country,
            to_digits => digits,
            channel => subject.channel,
            code => subject.code,
            ttl_s => subject.ttl_s,
            ttl_min => subject.ttl_s.div_ceil(60),
            purpose => subject.purpose,
            locale => subject.locale,
            now => now.as_secs(),
            receipt_url => subject.receipt_url,
            msg => Value::from_object(message),
            app => context! { name => subject.app_name },
            cfg => self.cfg.clone(),
            vars => Value::from_object(words),
        }
    }

    /// Everything that a template of feedback can name.
    pub(super) fn feedback(&self, used: &Used<'_>, now: Timestamp) -> Value {
        context! {
            to => used.to.as_str(),
            to_country => country(used.to),
            to_digits => digits(used.to),
            code => used.code,
            provider_id => used.provider_id,
            now => now.as_secs(),
            msg => context! { id => used.id },
            cfg => self.cfg.clone(),
        }
    }
}

fn digits(to: &Address) -> &str {
    match to {
        Address::Phone(phone) => phone.digits(),
        Address::Email(_) => "",
    }
}

fn country(to: &Address) -> String {
    to.country().map(|country| country.to_string()).unwrap_or_default()
}
