//! Telling a gateway that a code came back.

use wiremock::ResponseTemplate;

use super::wire::{CODE, answering, body, message};
use super::*;
use crate::ambient::ManualClock;
use crate::delivery::{Provider, UsedCode};
use crate::domain::time::Timestamp;

fn used() -> UsedCode {
    let message = message();
    UsedCode {
        id: message.id,
        provider_id: "VE/1".to_owned(),
        to: message.to,
        code: message.code.expect("a code"),
    }
}

fn gateway(text: &str, base_url: &str) -> Gateway {
    let settings = [
        ("base_url", base_url),
        ("token", "t"),
        ("account_sid", "AC0123456789abcdef0123456789abcdef"),
        ("auth_token", "t"),
        ("service_sid", "VA0123456789abcdef0123456789abcdef"),
    ];
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_767_225_600_000)));
    Gateway::new("test", &configured(text, &settings), clock, None).expect("a gateway")
}

#[tokio::test]
async fn a_gateway_that_asks_for_it_is_told_of_the_code_that_came_back() {
    let server = answering(body("{}")).await;
    let verify = gateway(include_str!("../../../../providers/twilio_verify.toml"), &server.uri());
    verify.feedback(&used()).expect("a call").await.expect("told");
    let telegram = gateway(include_str!("../../../../providers/telegram.toml"), &server.uri());
    telegram.feedback(&used()).expect("a call").await.expect("told");
    let requests = server.received_requests().await.expect("requests");
    let service = "/v2/Services/VA0123456789abcdef0123456789abcdef/Verifications/VE%2F1";
    assert_eq!(requests[0].url.path(), service, "an id of theirs stays in its place");
    assert_eq!(requests[0].body, b"Status=approved");
    assert!(requests[0].headers["authorization"].to_str().expect("text").starts_with("Basic "));
    let told: serde_json::Value = serde_json::from_slice(&requests[1].body).expect("JSON");
    assert_eq!(told, serde_json::json!({"code": CODE, "request_id": "VE/1"}));
}

#[tokio::test]
async fn a_gateway_that_does_not_ask_is_told_nothing_and_one_that_refuses_is_an_error() {
    assert!(gateway(MINIMAL, "http://localhost:1").feedback(&used()).is_none());
    let server = answering(ResponseTemplate::new(404)).await;
    let verify = gateway(include_str!("../../../../providers/twilio_verify.toml"), &server.uri());
    let error = verify.feedback(&used()).expect("a call").await.expect_err("refused");
    assert_eq!(error.to_string(), "rejected: HTTP status 404");
}
