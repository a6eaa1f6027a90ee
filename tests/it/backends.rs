//! Whole logins at the chat backends that are called over HTTP, against servers that answer as theirs do.

mod chatsdk;
mod matrix;
mod sendbird;

use serde_json::{Value, json};

use crate::harness::TestApp;
use crate::harness::app::{APP, Answer};

/// Asks for a code for a number in E.164, and sends it back.
async fn log_in(app: &TestApp, app_id: &str, phone: &str) -> Answer {
    let started = app.post_json("/v1/login", &json!({"app_id": app_id, "phone": phone})).await;
    assert_eq!(started.status, 202, "{started:?}");
    let sent = app.outbox.sent().into_iter().rfind(|sent| sent.to == phone);
    let code = sent.expect("a message").code;
    let (challenge, secret) = (started.get("challenge"), started.get("secret"));
    app.post_json("/v1/login/verify", &json!({"challenge": challenge, "secret": secret, "code": code})).await
}

/// The chat body of a login that succeeds.
async fn chat_of(app: &TestApp, phone: &str) -> Value {
    let verified = log_in(app, APP, phone).await;
    assert_eq!(verified.status, 200, "{verified:?}");
    verified.get("chat")
}

/// Spends the grant of a login that has failed.
async fn complete(app: &TestApp, failed: &Answer) -> Answer {
    app.post_json("/v1/login/complete", &json!({"grant": failed.get("grant")})).await
}

/// What a client is told, and when to come back.
fn told(answer: &Answer) -> (u16, String, Option<u64>) {
    let wait = answer.headers.get("retry-after").map(|wait| wait.to_str().expect("ASCII").parse());
    let code = answer.get("code").as_str().unwrap_or_default().to_owned();
    (answer.status, code, wait.map(|wait| wait.expect("seconds")))
}
