//! Whole logins at each kind of chat backend, against servers that answer as the vendors' do.

mod chatsdk;
mod http;
mod kustomer;
mod matrix;
mod presets;
mod sendbird;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use wiremock::MockServer;

use crate::harness::app::{APP, Answer};
use crate::harness::{Database, TestApp};

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

/// A server with one configured backend, named `chat`.
fn serving(database: &Database, upstream: &str) -> TestApp {
    TestApp::builder(database).config(&format!("[upstreams.chat]\n{upstream}")).real_upstreams().start()
}

/// The chat body of an answer, which is a success.
fn chat(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.get("chat")
}

/// Header and payload of a JWT, as they were written.
fn parts(token: &Value) -> [String; 2] {
    let mut parts = token.as_str().expect("a token").split('.');
    [(); 2].map(|()| {
        let bytes = URL_SAFE_NO_PAD.decode(parts.next().expect("a part")).expect("base64");
        String::from_utf8(bytes).expect("text")
    })
}

async fn calls(server: &MockServer) -> usize {
    server.received_requests().await.expect("recorded").len()
}
