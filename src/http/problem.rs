//! Errors outside the mesibo dialect: RFC 9457 problem documents from one closed table.
//!
//! Guarantees: every error that leaves is a row of the table below, whose codes are the contract. `type` leads to the row's
//! text, which this server shows itself. Nothing of an inner error is ever in an answer.

use std::fmt::Write;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};
use tracing_actix_web::RequestId;
use url::Url;

/// A row: its code, status, title, and what a client does about it.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) advice: &'static str,
}

macro_rules! problems {
    ($($kind:ident, $name:literal, $status:ident, $title:literal, $advice:literal;)*) => {
        /// What can be wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Kind {
            $($kind,)*
        }

        /// Every error there is.
        pub(super) const ALL: &[Kind] = &[$(Kind::$kind,)*];

        impl Kind {
            pub(super) fn row(self) -> Row {
                match self {
                    $(Self::$kind => Row { name: $name, status: StatusCode::$status, title: $title, advice: $advice },)*
                }
            }
        }
    };
}

problems! {
    NotFound, "not_found", NOT_FOUND, "There is nothing at this address",
        "Correct the path.";
    MethodNotAllowed, "method_not_allowed", METHOD_NOT_ALLOWED, "This address takes another method",
        "Use the method that the header Allow names.";
    NotReady, "not_ready", SERVICE_UNAVAILABLE, "Not ready",
        "Send requests to another node.";
    NotProved, "not_proved", FORBIDDEN, "This call does not prove to be the gateway's",
        "Check the secret at the gateway, and public_url here.";
    Internal, "internal", INTERNAL_SERVER_ERROR, "Something is wrong with the server",
        "Try again later; tell the operator the request_id.";
    Overloaded, "overloaded", SERVICE_UNAVAILABLE, "The server has too much to do",
        "Try again after Retry-After. What was counted stays counted.";
    UnsupportedMediaType, "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The body must be JSON",
        "Send Content-Type: application/json.";
    BodyTooLarge, "body_too_large", PAYLOAD_TOO_LARGE, "The body is larger than 16 KiB",
        "Send less.";
    BodyTooSlow, "body_too_slow", REQUEST_TIMEOUT, "The body did not come in time",
        "Send it again over a better connection.";
    InvalidRequest, "invalid_request", BAD_REQUEST, "The body is not what this address takes",
        "Correct the body: detail says where. Unknown and repeated fields are refused. /openapi.json has \
         the shapes.";
    InvalidPhone, "invalid_phone", BAD_REQUEST, "This is no phone number",
        "Ask for the number again, with its country code.";
    PhoneNotCanonical, "phone_not_canonical", BAD_REQUEST, "The number must be in E.164",
        "Show the member suggestion to the person, and send that.";
    InvalidEmail, "invalid_email", BAD_REQUEST, "This is no e-mail address",
        "Ask for the address again.";
    InvalidCode, "invalid_code", BAD_REQUEST, "A code is a string of exactly code_length ASCII digits",
        "Ask for the code again. Nothing was counted.";
    UnknownApp, "unknown_app", FORBIDDEN, "This app is not served here",
        "Use an app_id that the operator lists for this API.";
    EmailLoginOff, "email_login_off", FORBIDDEN, "Nobody logs in by e-mail here",
        "Ask for a phone number.";
    ChannelNotOffered, "channel_not_offered", BAD_REQUEST, "Codes do not travel over this channel here",
        "Leave channel out, or use one that the app is set up for: next of an earlier answer lists them.";
    NotServed, "not_served", FORBIDDEN, "No codes are sent to such numbers",
        "Ask for another number. The operator chooses countries and kinds of numbers.";
    TooSoon, "too_soon", TOO_MANY_REQUESTS, "Another code cannot be sent yet",
        "Wait for Retry-After seconds; then it works. A code that was sent before may still be valid.";
    AddressUnreachable, "address_unreachable", UNPROCESSABLE_ENTITY, "This address cannot be reached",
        "Ask for another one.";
    MessagesBlocked, "messages_blocked", UNPROCESSABLE_ENTITY, "Messages to this address are blocked over this channel",
        "Offer one of the channels in next.";
    Undeliverable, "undeliverable", SERVICE_UNAVAILABLE, "The code could not be sent",
        "Try again after Retry-After, or over one of the channels in next. The send was not counted.";
    ChallengeGone, "challenge_gone", GONE, "There is no such challenge, or it is over",
        "Start again. Nothing was counted.";
    WrongCode, "wrong_code", FORBIDDEN, "The code is wrong",
        "Ask again while attempts_left is not 0 and after next.check seconds; then start again.";
    GuessTooSoon, "guess_too_soon", TOO_MANY_REQUESTS, "Too many wrong codes",
        "Wait for Retry-After seconds. The code was not looked at and nothing was counted. Without \
         Retry-After, only the operator can help.";
    GrantGone, "grant_gone", GONE, "There is no such grant, or it was used, or it is too old",
        "Start again.";
    MintInFlight, "mint_in_flight", CONFLICT, "The same request is being served right now",
        "Repeat the same request after Retry-After.";
    InvalidToken, "invalid_token", UNAUTHORIZED, "There is no access token, or it is not good any more",
        "Post refresh_token to /v1/session/refresh, then repeat with the new access_token.";
    SessionOver, "session_over", UNAUTHORIZED, "The session is over",
        "Log in again: it expired, or somebody logged out, or its refresh token was used twice.";
    SessionNotFound, "session_not_found", NOT_FOUND, "You have no such session",
        "List them again: it may have ended.";
    TooManyChatTokens, "too_many_chat_tokens", TOO_MANY_REQUESTS, "You had enough chat tokens for now",
        "Use the last one until it expires; another is made after Retry-After seconds.";
    AddressTaken, "address_taken", CONFLICT, "Somebody else logs in with this address",
        "Ask for another one, or log in with it. The code was right, and is used up.";
    OnlyAddress, "only_address", CONFLICT, "This is the only address that you log in with",
        "Give the account a number first.";
    UserRefused, "user_refused", FORBIDDEN, "The chat backend refuses this user",
        "Tell the person to contact support.";
    UpstreamMisconfigured, "upstream_misconfigured", SERVICE_UNAVAILABLE, "The chat backend refuses this server",
        "Only the operator can mend it. In a login the code was right: post grant to /v1/login/complete \
         later, no new code needed.";
    UpstreamUnavailable, "upstream_unavailable", SERVICE_UNAVAILABLE, "The chat backend does not answer",
        "Repeat the request after Retry-After. In a login the code was right: post grant to \
         /v1/login/complete then, no new code needed.";
}

/// A problem on its way out.
pub(super) struct Problem {
    kind: Kind,
    detail: Option<String>,
    retry_after: Option<u64>,
    extra: Map<String, Value>,
}

impl From<Kind> for Problem {
    fn from(kind: Kind) -> Self {
        Self { kind, detail: None, retry_after: None, extra: Map::new() }
    }
}

impl Problem {
    /// Says more. Never anything that came from within.
    pub(super) fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = Some(text.into());
        self
    }

    /// Seconds after which it works, or may.
    pub(super) fn retry_after(mut self, secs: u64) -> Self {
        self.retry_after = Some(secs);
        self
    }

    /// Adds a member.
    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(key.to_owned(), value.into());
        self
    }

    /// The answer.
    pub(super) fn respond(self, request: &HttpRequest) -> HttpResponse {
        let row = self.kind.row();
        let id = request.extensions().get::<RequestId>().map(ToString::to_string);
        let link = match request.app_data::<web::Data<PublicUrl>>() {
            Some(base) => format!("{}/problems#{}", base.0.as_str().trim_end_matches('/'), row.name),
            None => format!("/problems#{}", row.name),
        };
        let mut body = Map::new();
        body.insert("type".to_owned(), link.into());
        body.insert("title".to_owned(), row.title.into());
        body.insert("status".to_owned(), row.status.as_u16().into());
        body.insert("code".to_owned(), row.name.into());
        body.extend(self.detail.map(|detail| ("detail".to_owned(), detail.into())));
        body.extend(id.map(|id| ("request_id".to_owned(), id.into())));
        body.extend(self.extra);
        let mut response = HttpResponse::build(row.status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        // RFC 9110 §15.5.2 wants it with each 401.
        if row.status == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(secs) = self.retry_after {
            response.insert_header((RETRY_AFTER, secs));
        }
        response.body(Value::Object(body).to_string())
    }
}

/// Where this server is reached, for links.
pub struct PublicUrl(pub Url);

pub(super) async fn not_found(request: HttpRequest) -> HttpResponse {
    Problem::from(Kind::NotFound).respond(&request)
}

/// For what a path does not take.
pub(super) fn wrong_method(request: &HttpRequest, methods: &'static str) -> HttpResponse {
    method_not_allowed(request, &format!("{methods}, OPTIONS"))
}

/// The same where no browser asks first.
pub(super) fn method_not_allowed(request: &HttpRequest, allowed: &str) -> HttpResponse {
    let mut response = Problem::from(Kind::MethodNotAllowed).respond(request);
    if let Ok(allow) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// The table for people: where `type` leads.
pub(super) async fn page() -> HttpResponse {
    let mut html = String::from(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Problems</title>\
         <style>body{font:16px/1.5 sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}</style>\
         <h1>Problems</h1>\n",
    );
    for row in ALL.iter().map(|kind| kind.row()) {
        let (name, status) = (row.name, row.status.as_u16());
        // Writing to a String does not fail.
        let _ =
            writeln!(html, "<h2 id={name}>{name} ({status})</h2><p><b>{}.</b> {}</p>", row.title, row.advice);
    }
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(html)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_its_kind_and_its_own() {
        for kind in ALL {
            let words: String = format!("{kind:?}")
                .chars()
                .flat_map(|c| if c.is_uppercase() { vec!['_', c.to_ascii_lowercase()] } else { vec![c] })
                .collect();
            assert_eq!(words.trim_start_matches('_'), kind.row().name);
        }
        let names: BTreeSet<&str> = ALL.iter().map(|kind| kind.row().name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
