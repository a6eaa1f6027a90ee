//! Reading a gateway's answer.
//!
//! Guarantees: rules are tried in their order and the first that matches decides. An answer is `accepted` only where a
//! rule found the words for it; a success that no rule knows is uncertain, and an alarm.

use regex_lite::Regex;
use reqwest::header::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::Value;

use super::file;
use crate::outbound::pointer::Pointer;
use crate::outbound::template::LoadError;

/// A provider's id that is longer is none.
const MAX_ID_CHARS: usize = 128;

/// What a message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Accepted,
    BadNumber,
    Blocked,
    Unroutable,
    Rejected,
    Auth,
    NoFunds,
    Throttled,
    Temporary,
    Uncertain,
}

impl Outcome {
    /// As recipes write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::BadNumber => "bad_number",
            Self::Blocked => "blocked",
            Self::Unroutable => "unroutable",
            Self::Rejected => "rejected",
            Self::Auth => "auth",
            Self::NoFunds => "no_funds",
            Self::Throttled => "throttled",
            Self::Temporary => "temporary",
            Self::Uncertain => "uncertain",
        }
    }
}

/// What came back. The body is capped.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// What it means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The rule that decided, from 1; none did where there is none.
    pub(super) rule: Option<usize>,
    pub(super) outcome: Outcome,
    /// The gateway's id for the message.
    pub(super) id: Option<String>,
    /// Seconds.
    pub(super) retry_after: Option<u64>,
    /// The gateway's own words.
    pub(super) code: Option<String>,
    pub(super) text: Option<String>,
}

/// All rules of a recipe.
pub(super) struct Rules {
    list: Vec<Rule>,
    code: Option<Place>,
    text: Option<Place>,
}

struct Rule {
    status: Option<Status>,
    check: Option<(Place, Test)>,
    outcome: Outcome,
    id: Option<Place>,
    retry_after: Option<Place>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Exact(u16),
    /// The first digit.
    Class(u16),
}

enum Place {
    Json(Pointer),
    /// The whole body, less the space around it.
    Text,
    Header(HeaderName),
    /// The first group of an expression over the body.
    Matched(Regex),
}

enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Matches(Regex),
    Exists(bool),
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        if let Some(class) = text.strip_suffix("xx") {
            return class.parse().ok().filter(|class| (1..=5).contains(class)).map(Self::Class);
        }
        text.parse().ok().filter(|status| (100..600).contains(status)).map(Self::Exact)
    }

    fn matches(self, status: u16) -> bool {
        match self {
            Self::Exact(exact) => exact == status,
            Self::Class(class) => class == status / 100,
        }
    }

    fn is_success(self) -> bool {
        match self {
            Self::Exact(status) => (200..300).contains(&status),
            Self::Class(class) => class == 2,
        }
    }
}

impl Place {
    fn parse(key: &str, text: &str) -> Result<Self, LoadError> {
        let fault = |fix: String| LoadError::new(key, fix);
        if text == "text" {
            return Ok(Self::Text);
        }
        if let Some(name) = text.strip_prefix("header:") {
            return name
                .parse()
                .map(Self::Header)
                .map_err(|_bad| fault(format!("{name:?} is no header's name")));
        }
        if let Some(expression) = text.strip_prefix("regex:") {
            return compile(key, expression).map(Self::Matched);
        }
        let fix = "must be a JSON pointer such as /status, \"text\", \"header:NAME\" or \"regex:…\"";
        Pointer::parse(text).map(Self::Json).ok_or_else(|| fault(fix.to_owned()))
    }

    /// Its values; `None` for one without a text.
    fn find(&self, answer: &Answer) -> Vec<Option<String>> {
        let body = || String::from_utf8_lossy(&answer.body);
        match self {
            Self::Json(pointer) => pointer.find(&answer.body),
            Self::Text => vec![Some(body().trim().to_owned())],
            Self::Header(name) => {
                let value = answer.headers.get(name).and_then(|value| value.to_str().ok());
                value.map(|value| Some(value.trim().to_owned())).into_iter().collect()
            }
            Self::Matched(expression) => {
                let found = expression
                    .captures(&body())
                    .and_then(|found| found.get(1).map(|m| m.as_str().to_owned()));
                found.map(Some).into_iter().collect()
            }
        }
    }

    /// Its values as one text.
    fn read(&self, answer: &Answer) -> Option<String> {
        let found: Vec<String> = self.find(answer).into_iter().flatten().collect();
        Some(found.join(",")).filter(|text| !text.is_empty())
    }

    fn is_body(&self) -> bool {
        matches!(self, Self::Json(_) | Self::Text)
    }
}

impl Test {
    /// Whether there is something, and all of it passes.
    fn passes(&self, found: &[Option<String>]) -> bool {
        let all = |test: &dyn Fn(&str) -> bool| {
            !found.is_empty() && found.iter().all(|value| value.as_deref().is_some_and(test))
        };
        match self {
            Self::In(values) => all(&|text| values.iter().any(|value| value == text)),
            Self::NotIn(values) => all(&|text| !values.iter().any(|value| value == text)),
            Self::Matches(expression) => all(&|text| expression.is_match(text)),
            Self::Exists(wanted) => *wanted != found.is_empty(),
        }
    }
}

fn compile(key: &str, expression: &str) -> Result<Regex, LoadError> {
    Regex::new(expression).map_err(|error| LoadError::new(key, format!("no regular expression: {error}")))
}

impl Rules {
    pub(super) fn compile(response: &file::Response) -> Result<Self, LoadError> {
        let mut rules = Vec::new();
        for (index, rule) in response.rules.iter().enumerate() {
            rules.push(Rule::compile(&format!("response.rules[{index}]"), rule, response.allow_status_only)?);
        }
        let place = |key: &str, text: &Option<String>| {
            text.as_ref().map(|text| Place::parse(&format!("response.error.{key}"), text)).transpose()
        };
        Ok(Self {
            list: rules,
            code: place("code", &response.error.code)?,
            text: place("text", &response.error.text)?,
        })
    }

    /// Each outcome that a rule names.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        self.list.iter().map(|rule| rule.outcome)
    }

    /// What an answer means.
    pub(super) fn judge(&self, answer: &Answer) -> Verdict {
        let matching = self.list.iter().enumerate().find(|(_, rule)| rule.matches(answer));
        let read = |place: &Option<Place>| place.as_ref().and_then(|place| place.read(answer));
        let (rule, outcome, id, retry_after) = match matching {
            Some((index, rule)) => (Some(index + 1), rule.outcome, read(&rule.id), read(&rule.retry_after)),
            None => (None, without_a_rule(answer.status), None, None),
        };
        let plain = |id: &String| id.chars().count() <= MAX_ID_CHARS && !id.chars().any(char::is_control);
        Verdict {
            rule,
            outcome,
            id: id.filter(plain),
            retry_after: retry_after.and_then(|text| text.parse().ok()),
            code: read(&self.code),
            text: read(&self.text),
        }
    }
}

/// What HTTP itself says, where a recipe says nothing.
fn without_a_rule(status: u16) -> Outcome {
    match status {
        401 => Outcome::Auth,
        408 => Outcome::Uncertain,
        429 => Outcome::Throttled,
        // These say that nothing was done here: 301, 307 and 308 that the configured address is another's.
        301 | 307 | 308 | 400..=499 => Outcome::Rejected,
        _ => Outcome::Uncertain,
    }
}

impl Rule {
    fn compile(key: &str, rule: &file::Rule, allow_status_only: bool) -> Result<Self, LoadError> {
        let at = |part: &str| format!("{key}.{part}");
        let fault = |part: &str, fix: &str| LoadError::new(&at(part), fix);
        let status = match &rule.status {
            None => None,
            Some(text) => Some(Status::parse(text).ok_or_else(|| {
                fault("status", "must be a status such as \"201\" or a class such as \"5xx\"")
            })?),
        };
        let check = match (&rule.at, read_test(key, rule)?) {
            (Some(place), Some(test)) => Some((Place::parse(&at("at"), place)?, test)),
            (Some(_), None) => return Err(fault("at", "needs a test: in, not_in, re or exists")),
            (None, Some(_)) => return Err(fault("at", "says where the tested value is, such as /status")),
            (None, None) => None,
        };
        if matches!(check, Some((Place::Matched(_), _))) {
            return Err(fault("at", "\"regex:…\" finds ids; to test the body write at = \"text\" and re"));
        }
        if status.is_none() && check.is_none() {
            return Err(fault("status", "a rule needs a status, or at and a test"));
        }
        let place = |part: &str, text: &Option<String>| {
            text.as_ref().map(|text| Place::parse(&at(part), text)).transpose()
        };
        let rule = Self {
            status,
            check,
            outcome: rule.outcome,
            id: place("id", &rule.id)?,
            retry_after: place("retry_after", &rule.retry_after)?,
        };
        if rule.outcome == Outcome::Accepted {
            rule.check_accepted(key, allow_status_only)?;
        }
        Ok(rule)
    }

    /// A gateway that fails with a 200 must not be taken for one that succeeds.
    fn check_accepted(&self, key: &str, allow_status_only: bool) -> Result<(), LoadError> {
        let fault = |part: &str, fix: &str| Err(LoadError::new(&format!("{key}.{part}"), fix));
        if !self.status.is_some_and(Status::is_success) {
            return fault(
                "status",
                "what is accepted has a success status: write status = \"201\" or \"2xx\"",
            );
        }
        match &self.check {
            None if allow_status_only => Ok(()),
            Some((place, Test::In(_))) if place.is_body() => Ok(()),
            Some((place, Test::Matches(expression))) if place.is_body() => {
                if ["", "x", "error"].iter().any(|text| expression.is_match(text)) {
                    return fault("re", "matches anything: match the gateway's words for success");
                }
                Ok(())
            }
            Some((Place::Json(_), Test::Exists(true))) => Ok(()),
            // Where a success has no body, a header is the most there is.
            Some((Place::Header(_), Test::In(_) | Test::Matches(_) | Test::Exists(true)))
                if allow_status_only =>
            {
                Ok(())
            }
            Some(_) | None => fault(
                "at",
                "many gateways report failure with a success status: match the words for success in the body with in \
                 or re, or set response.allow_status_only = true where there are none",
            ),
        }
    }

    fn matches(&self, answer: &Answer) -> bool {
        self.status.is_none_or(|status| status.matches(answer.status))
            && self.check.as_ref().is_none_or(|(place, test)| test.passes(&place.find(answer)))
    }
}

fn read_test(key: &str, rule: &file::Rule) -> Result<Option<Test>, LoadError> {
    let values = |part: &str, values: &[Value]| {
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(LoadError::new(&format!("{key}.{part}"), "must be a list of texts, numbers or booleans"))
            }
        };
        values.iter().map(text).collect::<Result<Vec<_>, _>>()
    };
    let mut tests = Vec::new();
    if let Some(list) = &rule.r#in {
        tests.push(Test::In(values("in", list)?));
    }
    if let Some(list) = &rule.not_in {
        tests.push(Test::NotIn(values("not_in", list)?));
    }
    if let Some(expression) = &rule.re {
        tests.push(Test::Matches(compile(&format!("{key}.re"), expression)?));
    }
    if let Some(wanted) = rule.exists {
        tests.push(Test::Exists(wanted));
    }
    let test = tests.pop();
    if tests.is_empty() {
        Ok(test)
    } else {
        Err(LoadError::new(key, "has several tests: keep one, or write two rules"))
    }
}
