//! The examples in a recipe, run without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::Recipe;
use super::answer::{Answer, Outcome};
use super::auth::Occasion;
use super::context::{Standing, Subject, Used};
use super::feedback::Feedback;
use super::file::{Example, ExpectedRequest, Given, GivenResponse};
use crate::config::{SettingValue, Vars};
use crate::domain::address::Address;
use crate::domain::time::Timestamp;
use crate::outbound::request::Request;

/// How an example went.
pub(crate) struct ExampleReport {
    /// Its name.
    pub(crate) name: String,
    /// What is not as the example says.
    pub(crate) fault: Option<String>,
}

impl Recipe {
    /// Runs every example.
    pub(crate) fn run_examples(&self) -> Vec<ExampleReport> {
        let run =
            |example: &Example| ExampleReport { name: example.name.clone(), fault: self.run(example).err() };
        let feedback = self.feedback.as_ref().map(|feedback| ExampleReport {
            name: "feedback".to_owned(),
            fault: self.run_feedback(feedback).err(),
        });
        self.examples.iter().map(run).chain(feedback).collect()
    }

    /// The outcomes that rules name and no example shows.
    pub(crate) fn without_example(&self) -> BTreeSet<Outcome> {
        let shown = self.examples.iter().map(|example| example.outcome).collect();
        self.outcomes().difference(&shown).copied().collect()
    }

    /// Whether an example of what is accepted shows the whole request: what none shows may be sent in any way.
    pub(crate) fn has_whole_request(&self) -> bool {
        let is_whole =
            |shown: &ExpectedRequest| shown.method.is_some() && shown.url.is_some() && shown.body.is_some();
        let mut accepted = self.examples.iter().filter(|example| example.outcome == Outcome::Accepted);
        accepted.any(|example| example.request.as_ref().is_some_and(is_whole))
    }

    fn run(&self, example: &Example) -> Result<(), String> {
        if let Some(expected) = &example.request {
            let request = self.make_example(&example.given)?;
            compare_request(expected, &request)?;
        }
        let verdict = self.rules.judge(&answer(&example.response)?);
        let rule = verdict.rule.map_or_else(|| "no rule".to_owned(), |rule| format!("rule {rule}"));
        compare("outcome", example.outcome.as_str(), verdict.outcome.as_str())
            .map_err(|fault| format!("{fault} ({rule} matches)"))?;
        if let Some(id) = &example.id {
            compare("id", id, verdict.id.as_deref().unwrap_or("nothing"))?;
        }
        if let Some(secs) = example.retry_after {
            let found = verdict.retry_after.map_or_else(|| "nothing".to_owned(), |secs| secs.to_string());
            compare("retry_after", &secs.to_string(), &found)?;
        }
        Ok(())
    }

    fn make_example(&self, given: &Given) -> Result<Request, String> {
        let to = Address::parse(&given.to).map_err(|error| format!("given.to: {error}"))?;
        let subject = Subject {
            id: &given.id,
            to: &to,
            channel: self.channel,
            text: &given.text,
            title: &given.subject,
            code: &given.code,
            ttl_s: given.ttl_s,
            purpose: &given.purpose,
            locale: &given.locale,
            app_name: &given.app,
            receipt_url: &given.receipt_url,
        };
        let (standing, now) = (self.example_standing(given)?, given_now(given));
        let context = standing.context(&subject, now);
        let mut request = self.sender.request.make(&self.templates, &context)?;
        let occasion = Occasion { id: &given.id, now, token: &given.token };
        self.sender.prove(&self.templates, &context, &occasion, &mut request)?;
        Ok(request)
    }

    fn run_feedback(&self, feedback: &Feedback) -> Result<(), String> {
        let given = &feedback.example.given;
        let to = Address::parse(&given.to).map_err(|error| format!("given.to: {error}"))?;
        let used = Used { id: &given.id, to: &to, code: &given.code, provider_id: &given.provider_id };
        let (standing, now) = (self.example_standing(given)?, given_now(given));
        let context = standing.feedback(&used, now);
        let mut request = feedback.make(&context)?;
        let occasion = Occasion { id: &given.id, now, token: &given.token };
        self.sender.prove(&self.templates, &context, &occasion, &mut request)?;
        compare_request(&feedback.example.request, &request)
    }

    fn example_standing(&self, given: &Given) -> Result<Standing, String> {
        let vars = Vars::for_all(given.vars.clone());
        Ok(Standing::new(&self.example_settings(&given.cfg)?, Arc::new(vars)))
    }

    pub(super) fn example_settings(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, SettingValue>, String> {
        if let Some(unknown) = given.keys().find(|key| !self.settings.contains_key(*key)) {
            return Err(format!("given.cfg.{unknown}: there is no such setting"));
        }
        let value = |(key, declared): (&String, &crate::config::Declared)| {
            let value = given.get(key).unwrap_or(&declared.default).clone();
            if value.is_empty() && declared.required {
                return Err(format!("given.cfg.{key}: is required; set it"));
            }
            if !value.is_empty() && !declared.admits(&value) {
                return Err(format!("given.cfg.{key}: {}", declared.wanted()));
            }
            Ok((key.clone(), SettingValue::Plain(value)))
        };
        self.settings.iter().map(value).collect()
    }
}

fn given_now(given: &Given) -> Timestamp {
    Timestamp::from_millis(given.now.saturating_mul(1000))
}

fn answer(response: &GivenResponse) -> Result<Answer, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &response.headers {
        let parsed = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(value).ok());
        let (name, value) = parsed.ok_or_else(|| format!("response.headers.{name}: is no header"))?;
        headers.insert(name, value);
    }
    let body = match (&response.json, &response.text) {
        (Some(_), Some(_)) => return Err("response: has json and text; keep one".to_owned()),
        (Some(json), None) => json.to_string().into_bytes(),
        (None, text) => text.clone().unwrap_or_default().into_bytes(),
    };
    Ok(Answer { status: response.status, headers, body })
}

fn compare_request(expected: &ExpectedRequest, request: &Request) -> Result<(), String> {
    if let Some(method) = &expected.method {
        compare("request.method", method, request.method.as_str())?;
    }
    if let Some(url) = &expected.url {
        compare("request.url", url, request.url.as_str())?;
    }
    for (name, value) in &expected.headers {
        let found = request.headers.get(name).or_else(|| request.proof.get(name));
        let found = found.map_or("nothing".into(), |value| String::from_utf8_lossy(value.as_bytes()));
        compare(&format!("request.headers.{name}"), value, &found)?;
    }
    if let Some(body) = &expected.body {
        compare("request.body", body, &String::from_utf8_lossy(request.body.as_deref().unwrap_or_default()))?;
    }
    Ok(())
}

pub(super) fn compare(what: &str, expected: &str, found: &str) -> Result<(), String> {
    if expected == found {
        Ok(())
    } else {
        Err(format!("{what}\n  expected: {expected}\n  found:    {found}"))
    }
}
