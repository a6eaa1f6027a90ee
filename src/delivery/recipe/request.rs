//! Making the request.
//!
//! Guarantees: its host is that of the base URL. Headers that prove who we are never show in a `Debug`.

use minijinja::value::Value as Filled;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use super::auth::{Auth, Proof, Signed};
use super::body::Body;
use super::file::Format;
use super::template::{Template, Templates};
use super::{LoadError, file};

/// What every URL begins with.
const BASE: &str = "{{ cfg.base_url }}";

/// How to make it.
pub(super) struct Sender {
    method: Method,
    url: Template,
    format: Format,
    pub(super) auth: Auth,
    headers: Vec<(HeaderName, Template)>,
    body: Body,
}

/// What leaves.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// What the gateway knows us by; not to be shown.
    pub(super) proof: HeaderMap,
    pub(super) body: Option<Vec<u8>>,
}

impl Sender {
    pub(super) fn compile(templates: &mut Templates, send: &file::Send) -> Result<Self, LoadError> {
        let method = match send.method.as_str() {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            _ => return Err(LoadError::new("send.method", "must be GET, POST or PUT")),
        };
        if method == Method::GET && matches!(send.format, Format::Form | Format::Json) {
            return Err(LoadError::new("send.format", "a GET has no body: write format = \"query\""));
        }
        let rest = send.url.strip_prefix(BASE);
        if rest.is_none_or(|rest| !rest.is_empty() && !rest.starts_with(['/', '?'])) {
            let fix = format!("must begin with {BASE}, and go on with / where it goes on");
            return Err(LoadError::new("send.url", fix));
        }
        let mut headers = Vec::new();
        for (name, value) in &send.headers {
            let key = format!("send.headers.{name}");
            let parsed = name.parse().map_err(|_bad| LoadError::new(&key, "this is no header's name"))?;
            headers.push((parsed, templates.compile(&key, value)?));
        }
        Ok(Self {
            method,
            url: templates.compile_url("send.url", &send.url)?,
            format: send.format,
            auth: Auth::compile(templates, &send.auth)?,
            headers,
            body: Body::compile(templates, &send.body, &send.overlay, send.format)?,
        })
    }

    /// The settings that a URL of it holds.
    pub(super) fn settings_in_url(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.url.settings.iter().map(String::as_str).collect();
        if let Some(template) = self.auth.in_url() {
            names.extend(template.settings.iter().map(String::as_str));
        }
        if self.format == Format::Query {
            names.extend(self.body.settings());
        }
        names
    }

    /// Fills it in. An error names a place in the recipe, never a value.
    pub(super) fn make(&self, templates: &Templates, context: &Filled) -> Result<Request, String> {
        let mut url = Url::parse(&templates.render(&self.url, context)?)
            .or(Err("send.url: what comes out is no URL".to_owned()))?;
        let filled = self.body.render(templates, context)?;
        let mut headers = HeaderMap::new();
        let body = match self.format {
            Format::Form => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(pairs(&filled));
                Some(form.finish().into_bytes())
            }
            Format::Json => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Some(serde_json::to_vec(&filled).or(Err("send.body: what comes out is no JSON".to_owned()))?)
            }
            Format::Query => {
                url.query_pairs_mut().extend_pairs(pairs(&filled));
                None
            }
            Format::None => None,
        };
        for (name, template) in &self.headers {
            let text = templates.render(template, context)?;
            if !text.is_empty() {
                headers.insert(name.clone(), header(name.as_str(), &text)?);
            }
        }
        Ok(Request { method: self.method.clone(), url, headers, proof: HeaderMap::new(), body })
    }

    /// Adds what the gateway knows us by.
    pub(super) fn prove(
        &self,
        templates: &Templates,
        context: &Filled,
        id: &str,
        now: i64,
        request: &mut Request,
    ) -> Result<(), String> {
        let signed = Signed { id, now, body: request.body.as_deref().unwrap_or_default() };
        match self.auth.prove(templates, context, &signed)? {
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

fn header(name: &str, text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_bad| {
        format!("the header {name}: what comes out has a character that headers cannot hold")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Texts as they are, numbers and booleans as they are written.
fn pairs(filled: &Map<String, Value>) -> impl Iterator<Item = (&str, String)> {
    filled.iter().map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (name.as_str(), text)
    })
}
