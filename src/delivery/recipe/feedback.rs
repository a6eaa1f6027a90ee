//! Telling a gateway that a code came back. Some learn from it which messages are pumped, some bill by it.
//!
//! Guarantees: it goes where messages go, and nothing depends on what comes of it.

use minijinja::value::Value;

use super::file;
use super::request::{check_url, method};
use crate::outbound::request::{Description, Request, RequestTemplate};
use crate::outbound::template::{LoadError, Names, Templates};

/// What is known of a message whose code came back.
pub(super) const NAMES: [&str; 7] = ["to", "to_country", "to_digits", "msg.id", "code", "provider_id", "now"];

/// Compiled.
pub(super) struct Feedback {
    templates: Templates,
    request: RequestTemplate,
    pub(super) example: file::FeedbackExample,
}

impl Feedback {
    pub(super) fn compile(names: Names, feedback: file::Feedback) -> Result<Self, LoadError> {
        check_url("feedback.url", &feedback.url)?;
        let mut templates = Templates::new(names);
        let request = Description {
            key: "feedback",
            method: method("feedback.method", &feedback.method)?,
            url: ("feedback.url", &feedback.url),
            format: feedback.format,
            headers: ("feedback.headers", &feedback.headers),
            body: &feedback.body,
            overlay: &[],
        };
        let request = RequestTemplate::compile(&mut templates, &request)?;
        Ok(Self { templates, request, example: feedback.example })
    }

    /// The settings that it names.
    pub(super) fn uses(&self, setting: &str) -> bool {
        self.templates.used().contains(setting)
    }

    /// The settings that its URL holds.
    pub(super) fn settings_in_url(&self) -> Vec<&str> {
        self.request.settings_in_url()
    }

    /// Fills it in.
    pub(super) fn make(&self, context: &Value) -> Result<Request, String> {
        self.request.make(&self.templates, context)
    }
}
