use serde_json::json;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::super::tests::{LIMITS, logged, subject};
use super::*;

const API_KEY: &str = "5f2c9a-api-key-canary";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoidXNyXzEifQ.c2ln";
const WS_TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c3JfMSJ9.c2ln";

fn config(url: &str) -> ChatSdkUpstream {
    ChatSdkUpstream {
        url: url.parse().expect("a URL"),
        api_key: format!(" {API_KEY}\n").into(),
        call: LIMITS,
    }
}

/// The first generation's answer.
fn tokens() -> Value {
    json!({"token": TOKEN, "wsToken": WS_TOKEN, "user": {"id": "usr_1", "name": "Ann"}, "expiresIn": 86400})
}

async fn answering(template: ResponseTemplate) -> (MockServer, ChatSdk) {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(template).mount(&server).await;
    let chatsdk = ChatSdk::new("chat", &config(&server.uri())).expect("authorities");
    (server, chatsdk)
}

/// What a mint comes to when ChatSDK answers like this.
async fn fault(template: ResponseTemplate) -> UpstreamError {
    let (_server, chatsdk) = answering(template).await;
    let error = chatsdk.mint(&subject()).await.err().expect("no token");
    assert!(!format!("{error} {error:?}").contains(API_KEY), "{error}");
    error
}

fn said(status: u16, error: &Value) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"error": error}))
}

/// What zod finds, as Hono's validator answers it.
fn zod(field: &str, message: &str) -> ResponseTemplate {
    let issue = json!({"code": "invalid_type", "message": message, "path": [field]});
    let error = json!({"issues": [issue], "name": "ZodError"});
    ResponseTemplate::new(400).set_body_json(json!({"success": false, "error": error}))
}

async fn received(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.expect("recorded")
}

#[tokio::test]
async fn a_mint_is_one_post_of_exactly_these_bytes_and_what_is_not_set_is_left_out() {
    let (server, chatsdk) = answering(ResponseTemplate::new(200).set_body_json(tokens())).await;
    let named = |name: &str| Subject { name: Some(name.to_owned()), ..subject() };
    let imported = Subject { upstream_id: Some("old 42".to_owned()), ..named("Ann \"A\"") };
    for subject in [subject(), named(""), imported] {
        chatsdk.mint(&subject).await.expect("tokens");
    }
    let bodies: Vec<String> = received(&server)
        .await
        .into_iter()
        .map(|call| String::from_utf8(call.body).expect("UTF-8"))
        .collect();
    let wanted =
        [r#"{"userId":"usr_1"}"#, r#"{"userId":"usr_1"}"#, r#"{"userId":"old 42","name":"Ann \"A\""}"#];
    assert_eq!(bodies, wanted);
    let request = &received(&server).await[0];
    assert_eq!((request.method.as_str(), request.url.path(), request.url.query()), ("POST", "/tokens", None));
    assert_eq!(
        (&request.headers["x-api-key"], &request.headers["content-type"]),
        (&API_KEY.parse().expect("a header"), &"application/json".parse().expect("a header"))
    );
}

#[tokio::test]
async fn the_address_may_have_a_path_and_a_slash() {
    for (suffix, path) in [("/", "/tokens"), ("/chat", "/chat/tokens"), ("/chat/", "/chat/tokens")] {
        let (server, _) = answering(ResponseTemplate::new(200).set_body_json(tokens())).await;
        let chatsdk =
            ChatSdk::new("chat", &config(&format!("{}{suffix}", server.uri()))).expect("authorities");
        chatsdk.mint(&subject()).await.expect("tokens");
        assert_eq!(received(&server).await[0].url.path(), path);
    }
}

#[tokio::test]
async fn both_generations_say_themselves_how_long_their_tokens_live() {
    let mut second = tokens();
    second["expiresIn"] = json!(900);
    second["refreshToken"] = json!("rt-of-theirs");
    second["_internal"] = json!({"key": "s3cret"});
    let mut bare = json!({"token": TOKEN, "refreshToken": null});
    for (body, extra) in [
        (tokens(), json!({"wsToken": WS_TOKEN, "user": {"id": "usr_1", "name": "Ann"}, "expiresIn": 86400})),
        (
            second,
            json!({
                "wsToken": WS_TOKEN, "user": {"id": "usr_1", "name": "Ann"}, "expiresIn": 900,
                "refreshToken": "rt-of-theirs",
            }),
        ),
        (bare.take(), json!({})),
    ] {
        let (_server, chatsdk) = answering(ResponseTemplate::new(200).set_body_json(body)).await;
        let minted = chatsdk.mint(&subject()).await.expect("tokens");
        assert_eq!(
            (minted.provider, minted.token.as_str(), minted.user_id.as_str()),
            ("chatsdk", TOKEN, "usr_1")
        );
        assert_eq!(Value::from(minted.extra), extra);
    }
}

#[tokio::test]
async fn refusals_are_sorted_by_who_can_mend_them_f6() {
    let internal = json!({"message": "Internal Server Error", "code": "INTERNAL_ERROR", "hint": "…"});
    let legacy = json!({"message": "Legacy token endpoint is disabled"});
    for (answer, kind, text) in [
        (
            said(401, &json!({"message": "Missing API key"})),
            "misconfigured",
            "(Missing API key); fix: copy the key",
        ),
        (
            said(401, &json!({"message": "Invalid API key", "code": "INVALID_API_KEY"})),
            "misconfigured",
            "upstreams.chat.api_key_file",
        ),
        (zod("userId", "Required"), "misconfigured", "(userId: Required); fix: see whether a proxy"),
        (
            said(400, &json!({"name": "ZodError", "message": "odd"})),
            "misconfigured",
            "(odd); fix: see whether a proxy",
        ),
        (said(404, &legacy), "misconfigured", "fix: set CHATSDK_ENABLE_LEGACY_TOKENS=true"),
        (
            said(404, &json!({"message": "App not found"})),
            "misconfigured",
            "HTTP 404 (App not found); fix: upstreams.chat.url",
        ),
        (said(403, &json!({"message": "Forbidden"})), "misconfigured", "HTTP 403 (Forbidden)"),
        (said(500, &internal), "unavailable", "HTTP status 500 (Internal Server Error)"),
        (said(503, &json!({"message": "Service Unavailable"})), "unavailable", "HTTP status 503"),
        (
            said(429, &json!({"code": "RATE_LIMITED", "message": "Rate limit exceeded", "retryAfter": 3})),
            "throttled",
            "60 calls a minute",
        ),
        (said(429, &json!({"message": "Slow down"})), "throttled", "(Slow down)"),
        (
            said(
                503,
                &json!({"code": "RATE_LIMIT_UNAVAILABLE", "message": "Rate limit service unavailable", "retryAfter": 5}),
            ),
            "throttled",
            "cannot count",
        ),
    ] {
        let error = fault(answer).await;
        let shown = error.to_string();
        assert_eq!(error.kind(), kind, "{shown}");
        assert!(shown.contains(text), "{shown}");
    }
}

#[tokio::test]
async fn chatsdk_says_when_to_come_back_in_its_body_or_its_header() {
    let limited = |retry_after: Value| {
        said(
            429,
            &json!({"code": "RATE_LIMITED", "message": "Rate limit exceeded", "retryAfter": retry_after}),
        )
    };
    for (answer, millis) in [
        (limited(json!(17)), 17_000),
        (limited(json!(0.5)).insert_header("Retry-After", "9"), 500),
        (limited(json!(null)).insert_header("Retry-After", "9"), 9_000),
        (limited(json!("9")), 1_000),
        (limited(json!(-9)), 1_000),
        (ResponseTemplate::new(429).insert_header("Retry-After", "4").set_body_string("<html>"), 4_000),
    ] {
        let UpstreamError::Throttled { after, said } = fault(answer).await else { panic!("another") };
        assert_eq!(after.as_millis(), millis, "{said}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_answer_may_have_minted() {
    for body in [
        json!({}),
        json!({"token": ""}),
        json!({"token": null, "wsToken": WS_TOKEN}),
        json!({"error": "x", "token": TOKEN}),
        json!([]),
    ] {
        let got = fault(ResponseTemplate::new(200).set_body_json(&body)).await;
        assert!(matches!(got, UpstreamError::Unknown(_)), "{body}: {got:?}");
    }
    for template in [
        ResponseTemplate::new(200).set_body_string("<html>s3cret</html>"),
        ResponseTemplate::new(200).set_body_string(" ".repeat(64 * 1024 + 1)),
        ResponseTemplate::new(502).set_body_string("s3cret"),
    ] {
        let got = fault(template).await;
        assert!(matches!(&got, UpstreamError::Unknown(text) if !text.contains("s3cret")), "{got:?}");
    }
}

#[tokio::test]
async fn a_web_server_that_is_not_chatsdk_is_the_operators_fault() {
    for (status, text) in [(404, "HTTP 404"), (401, "HTTP 401"), (302, "redirects"), (308, "redirects")] {
        let elsewhere = MockServer::start().await;
        let answer = ResponseTemplate::new(status).insert_header("location", elsewhere.uri().as_str());
        let got = fault(answer.set_body_string("404 Not Found")).await;
        let UpstreamError::Misconfigured(said) = got else { panic!("another: {got:?}") };
        assert!(said.contains(text) && said.contains("upstreams.chat.url"), "{said}");
        assert!(received(&elsewhere).await.is_empty(), "F4");
    }
}

#[tokio::test]
async fn an_operators_fault_is_logged_once_until_the_next_success_f7() {
    let server = MockServer::start().await;
    let chatsdk = ChatSdk::new("chat", &config(&server.uri())).expect("authorities");
    let breach = || said(401, &json!({"message": format!("{API_KEY} of 18005551234")}));
    for template in [breach(), breach(), ResponseTemplate::new(200).set_body_json(tokens()), breach()] {
        Mock::given(any()).respond_with(template).up_to_n_times(1).mount(&server).await;
    }
    let subject = subject();
    let log = logged(async {
        for minted in [false, false, true, false] {
            assert_eq!(chatsdk.mint(&subject).await.is_ok(), minted);
        }
    })
    .await;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines.iter().all(|line| line.contains("upstream=chat") && line.contains("fix: copy the key")));
    for secret in [API_KEY, TOKEN, WS_TOKEN, "18005551234"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn there_is_nothing_to_revoke_and_nobody_is_asked() {
    let (server, chatsdk) = answering(ResponseTemplate::new(500)).await;
    chatsdk.revoke(&subject()).await.expect("no call, no fault");
    assert!(received(&server).await.is_empty());
}

#[test]
fn the_configuration_does_not_show_the_api_key_f7() {
    assert!(!format!("{:?}", config("https://chat.example.com")).contains(API_KEY));
}
