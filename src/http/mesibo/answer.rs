//! What goes back.

use actix_web::HttpResponse;
use actix_web::http::header;
use serde_json::{Map, Value, json};

use super::fields::Fields;
use crate::config::ClientTexts;
use crate::domain::time::Timestamp;

/// How `result` is spelled. The tutorial promises booleans; every published app takes strings alone, and two crash
/// on a boolean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    Strings,
    Booleans,
}

impl Spelling {
    /// Booleans for what looks like the tutorial's curl and nothing else: an object without an app's fields, not
    /// from a browser.
    pub(super) fn guess(fields: Option<&Fields>, browser: bool) -> Self {
        match fields {
            Some(fields) if !fields.is_from_an_app() && !browser => Self::Booleans,
            Some(_) | None => Self::Strings,
        }
    }
}

/// Why not. PHP's words where it has one. Never `AUTHFAIL`: it crashes two apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    NoOp,
    BadOp,
    MissingApp,
    BadApp,
    BadPhone,
    BadUser,
    TooSoon,
    Busy,
}

impl Failure {
    fn word(self) -> &'static str {
        match self {
            Self::NoOp => "NOOP",
            Self::BadOp => "BADOP",
            Self::MissingApp => "MISSINGAPPID",
            Self::BadApp => "BADAPP",
            Self::BadPhone => "BADPHONE",
            Self::BadUser => "BADUSER",
            Self::TooSoon => "TOOSOON",
            Self::Busy => "BUSY",
        }
    }
}

/// An answer, before `result` is spelled.
pub(super) struct Answer {
    op: String,
    failure: Option<Failure>,
    extra: Map<String, Value>,
}

impl Answer {
    pub(super) fn ok(op: &str) -> Self {
        Self { op: op.to_owned(), failure: None, extra: Map::new() }
    }

    pub(super) fn fail(op: &str, failure: Failure) -> Self {
        Self { op: op.to_owned(), failure: Some(failure), extra: Map::new() }
    }

    /// Adds a text, unless it is empty.
    pub(super) fn with_text(mut self, key: &str, text: &str) -> Self {
        if !text.is_empty() {
            self.extra.insert(key.to_owned(), text.into());
        }
        self
    }

    /// A right code: PHP's whole set. Android's Invite menu needs `share`; the URLs that nobody reads are there for
    /// parity.
    pub(super) fn token(token: &str, phone: &str, texts: &ClientTexts) -> Self {
        let (upload, download) = (&texts.upload_url, &texts.download_url);
        let share =
            json!({"text": texts.share_text, "subject": texts.share_subject, "title": texts.share_title});
        let fields = [
            ("token", json!(token)),
            ("phone", json!(phone)),
            ("fileurl", json!(download)),
            ("downloadurl", json!(download)),
            ("uploadurl", json!(upload)),
            ("uiconfig", json!({})),
            ("urls", json!({"upload": upload, "download": download})),
            ("share", share),
            ("invite", json!(texts.invite)),
        ];
        let extra = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self { extra, ..Self::ok("login") }
    }

    /// The response, keys in PHP's order.
    pub(super) fn render(self, spelling: Spelling, now: Timestamp) -> HttpResponse {
        let mut body = Map::new();
        body.insert("op".to_owned(), self.op.into());
        body.insert("ts".to_owned(), now.as_secs().into());
        body.extend(self.extra);
        if let Some(failure) = self.failure {
            body.insert("error".to_owned(), failure.word().into());
        }
        let ok = self.failure.is_none();
        let result = match spelling {
            Spelling::Strings => Value::from(if ok { "OK" } else { "FAIL" }),
            Spelling::Booleans => Value::from(ok),
        };
        body.insert("result".to_owned(), result);
        HttpResponse::Ok()
            .content_type("application/json")
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
            .body(Value::Object(body).to_string())
    }
}

/// A browser asks whether it may.
pub(super) fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish()
}
