//! What one logs in with, over HTTP, on both databases.

mod crashes;
mod email;
mod operator;
mod phone;
mod purposes;
mod recycled;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::TestApp;
use crate::harness::app::Answer;
use crate::sessions::{Held, call, post};

const OTHER: &str = "+18005551299";
const MAILBOX: &str = "ann@mail.example";

/// Posts with an access token.
async fn post_as(app: &TestApp, held: &Held, path: &str, body: Value) -> Answer {
    call(app, Method::POST, path, &held.access, body).await
}

/// Asks for a code to another number.
async fn change(app: &TestApp, held: &Held, number: &str) -> Answer {
    post_as(app, held, "/v1/phone/change", json!({"phone": number})).await
}

/// What a client posts with a code.
fn proof(started: &Answer, code: &str) -> Value {
    json!({"challenge": started.get("challenge"), "secret": started.get("secret"), "code": code})
}

/// A change of number from beginning to end.
async fn changed(app: &TestApp, held: &Held, number: &str) -> Answer {
    let started = change(app, held, number).await;
    assert_eq!(started.status, 202, "{started:?}");
    let proof = proof(&started, &app.outbox.last_code());
    post_as(app, held, "/v1/phone/change/verify", proof).await
}

/// A mailbox is linked, from beginning to end.
async fn linked(app: &TestApp, held: &Held, mailbox: &str) -> Answer {
    let started = post_as(app, held, "/v1/email/link", json!({"email": mailbox})).await;
    assert_eq!(started.status, 202, "{started:?}");
    let proof = proof(&started, &app.outbox.last_code());
    post_as(app, held, "/v1/email/link/verify", proof).await
}

/// Logs in with a mailbox; all of the answer.
async fn log_in_by_mail(app: &TestApp, mailbox: &str) -> Answer {
    let body = json!({"app_id": crate::harness::app::APP, "email": mailbox});
    let started = post(app, "/v1/login", body).await;
    assert_eq!(started.status, 202, "{started:?}");
    post(app, "/v1/login/verify", proof(&started, &app.outbox.last_code())).await
}

/// The user of a session.
async fn user_of(app: &TestApp, held: &Held) -> Value {
    let chat = post_as(app, held, "/v1/chat-token", Value::Null).await;
    assert_eq!(chat.status, 200, "{chat:?}");
    chat.get("user_id")
}
