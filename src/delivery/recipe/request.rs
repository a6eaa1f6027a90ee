//! Making the request.
//!
//! Guarantees: its host is that of the base URL. Headers that prove who we are never show in a `Debug`.

use minijinja::value::Value as Filled;
use reqwest::Method;
use reqwest::header::HeaderName;

use super::auth::{Auth, Occasion, Proof};
use super::file;
use crate::outbound::request::{Description, Request, RequestTemplate, header};
use crate::outbound::template::{LoadError, Templates};

/// What every URL begins with.
const BASE: &str = "{{ cfg.base_url }}";

/// How to make it.
pub(super) struct Sender {
    pub(super) request: RequestTemplate,
    pub(super) auth: Auth,
}

/// A method by its name.
pub(super) fn method(key: &str, name: &str) -> Result<Method, LoadError> {
    match name {
        "GET" => Ok(Method::GET),
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        _ => Err(LoadError::new(key, "must be GET, POST, PUT or PATCH")),
    }
}

/// A URL leads to the base URL's host alone.
pub(super) fn check_url(key: &str, url: &str) -> Result<(), LoadError> {
    let rest = url.strip_prefix(BASE);
    if rest.is_none_or(|rest| !rest.is_empty() && !rest.starts_with(['/', '?'])) {
        let fix = format!("must begin with {BASE}, and go on with / where it goes on");
        return Err(LoadError::new(key, fix));
    }
    Ok(())
}

impl Sender {
    pub(super) fn compile(templates: &mut Templates, send: &file::Send) -> Result<Self, LoadError> {
        check_url("send.url", &send.url)?;
        let request = Description {
            key: "send",
            method: method("send.method", &send.method)?,
            url: ("send.url", &send.url),
            format: send.format,
            headers: ("send.headers", &send.headers),
            body: &send.body,
            overlay: &send.overlay,
        };
        Ok(Self {
            request: RequestTemplate::compile(templates, &request)?,
            auth: Auth::compile(templates, &send.auth)?,
        })
    }

    /// The settings that a URL of it holds.
    pub(super) fn settings_in_url(&self) -> Vec<&str> {
        let mut names = self.request.settings_in_url();
        if let Some(template) = self.auth.in_url() {
            names.extend(template.settings.iter().map(String::as_str));
        }
        names
    }

    /// Adds what the gateway knows us by.
    pub(super) fn prove(
        &self,
        templates: &Templates,
        context: &Filled,
        occasion: &Occasion<'_>,
        request: &mut Request,
    ) -> Result<(), String> {
        match self.auth.prove(templates, context, occasion, request)? {
            Proof::Nothing => {}
            Proof::Headers(list) => {
                for (name, value) in list {
                    let parsed: HeaderName =
                        name.parse().or(Err("send.auth.name: this is no header's name".to_owned()))?;
                    request.proof.insert(parsed, header(&name, &value)?);
                }
            }
            Proof::Query(name, value) => {
                request.url.query_pairs_mut().append_pair(&name, &value);
            }
        }
        Ok(())
    }
}
