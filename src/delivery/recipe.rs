//! The recipe interpreter: gateways described as data (`providers/README.md` has the format).
//!
//! Guarantees: a recipe that could take a failure for a success, that names what no message has, declares what it does
//! not use, or puts a secret into a URL without saying so is refused when it is loaded, by the key that is wrong. A
//! request goes to the base URL's host alone; what is filled in cannot change its structure.

mod answer;
mod auth;
mod context;
pub(crate) mod dlr;
mod example;
mod feedback;
mod file;
mod gateway;
mod request;
mod sign;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(crate) use self::answer::Outcome;
pub(crate) use self::gateway::{Gateway, GatewayError};

use crate::config::{self, CallLimits, Charset, Declared};
use crate::domain::phone::Country;
use crate::outbound::template::{LoadError, Names, Templates};

/// The version of the format that this interpreter reads.
const SCHEMA: u32 = 1;
/// Longer, and the person at the other end has given up.
const MAX_TIMEOUT_MS: u64 = 14_000;

/// What every message has.
const NAMES: [&str; 17] = [
    "to",
    "to_country",
    "to_digits",
    "msg.id",
    "msg.text",
    "msg.subject",
    "msg.gsm7",
    "msg.segments",
    "code",
    "ttl_s",
    "ttl_min",
    "purpose",
    "locale",
    "app.name",
    "channel",
    "now",
    RECEIPT_URL,
];

/// Where the gateway reports what became of the message.
const RECEIPT_URL: &str = "receipt_url";

/// How a gateway knows where to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// By the request.
    WithEachMessage,
    /// By its own settings.
    ByTheOperator,
}

/// A recipe, compiled.
pub(crate) struct Recipe {
    id: String,
    channel: &'static str,
    settings: BTreeMap<String, Declared>,
    templates: Templates,
    sender: request::Sender,
    feedback: Option<feedback::Feedback>,
    rules: answer::Rules,
    call: CallLimits,
    max_response: usize,
    /// Where it is known to work; everywhere when empty.
    countries: BTreeSet<Country>,
    charset: Charset,
    examples: Vec<file::Example>,
    /// Whether it sends the text, not just the code: only then it can carry a notice.
    carries_text: bool,
    dlr: Option<dlr::Dlr>,
    told: Told,
    receipts: Vec<dlr::file::Example>,
}

impl Recipe {
    /// Compiles a recipe.
    ///
    /// # Errors
    /// With the first key that is wrong, and what to write.
    pub(crate) fn load(head: &config::Recipe) -> Result<Self, LoadError> {
        let file: file::File =
            toml::from_str(&head.text).map_err(|error| LoadError::new(&head.id, error.to_string()))?;
        if file.schema != SCHEMA {
            return Err(LoadError::new("schema", format!("must be {SCHEMA}: no other is known here")));
        }
        let names = |known: &'static [&'static str], vars: BTreeSet<String>| Names {
            known,
            settings: head.settings.keys().cloned().collect(),
            table: "cfg",
            written_in: "[settings]",
            vars,
        };
        let mut templates = Templates::new(names(&NAMES, head.vars.keys().cloned().collect()));
        let sender = request::Sender::compile(&mut templates, &file.send)?;
        let reports = templates.names(RECEIPT_URL);
        let dlr = file.dlr.as_ref().map(|dlr| dlr::Dlr::compile(dlr, &head.settings, reports)).transpose()?;
        if reports && dlr.is_none() {
            let fix = "nothing says what the gateway reports there: write [dlr], or remove receipt_url";
            return Err(LoadError::new("dlr", fix));
        }
        let names = names(&feedback::NAMES, BTreeSet::new());
        let feedback =
            file.feedback.map(|feedback| feedback::Feedback::compile(names, feedback)).transpose()?;
        let mut in_url = sender.settings_in_url();
        in_url.extend(feedback.iter().flat_map(feedback::Feedback::settings_in_url));
        check_secrets(head, &in_url, file.send.secret_in_url)?;
        let read = dlr.as_ref().map(dlr::Dlr::settings).unwrap_or_default();
        let is_used = |name: &String| {
            templates.used().contains(name)
                || read.contains(&name.as_str())
                || feedback.as_ref().is_some_and(|feedback| feedback.uses(name))
        };
        if let Some(name) = head.settings.keys().find(|name| !is_used(name)) {
            let fix = "nothing uses it: remove it, or write {{ cfg.NAME }} where it belongs";
            return Err(LoadError::new(&format!("settings.{name}"), fix));
        }
        if let Some(name) = head.vars.keys().find(|name| !templates.used_vars().contains(*name)) {
            let fix = "nothing uses it: remove it, or write {{ vars.NAME }} where it belongs";
            return Err(LoadError::new(&format!("vars.{name}"), fix));
        }
        let rules = answer::Rules::compile(&file.response)?;
        if !rules.outcomes().any(|outcome| outcome == Outcome::Accepted) {
            let fix = "no rule says what is accepted: add one that matches the body of a success";
            return Err(LoadError::new("response.rules", fix));
        }
        let limits = &file.limits;
        check_limits(limits)?;
        Ok(Self {
            id: head.id.clone(),
            channel: head.channel.as_str(),
            settings: head.settings.clone(),
            templates,
            sender,
            feedback,
            rules,
            call: CallLimits {
                connect_timeout: Duration::from_millis(limits.connect_ms),
                timeout: Duration::from_millis(limits.timeout_ms),
            },
            max_response: limits.max_response,
            countries: head.countries.clone(),
            charset: head.charset,
            examples: file.example,
            carries_text: head.text.contains("msg.text"),
            dlr,
            told: if reports { Told::WithEachMessage } else { Told::ByTheOperator },
            receipts: file.receipt,
        })
    }

    /// How the gateway knows where to report, where it does.
    pub(crate) fn reports(&self) -> Option<Told> {
        self.dlr.as_ref().map(|_| self.told)
    }

    /// How to read what the gateway reports, where it does.
    #[cfg(test)]
    pub(crate) fn dlr(&self) -> Option<&dlr::Dlr> {
        self.dlr.as_ref()
    }

    /// The same, to keep.
    pub(crate) fn into_dlr(self) -> Option<dlr::Dlr> {
        self.dlr
    }

    /// Each outcome that its rules name, once.
    pub(crate) fn outcomes(&self) -> BTreeSet<Outcome> {
        self.rules.outcomes().collect()
    }
}

/// A secret is in a URL where the recipe says so, and nowhere else.
fn check_secrets(head: &config::Recipe, in_url: &[&str], said: bool) -> Result<(), LoadError> {
    let is_secret = |name: &&&str| head.settings.get(**name).is_some_and(|declared| declared.secret);
    match in_url.iter().find(is_secret) {
        Some(name) if !said => {
            let fix = "URLs end up in the logs of proxies: send it in the body or a header, or, where the gateway \
                       takes it nowhere else, set send.secret_in_url = true";
            Err(LoadError::new(&format!("settings.{name}"), fix))
        }
        None if said => Err(LoadError::new("send.secret_in_url", "no secret is in the URL: remove it")),
        Some(_) | None => Ok(()),
    }
}

fn check_limits(limits: &file::Limits) -> Result<(), LoadError> {
    for (key, value) in [("timeout_ms", limits.timeout_ms), ("connect_ms", limits.connect_ms)] {
        if !(1..=MAX_TIMEOUT_MS).contains(&value) {
            let fix = format!("must be 1 to {MAX_TIMEOUT_MS}: somebody waits for the code");
            return Err(LoadError::new(&format!("limits.{key}"), fix));
        }
    }
    if !(1..=crate::outbound::MAX_ANSWER_BYTES).contains(&limits.max_response) {
        let fix = format!("must be 1 to {}", crate::outbound::MAX_ANSWER_BYTES);
        return Err(LoadError::new("limits.max_response", fix));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
