//! Users who are missing, and backends that fail.

use super::*;

/// With a create call.
fn making(url: &str) -> Http {
    let more = format!(
        "{MINT}missing = {{ status = 404, at = \"/code\", is = [\"no_user\", \"gone\"] }}\n\
         refused = {{ at = \"/code\", is = [\"banned\"] }}\n\
         [upstreams.chat.create]\npath = \"/users\"\nbody = {{ id = \"{{{{ user_id }}}}\", name = \"{{{{ name or user_id }}}}\" }}\n"
    );
    made(&own(url, &more)).expect("right")
}

fn missing() -> ResponseTemplate {
    answer(404, &json!({"code": "no_user"}))
}

fn minted() -> ResponseTemplate {
    answer(200, &json!({"t": "tok"}))
}

#[tokio::test]
async fn a_missing_user_is_made_and_a_lost_race_is_no_error() {
    for created in [answer(201, &json!({})), answer(409, &json!({"code": "exists"})), answer(400, &json!({}))]
    {
        let server = answering(vec![missing(), created, minted()]).await;
        let ann = Subject { name: Some("Ann \"A\"".to_owned()), ..subject() };
        assert_eq!(making(&server.uri()).mint(&ann).await.expect("a token").token.as_str(), "tok");
        assert_eq!(
            calls(&server).await,
            [
                "POST /users/usr_1/tokens {}",
                r#"POST /users {"id":"usr_1","name":"Ann \"A\""}"#,
                "POST /users/usr_1/tokens {}"
            ]
        );
    }
}

#[tokio::test]
async fn three_calls_are_the_most_and_a_user_who_stays_missing_is_the_operators_fault() {
    let taken = answer(400, &json!({"code": "bad", "words": "id taken"}));
    let server = answering(vec![missing(), taken, missing()]).await;
    let error = making(&server.uri()).mint(&subject()).await.err().expect("no user");
    let UpstreamError::Misconfigured(text) = &error else { panic!("{error:?}") };
    assert!(text.contains("HTTP status 400, bad: id taken") && text.contains("upstreams.chat"), "{text}");
    assert_eq!(calls(&server).await.len(), 3);
}

#[tokio::test]
async fn a_creation_that_fails_is_sorted_and_never_an_unknown_mint() {
    for (created, kind) in [
        (ResponseTemplate::new(500), "unavailable"),
        (ResponseTemplate::new(401), "misconfigured"),
        (ResponseTemplate::new(302), "misconfigured"),
        (ResponseTemplate::new(429).insert_header("retry-after", "3"), "throttled"),
        (ResponseTemplate::new(201).set_body_string("x".repeat(65 * 1024)), "unavailable"),
    ] {
        let server = answering(vec![missing(), created]).await;
        let error = making(&server.uri()).mint(&subject()).await.err().expect("no user");
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(calls(&server).await.len(), 2);
    }
}

#[tokio::test]
async fn without_a_create_call_a_404_is_the_operators_fault() {
    let server = answering(vec![missing()]).await;
    let error = made(&own(&server.uri(), MINT)).expect("right").mint(&subject()).await.err().expect("none");
    assert!(matches!(error, UpstreamError::Misconfigured(_)), "{error:?}");
    assert_eq!(calls(&server).await.len(), 1);
}

#[tokio::test]
async fn answers_are_sorted_by_who_can_mend_them_f6() {
    let elsewhere =
        |status: u16| ResponseTemplate::new(status).insert_header("location", "https://x.example/");
    for (template, kind, told) in [
        (answer(403, &json!({"code": "banned"})), "refused", "HTTP status 403, banned"),
        (
            answer(401, &json!({"code": 7, "words": format!("bad key {KEY}")})),
            "misconfigured",
            "7: bad key •••",
        ),
        (answer(403, &json!({})), "misconfigured", "check the secrets of upstreams.chat"),
        (answer(404, &json!({"code": "no_route"})), "misconfigured", "upstreams.chat.url"),
        (answer(422, &json!({})), "misconfigured", "the call mint"),
        (elsewhere(301), "misconfigured", "redirects"),
        (elsewhere(307), "misconfigured", "not sent on"),
        (ResponseTemplate::new(409), "unavailable", "409"),
        (ResponseTemplate::new(429), "unavailable", "429"),
        (ResponseTemplate::new(408), "unknown", "408"),
        (ResponseTemplate::new(500), "unknown", "500"),
        (ResponseTemplate::new(503), "unknown", "503"),
        (answer(200, &json!({"t": ""})), "unknown", "without a token"),
        (answer(200, &json!({"t": {"x": 1}})), "unknown", "without a token"),
        (answer(200, &json!({"t": null})), "unknown", "without a token"),
        (ResponseTemplate::new(200).set_body_string("<html>"), "unknown", "without a token"),
        (ResponseTemplate::new(200).set_body_string("x".repeat(65 * 1024)), "unknown", "64 KiB"),
    ] {
        let server = answering(vec![template]).await;
        let error = making(&server.uri()).mint(&subject()).await.err().expect("no token");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(told), "{told}: {error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        assert_eq!(calls(&server).await.len(), 1, "{error}");
    }
}

#[tokio::test]
async fn a_backend_that_says_when_to_come_back_is_believed_for_an_hour_at_most() {
    for (header, after) in [("7", Some(7)), ("86400", Some(3600)), ("soon", None), ("-1", None)] {
        let server = answering(vec![ResponseTemplate::new(429).insert_header("retry-after", header)]).await;
        let error = making(&server.uri()).mint(&subject()).await.err().expect("no token");
        let said = "HTTP status 429".to_owned();
        let wanted = match after {
            Some(secs) => UpstreamError::Throttled { after: Duration::from_secs(secs), said },
            None => UpstreamError::Unavailable(said),
        };
        assert_eq!(error, wanted);
    }
}

#[tokio::test]
async fn a_closed_backend_is_not_available_and_a_slow_one_may_have_minted_f4() {
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let error = making(&format!("http://{closed}")).mint(&subject()).await.err().expect("no token");
    assert_eq!(error.kind(), "unavailable");
    let server = answering(vec![minted().set_delay(Duration::from_secs(30))]).await;
    let text = own(&server.uri(), MINT).replacen("kind", "timeout = \"200ms\"\nkind", 1);
    let error = made(&text).expect("right").mint(&subject()).await.err().expect("no token");
    assert_eq!(error.kind(), "unknown");
}
