//! Errors outside the mesibo dialect: RFC 9457 problem documents from one closed table.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde_json::json;
use tracing_actix_web::RequestId;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    NotFound,
    NotReady,
}

impl Problem {
    /// Status, code, title, and seconds after which it may be better.
    fn describe(self) -> (StatusCode, &'static str, &'static str, Option<u64>) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "There is nothing at this address", None),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready", Some(1)),
        }
    }

    /// The answer.
    pub(super) fn respond(self, request: &HttpRequest) -> HttpResponse {
        let (status, code, title, retry_after) = self.describe();
        let id = request.extensions().get::<RequestId>().map(ToString::to_string);
        let mut response = HttpResponse::build(status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if let Some(seconds) = retry_after {
            response.insert_header((RETRY_AFTER, seconds));
        }
        let body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "code": code, "request_id": id});
        response.body(body.to_string())
    }
}

pub(super) async fn not_found(request: HttpRequest) -> HttpResponse {
    Problem::NotFound.respond(&request)
}
