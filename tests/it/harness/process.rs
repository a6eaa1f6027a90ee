//! The real binary, in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use latchkey::ambient::SeededEntropy;
use latchkey::domain::keyring::KeyRing;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::app::{APP, Answer, put};
use super::{Database, FakeMesibo};

/// Longer than any deadline of a server, also on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The file that the console provider of a test appends codes to.
const CODES: &str = "codes";

static FILES: AtomicU32 = AtomicU32::new(0);

/// What a server is configured with.
#[derive(Clone)]
pub struct Settings {
    folder: PathBuf,
    table: toml::Table,
}

impl Settings {
    /// Development on free ports, with the test's database; codes go to a file.
    pub fn of(database: &Database) -> Self {
        let file = |name: &str| database.file(name).display().to_string();
        Self { folder: database.folder.path().to_owned(), table: toml::Table::new() }
            .set("server.listen", "127.0.0.1:0")
            .set("server.admin_listen", "127.0.0.1:0")
            .set("server.workers", 2)
            .set("server.max_connections_per_ip", 2000)
            .set("database.url", database.url.clone())
            .set("otp.pepper_file", file("pepper"))
            .set("session.key_file", file("session.keys"))
            .set("log.format", "json")
            .set("providers.console.kind", "console")
            .set("providers.console.file", file(CODES))
    }

    /// Production behind a proxy of its own, on free ports, with the test's database and no way out yet.
    pub fn production(database: &Database) -> Self {
        let pepper = secret(database, "pepper", &format!("k1 {}\n", "c0".repeat(32)));
        let keys = secret(database, "session.keys", &KeyRing::generate(&SeededEntropy::new(1)));
        Self { folder: database.folder.path().to_owned(), table: toml::Table::new() }
            .set("mode", "production")
            .set("public_url", "https://login.example.com")
            .set("server.listen", "127.0.0.1:0")
            .set("server.admin_listen", "127.0.0.1:0")
            .set("server.workers", 2)
            .set("database.url", database.url.clone())
            .set("otp.pepper_file", pepper)
            .set("session.key_file", keys)
            .set("policy.countries", vec!["US"])
            .set("log.format", "json")
    }

    /// Sets `section.key`.
    pub fn set(mut self, path: &str, value: impl Into<toml::Value>) -> Self {
        put(&mut self.table, path, value.into());
        self
    }

    /// Mints at this backend.
    pub fn mesibo(self, mesibo: &FakeMesibo) -> Self {
        self.set("upstreams.chat.kind", "mesibo")
            .set("upstreams.chat.url", mesibo.url.clone())
            .set("upstreams.chat.app_token", "the-app-token")
    }

    /// Sends as much as anybody asks for.
    pub fn without_send_limits(self) -> Self {
        self.set("limits.per_ip_unverified", "100000/1h").set("limits.per_ip", "100000/1h")
    }

    /// Writes them to a file of its own.
    pub fn save(&self) -> PathBuf {
        let path = self.folder.join(format!("{}.toml", FILES.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&path, self.table.to_string()).expect("our folder");
        path
    }

    /// The codes that went to a number, oldest first.
    pub fn codes(&self, phone: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join(CODES)).unwrap_or_default();
        let head = format!("otp for {phone} is ");
        text.lines().filter_map(|line| line.strip_prefix(&head)).map(str::to_owned).collect()
    }

    /// The only code that went to a number.
    pub fn only_code(&self, phone: &str) -> String {
        let codes = self.codes(phone);
        assert_eq!(codes.len(), 1, "one message to {phone}");
        codes[0].clone()
    }
}

/// A file in the test's folder that only its owner can read; its path.
pub fn secret(database: &Database, name: &str, text: &str) -> String {
    let path = database.file(name);
    std::fs::write(&path, text).expect("our folder");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("our file");
    path.display().to_string()
}

/// Six digits that are not this code.
pub fn wrong(code: &str) -> &'static str {
    if code == "000000" { "000001" } else { "000000" }
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// What a process wrote to one of its streams, line by line.
#[derive(Clone)]
pub struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    changed: watch::Receiver<()>,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (sender, changed) = watch::channel(());
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
                sender.send_replace(());
            }
        });
        Self { lines, changed }
    }

    /// All of it, so far.
    pub fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// The first line that contains `part`; none when the process ended without one.
    pub async fn find(&self, part: &str) -> Option<String> {
        let mut changed = self.changed.clone();
        let find = || self.lines.lock().unwrap().iter().find(|line| line.contains(part)).cloned();
        let wait = async {
            loop {
                changed.mark_unchanged();
                if let Some(line) = find() {
                    return Some(line);
                }
                if changed.changed().await.is_err() {
                    return find();
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("never said {part:?}:\n{}", self.text()))
    }

    async fn ended(&self) {
        let mut changed = self.changed.clone();
        let end = async { while changed.changed().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, end).await.unwrap_or_else(|_| panic!("no end:\n{}", self.text()));
    }
}

/// A running process. It is killed when it is dropped.
pub struct Process {
    child: Child,
    pub out: Lines,
    pub err: Lines,
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// None: by a signal.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Process {
    /// Starts the binary in a folder, with these variables and no others.
    pub fn start(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_latchkey")), folder, arguments, variables)
    }

    /// Starts any program, likewise.
    pub fn start_program(
        program: &Path,
        folder: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).env_clear().envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let out = Lines::of(child.stdout.take().expect("a pipe"));
        let err = Lines::of(child.stderr.take().expect("a pipe"));
        Self { child, out, err }
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let signal = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &signal]).status().expect("a shell").success());
    }

    /// SIGKILL: the process is gone when this returns.
    pub fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("our child");
    }

    /// Waits until it ends by itself.
    pub async fn end(mut self) -> Ended {
        self.out.ended().await;
        self.err.ended().await;
        let code = self.child.wait().expect("our child").code();
        Ended { code, out: self.out.text(), err: self.err.text() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end.
pub async fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    Process::start(folder, arguments, variables).end().await
}

/// A server in a process of its own.
pub struct Server {
    pub process: Process,
    pub client: Client,
}

impl Server {
    /// Starts one, and waits until it is up.
    pub async fn start(settings: &Settings) -> Self {
        Self::up(Self::launch(settings)).await
    }

    /// Starts one, without waiting.
    pub fn launch(settings: &Settings) -> Process {
        let config = settings.save();
        Process::start(&settings.folder, &["serve", "--config", config.to_str().expect("UTF-8")], &[])
    }

    /// Waits until a process is up.
    pub async fn up(process: Process) -> Self {
        let line = process.err.find("latchkey is up").await;
        let line = line.unwrap_or_else(|| panic!("it did not come up:\n{}", process.err.text()));
        let line: Value = serde_json::from_str(&line).expect("a JSON log");
        let address = |key: &str| line[key].as_str().expect("a text").parse().expect("an address");
        let client = Client::new(address("public"), address("admin"));
        Self { process, client }
    }
}

/// Talks to a server, whether it lives or not. Every request is a connection of its own.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    admin_address: SocketAddr,
    http: reqwest::Client,
}

impl Client {
    /// Of a server at these addresses.
    pub fn new(address: SocketAddr, admin_address: SocketAddr) -> Self {
        #[expect(clippy::disallowed_methods, reason = "tests play the client")]
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().pool_max_idle_per_host(0);
        Self { address, admin_address, http: http.build().expect("a client") }
    }

    /// Where apps connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Posts a body; an error when no answer came back.
    pub async fn post(&self, body: impl Into<String>) -> reqwest::Result<Answer> {
        self.send(self.http.post(format!("http://{}/", self.address)).body(body.into())).await
    }

    /// Posts JSON to our own API, with an access token or without.
    pub async fn post_v1(&self, path: &str, bearer: &str, body: &Value) -> reqwest::Result<Answer> {
        let request = self.http.post(format!("http://{}{path}", self.address)).bearer_auth(bearer);
        self.send(request.header("content-type", "application/json").body(body.to_string())).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    /// Step 1.
    pub async fn start_login(&self, phone: &str) -> reqwest::Result<Answer> {
        self.post(json!({"op": "login", "appid": APP, "phone": phone, "dt": "1"}).to_string()).await
    }

    /// Step 2.
    pub async fn verify(&self, phone: &str, otp: &str) -> reqwest::Result<Answer> {
        let body = json!({"op": "login", "appid": APP, "phone": phone, "dt": "1", "otp": otp});
        self.post(body.to_string()).await
    }

    /// The published keys of access tokens.
    pub async fn jwks(&self) -> Value {
        let url = format!("http://{}/.well-known/jwks.json", self.address);
        self.http.get(url).send().await.expect("an answer").json().await.expect("JSON")
    }

    /// The status of a path on the operator's listener; none when nobody listens.
    pub async fn probe(&self, path: &str) -> Option<u16> {
        let answer = self.http.get(format!("http://{}{path}", self.admin_address)).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    }
}
