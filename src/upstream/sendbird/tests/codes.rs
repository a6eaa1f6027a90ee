//! What each of Sendbird's codes comes to.

use super::*;

/// Every code that Sendbird lists, and one that it does not: kind of error, and what its text holds.
const TABLE: &str = "
400100 misconfigured upstreams.chat.profile_url
400101 misconfigured upstreams.chat.profile_url
400102 misconfigured upstreams.chat.profile_url
400103 misconfigured upstreams.chat.profile_url
400104 misconfigured upstreams.chat.profile_url
400105 misconfigured upstreams.chat.profile_url
400106 misconfigured upstreams.chat.profile_url
400108 misconfigured upstreams.chat.api_token_file
400110 misconfigured imported id
400111 misconfigured upstreams.chat.token_lifetime
400112 misconfigured upstreams.chat.token_lifetime
400113 misconfigured upstreams.chat.token_lifetime
400114 misconfigured upstreams.chat.profile_url
400151 misconfigured imported id
400203 misconfigured upstreams.chat.profile_url
400300 refused       deactivated
400301 refused       deleted
400302 unavailable   refused
400303 unavailable   refused
400304 misconfigured upstreams.chat.url
400305 misconfigured at most 80 characters
400306 misconfigured quota
400307 misconfigured domains
400309 unavailable   refused
400310 unavailable   refused
400401 misconfigured upstreams.chat.api_token_file
400402 misconfigured upstreams.chat.api_token_file
400403 misconfigured does not take
400404 misconfigured upstreams.chat.url
400500 unavailable   refused
400501 unavailable   refused
400920 unavailable   refused
400930 misconfigured upstreams.chat.url
403100 misconfigured whether the application is active
500901 unavailable   refused
500910 throttled     500910
999999 unavailable   refused
";

/// Of each line the code, the kind and the text.
fn lines() -> impl Iterator<Item = (u64, &'static str, &'static str)> {
    TABLE.trim().lines().map(|line| {
        let (code, rest) = line.split_once(' ').expect("a code");
        let (kind, text) = rest.split_once(' ').expect("a kind");
        (code.parse().expect("a number"), kind, text.trim())
    })
}

#[tokio::test]
async fn every_code_is_sorted_by_who_can_mend_it_whatever_the_http_status_f6() {
    assert_eq!(lines().count(), 37);
    for (code, kind, text) in lines() {
        let seen = format!("{code} somewhat wrong");
        for status in [400, 200, 404, 500] {
            let error = fault(&[refusal(status, code, "somewhat wrong")]).await;
            assert_eq!(error.kind(), kind, "{code} with {status}: {error}");
            let shown = error.to_string();
            assert!(shown.contains(text) && shown.contains(&seen), "{code} with {status}: {shown}");
        }
    }
}

#[test]
fn an_unlisted_code_means_nothing() {
    for code in [0, 400, 400_109, 400_115, 400_999, 500_911, u64::MAX] {
        assert_eq!(meaning(code), None, "{code}");
    }
}

#[tokio::test]
async fn sendbird_says_to_the_microsecond_when_to_come_back() {
    let limited = || {
        let message =
            "Too many requests (scope: app, limit: 10;w=1, remaining: 0, retry_after: 0.069786548614502s)";
        refusal(429, 500_910, message)
    };
    let with = |name: &'static str, value: &'static str| limited().insert_header(name, value);
    for (answer, micros) in [
        (with("X-RateLimit-RetryAfter", "0.069786548614502"), 69_786),
        (with("X-RateLimit-RetryAfter", "2"), 2_000_000),
        (with("X-RateLimit-RetryAfter", "2").insert_header("Retry-After", "9"), 2_000_000),
        (with("Retry-After", "9"), 9_000_000),
        (limited(), 1_000_000),
        (with("X-RateLimit-RetryAfter", "soon"), 1_000_000),
        (with("X-RateLimit-RetryAfter", "-1"), 1_000_000),
        (with("X-RateLimit-RetryAfter", "NaN"), 1_000_000),
        (with("X-RateLimit-RetryAfter", "1e300"), 1_000_000),
        (with("X-RateLimit-RetryAfter", "1e9"), 600_000_000),
        (ResponseTemplate::new(429).insert_header("Retry-After", "7"), 7_000_000),
        (refusal(429, 429_100, "of another product").insert_header("Retry-After", "7"), 7_000_000),
    ] {
        let UpstreamError::Throttled { after, said } = fault(&[answer]).await else { panic!("another") };
        assert_eq!(after.as_micros(), micros, "{said}");
    }
}

#[tokio::test]
async fn what_sendbird_says_is_quoted_short_on_one_line_and_without_secrets_f7() {
    let message = format!(
        "user +18005551234\r\n\u{1b}[31m of ann@mail.example with token={API_TOKEN}, {}",
        "x".repeat(500)
    );
    let UpstreamError::Unavailable(text) = fault(&[refusal(400, 400_920, &message)]).await else {
        panic!("another")
    };
    assert!(text.starts_with("refused (400920 user ••• [31m of ••• with ••• xxx"), "{text}");
    assert!(text.chars().count() < 140, "{text}");
}

#[tokio::test]
async fn an_answer_that_is_no_answer_may_have_minted() {
    for body in
        [json!({}), json!({"token": ""}), json!({"token": 7}), json!({"code": 1}), json!([1]), json!("t")]
    {
        let got = fault(&[ResponseTemplate::new(200).set_body_json(&body)]).await;
        assert!(matches!(got, UpstreamError::Unknown(_)), "{body}: {got:?}");
    }
    let huge = format!("{{\"token\":\"t\",\"pad\":\"{}\"}}", "x".repeat(64 * 1024));
    for template in [
        ResponseTemplate::new(200).set_body_string("<html>s3cret</html>"),
        ResponseTemplate::new(200).set_body_string(huge),
        ResponseTemplate::new(500).set_body_string("oops s3cret"),
        ResponseTemplate::new(503),
        ResponseTemplate::new(408),
    ] {
        let got = fault(&[template]).await;
        assert!(matches!(&got, UpstreamError::Unknown(text) if !text.contains("s3cret")), "{got:?}");
    }
}

#[tokio::test]
async fn a_web_server_that_is_not_sendbird_is_the_operators_fault() {
    for status in [401, 403, 404, 405, 422] {
        let got = fault(&[ResponseTemplate::new(status).set_body_string("<html>")]).await;
        let UpstreamError::Misconfigured(text) = got else { panic!("another: {got:?}") };
        assert!(text.contains(&format!("HTTP {status}")) && text.contains("upstreams.chat.url"), "{text}");
    }
}

#[tokio::test]
async fn an_expiry_that_is_not_said_is_the_one_that_was_asked_for() {
    let (_server, sendbird) =
        answering(&[ResponseTemplate::new(200).set_body_json(json!({"token": SESSION_TOKEN}))]).await;
    let minted = sendbird.mint(&subject()).await.expect("a token");
    assert_eq!(minted.extra["expires_at"], NOW.as_millis() + WEEK_MS);
    let early = ResponseTemplate::new(200).set_body_json(json!({"token": SESSION_TOKEN, "expires_at": 5}));
    let (_server, sendbird) = answering(&[early]).await;
    assert_eq!(sendbird.mint(&subject()).await.expect("a token").extra["expires_at"], 5, "honoured");
}
