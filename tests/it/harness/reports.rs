//! Gateways that report: two that the `webhook` recipe posts to, and what they say of messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use latchkey::delivery::Callbacks;
use latchkey::domain::ids::MessageId;
use latchkey::domain::pepper::Peppers;
use latchkey::domain::receipt::PathKeys;
use serde_json::{Value, json};
use sha2::Sha256;

use super::app::{Answer, Builder};
use super::gateway::{Posted, SECRET};
use super::{Database, FakeGateway, Manner, TestApp};

/// `first` and `second`, tried in this order.
pub struct Pair {
    pub first: FakeGateway,
    pub second: FakeGateway,
}

impl Pair {
    /// Both take what they are given.
    pub async fn start() -> Self {
        Self {
            first: FakeGateway::start(Manner::accepts()).await,
            second: FakeGateway::start(Manner::accepts()).await,
        }
    }

    /// A server in front of them. `route` is added to `[routes.sms]`.
    pub fn builder<'a>(&self, database: &'a Database, route: &str) -> Builder<'a> {
        let provider = |name: &str, gateway: &FakeGateway| {
            format!(
                "[providers.{name}]\nrecipe = \"webhook\"\nbase_url = {:?}\nsecret = {SECRET:?}\n",
                gateway.url()
            )
        };
        let (first, second) = (provider("first", &self.first), provider("second", &self.second));
        let routes = format!("[routes.sms]\ndefault = [\"first\", \"second\"]\n{route}\n");
        TestApp::builder(database).config(&format!("{first}{second}{routes}")).real_providers()
    }
}

impl Posted {
    /// The path that this message is reported at.
    pub fn receipt_path(&self) -> String {
        path_of(&self.get("receipt_url"))
    }
}

/// The path of a URL of ours.
pub fn path_of(url: &str) -> String {
    url.strip_prefix("http://127.0.0.1:8080").unwrap_or_else(|| panic!("{url}")).to_owned()
}

/// What the server makes its paths with.
pub fn callbacks(database: &Database) -> Callbacks {
    let pepper = std::fs::read_to_string(database.file("pepper")).expect("a pepper");
    let keys = PathKeys::new(&Peppers::parse(&pepper).expect("a pepper"));
    Callbacks::new("http://127.0.0.1:8080".parse().expect("a URL"), keys)
}

/// A path that a provider reports at.
pub fn path(database: &Database, provider: &str, message: Option<&str>) -> String {
    let message = message.map(|id| MessageId::from_stored(id.to_owned()));
    path_of(&callbacks(database).url(provider, message.as_ref()))
}

/// A report as the recipe wants it: signed now.
pub async fn report(app: &TestApp, path: &str, body: &Value) -> Answer {
    signed(app, path, &body.to_string(), SECRET, 0).await
}

/// One whose signature is so many seconds old.
pub async fn signed(app: &TestApp, path: &str, body: &str, secret: &str, age: i64) -> Answer {
    use latchkey::ambient::Clock;
    let time = app.clock.now().as_millis() / 1000 - age;
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
    mac.update(format!("evt_1.{time}.{body}").as_bytes());
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let request = app.request(reqwest::Method::POST, path).header("webhook-id", "evt_1");
    let request =
        request.header("webhook-timestamp", time.to_string()).header("webhook-signature", signature);
    app.send(request.body(body.to_owned())).await
}

/// What became of a message, by the gateway's word.
pub async fn says(app: &TestApp, posted: &Posted, status: &str) {
    let answer = report(app, &posted.receipt_path(), &json!({ "status": status })).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{status}");
}
