//! A gateway that the `webhook` recipe posts to. It behaves as a test tells it to, and keeps what it was sent.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use super::http::Manner;
use super::http::{self, Asked};

/// What requests are signed with: the secret of Standard Webhooks' own examples.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A message that was posted, whatever came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`.
    pub timestamp: i64,
    /// Whether `webhook-signature` is right.
    pub signed: bool,
    /// The body as it came.
    pub text: String,
}

impl Posted {
    fn read(asked: Asked) -> Option<Self> {
        let id = asked.header("webhook-id").to_owned();
        let timestamp = asked.headers.get("webhook-timestamp").map_or(Ok(0), |time| time.parse()).ok()?;
        let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
        mac.update(format!("{id}.{timestamp}.{}", asked.body).as_bytes());
        let given = asked.header("webhook-signature").strip_prefix("v1,");
        let given = given.and_then(|text| STANDARD.decode(text).ok());
        let signed = given.is_some_and(|given| mac.verify_slice(&given).is_ok());
        Some(Self { id, timestamp, signed, text: asked.body })
    }

    /// The body, but for where this gateway reports of this message: behind the server's own address.
    pub fn message(&self) -> String {
        without_receipt_path(&self.text)
    }

    /// A member of the body.
    pub fn get(&self, key: &str) -> String {
        let body: Value = serde_json::from_str(&self.text).expect("JSON");
        body[key].as_str().unwrap_or_else(|| panic!("a text in {key}")).to_owned()
    }
}

/// A body less the path of its receipt, which no two messages share.
pub fn without_receipt_path(text: &str) -> String {
    let Some((before, rest)) = text.split_once("/v1/receipts/") else { return text.to_owned() };
    let behind = rest.split_once('"').map_or("", |(_, behind)| behind);
    format!("{before}/v1/receipts/\"{behind}")
}

struct State {
    manner: Mutex<Manner>,
    posted: watch::Sender<Vec<Posted>>,
}

/// A gateway on a port of its own.
pub struct FakeGateway {
    pub address: std::net::SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl FakeGateway {
    /// Starts one.
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State { manner: Mutex::new(manner), posted: watch::Sender::default() });
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&shared)));
            }
        });
        Self { address, state, accepting }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it behaves like this.
    pub fn set(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    /// What was posted for a number in E.164, oldest first.
    pub fn posted_to(&self, phone: &str) -> Vec<Posted> {
        let all = self.state.posted.borrow();
        // Few hold it at all: the load tests have thousands.
        all.iter()
            .filter(|posted| posted.text.contains(phone) && posted.get("to") == phone)
            .cloned()
            .collect()
    }

    /// Everything that was posted, oldest first.
    pub fn posted(&self) -> Vec<Posted> {
        self.state.posted.borrow().clone()
    }

    /// The next message after so many, when it comes.
    pub async fn after(&self, count: usize) -> Posted {
        let mut posted = self.state.posted.subscribe();
        let all = posted.wait_for(|posted| posted.len() > count).await.expect("our own");
        all[count].clone()
    }
}

impl Drop for FakeGateway {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One connection, one request.
async fn answer(stream: TcpStream, state: Arc<State>) {
    let manner = state.manner.lock().unwrap().clone();
    let mut stream = BufReader::new(stream);
    if matches!(manner, Manner::Deaf) {
        return std::future::pending().await;
    }
    if !http::is_plain(&mut stream).await {
        return;
    }
    let Some(posted) = http::read(&mut stream).await.and_then(Posted::read) else { return };
    state.posted.send_modify(|all| all.push(posted));
    http::treat(stream, manner).await;
}
