//! Calls as an operator configures them, and backends that answer as theirs do.

mod faults;
mod presets;

use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::*;
use crate::ambient::{ManualClock, SeededEntropy};
use crate::config::{Config, UpstreamConfig};
use crate::domain::address::Address;
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

const KEY: &str = "s3cret-canary";
const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_999);

/// A backend of one's own; `more` follows `[upstreams.chat.mint]`.
fn own(url: &str, more: &str) -> String {
    format!(
        "[upstreams.chat]\nkind = \"http\"\nurl = \"{url}\"\nerrors = [\"/code\", \"/words\"]\n\
         [upstreams.chat.secrets]\nkey = \" {KEY}\\n\"\n\
         [upstreams.chat.headers]\nauthorization = \"Bearer {{{{ secrets.key }}}}\"\n\
         [upstreams.chat.mint]\n{more}"
    )
}

const MINT: &str = "path = \"/users/{{ user_id }}/tokens\"\ntoken = \"/t\"\n";

fn parsed(text: &str) -> Result<HttpUpstream, String> {
    let config = Config::parse(text.parse().expect("TOML"), "a test", &BTreeMap::new());
    let config = config.map_err(|error| error.to_string())?;
    let UpstreamConfig::Http(http) = &config.upstreams["chat"] else { panic!("another kind") };
    Ok(HttpUpstream::clone(http))
}

fn made(text: &str) -> Result<Http, String> {
    let config = parsed(text)?;
    let (clock, entropy) = (Arc::new(ManualClock::new(NOW)), Arc::new(SeededEntropy::new(7)));
    Http::new("chat", &config, clock, entropy).map_err(|error| error.to_string())
}

fn subject() -> Subject {
    Subject {
        user: UserId::from_stored("usr_1".to_owned()),
        upstream_id: None,
        address: Address::parse("+18005551234").expect("a number"),
        app_id: "com.example.app".to_owned(),
        name: None,
    }
}

fn imported(id: &str) -> Subject {
    Subject { upstream_id: Some(id.to_owned()), ..subject() }
}

/// Answers in this order, the last one for ever.
async fn answering(templates: Vec<ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    let left = Mutex::new(templates);
    let respond = move |_: &Request| {
        let mut left = left.lock().expect("no panic");
        if left.len() > 1 { left.remove(0) } else { left[0].clone() }
    };
    Mock::given(any()).respond_with(respond).mount(&server).await;
    server
}

fn answer(status: u16, body: &serde_json::Value) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(body)
}

/// What left: method, path with query, body.
async fn calls(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.expect("recorded");
    let show = |request: &Request| {
        let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let body = String::from_utf8(request.body.clone()).expect("text");
        format!("{} {}{query} {body}", request.method, request.url.path())
    };
    requests.iter().map(show).collect()
}

#[tokio::test]
async fn what_is_configured_leaves_and_the_token_comes_back_f7() {
    let server =
        answering(vec![answer(201, &json!({"t": "tok", "u": {"id": 42}, "e": 1_750_003_600}))]).await;
    let more = format!(
        "method = \"PUT\"\n{MINT}user = \"/u/id\"\nexpires = \"/e\"\n[upstreams.chat.mint.body]\nttl = 3600\n\
         who = {{ phone = \"{{{{ phone }}}}\", mail = \"{{{{ email }}}}\", tags = [\"{{{{ app_id }}}}\", true] }}\n\
         at = \"{{{{ now }}}}\"\nsecret = \"{{{{ secrets.key }}}}\"\nname = \"{{{{ name }}}}\"\n"
    );
    let http = made(&own(&format!("{}/api/", server.uri()), &more)).expect("right");
    let token = http.mint(&subject()).await.expect("a token");
    assert_eq!((token.provider, token.token.as_str(), token.user_id.as_str()), ("http", "tok", "42"));
    assert_eq!(serde_json::Value::Object(token.extra), json!({"expires_in": 3600}));
    assert_eq!(
        calls(&server).await,
        [format!(
            r#"PUT /api/users/usr_1/tokens {{"at":1750000000,"secret":"{KEY}","ttl":3600,"who":{{"phone":"+18005551234","tags":["com.example.app",true]}}}}"#
        )]
    );
    let request = &server.received_requests().await.expect("recorded")[0];
    assert_eq!(request.headers["authorization"], format!("Bearer {KEY}").as_str());
    assert_eq!(request.headers["content-type"], "application/json");
}

#[tokio::test]
async fn what_is_filled_into_a_path_stays_in_its_place_f4() {
    let server = answering(vec![answer(200, &json!({"t": "tok"}))]).await;
    let http = made(&own(&server.uri(), &format!("{MINT}method = \"GET\""))).expect("right");
    for id in ["a/../b?x=1#y", "+18005551234", "é %2e", "{{ secrets.key }}"] {
        assert_eq!(http.mint(&imported(id)).await.expect("a token").user_id, id);
    }
    assert_eq!(
        calls(&server).await,
        [
            "GET /users/a%2F..%2Fb%3Fx%3D1%23y/tokens ",
            "GET /users/%2B18005551234/tokens ",
            "GET /users/%C3%A9%20%252e/tokens ",
            "GET /users/%7B%7B%20secrets.key%20%7D%7D/tokens ",
        ]
    );
    for id in [".", ".."] {
        let error = http.mint(&imported(id)).await.err().expect("elsewhere");
        assert!(
            matches!(&error, UpstreamError::Misconfigured(text) if text.contains("leads elsewhere")),
            "{error:?}"
        );
    }
    assert_eq!(calls(&server).await.len(), 4);
}

#[tokio::test]
async fn a_form_and_a_query_are_written_as_such() {
    for (format, sent) in [
        ("form", "POST /users/usr_1/tokens a=b%26c&n=1"),
        ("query", "POST /users/usr_1/tokens?a=b%26c&n=1 "),
        ("none", "POST /users/usr_1/tokens "),
    ] {
        let server = answering(vec![answer(200, &json!({"t": "tok"}))]).await;
        let body = if format == "none" { "" } else { "[upstreams.chat.mint.body]\na = \"b&c\"\nn = 1" };
        let http = made(&own(&server.uri(), &format!("{MINT}format = \"{format}\"\n{body}"))).expect("right");
        http.mint(&subject()).await.expect("a token");
        assert_eq!(calls(&server).await, [sent]);
    }
}

#[tokio::test]
async fn an_end_is_read_in_its_unit_and_nonsense_is_no_end() {
    for (unit, end, left) in [
        ("s", json!(1_750_000_900), Some(900)),
        ("s", json!("1750000900"), Some(900)),
        ("ms", json!(1_750_000_900_000_u64), Some(900)),
        ("relative_s", json!(900), Some(900)),
        ("s", json!(17), Some(0)),
        ("s", json!("tomorrow"), None),
        ("s", json!(null), None),
    ] {
        let server = answering(vec![answer(200, &json!({"t": "tok", "e": end}))]).await;
        let more = format!("{MINT}expires = \"/e\"\nexpires_unit = \"{unit}\"");
        let http = made(&own(&server.uri(), &more)).expect("right");
        let token = http.mint(&subject()).await.expect("a token");
        assert_eq!(token.extra.get("expires_in").and_then(serde_json::Value::as_i64), left, "{unit} {end}");
    }
}

#[tokio::test]
async fn ids_without_capitals_are_ours_in_hex() {
    let server = answering(vec![answer(200, &json!({"t": "tok"}))]).await;
    let text = own(&server.uri(), MINT).replacen("kind", "lower_case_ids = true\nkind", 1);
    let token = made(&text).expect("right").mint(&subject()).await.expect("a token");
    assert_eq!(token.user_id, "usr_31");
}

#[tokio::test]
async fn a_revocation_is_a_call_where_there_is_one_and_a_missing_user_has_no_tokens() {
    let gone = answer(404, &json!({"code": "gone"}));
    let server = answering(vec![ResponseTemplate::new(204), gone, ResponseTemplate::new(401)]).await;
    let more = format!(
        "{MINT}missing = {{ status = 404, at = \"/code\", is = [\"gone\"] }}\n\
         [upstreams.chat.create]\npath = \"/users\"\n\
         [upstreams.chat.revoke]\npath = \"/users/{{{{ user_id }}}}/tokens\"\n"
    );
    let http = made(&own(&server.uri(), &more)).expect("right");
    http.revoke(&subject()).await.expect("revoked");
    http.revoke(&subject()).await.expect("nobody to revoke for");
    let error = http.revoke(&subject()).await.expect_err("refused");
    assert!(
        matches!(&error, UpstreamError::Misconfigured(text) if text.contains("the call revoke")),
        "{error:?}"
    );
    assert_eq!(calls(&server).await[0], "DELETE /users/usr_1/tokens ");
    let without = made(&own(&server.uri(), MINT)).expect("right");
    without.revoke(&subject()).await.expect("nothing to do");
    assert_eq!(calls(&server).await.len(), 3);
}

#[test]
fn unsafe_and_half_configurations_are_refused_at_start() {
    let url = "https://chat.example.com";
    for (text, told) in [
        (own(url, "path = \"/t\""), "upstreams.chat.mint.token (not set): say where the token is"),
        (
            own(url, "path = \"/t\"\ntoken = \"t\""),
            "upstreams.chat.mint.token (a test): must be a JSON pointer",
        ),
        (own(url, "token = \"/t\""), "upstreams.chat.mint.path (not set): "),
        (own(url, "path = \"t\"\ntoken = \"/t\""), "upstreams.chat.mint.path (a test): must begin with /"),
        (
            own("http://chat.example.com", MINT),
            "upstreams.chat.url (a test): our secret would travel in clear",
        ),
        (own("https://u:p@chat.example.com", MINT), "upstreams.chat.url (a test): paths are put behind it"),
        (own("https://chat.example.com/?a=b", MINT), "upstreams.chat.url (a test): paths are put behind it"),
        (own("ftp://chat.example.com", MINT), "upstreams.chat.url (a test): must start with https://"),
        (
            own(url, &format!("{MINT}redirect = true")),
            "upstreams.chat.mint.redirect (a test): there is no such key",
        ),
        (own(url, &format!("{MINT}missing = {{ status = 404 }}")), "upstreams.chat.create (not set): "),
        (
            own(url, &format!("{MINT}[upstreams.chat.create]\npath = \"/u\"")),
            "upstreams.chat.create (a test): ",
        ),
        (own(url, &format!("{MINT}refused = {{ at = \"/code\" }}")), "refused.at (a test): needs is"),
        (own(url, &format!("{MINT}[upstreams.chat.mint.refused]")), "refused.status (not set): "),
        (
            own(url, "path = \"/{{ usr_id }}\"\ntoken = \"/t\""),
            "upstreams.chat.mint.path: there is no \"usr_id\"",
        ),
        (own(url, "path = \"/{{ secrets.kay }}\"\ntoken = \"/t\""), "mint.path: there is no setting \"kay\""),
        (own(url, "path = \"/{{ secrets.key }}\"\ntoken = \"/t\""), "mint.path: holds the secret \"key\""),
        (
            own(url, &format!("{MINT}format = \"query\"\nbody = {{ k = \"{{{{ secrets.key }}}}\" }}")),
            "mint.path: holds the secret \"key\"",
        ),
        (
            own(url, &format!("{MINT}body = {{ a = \"{{% if %}}\" }}")),
            "mint.body.a: only expressions are known",
        ),
        (
            own(url, &format!("{MINT}body = {{ a = \"{{{{ email.x.y }}}}\" }}")),
            "upstreams.chat.mint.body.a: ",
        ),
        (own(url, &format!("{MINT}method = \"GET\"\nformat = \"json\"")), "mint.format: a GET has no body"),
        (
            format!(
                "{}\n\"bad header\" = \"x\"",
                own(url, MINT).replace("[upstreams.chat.mint]", "").replace(MINT, "")
            ),
            "upstreams.chat.mint.path (not set)",
        ),
    ] {
        let error = made(&text).err().unwrap_or_else(|| panic!("{text}"));
        assert!(error.contains(told), "{told}: {error}");
        assert!(!error.contains("canary"), "{error}");
    }
}
