use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::*;
use crate::ambient::ManualClock;
use crate::config::CallLimits;
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

const SECRET: &str = "s3cret-canary";
const API_KEY: &str = "ap1-key-canary";
const NOW: Timestamp = Timestamp::from_millis(1_623_257_867_999);

fn given(identify_by: IdentifyBy) -> KustomerUpstream {
    KustomerUpstream { secret: KustomerSecret::Given(SECRET.into()), identify_by }
}

fn fetched(url: &str) -> KustomerUpstream {
    let secret = KustomerSecret::Fetched {
        url: format!("{url}/v1/auth/customer/settings").parse().expect("a URL"),
        api_key: API_KEY.into(),
        call: CallLimits { connect_timeout: Duration::from_secs(2), timeout: Duration::from_secs(5) },
    };
    KustomerUpstream { secret, identify_by: IdentifyBy::ExternalId }
}

fn made(config: &KustomerUpstream) -> (Kustomer, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(NOW));
    let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    (Kustomer::new("chat", config, shared).expect("a Kustomer"), clock)
}

fn subject(address: &str) -> Subject {
    Subject {
        user: UserId::from_stored("usr_1".to_owned()),
        upstream_id: None,
        address: Address::parse(address).expect("an address"),
        app_id: "com.example.app".to_owned(),
        name: Some("Ann".to_owned()),
    }
}

/// Verified by another's hand; header and claims as they were written.
fn read(token: &ChatToken, secret: &str) -> (String, String) {
    let mut rules = Validation::new(Algorithm::HS256);
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    let key = DecodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::decode::<Value>(&*token.token, &key, &rules).expect("a right signature");
    let part = |index| {
        let part: &str = token.token.split('.').nth(index).expect("a part");
        String::from_utf8(URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("text")
    };
    (part(0), part(1))
}

#[tokio::test]
async fn a_proof_is_exactly_the_documents_header_and_payload_with_a_number_for_iat() {
    let (kustomer, clock) = made(&given(IdentifyBy::ExternalId));
    let phone = subject("+18005551234");
    let token = kustomer.mint(&phone).await.expect("a token");
    let (header, claims) = read(&token, SECRET);
    assert_eq!(header, r#"{"typ":"JWT","alg":"HS256"}"#);
    assert_eq!(claims, r#"{"externalId":"usr_1","iat":1623257867}"#);
    assert_eq!((token.provider, token.user_id.as_str()), ("kustomer", "usr_1"));
    assert_eq!(Value::Object(token.extra), json!({"expires_in": 900}));
    let mail = kustomer.mint(&subject("ann@mail.example")).await.expect("a token");
    assert!(!read(&mail, SECRET).1.contains("mail"), "nobody asked for e-mail");
    let imported = Subject { upstream_id: Some("old-42".to_owned()), ..phone.clone() };
    let imported = kustomer.mint(&imported).await.expect("a token");
    assert_eq!(read(&imported, SECRET).1, r#"{"externalId":"old-42","iat":1623257867}"#);
    clock.advance(Duration::from_mins(1));
    let later = kustomer.mint(&phone).await.expect("a token");
    assert_eq!(read(&later, SECRET).1, r#"{"externalId":"usr_1","iat":1623257927}"#, "never a cached one");
    kustomer.revoke(&phone).await.expect("nothing to do");
}

#[tokio::test]
async fn by_email_is_the_operators_word_and_needs_a_mailbox() {
    let (kustomer, _) = made(&given(IdentifyBy::Email));
    let token = kustomer.mint(&subject("email@kustomer.com")).await.expect("a token");
    assert_eq!(read(&token, SECRET).1, r#"{"email":"email@kustomer.com","iat":1623257867}"#);
    assert_eq!(token.user_id, "email@kustomer.com");
    let error = kustomer.mint(&subject("+18005551234")).await.err().expect("no mailbox");
    assert!(
        matches!(&error, UpstreamError::Misconfigured(text) if text.contains("upstreams.chat.identify_by"))
    );
    assert!(!error.to_string().contains("1234"));
}

async fn settings(template: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/v1/auth/customer/settings"))
        .and(header("authorization", format!("Bearer {API_KEY}").as_str()))
        .and(header("content-type", "application/json"))
        .respond_with(template)
        .mount(&server)
        .await;
    server
}

async fn calls(server: &MockServer) -> usize {
    server.received_requests().await.expect("recorded").len()
}

#[tokio::test]
async fn the_secret_is_fetched_once_in_either_shape_and_never_per_login() {
    for body in [
        json!({"attributes": {"secret": "fetched"}}),
        json!({"data": {"type": "setting", "id": "1", "attributes": {"secret": "fetched", "x": 1}}}),
    ] {
        let server = settings(ResponseTemplate::new(200).set_body_json(body)).await;
        let (kustomer, _) = made(&fetched(&server.uri()));
        assert_eq!(calls(&server).await, 0, "not before it is needed");
        for _ in 0..3 {
            let token = kustomer.mint(&subject("+18005551234")).await.expect("a token");
            assert_eq!(read(&token, "fetched").1, r#"{"externalId":"usr_1","iat":1623257867}"#);
        }
        assert_eq!(calls(&server).await, 1);
    }
}

/// The first call is answered with the one, later ones with the other.
struct Healing(AtomicUsize, [ResponseTemplate; 2]);

impl Respond for Healing {
    fn respond(&self, _request: &Request) -> ResponseTemplate {
        self.1[self.0.fetch_add(1, Ordering::SeqCst).min(1)].clone()
    }
}

#[tokio::test]
async fn of_many_mints_at_once_one_asks_and_all_share_its_end_and_the_next_mint_asks_again() {
    let slow = Duration::from_millis(200);
    let healed = ResponseTemplate::new(200).set_body_json(json!({"attributes": {"secret": "fetched"}}));
    let healing =
        Healing(AtomicUsize::new(0), [ResponseTemplate::new(500).set_delay(slow), healed.set_delay(slow)]);
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(healing).mount(&server).await;
    let (kustomer, _) = made(&fetched(&server.uri()));
    let subject = subject("+18005551234");
    let all = || futures_util::future::join_all((0..64).map(|_| kustomer.mint(&subject)));
    for minted in all().await {
        assert_eq!(minted.err(), Some(UpstreamError::Unavailable("HTTP status 500".to_owned())));
    }
    assert_eq!(calls(&server).await, 1, "single flight");
    assert!(all().await.into_iter().all(|minted| minted.is_ok()));
    assert_eq!(calls(&server).await, 2);
}

async fn fault(template: ResponseTemplate) -> UpstreamError {
    let server = settings(template).await;
    let (kustomer, _) = made(&fetched(&server.uri()));
    let error = kustomer.mint(&subject("+18005551234")).await.err().expect("no token");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    error
}

#[tokio::test]
async fn a_settings_call_that_fails_is_sorted_by_who_can_mend_it_f6() {
    for (status, fix) in [
        (401, "upstreams.chat.api_key_file"),
        (403, "org.admin and org.user"),
        (404, "upstreams.chat.org"),
        (302, "upstreams.chat.url"),
        (307, "not sent on"),
    ] {
        let got = fault(ResponseTemplate::new(status).insert_header("location", "/elsewhere")).await;
        assert!(
            matches!(&got, UpstreamError::Misconfigured(text) if text.contains(fix)),
            "{status}: {got:?}"
        );
    }
    for body in [json!({}), json!({"attributes": {"secret": ""}}), json!({"secret": "x"}), json!("<html>")] {
        let got = fault(ResponseTemplate::new(200).set_body_json(&body)).await;
        assert!(
            matches!(&got, UpstreamError::Misconfigured(text) if text.contains("hold no secret")),
            "{body}"
        );
    }
    let throttled = fault(ResponseTemplate::new(429).insert_header("retry-after", "7")).await;
    let said = "HTTP status 429".to_owned();
    assert_eq!(throttled, UpstreamError::Throttled { after: Duration::from_secs(7), said: said.clone() });
    assert_eq!(fault(ResponseTemplate::new(429)).await, UpstreamError::Unavailable(said));
    for template in [
        ResponseTemplate::new(503),
        ResponseTemplate::new(408),
        ResponseTemplate::new(200).set_body_string("x".repeat(65 * 1024)),
    ] {
        let got = fault(template).await;
        assert!(matches!(got, UpstreamError::Unavailable(_)), "nothing was minted: {got:?}");
    }
}
