//! Whole logins through each kind of chat backend, against fakes that answer as the vendors do.

mod http;
mod kustomer;
mod presets;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use wiremock::MockServer;

use crate::harness::app::{APP, Answer};
use crate::harness::{Database, TestApp};

/// A server with one configured backend, named `chat`.
fn serving(database: &Database, upstream: &str) -> TestApp {
    TestApp::builder(database).config(&format!("[upstreams.chat]\n{upstream}")).real_upstreams().start()
}

async fn post(app: &TestApp, path: &str, body: Value) -> Answer {
    let request = app.request(Method::POST, path).header("content-type", "application/json");
    app.send(request.body(body.to_string())).await
}

/// A whole login over our own API.
async fn log_in(app: &TestApp, phone: &str) -> Answer {
    let started = post(app, "/v1/login", json!({"app_id": APP, "phone": phone})).await;
    assert_eq!(started.status, 202, "{started:?}");
    let code = app.outbox.last_code();
    let body = json!({"challenge": started.get("challenge"), "secret": started.get("secret"), "code": code});
    post(app, "/v1/login/verify", body).await
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
