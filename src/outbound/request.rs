//! Making a request as a description says.
//!
//! Guarantees: what is filled in cannot lead the URL elsewhere: it is escaped, and no step of the path is `.` or `..`.
//! Headers never show in a `Debug`.

use std::collections::BTreeMap;

use minijinja::value::Value as Filled;
use reqwest::Method;
use reqwest::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use serde_json::{Map, Value};
use url::Url;

use super::body::{Body, Format, Overlay};
use super::template::{LoadError, Template, Templates};

/// A request as it is described.
pub(crate) struct Description<'a> {
    /// Where the description stands, such as `send`.
    pub(crate) key: &'a str,
    pub(crate) method: Method,
    /// The key of the URL, such as `send.url`, and its template.
    pub(crate) url: (&'a str, &'a str),
    pub(crate) format: Format,
    /// The key of the headers, such as `send.headers`, and their templates.
    pub(crate) headers: (&'a str, &'a BTreeMap<String, String>),
    pub(crate) body: &'a Map<String, Value>,
    pub(crate) overlay: &'a [Overlay],
}

/// The same, compiled.
pub(crate) struct RequestTemplate {
    key: String,
    method: Method,
    url: Template,
    format: Format,
    headers: Vec<(HeaderName, Template)>,
    body: Body,
}

/// Headers that say where a request goes and where it ends.
const FRAMING: [HeaderName; 4] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION];

/// What leaves.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// What the other end knows us by; not to be shown.
    pub(crate) proof: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
}

impl RequestTemplate {
    pub(crate) fn compile(templates: &mut Templates, what: &Description<'_>) -> Result<Self, LoadError> {
        let key = what.key;
        if what.method == Method::GET && matches!(what.format, Format::Form | Format::Json) {
            let fix = "a GET has no body: write format = \"query\", or \"none\"";
            return Err(LoadError::new(&format!("{key}.format"), fix));
        }
        let mut headers = Vec::new();
        let (headers_key, described) = what.headers;
        for (name, value) in described {
            let key = format!("{headers_key}.{name}");
            let parsed = name.parse().map_err(|_bad| LoadError::new(&key, "this is no header's name"))?;
            if FRAMING.contains(&parsed) {
                let fix = "it follows from the URL and the body, and is written by itself: remove it";
                return Err(LoadError::new(&key, fix));
            }
            headers.push((parsed, templates.compile(&key, value)?));
        }
        let (url_key, url) = what.url;
        Ok(Self {
            key: key.to_owned(),
            method: what.method.clone(),
            url: templates.compile_url(url_key, url)?,
            format: what.format,
            headers,
            body: Body::compile(templates, key, what.body, what.overlay, what.format)?,
        })
    }

    /// The settings that its URL holds.
    pub(crate) fn settings_in_url(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.url.settings.iter().map(String::as_str).collect();
        if self.format == Format::Query {
            names.extend(self.body.settings());
        }
        names
    }

    /// Fills it in. An error names a place in the description, never a value.
    pub(crate) fn make(&self, templates: &Templates, context: &Filled) -> Result<Request, String> {
        let key = &self.key;
        let url = templates.render(&self.url, context)?;
        let path = url.split(['?', '#']).next().unwrap_or_default();
        if path.split('/').any(|step| matches!(step, "." | "..")) {
            return Err(format!("{key}: what comes out leads elsewhere, by a step that is \".\" or \"..\""));
        }
        let mut url = Url::parse(&url).map_err(|_bad| format!("{key}: what comes out is no URL"))?;
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
                let written = serde_json::to_vec(&filled);
                Some(written.map_err(|_bad| format!("{key}.body: what comes out is no JSON"))?)
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
}

/// A header's value, which shows in no `Debug`.
pub(crate) fn header(name: &str, text: &str) -> Result<HeaderValue, String> {
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
