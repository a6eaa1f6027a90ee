use std::time::Duration;

use serde_json::json;
use wiremock::matchers::{any, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::super::tests::{LIMITS, logged, subject};
use super::*;

const APP_TOKEN: &str = "app-t0ken-canary";
const USER_TOKEN: &str = "79a8b1c2d3e4f5a6b7c8";

fn config(url: &str) -> MesiboUpstream {
    MesiboUpstream {
        url: url.parse().expect("a URL"),
        app_token: format!(" {APP_TOKEN}\n").into(),
        token_minutes: 525_600,
        token_v2: false,
        call: LIMITS,
    }
}

fn success() -> ResponseTemplate {
    let user = json!({"uid": 123, "address": "18005551234", "token": USER_TOKEN});
    ResponseTemplate::new(200).set_body_json(json!({"user": user, "op": "useradd", "result": true}))
}

fn refusal(error: &str, code: u64, cause: &str) -> ResponseTemplate {
    let body = json!({"error": error, "code": code, "cause": cause, "op": "useradd", "result": false});
    ResponseTemplate::new(200).set_body_json(body)
}

async fn answering(template: ResponseTemplate) -> (MockServer, Mesibo) {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(template).mount(&server).await;
    let mesibo = Mesibo::new("chat", &config(&format!("{}/backend/", server.uri()))).expect("authorities");
    (server, mesibo)
}

/// What a mint comes to when mesibo answers like this.
async fn fault(template: ResponseTemplate) -> UpstreamError {
    let (_server, mesibo) = answering(template).await;
    let error = mesibo.mint(&subject()).await.err().expect("no token");
    assert!(!format!("{error} {error:?}").contains(APP_TOKEN), "{error}");
    error
}

async fn bodies(server: &MockServer) -> Vec<String> {
    let requests: Vec<Request> = server.received_requests().await.expect("recorded");
    requests.into_iter().map(|request| String::from_utf8(request.body).expect("UTF-8")).collect()
}

#[tokio::test]
async fn a_mint_is_one_post_of_exactly_these_bytes_with_the_token_in_no_url_f7() {
    let server = MockServer::start().await;
    Mock::given(method("POST")).and(path("/backend/")).respond_with(success()).mount(&server).await;
    let mut config = config(&format!("{}/backend/", server.uri()));
    let mesibo = Mesibo::new("chat", &config).expect("authorities");
    let token = mesibo.mint(&subject()).await.expect("a token");
    assert_eq!((token.token.as_str(), token.user_id.as_str()), (USER_TOKEN, "18005551234"));
    assert!(token.extra.is_empty());
    config.token_v2 = true;
    config.token_minutes = 0;
    let mesibo = Mesibo::new("chat", &config).expect("authorities");
    let named = Subject { name: Some("Ann \"A\"".to_owned()), ..subject() };
    mesibo.mint(&named).await.expect("a token");
    assert_eq!(
        bodies(&server).await,
        [
            r#"{"op":"useradd","token":"app-t0ken-canary","user":{"address":"18005551234","active":true,"token":{"appid":"com.example.app","expiry":525600}}}"#,
            r#"{"op":"useradd","token":"app-t0ken-canary","user":{"address":"18005551234","name":"Ann \"A\"","active":true,"token":{"appid":"com.example.app","expiry":0,"v2":true}}}"#,
        ]
    );
    let request = &server.received_requests().await.expect("recorded")[0];
    assert_eq!(request.url.query(), None);
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["user-agent"], concat!("latchkey/", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn imported_users_keep_their_address_and_mail_users_are_their_mailbox() {
    let (server, mesibo) = answering(success()).await;
    let imported = Subject { upstream_id: Some("old-42".to_owned()), ..subject() };
    assert_eq!(mesibo.mint(&imported).await.expect("a token").user_id, "old-42");
    let mail = Subject { address: Address::parse("ann@mail.example").expect("a mailbox"), ..subject() };
    assert_eq!(mesibo.mint(&mail).await.expect("a token").user_id, "ann@mail.example");
    let bodies = bodies(&server).await;
    assert!(
        bodies[0].contains(r#""address":"old-42""#) && bodies[1].contains(r#""address":"ann@mail.example""#)
    );
}

#[tokio::test]
async fn a_revocation_removes_the_token_and_needs_none_back() {
    let (server, mesibo) =
        answering(ResponseTemplate::new(200).set_body_json(json!({"op": "userset", "result": true}))).await;
    mesibo.revoke(&subject()).await.expect("removed");
    assert_eq!(
        bodies(&server).await,
        [
            r#"{"op":"userset","token":"app-t0ken-canary","user":{"address":"18005551234","token":{"remove":true}}}"#
        ]
    );
    let (_server, mesibo) = answering(refusal("AUTHFAIL", 401, "")).await;
    assert!(matches!(mesibo.revoke(&subject()).await, Err(UpstreamError::Misconfigured(_))));
}

#[tokio::test]
async fn the_uid_may_be_a_number_a_text_or_absent() {
    for user in [
        json!({"uid": 5302, "token": USER_TOKEN}),
        json!({"uid": "5302", "token": USER_TOKEN}),
        json!({"token": USER_TOKEN}),
    ] {
        let body = json!({"user": user, "op": "useradd", "result": true});
        let (_server, mesibo) = answering(ResponseTemplate::new(200).set_body_json(body)).await;
        assert_eq!(mesibo.mint(&subject()).await.expect("a token").token.as_str(), USER_TOKEN);
    }
}

#[tokio::test]
async fn refusals_are_sorted_by_who_can_mend_them_f6() {
    for (error, code, fix) in [
        ("AUTHFAIL", 401, "copy the App token from the mesibo console to upstreams.chat.app_token_file"),
        ("EXPIRED", 401, "copy the App token"),
        ("TOKENBREACH", 401, "at most five fixed egress addresses"),
        ("TOKENBREACH", 403, "at most five fixed egress addresses"),
        ("MISSINGPARA", 400, "upstreams.chat.url"),
        ("INVALID", 400, "upstreams.chat.url"),
        ("BADOP", 404, "upstreams.chat.url"),
    ] {
        let got = fault(refusal(error, code, "Invalid or expired app token")).await;
        assert!(matches!(&got, UpstreamError::Misconfigured(text) if text.contains(fix)), "{error}: {got:?}");
    }
    assert_eq!(
        fault(refusal("RATE", 429, "slow down")).await,
        UpstreamError::Unavailable("too many calls (RATE slow down)".to_owned())
    );
    assert_eq!(
        fault(refusal("INTERNAL", 500, "database")).await,
        UpstreamError::Unavailable("refused (INTERNAL database)".to_owned())
    );
    let client_api =
        ResponseTemplate::new(200).set_body_json(json!({"op": "login", "result": "FAIL", "error": "BADOP"}));
    assert!(matches!(fault(client_api).await, UpstreamError::Misconfigured(_)));
}

#[tokio::test]
async fn what_mesibo_says_is_quoted_short_on_one_line_and_without_secrets_f7() {
    let cause = format!(
        "user +18005551234\r\n\u{1b}[31m of ann@mail.example with token={APP_TOKEN}, {}",
        "x".repeat(500)
    );
    let UpstreamError::Unavailable(text) = fault(refusal("ODD", 409, &cause)).await else {
        panic!("another")
    };
    assert_eq!(text.chars().count(), 120 + "refused ()".len());
    assert!(text.starts_with("refused (ODD user ••• [31m of ••• with ••• xxx"), "{text}");
}

#[tokio::test]
async fn an_answer_that_is_no_answer_may_have_minted() {
    for body in [
        json!({"op": "useradd", "result": true}),
        json!({"op": "useradd", "result": true, "user": {"token": "sixteen_letters_"}}),
        json!({"op": "useradd", "result": true, "user": {"token": 12_345_678_901_234_567_u64}}),
        json!({"op": "useradd", "result": true, "user": {"token": {"appid": "x"}}}),
        json!({"op": "useradd", "result": "OK", "user": {"token": USER_TOKEN}}),
        json!({"op": "useradd", "user": {"token": USER_TOKEN}}),
        json!([true]),
    ] {
        let got = fault(ResponseTemplate::new(200).set_body_json(&body)).await;
        assert!(matches!(got, UpstreamError::Unknown(_)), "{body}: {got:?}");
    }
    let huge = format!("{{\"result\":true,\"pad\":\"{}\"}}", "x".repeat(64 * 1024));
    for template in [
        ResponseTemplate::new(200).set_body_string("<html>s3cret</html>"),
        ResponseTemplate::new(200).set_body_string(huge),
        ResponseTemplate::new(500).set_body_string("oops"),
        ResponseTemplate::new(503).set_body_json(json!({"result": false})),
        ResponseTemplate::new(408),
    ] {
        let got = fault(template).await;
        assert!(matches!(&got, UpstreamError::Unknown(text) if !text.contains("s3cret")), "{got:?}");
    }
}

#[tokio::test]
async fn a_web_server_that_is_not_mesibo_is_the_operators_fault() {
    let got = fault(ResponseTemplate::new(404).set_body_string("<html>")).await;
    assert!(
        matches!(&got, UpstreamError::Misconfigured(text) if text.contains("HTTP 404") && text.contains("upstreams.chat.url"))
    );
    let got = fault(ResponseTemplate::new(429)).await;
    assert!(matches!(got, UpstreamError::Unavailable(_)), "{got:?}");
    let got =
        fault(ResponseTemplate::new(403).set_body_json(json!({"result": false, "error": "TOKENBREACH"})))
            .await;
    assert!(matches!(&got, UpstreamError::Misconfigured(text) if text.contains("TOKENBREACH")));
}

#[tokio::test]
async fn a_redirect_is_refused_and_the_app_token_is_not_sent_on_f4() {
    let elsewhere = MockServer::start().await;
    Mock::given(any()).respond_with(success()).mount(&elsewhere).await;
    for status in [301, 302, 303, 307, 308] {
        let redirect = ResponseTemplate::new(status).insert_header("location", elsewhere.uri().as_str());
        let got = fault(redirect).await;
        assert!(matches!(&got, UpstreamError::Misconfigured(text) if text.contains("redirects")), "{got:?}");
    }
    assert!(elsewhere.received_requests().await.expect("recorded").is_empty());
}

#[tokio::test]
async fn a_slow_mesibo_is_given_up_in_time_and_a_closed_one_is_not_available_f4() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(success().set_delay(Duration::from_secs(30))).mount(&server).await;
    let mut config = config(&server.uri());
    config.call.timeout = Duration::from_millis(200);
    let mesibo = Mesibo::new("chat", &config).expect("authorities");
    let subject = subject();
    let mint = tokio::time::timeout(Duration::from_secs(5), mesibo.mint(&subject));
    let got = mint.await.expect("within the timeout").err();
    assert_eq!(got, Some(UpstreamError::Unknown("no answer in time".to_owned())));
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mesibo = Mesibo::new("chat", &self::config(&format!("http://{closed}/"))).expect("authorities");
    assert!(matches!(mesibo.mint(&subject).await, Err(UpstreamError::Unavailable(_))));
}

#[tokio::test]
async fn an_operators_fault_is_logged_once_until_the_next_success_f7() {
    let server = MockServer::start().await;
    let mesibo = Mesibo::new("chat", &config(&server.uri())).expect("authorities");
    let breach = || refusal("TOKENBREACH", 403, &format!("18005551234 {APP_TOKEN}"));
    for template in [breach(), breach(), success(), breach()] {
        Mock::given(any()).respond_with(template).up_to_n_times(1).mount(&server).await;
    }
    let subject = subject();
    let log = logged(async {
        for minted in [false, false, true, false] {
            assert_eq!(mesibo.mint(&subject).await.is_ok(), minted);
        }
    })
    .await;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines.iter().all(|line| line.contains("upstream=chat") && line.contains("five IP addresses")));
    for secret in [APP_TOKEN, USER_TOKEN, "18005551234"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn other_faults_are_the_callers_to_log() {
    let (_server, mesibo) = answering(ResponseTemplate::new(500)).await;
    let subject = subject();
    let log = logged(async { drop(mesibo.mint(&subject).await) }).await;
    assert!(!log.contains(" ERROR "), "{log}");
}

#[test]
fn the_configuration_does_not_show_the_app_token_f7() {
    assert!(!format!("{:?}", config("https://api.mesibo.com/backend/")).contains(APP_TOKEN));
}
