//! The real server on a free port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use latchkey::ambient::{Clock, Entropy, ManualClock, SeededEntropy};
use latchkey::app::{App, World};
use latchkey::config::Source;
use latchkey::delivery::Provider;
use latchkey::domain::channel::Channel;
use latchkey::domain::time::Timestamp;
use latchkey::login::Login;
use latchkey::store::Store;
use latchkey::upstream::Upstream;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::outbox::Recorder;
use super::{Database, FakeUpstream, Outbox};

/// The number of the tutorial.
pub const PHONE: &str = "18005551234";
/// The app of the tutorial.
pub const APP: &str = "com.messenger.appid";

/// When every test begins: 2026-01-01T00:00:00Z.
pub fn now() -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000)
}

/// How to start a server.
pub struct Builder<'a> {
    database: &'a Database,
    settings: toml::Table,
    clock: Arc<ManualClock>,
    entropy: Arc<dyn Entropy>,
    seed: u64,
    upstreams: BTreeMap<String, Arc<dyn Upstream>>,
    fake: Arc<FakeUpstream>,
    real_providers: bool,
    look_every: Duration,
}

/// A server, and everything around it that a test looks at.
pub struct TestApp {
    pub address: SocketAddr,
    pub admin_address: SocketAddr,
    pub clock: Arc<ManualClock>,
    pub outbox: Arc<Outbox>,
    pub upstream: Arc<FakeUpstream>,
    pub store: Arc<Store>,
    pub login: Arc<Login>,
    file: PathBuf,
    settings: toml::Table,
    client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

/// What a server said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    /// A member of the body; null when there is none.
    pub fn get(&self, key: &str) -> Value {
        self.json().get(key).cloned().unwrap_or(Value::Null)
    }

    /// Whether `result` says so, in either spelling.
    pub fn is_ok(&self) -> bool {
        self.get("result") == json!("OK") || self.get("result") == json!(true)
    }

    /// `error`, or nothing.
    pub fn error(&self) -> String {
        self.get("error").as_str().unwrap_or_default().to_owned()
    }

    /// `token`, or nothing.
    pub fn token(&self) -> Option<String> {
        self.get("token").as_str().map(str::to_owned)
    }
}

/// Sets `section.key` in a configuration.
pub fn put(mut table: &mut toml::Table, path: &str, value: toml::Value) {
    let (sections, key) = path.rsplit_once('.').unwrap_or(("", path));
    for section in sections.split('.').filter(|section| !section.is_empty()) {
        let entry = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry.as_table_mut().expect("a table");
    }
    table.insert(key.to_owned(), value);
}

impl Builder<'_> {
    /// Sets `section.key`, as the file would.
    pub fn set(mut self, path: &str, value: impl Into<toml::Value>) -> Self {
        put(&mut self.settings, path, value.into());
        self
    }

    /// Adds tables as the file would write them.
    pub fn config(mut self, text: &str) -> Self {
        self.settings.extend(text.parse::<toml::Table>().expect("TOML"));
        self
    }

    /// Shares the clock of another server.
    pub fn clock(mut self, clock: &Arc<ManualClock>) -> Self {
        self.clock = Arc::clone(clock);
        self
    }

    /// Another stream of randomness: two servers of one seed would draw the same codes and ids.
    pub fn seed(mut self, seed: u64) -> Self {
        self.entropy = Arc::new(SeededEntropy::new(seed));
        self.seed = seed;
        self
    }

    /// The configured upstreams as they are, instead of the fake in place of `local`.
    pub fn real_upstreams(mut self) -> Self {
        self.upstreams.clear();
        self
    }

    /// Codes travel by mail, too.
    pub fn with_mail(self) -> Self {
        self.set("providers.console.kind", "console")
            .set("providers.mail.kind", "smtp")
            .set("providers.mail.url", "smtp://127.0.0.1:1")
            .set("providers.mail.from", "login@example.com")
    }

    /// The configured providers as they are, instead of the outbox.
    pub fn real_providers(mut self) -> Self {
        self.real_providers = true;
        self
    }

    /// Looks so often for messages that did not arrive; without this only when a test says so.
    pub fn looking_every(mut self, every: Duration) -> Self {
        self.look_every = every;
        self
    }

    /// Starts it.
    pub fn start(self) -> TestApp {
        let file = self.database.file(&format!("latchkey-{}.toml", self.seed));
        std::fs::write(&file, self.settings.to_string()).expect("our folder");
        let source = Source { file: Some(file.clone()), variables: BTreeMap::new() };
        let config = source.load().unwrap_or_else(|error| panic!("{error}"));
        let outbox = Arc::new(Outbox::default());
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        let record = |channel| -> Arc<dyn Provider> { Arc::new(Recorder(Arc::clone(&outbox), channel)) };
        let recorder = || [Channel::Sms, Channel::Email].map(record).to_vec();
        let providers = (!self.real_providers).then(recorder);
        let world = World {
            clock,
            entropy: self.entropy,
            providers,
            upstreams: self.upstreams,
            source: Some(source),
            look_every: self.look_every,
        };
        let app = App::start(config, world)
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        let (stop, stopped) = oneshot::channel::<()>();
        let (address, admin_address) = (app.public_address(), app.admin_address());
        let (store, login) = (Arc::clone(app.store()), app.login());
        let running = tokio::spawn(app.run_until(async {
            let _ = stopped.await;
        }));
        TestApp {
            address,
            admin_address,
            clock: self.clock,
            outbox,
            upstream: self.fake,
            store,
            login,
            file,
            settings: self.settings,
            client: http_client(),
            stop: Some(stop),
            running: Some(running),
        }
    }
}

/// A client like any other, with more patience than any server deadline.
pub fn http_client() -> reqwest::Client {
    #[expect(clippy::disallowed_methods, reason = "tests play the client")]
    let builder = reqwest::Client::builder();
    builder.timeout(Duration::from_mins(1)).no_proxy().build().expect("a client")
}

impl TestApp {
    /// A server with the defaults of development, on free ports, with fake ends.
    pub fn builder(database: &Database) -> Builder<'_> {
        let fake = FakeUpstream::new();
        let upstream: Arc<dyn Upstream> = Arc::<FakeUpstream>::clone(&fake);
        let builder = Builder {
            database,
            settings: toml::Table::new(),
            clock: Arc::new(ManualClock::new(now())),
            entropy: Arc::new(SeededEntropy::new(1)),
            seed: 1,
            upstreams: [("local".to_owned(), upstream)].into(),
            fake,
            real_providers: false,
            look_every: Duration::from_hours(1),
        };
        let file = |name: &str| builder.database.file(name).display().to_string();
        let (pepper, keys) = (file("pepper"), file("session.keys"));
        let url = builder.database.url.clone();
        builder
            .set("server.listen", "127.0.0.1:0")
            .set("server.admin_listen", "127.0.0.1:0")
            .set("server.workers", 2)
            .set("database.url", url)
            .set("otp.pepper_file", pepper)
            .set("session.key_file", keys)
            .set("upstreams.local.kind", "jwt")
            .set("upstreams.local.algorithm", "HS256")
            .set("upstreams.local.key", "0123456789abcdef0123456789abcdef")
    }

    /// Starts a server with the defaults.
    pub fn start(database: &Database) -> Self {
        Self::builder(database).start()
    }

    /// The time, in Unix seconds.
    pub fn clock_now(&self) -> i64 {
        self.clock.now().as_secs()
    }

    /// Moves time.
    pub fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    /// Posts a body to the mesibo dialect.
    pub async fn post(&self, body: impl Into<String>) -> Answer {
        self.send(self.client.post(format!("http://{}/", self.address)).body(body.into())).await
    }

    /// Any request, to a path of the public listener.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// A request to the operator's listener.
    pub async fn admin(&self, path: &str) -> Answer {
        self.send(self.client.get(format!("http://{}{path}", self.admin_address))).await
    }

    /// Posts to our own API.
    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(reqwest::Method::POST, path).header("content-type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    /// Sends a request and reads all of the answer.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.expect("a body") }
    }

    /// Step 1, as an app sends it.
    pub async fn start_login(&self, phone: &str) -> Answer {
        self.post(json!({"op": "login", "appid": APP, "phone": phone, "dt": "1"}).to_string()).await
    }

    /// Step 2.
    pub async fn verify(&self, phone: &str, otp: &str) -> Answer {
        self.post(json!({"op": "login", "appid": APP, "phone": phone, "dt": "1", "otp": otp}).to_string())
            .await
    }

    /// Writes `section.key` into the file of the configuration.
    pub fn set(&mut self, path: &str, value: impl Into<toml::Value>) {
        put(&mut self.settings, path, value.into());
        std::fs::write(&self.file, self.settings.to_string()).expect("our folder");
    }

    /// Has the configuration read again.
    pub async fn reload(&self) -> Answer {
        self.send(self.client.post(format!("http://{}/reload", self.admin_address))).await
    }

    /// The same from a web page.
    pub async fn reload_from(&self, origin: &str) -> Answer {
        let request = self.client.post(format!("http://{}/reload", self.admin_address));
        self.send(request.header("origin", origin)).await
    }

    /// A whole login; the token.
    pub async fn log_in(&self, phone: &str) -> String {
        let started = self.start_login(phone).await;
        assert!(started.is_ok(), "{started:?}");
        let verified = self.verify(phone, &self.outbox.last_code()).await;
        verified.token().unwrap_or_else(|| panic!("{verified:?}"))
    }

    /// Stops it as SIGTERM would, and waits for its end.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if let Some(running) = self.running.take() {
            running.await.expect("no panic");
        }
    }
}
