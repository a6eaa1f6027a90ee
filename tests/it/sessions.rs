//! Sessions over HTTP, on both databases.

mod chat_token;
mod documents;
mod expiry;
mod list;
mod logout;
mod mesibo;
mod processes;
mod refresh;
mod strict;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::TestApp;
use crate::harness::app::{APP, Answer};

const NUMBER: &str = "+18005551234";

/// Posts JSON, as anybody.
async fn post(app: &TestApp, path: &str, body: Value) -> Answer {
    app.post_json(path, &body).await
}

/// Any request with an access token. Null: no body.
async fn call(app: &TestApp, method: Method, path: &str, access: &str, body: Value) -> Answer {
    let request = app.request(method, path).bearer_auth(access);
    let request = if body.is_null() {
        request
    } else {
        request.header("content-type", "application/json").body(body.to_string())
    };
    app.send(request).await
}

/// What a client holds of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    access: String,
    refresh: String,
}

impl Held {
    fn of(session: &Value) -> Self {
        let text = |key: &str| session[key].as_str().unwrap_or_else(|| panic!("{key}: {session}")).to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}

/// A whole login from some device; all of the answer.
async fn log_in_as(app: &TestApp, number: &str, device: Option<&str>) -> Answer {
    let started = post(app, "/v1/login", json!({"app_id": APP, "phone": number})).await;
    assert_eq!(started.status, 202, "{started:?}");
    let mut body = json!({
        "challenge": started.get("challenge"), "secret": started.get("secret"), "code": app.outbox.last_code(),
    });
    if let Some(device) = device {
        body["device"] = device.into();
    }
    post(app, "/v1/login/verify", body).await
}

/// A login; what it gave.
async fn log_in(app: &TestApp, number: &str) -> Held {
    let answer = log_in_as(app, number, None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    Held::of(&answer.get("session"))
}

/// The same user logs in once more: the wait between two messages is over.
async fn log_in_again(app: &TestApp, number: &str) -> Held {
    app.advance(600);
    log_in(app, number).await
}

async fn refresh(app: &TestApp, token: &str) -> Answer {
    post(app, "/v1/session/refresh", json!({"refresh_token": token})).await
}

/// The next tokens.
async fn refreshed(app: &TestApp, held: &Held) -> Held {
    let answer = refresh(app, &held.refresh).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    Held::of(&answer.json())
}

/// What the session's own list says: its status, and its code where it is none.
async fn listed(app: &TestApp, held: &Held) -> (u16, Value) {
    let answer = call(app, Method::GET, "/v1/sessions", &held.access, Value::Null).await;
    (answer.status, answer.get("code"))
}

fn is_live() -> (u16, Value) {
    (200, Value::Null)
}

fn is_over() -> (u16, Value) {
    (401, json!("session_over"))
}
