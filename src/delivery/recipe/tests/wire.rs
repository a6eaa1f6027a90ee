//! Calls: what leaves, and what becomes of gateways that misbehave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};
use zeroize::Zeroizing;

use super::*;
use crate::ambient::{ManualClock, SeededEntropy};
use crate::delivery::{OutgoingCode, Provider, Receipt, SendError, Text};
use crate::domain::address::Address;
use crate::domain::code::{Code, CodeLength};
use crate::domain::ids::MessageId;
use crate::domain::purpose::Purpose;
use crate::domain::time::Timestamp;

/// A secret with letters that URLs and forms spell in other ways.
const CANARY: &str = "can4ry+s3cret/x";
pub(super) const CODE: &str = "482913";

pub(super) fn message() -> OutgoingCode {
    OutgoingCode {
        id: MessageId::generate(&SeededEntropy::new(1)),
        to: Address::parse("+14155552671").expect("a number"),
        purpose: Purpose::LOGIN,
        code: Code::parse(CODE, CodeLength::SIX),
        app_id: "com.messenger.appid".to_owned(),
        app_name: "Messenger".to_owned(),
        lifetime: Duration::from_mins(5),
        text: Text {
            locale: "en".to_owned(),
            subject: String::new(),
            body: Zeroizing::new(format!("Your code is {CODE}")),
        },
    }
}

fn gateway(name: &str, text: &str, base_url: &str) -> Gateway {
    let settings = [
        ("base_url", base_url),
        ("token", CANARY),
        ("password", CANARY),
        ("username", "user"),
        ("sender", "12345"),
        ("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ];
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_767_225_600_000)));
    Gateway::new(name, &configured(text, &settings), clock, None).expect("a gateway")
}

pub(super) async fn answering(template: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(template).mount(&server).await;
    server
}

async fn send(base_url: &str) -> Result<Receipt, SendError> {
    gateway("test", MINIMAL, base_url).send(&message()).await
}

pub(super) fn body(text: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_string(text)
}

#[tokio::test]
async fn what_the_recipe_says_leaves_and_what_it_finds_comes_back() {
    let server = answering(body("{\"status\": \"ok\", \"id\": 3200017889310123456789}")).await;
    let receipt = send(&server.uri()).await.expect("accepted");
    assert_eq!(receipt.provider_id.as_deref(), Some("3200017889310123456789"), "no digit is lost");
    let requests = server.received_requests().await.expect("requests");
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].url.path(), "/send");
    assert_eq!(requests[0].headers["authorization"], format!("Bearer {CANARY}").as_str());
    let body = String::from_utf8(requests[0].body.clone()).expect("UTF-8");
    assert_eq!(body, format!("{{\"text\":\"Your code is {CODE}\",\"to\":\"+14155552671\"}}"));
}

#[tokio::test]
async fn a_message_cannot_break_out_of_its_place_d5() {
    let server = answering(body("{\"status\": \"ok\"}")).await;
    let mut hostile = message();
    hostile.text.body = Zeroizing::new("\",\"to\":\"+1900\n{{ cfg.token }}&to=1".to_owned());
    gateway("test", MINIMAL, &server.uri()).send(&hostile).await.expect("accepted");
    let requests = server.received_requests().await.expect("requests");
    let sent: serde_json::Value = serde_json::from_slice(&requests[0].body).expect("JSON");
    assert_eq!(sent["to"], "+14155552671");
    assert_eq!(sent["text"], hostile.text.body.as_str());
}

#[tokio::test]
async fn a_redirect_is_not_followed_f4() {
    let target = answering(body("{\"status\": \"ok\"}")).await;
    for (status, kind) in
        [(301, "rejected"), (302, "unknown"), (303, "unknown"), (307, "rejected"), (308, "rejected")]
    {
        let redirect =
            ResponseTemplate::new(status).insert_header("location", format!("{}/send", target.uri()));
        let server = answering(redirect).await;
        let error = send(&server.uri()).await.expect_err("a redirect");
        assert_eq!(error.kind(), kind, "{status}");
        assert!(error.to_string().contains("providers.test.base_url"), "{error}");
    }
    assert_eq!(target.received_requests().await.expect("requests").len(), 0);
}

#[tokio::test]
async fn an_answer_is_read_up_to_64_kib_f4() {
    let large = |size: usize| {
        let empty = "{\"status\": \"ok\"}";
        body(&format!("{empty}{}", " ".repeat(size - empty.len())))
    };
    let server = answering(large(65_536)).await;
    assert!(send(&server.uri()).await.is_ok());
    let server = answering(large(65_537)).await;
    assert_eq!(
        send(&server.uri()).await,
        Err(SendError::Unknown("its answer is larger than 64 KiB".to_owned()))
    );
}

/// Answers one connection with `head`, then sends a byte every while, or hangs up.
fn raw_server(head: &'static str, drip: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.read(&mut [0; 4096]).expect("a request");
        stream.write_all(head.as_bytes()).expect("a head");
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        // Each read waits its timeout out; a client that is gone ends the drip.
        while drip && stream.write_all(b" ").is_ok() && !matches!(stream.read(&mut [0; 8]), Ok(0)) {}
    });
    address
}

#[tokio::test]
async fn what_may_have_been_sent_is_unknown_c11_f4() {
    let late = Err(SendError::Unknown("no answer in time".to_owned()));
    let cut = Err(SendError::Unknown("the connection broke before the answer".to_owned()));
    let hanging = answering(body("{\"status\": \"ok\"}").set_delay(Duration::from_secs(30))).await;
    assert_eq!(send(&hanging.uri()).await, late);
    let dripping = raw_server("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", true);
    assert_eq!(send(&format!("http://{dripping}")).await, late, "each byte in time, all of them not");
    let half = raw_server("HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{\"status\": \"ok\"}", false);
    assert_eq!(send(&format!("http://{half}")).await, cut);
    let nothing = raw_server("", false);
    assert_eq!(send(&format!("http://{nothing}")).await, cut);
}

#[tokio::test]
async fn what_never_arrived_is_temporary_c11() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let refused = SendError::Temporary("no connection: connection refused".to_owned());
    assert_eq!(send(&format!("http://{closed}")).await, Err(refused));
    let error = send("http://no-such-host.invalid").await.expect_err("no host");
    assert_eq!(error.kind(), "temporary");
    let plain = raw_server("HTTP/1.1 400 Bad Request\r\n\r\n", false);
    let error = send(&format!("https://{plain}")).await.expect_err("no TLS");
    assert!(matches!(&error, SendError::Temporary(text) if text.contains("TLS")), "{error}");
}

#[tokio::test]
async fn what_no_rule_knows_is_never_accepted_and_a_success_is_unknown_c12() {
    let cases = [
        (200, "{\"status\": \"failed\"}", "unknown"),
        (202, "{\"status\": \"ok\"}", "unknown"),
        (204, "", "unknown"),
        (200, "<html>", "unknown"),
        (402, "", "rejected"),
        (401, "", "auth"),
        (408, "", "unknown"),
        (429, "", "throttled"),
        (500, "{\"status\": \"ok\"}", "unknown"),
    ];
    for (status, text, kind) in cases {
        let server = answering(ResponseTemplate::new(status).set_body_string(text)).await;
        let error = send(&server.uri()).await.expect_err("not accepted");
        assert_eq!(error.kind(), kind, "{status} {text}");
    }
}

#[tokio::test]
async fn a_gateway_that_asks_to_be_left_alone_says_for_how_long() {
    for (header, wanted) in [(None, None), (Some("30"), Some(Duration::from_secs(30))), (Some("soon"), None)]
    {
        let answer = ResponseTemplate::new(429);
        let answer = header.map_or(answer.clone(), |value| answer.insert_header("retry-after", value));
        let error = send(&answering(answer).await.uri()).await.expect_err("not accepted");
        assert!(matches!(error, SendError::Throttled { after, .. } if after == wanted), "{error:?}");
    }
}

#[tokio::test]
async fn no_error_and_no_trial_holds_a_secret_and_no_error_holds_the_code_f7() {
    let kannel = include_str!("../../../../providers/kannel.toml");
    let echo =
        format!("{{\"message\": \"bad {CANARY} for +14155552671, code {CODE}, can4ry%2Bs3cret%2Fx\"}}");
    let mut servers = Vec::new();
    for status in [200, 202, 302, 400, 401, 403, 429, 500, 503] {
        servers.push(answering(ResponseTemplate::new(status).set_body_string(&echo)).await);
    }
    servers.push(answering(body(&echo).set_delay(Duration::from_secs(30))).await);
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut addresses: Vec<String> = servers.iter().map(MockServer::uri).collect();
    addresses.extend([
        format!("http://{closed}"),
        "http://no-such-host.invalid".to_owned(),
        format!("https://{}", raw_server("HTTP/1.1 400 Bad Request\r\n\r\n", false)),
        format!("http://{}", raw_server("", false)),
    ]);
    let quick = kannel.replace("timeout_ms = 5000", "timeout_ms = 300");
    for (recipe, address) in [MINIMAL, &quick]
        .into_iter()
        .flat_map(|recipe| addresses.iter().map(move |address| (recipe, address)))
    {
        let trial = gateway("test", recipe, address).try_out(&message()).await;
        let error = trial.result.expect_err("an error");
        let told = format!("{error} {error:?}");
        let shown = format!("{told} {} {:?}", trial.request, trial.answer);
        for form in [CANARY, "can4ry%2Bs3cret%2Fx", "can4ry%2Bs3cret/x"] {
            assert!(!shown.contains(form), "{shown}");
        }
        assert!(!told.contains(CODE) && !told.contains("4155552671"), "{told}");
        assert!(trial.request.contains("14155552671"), "{}", trial.request);
    }
}

#[tokio::test]
async fn a_country_that_the_recipe_does_not_serve_is_the_next_providers() {
    let server = answering(body("{\"status\": \"ok\"}")).await;
    let text = MINIMAL.replace("[limits]", "[limits]\ncountries = [\"IN\"]");
    let error = gateway("test", &text, &server.uri()).send(&message()).await.expect_err("not served");
    assert_eq!(error.kind(), "unroutable");
    assert_eq!(server.received_requests().await.expect("requests").len(), 0);
}

#[tokio::test]
async fn a_message_in_letters_that_the_gateway_cannot_send_is_the_next_providers() {
    let server = answering(body("{\"status\": \"ok\"}")).await;
    let text = MINIMAL.replace("[limits]", "[limits]\ncharset = \"gsm7\"");
    let gateway = gateway("test", &text, &server.uri());
    let mut cyrillic = message();
    cyrillic.text.body = Zeroizing::new("Код 482913".to_owned());
    assert_eq!(gateway.send(&cyrillic).await.expect_err("not GSM").kind(), "unroutable");
    assert_eq!(server.received_requests().await.expect("requests").len(), 0);
    gateway.send(&message()).await.expect("GSM");
}

#[tokio::test]
async fn the_hook_has_one_id_however_often_it_is_called_c11() {
    let server = answering(body("{\"outcome\": \"temporary\"}")).await;
    let text = include_str!("../../../../providers/webhook.toml");
    let (gateway, message) = (gateway("hook", text, &server.uri()), message());
    for _ in 0..2 {
        assert_eq!(gateway.send(&message).await.expect_err("temporary").kind(), "temporary");
    }
    let requests = server.received_requests().await.expect("requests");
    for request in &requests {
        assert_eq!(request.headers["webhook-id"], message.id.as_str());
        assert_eq!(request.headers["webhook-timestamp"], "1767225600");
    }
    assert_eq!(requests[0].headers["webhook-signature"], requests[1].headers["webhook-signature"]);
}

/// Two gateways as an operator configures them, Twilio at `first` and our own hook at `second`.
async fn deliver(first: &str, second: &str) -> crate::delivery::Report {
    let table = format!(
        "[providers.first]\nrecipe = \"twilio\"\naccount_sid = \"AC0123456789abcdef0123456789abcdef\"\n\
         auth_token = \"t\"\nsender = \"+1\"\nbase_url = \"{first}\"\n\
         [providers.second]\nrecipe = \"webhook\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n\
         base_url = \"{second}\"\n[routes.sms]\ndefault = [\"first\", \"second\"]"
    );
    let config = config::Config::parse(table.parse().expect("TOML"), "a test", &BTreeMap::new())
        .unwrap_or_else(|error| panic!("{error}"));
    let clock: Arc<dyn crate::ambient::Clock> = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let providers = crate::delivery::build(&config.providers, &clock, None).expect("providers");
    let rules = crate::delivery::Rules { routes: config.routes, ..crate::delivery::Rules::default() };
    let around = crate::delivery::Surroundings {
        board: Arc::default(),
        clock,
        entropy: Arc::new(SeededEntropy::new(1)),
        metrics: Arc::default(),
    };
    let courier = crate::delivery::Courier::new(providers, rules, around);
    let message = message();
    let plan = courier.plan(crate::domain::channel::Channel::Sms, &message, &[]);
    courier.deliver(&plan, &message, Duration::from_secs(10)).await
}

#[tokio::test]
async fn a_gateway_that_refuses_leaves_the_message_to_the_next_one_c10() {
    let hook = answering(body("{\"outcome\": \"accepted\", \"id\": \"h1\"}")).await;
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let throttled = answering(ResponseTemplate::new(429)).await;
    for first in [format!("http://{closed}"), throttled.uri()] {
        let report = deliver(&first, &hook.uri()).await;
        assert_eq!(report.provider.as_deref(), Some("second"));
        assert_eq!(report.result, Ok(Receipt { provider_id: Some("h1".to_owned()) }));
    }
    let requests = hook.received_requests().await.expect("requests");
    let codes: Vec<bool> =
        requests.iter().map(|request| String::from_utf8_lossy(&request.body).contains(CODE)).collect();
    assert_eq!(codes, [true, true], "the same code");
}

#[tokio::test]
async fn a_gateway_that_may_have_sent_the_message_is_the_last_one_c11() {
    let hook = answering(body("{\"outcome\": \"accepted\"}")).await;
    let cut = format!("http://{}", raw_server("HTTP/1.1 201 Created\r\nContent-Length: 60\r\n\r\n{", false));
    let odd = answering(ResponseTemplate::new(201).set_body_string("{\"status\": \"failed\"}")).await;
    for first in [cut, odd.uri()] {
        let report = deliver(&first, &hook.uri()).await;
        assert_eq!(report.provider.as_deref(), Some("first"));
        assert_eq!(report.result.expect_err("unknown").kind(), "unknown");
    }
    assert_eq!(hook.received_requests().await.expect("requests").len(), 0);
}

#[tokio::test]
async fn a_trial_shows_what_leaves_and_the_rule_that_decides() {
    let server = answering(body("{\"outcome\": \"no_funds\"}")).await;
    let text = include_str!("../../../../providers/webhook.toml");
    let trial = gateway("hook", text, &server.uri()).try_out(&message()).await;
    assert!(trial.request.starts_with(&format!("POST {}/\n", server.uri())), "{}", trial.request);
    assert!(trial.request.contains("webhook-signature: (not shown)"), "{}", trial.request);
    assert!(trial.request.contains("\"to\":\"+14155552671\""), "{}", trial.request);
    assert_eq!(trial.answer.as_deref(), Some("HTTP 200\n{\"outcome\": \"no_funds\"}"));
    assert_eq!(trial.rule, Some(7));
    assert_eq!(trial.result.expect_err("no funds").kind(), "no_funds");
}

/// Where a subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_success_that_no_rule_knows_is_an_alarm_and_no_log_holds_a_secret_f7() {
    let (log, server) = (Log::default(), answering(body(&format!("{{\"x\": \"{CANARY} {CODE}\"}}"))).await);
    let writer = log.clone();
    let subscriber = crate::telemetry::subscriber(
        config::Log { level: tracing::Level::TRACE, format: config::LogFormat::Human },
        move || writer.clone(),
    );
    let guard = tracing::subscriber::set_default(subscriber);
    // The clock of other tests' threads may have settled that nobody listens.
    tracing::callsite::rebuild_interest_cache();
    let error = send(&server.uri()).await.expect_err("unknown");
    drop(guard);
    assert_eq!(error.kind(), "unknown");
    let text = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("UTF-8");
    assert!(text.contains("ERROR") && text.contains("provider=\"test\""), "{text}");
    assert!(!text.contains(CANARY) && !text.contains(CODE) && !text.contains("http://"), "{text}");
}
