//! Tokens that a gateway grants: asked for once, kept while they are good, never a reason to send twice.

use std::time::Duration;

use wiremock::matchers::{header, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::wire::{answering, body, message};
use super::*;
use crate::ambient::ManualClock;
use crate::delivery::{Provider, SendError};
use crate::domain::time::Timestamp;

const CANARY: &str = "can4ry s3cret";

/// A gateway that grants `t1`, `t2` and so on, each for ten minutes, and takes them.
async fn granting(refused: Option<&str>) -> MockServer {
    let server = MockServer::start().await;
    let accepted = ResponseTemplate::new(200).set_body_string("{\"status\": \"ok\", \"id\": \"1\"}");
    for number in 1..=3u8 {
        let token = format!("t{number}");
        let granted =
            format!("{{\"access_token\": \"{token}\", \"token_type\": \"bearer\", \"expires_in\": 600}}");
        let grant =
            Mock::given(path("/token")).respond_with(body(&granted).set_delay(Duration::from_millis(20)));
        grant.up_to_n_times(1).mount(&server).await;
        let answer = if refused == Some(&*token) { ResponseTemplate::new(401) } else { accepted.clone() };
        let bearer = header("authorization", format!("Bearer {token}").as_str());
        Mock::given(path("/send")).and(bearer).respond_with(answer).mount(&server).await;
    }
    server
}

fn gateway(token_server: &str, server: &str) -> (Gateway, Arc<ManualClock>) {
    let grant = "auth = { kind = \"oauth2_cc\", token_url = \"{{ cfg.token_url }}\", id = \"we & co\", \
                 secret = \"{{ cfg.token }}\", scope = \"sms\" }";
    let text = MINIMAL
        .replace("auth = { kind = \"bearer\", token = \"{{ cfg.token }}\" }", grant)
        .replace("[limits]", "token_url = { required = true }\n[limits]");
    let token_url = format!("{token_server}/token");
    let settings = [("base_url", server), ("token", CANARY), ("token_url", token_url.as_str())];
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_767_225_600_000)));
    let shared: Arc<dyn crate::ambient::Clock> = Arc::<ManualClock>::clone(&clock);
    (Gateway::new("test", &configured(&text, &settings), shared, None).expect("a gateway"), clock)
}

async fn calls(server: &MockServer, to: &str) -> Vec<wiremock::Request> {
    let requests = server.received_requests().await.expect("requests");
    requests.into_iter().filter(|request| request.url.path() == to).collect()
}

#[tokio::test]
async fn messages_that_need_a_token_at_once_wait_for_the_same_one() {
    let server = granting(None).await;
    let (gateway, clock) = gateway(&server.uri(), &server.uri());
    let message = message();
    let sent = futures_util::future::join_all((0..8).map(|_| gateway.send(&message))).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    let grants = calls(&server, "/token").await;
    assert_eq!(grants.len(), 1);
    // RFC 6749 §2.3.1: "we+%26+co:can4ry+s3cret".
    assert_eq!(grants[0].headers["authorization"], "Basic d2UrJTI2K2NvOmNhbjRyeStzM2NyZXQ=");
    assert_eq!(grants[0].body, b"grant_type=client_credentials&scope=sms");

    clock.advance(Duration::from_secs(539));
    gateway.send(&message).await.expect("the same token");
    assert_eq!(calls(&server, "/token").await.len(), 1);
    clock.advance(Duration::from_secs(1));
    gateway.send(&message).await.expect("another token");
    assert_eq!(calls(&server, "/token").await.len(), 2, "a minute before it expires");
    assert_eq!(calls(&server, "/send").await.len(), 10);
}

#[tokio::test]
async fn a_token_that_the_gateway_no_longer_takes_is_replaced_once() {
    let server = granting(Some("t1")).await;
    let (gateway, _) = gateway(&server.uri(), &server.uri());
    gateway.send(&message()).await.expect("with the second token");
    assert_eq!((calls(&server, "/token").await.len(), calls(&server, "/send").await.len()), (2, 2));

    let never = answering(ResponseTemplate::new(401)).await;
    let server = granting(None).await;
    let (gateway, _) = self::gateway(&server.uri(), &never.uri());
    assert_eq!(gateway.send(&message()).await.expect_err("refused twice").kind(), "auth");
    assert_eq!((calls(&server, "/token").await.len(), calls(&never, "/send").await.len()), (2, 2));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_no_error_holds_a_secret_f7() {
    let gateway_server = answering(body("{\"status\": \"ok\"}")).await;
    let cases = [
        (400, "{\"error\": \"invalid_client\"}", "auth"),
        (401, "can4ry s3cret", "auth"),
        (429, "", "throttled"),
        (500, "", "temporary"),
        (302, "", "temporary"),
        (200, "{\"access_token\": \"\"}", "temporary"),
        (200, "<html>", "temporary"),
    ];
    for (status, text, kind) in cases {
        let server = answering(ResponseTemplate::new(status).set_body_string(text)).await;
        let (gateway, _) = gateway(&server.uri(), &gateway_server.uri());
        let trial = gateway.try_out(&message()).await;
        let error = trial.result.expect_err("no token");
        assert_eq!(error.kind(), kind, "{status} {text}");
        let told = format!("{error} {} {:?}", trial.request, trial.answer);
        assert!(!told.contains("s3cret") && !told.contains("d2Ur"), "{told}");
    }
    let slow = answering(body("{\"access_token\": \"t\"}").set_delay(Duration::from_secs(30))).await;
    let (gateway, _) = gateway(&slow.uri(), &gateway_server.uri());
    let error = gateway.send(&message()).await.expect_err("no token in time");
    assert_eq!(error, SendError::Temporary("no token: no answer in time".to_owned()));
    assert_eq!(gateway_server.received_requests().await.expect("requests").len(), 0);
}
