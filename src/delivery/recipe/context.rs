//! What templates are filled in with.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::context;
use minijinja::value::{Object, Value};

use crate::config::{BASE_URL, SettingValue};
use crate::domain::address::Address;
use crate::domain::segments;
use crate::domain::time::Timestamp;

/// A message, as a recipe sees it.
pub(super) struct Subject<'a> {
    pub(super) id: &'a str,
    pub(super) to: &'a Address,
    pub(super) channel: &'a str,
    pub(super) text: &'a str,
    pub(super) code: &'a str,
    pub(super) ttl_s: u64,
    pub(super) purpose: &'a str,
    pub(super) locale: &'a str,
    pub(super) app_name: &'a str,
    /// Empty where none is asked for.
    pub(super) receipt_url: &'a str,
}

/// The operator's words; one that is not set is empty.
#[derive(Debug)]
struct Vars(BTreeMap<String, String>);

impl Object for Vars {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let word = self.0.get(key.as_str()?).cloned().unwrap_or_default();
        Some(Value::from(word))
    }
}

/// As signatures count time.
pub(super) fn unix_secs(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(1000)
}

/// What stays the same from message to message.
pub(super) struct Standing {
    cfg: Value,
    vars: Value,
}

impl Standing {
    /// With the settings as they are.
    pub(super) fn new(settings: &BTreeMap<String, SettingValue>, vars: &BTreeMap<String, String>) -> Self {
        Self::with(settings, vars, |_, value| value.reveal().to_owned())
    }

    /// With each secret's name in its place: what is made of it can be shown, however it is encoded.
    pub(super) fn redacted(
        settings: &BTreeMap<String, SettingValue>,
        vars: &BTreeMap<String, String>,
    ) -> Self {
        Self::with(settings, vars, |key, value| match value {
            SettingValue::Plain(text) => text.clone(),
            SettingValue::Secret(_) => format!("REDACTED-{key}"),
        })
    }

    fn with(
        settings: &BTreeMap<String, SettingValue>,
        vars: &BTreeMap<String, String>,
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
        Self { cfg: Value::from_pairs(cfg), vars: Value::from_object(Vars(vars.clone())) }
    }

    /// Everything that a template can name.
    pub(super) fn context(&self, subject: &Subject<'_>, now: Timestamp) -> Value {
        let digits = match subject.to {
            Address::Phone(phone) => phone.digits(),
            Address::Email(_) => "",
        };
        let country = subject.to.country().map(|country| country.to_string()).unwrap_or_default();
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
            now => unix_secs(now),
            receipt_url => subject.receipt_url,
            msg => context! {
                id => subject.id,
                text => subject.text,
                gsm7 => segments::is_gsm7(subject.text),
                segments => segments::segments(subject.text).2,
            },
            app => context! { name => subject.app_name },
            cfg => self.cfg.clone(),
            vars => self.vars.clone(),
        }
    }
}
