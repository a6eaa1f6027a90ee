use serde_json::json;
use wiremock::matchers::{any, method, path_regex};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::super::tests::{LIMITS, logged, subject};
use super::*;
use crate::ambient::ManualClock;
use crate::domain::time::Timestamp;

mod codes;

const API_TOKEN: &str = "0f6a5c-api-token-canary";
const SESSION_TOKEN: &str =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJlIjoxNTk4NjUxODE1LCJ1IjoxMjI0NzQ5ODEsInYiOjF9.CFbZ4iOs";
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_123);
const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1000;

fn config(url: &str) -> SendbirdUpstream {
    SendbirdUpstream {
        url: url.parse().expect("a URL"),
        api_token: format!(" {API_TOKEN}\n").into(),
        token_lifetime: Duration::from_hours(7 * 24),
        profile_url: String::new(),
        call: LIMITS,
    }
}

fn sendbird(config: &SendbirdUpstream) -> Sendbird {
    Sendbird::new("chat", config, Arc::new(ManualClock::new(NOW))).expect("authorities")
}

fn token() -> ResponseTemplate {
    let expires_at = NOW.as_millis() + WEEK_MS;
    ResponseTemplate::new(200).set_body_json(json!({"token": SESSION_TOKEN, "expires_at": expires_at}))
}

fn user() -> ResponseTemplate {
    let user =
        json!({"user_id": "usr_1", "nickname": "", "profile_url": "", "access_token": "", "is_active": true});
    ResponseTemplate::new(200).set_body_json(user)
}

/// A refusal as Sendbird words it.
fn refusal(status: u16, code: u64, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"message": message, "code": code, "error": true}))
}

fn no_user() -> ResponseTemplate {
    refusal(400, 400_201, "\"User\" not found.")
}

fn user_exists() -> ResponseTemplate {
    refusal(400, 400_202, "\"user_id\" violates unique constraint.")
}

/// Answers in this order; the last one again and again.
async fn answering(answers: &[ResponseTemplate]) -> (MockServer, Sendbird) {
    let server = MockServer::start().await;
    let (last, first) = answers.split_last().expect("an answer");
    for answer in first {
        Mock::given(any()).respond_with(answer.clone()).up_to_n_times(1).mount(&server).await;
    }
    Mock::given(any()).respond_with(last.clone()).mount(&server).await;
    let sendbird = sendbird(&config(&server.uri()));
    (server, sendbird)
}

/// What a mint comes to when Sendbird answers like this.
async fn fault(answers: &[ResponseTemplate]) -> UpstreamError {
    let (_server, sendbird) = answering(answers).await;
    let error = sendbird.mint(&subject()).await.err().expect("no token");
    assert!(!format!("{error} {error:?}").contains(API_TOKEN), "{error}");
    error
}

async fn received(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.expect("recorded")
}

/// Method, path and body of each call, in order.
async fn calls(server: &MockServer) -> Vec<String> {
    let call = |request: Request| {
        let body = String::from_utf8(request.body).expect("UTF-8");
        format!("{} {} {body}", request.method, request.url.path())
    };
    received(server).await.into_iter().map(call).collect()
}

#[tokio::test]
async fn a_returning_user_costs_one_call_and_a_new_one_three_of_exactly_these_bytes() {
    let (server, sendbird) = answering(&[token(), no_user(), user(), token()]).await;
    for _ in ["returning", "new"] {
        let minted = sendbird.mint(&subject()).await.expect("a token");
        assert_eq!((minted.token.as_str(), minted.user_id.as_str()), (SESSION_TOKEN, "usr_1"));
        let extra = json!({"access_token": SESSION_TOKEN, "expires_at": 1_767_830_400_123_i64});
        assert_eq!(Value::from(minted.extra), extra);
    }
    let asked = r#"POST /v3/users/usr_1/token {"expires_at":1767830400123}"#;
    let created = r#"POST /v3/users {"user_id":"usr_1","nickname":"","profile_url":""}"#;
    assert_eq!(calls(&server).await, [asked, asked, created, asked]);
    for request in received(&server).await {
        assert_eq!(request.headers["api-token"], API_TOKEN);
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.url.query(), None);
    }
}

#[tokio::test]
async fn a_name_and_a_picture_are_those_of_the_first_login() {
    let (server, _) = answering(&[no_user(), user(), token()]).await;
    let with_picture =
        SendbirdUpstream { profile_url: "https://a.example/face.png".to_owned(), ..config(&server.uri()) };
    let named = Subject { name: Some("Añn ".repeat(30)), ..subject() };
    sendbird(&with_picture).mint(&named).await.expect("a token");
    let nickname = "Añn ".repeat(20);
    let created = format!(
        r#"POST /v3/users {{"user_id":"usr_1","nickname":"{nickname}","profile_url":"https://a.example/face.png"}}"#
    );
    assert_eq!(calls(&server).await[1], created);
}

#[tokio::test]
async fn a_lost_race_is_no_error_f6() {
    let (server, sendbird) = answering(&[no_user(), user_exists(), token()]).await;
    sendbird.mint(&subject()).await.expect("a token");
    assert_eq!(received(&server).await.len(), 3);
}

#[tokio::test]
async fn a_user_who_never_appears_ends_after_three_calls() {
    for created in [user(), user_exists()] {
        let (server, sendbird) = answering(&[no_user(), created, no_user()]).await;
        let error = sendbird.mint(&subject()).await.err();
        assert_eq!(
            error,
            Some(UpstreamError::Unavailable("refused (400201 \"User\" not found.)".to_owned()))
        );
        assert_eq!(received(&server).await.len(), 3);
    }
}

#[tokio::test]
async fn a_name_that_sendbird_does_not_take_locks_nobody_out() {
    let bad = || refusal(400, 400_151, "Not allowed character: \"nickname\".");
    let (server, sendbird) = answering(&[no_user(), bad(), user(), token()]).await;
    let named = Subject { name: Some("Ann".to_owned()), ..subject() };
    sendbird.mint(&named).await.expect("a token");
    let calls = calls(&server).await;
    assert!(calls[1].contains(r#""nickname":"Ann""#) && calls[2].contains(r#""nickname":"""#), "{calls:?}");
    let (server, sendbird) = answering(&[no_user(), bad()]).await;
    assert!(matches!(sendbird.mint(&named).await, Err(UpstreamError::Misconfigured(_))));
    assert_eq!(received(&server).await.len(), 3);
}

#[tokio::test]
async fn while_nobody_asked_for_a_token_a_lost_answer_minted_nothing() {
    let lost = ResponseTemplate::new(502).set_body_string("<html>");
    let text = "HTTP status 502 with something that is not Sendbird's JSON".to_owned();
    assert_eq!(fault(std::slice::from_ref(&lost)).await, UpstreamError::Unknown(text.clone()));
    assert_eq!(fault(&[no_user(), lost.clone()]).await, UpstreamError::Unavailable(text.clone()));
    assert_eq!(fault(&[no_user(), user(), lost]).await, UpstreamError::Unknown(text));
}

#[tokio::test]
async fn ids_travel_as_encode_uri_component_writes_them() {
    for (id, path) in [
        ("+18005551234", "%2B18005551234"),
        ("a b/c", "a%20b%2Fc"),
        ("-_.!~*'()", "-_.!~*'()"),
        ("100%?#&=", "100%25%3F%23%26%3D"),
        ("ann@mail.example", "ann%40mail.example"),
        ("…", "%E2%80%A6"),
        ("a\\..\\b", "a%5C..%5Cb"),
        ("%2e%2e", "%252e%252e"),
    ] {
        let (server, sendbird) = answering(&[token()]).await;
        let imported = Subject { upstream_id: Some(id.to_owned()), ..subject() };
        assert_eq!(sendbird.mint(&imported).await.expect("a token").user_id, id);
        assert_eq!(received(&server).await[0].url.path(), format!("/v3/users/{path}/token"));
    }
}

#[tokio::test]
async fn an_id_that_no_url_can_hold_is_never_asked_for() {
    let (server, sendbird) = answering(&[token()]).await;
    for id in ["", ".", ".."] {
        let imported = Subject { upstream_id: Some(id.to_owned()), ..subject() };
        let minted = sendbird.mint(&imported).await.err();
        assert!(matches!(minted, Some(UpstreamError::Misconfigured(text)) if text.contains("imported id")));
        assert!(matches!(sendbird.revoke(&imported).await, Err(UpstreamError::Misconfigured(_))));
    }
    assert!(received(&server).await.is_empty());
}

#[tokio::test]
async fn the_address_may_end_in_the_version_or_a_slash() {
    for suffix in ["", "/", "/v3", "/v3/"] {
        let (server, _) = answering(&[token()]).await;
        let config = config(&format!("{}{suffix}", server.uri()));
        sendbird(&config).mint(&subject()).await.expect("a token");
        assert_eq!(received(&server).await[0].url.path(), "/v3/users/usr_1/token", "{suffix}");
    }
}

#[tokio::test]
async fn a_revocation_ends_all_sessions_of_a_user_whom_sendbird_knows() {
    let done = ResponseTemplate::new(200).set_body_json(json!({}));
    for answer in [done, no_user()] {
        let (server, sendbird) = answering(&[answer]).await;
        sendbird.revoke(&subject()).await.expect("no session is left");
        assert_eq!(calls(&server).await, ["DELETE /v3/users/usr_1/token "]);
        let request = &received(&server).await[0];
        assert_eq!(request.headers["content-type"], "application/json", "demanded of every request");
        assert_eq!(request.headers["api-token"], API_TOKEN);
    }
    let (_server, sendbird) = answering(&[refusal(400, 400_401, "Invalid Api-Token.")]).await;
    assert!(matches!(sendbird.revoke(&subject()).await, Err(UpstreamError::Misconfigured(_))));
}

#[tokio::test]
async fn an_operators_fault_is_logged_once_until_the_next_success_f7() {
    let breach = || refusal(400, 400_401, &format!("Invalid Api-Token {API_TOKEN} of +18005551234"));
    let (_server, sendbird) = answering(&[breach(), breach(), no_user(), user(), token(), breach()]).await;
    let subject = subject();
    let log = logged(async {
        for minted in [false, false, true, false] {
            assert_eq!(sendbird.mint(&subject).await.is_ok(), minted);
        }
    })
    .await;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines.iter().all(|line| line.contains("fix: copy a secondary API token")), "{lines:?}");
    for secret in [API_TOKEN, SESSION_TOKEN, "18005551234"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn a_redirect_is_refused_and_the_api_token_is_not_sent_on_f4() {
    let elsewhere = MockServer::start().await;
    Mock::given(method("POST")).and(path_regex(".*")).respond_with(token()).mount(&elsewhere).await;
    for status in [301, 302, 303, 307, 308] {
        let redirect = ResponseTemplate::new(status).insert_header("location", elsewhere.uri().as_str());
        let got = fault(&[redirect]).await;
        assert!(matches!(&got, UpstreamError::Misconfigured(text) if text.contains("redirects")), "{got:?}");
    }
    assert!(received(&elsewhere).await.is_empty());
}

#[test]
fn a_token_that_no_header_can_carry_is_named_at_the_start() {
    for api_token in ["tok\u{e9}n", "two\nlines"] {
        let odd = SendbirdUpstream { api_token: api_token.into(), ..config("https://sb.example.com") };
        let error = Sendbird::new("chat", &odd, Arc::new(ManualClock::new(NOW))).err().expect("no header");
        let text = error.to_string();
        assert!(text.starts_with("upstreams.chat.api_token holds") && !text.contains(api_token), "{text}");
    }
    let config = config("https://sb.example.com");
    let header = sendbird(&config).api_token_header;
    assert!(!format!("{config:?} {header:?}").contains(API_TOKEN), "libraries print headers");
}
