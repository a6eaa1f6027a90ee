//! A gateway that the `webhook` recipe posts to. It behaves as a test tells it to, and keeps what it was sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What requests are signed with: the secret of Standard Webhooks' own examples.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// How a gateway treats a request.
#[derive(Clone)]
pub enum Manner {
    /// Reads it, waits this long, and answers with these bytes.
    Says(Duration, String),
    /// Reads it, and answers a byte at a time for longer than anybody waits.
    Drips(String),
    /// Takes the connection and reads nothing.
    Deaf,
    /// Reads it and never answers.
    Silent,
    /// Reads it and closes the connection.
    HangsUp,
}

impl Manner {
    /// Answers at once, in JSON.
    pub fn json(status: &str, body: &str) -> Self {
        Self::typed(status, "application/json", body)
    }

    /// Answers at once. Behind the type there may be more lines of the head.
    pub fn typed(status: &str, kind: &str, body: &str) -> Self {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}");
        Self::Says(Duration::ZERO, format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }

    /// Takes the message.
    pub fn accepts() -> Self {
        Self::json("200 OK", r#"{"outcome":"accepted","id":"theirs"}"#)
    }

    /// Certainly does not take the message.
    pub fn refuses() -> Self {
        Self::json("200 OK", r#"{"outcome":"temporary"}"#)
    }

    /// Does the same, but thinks about it.
    pub fn after(self, wait: Duration) -> Self {
        match self {
            Self::Says(_, answer) => Self::Says(wait, answer),
            other @ (Self::Drips(_) | Self::Deaf | Self::Silent | Self::HangsUp) => other,
        }
    }
}

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
    /// A member of the body.
    pub fn get(&self, key: &str) -> String {
        let body: Value = serde_json::from_str(&self.text).expect("JSON");
        body[key].as_str().unwrap_or_else(|| panic!("a text in {key}")).to_owned()
    }
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
                tokio::spawn(treat(stream, Arc::clone(&shared)));
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
        let all = self.posted();
        all.into_iter().filter(|posted| posted.get("to") == phone).collect()
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
async fn treat(stream: TcpStream, state: Arc<State>) {
    let manner = state.manner.lock().unwrap().clone();
    let mut stream = BufReader::new(stream);
    if matches!(manner, Manner::Deaf) {
        return std::future::pending().await;
    }
    // Whoever speaks TLS here is told that it is not understood, as web servers do.
    let plain = stream.fill_buf().await.is_ok_and(|bytes| bytes.first().is_some_and(u8::is_ascii_uppercase));
    if !plain {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        return;
    }
    let Some(posted) = read(&mut stream).await else { return };
    state.posted.send_modify(|all| all.push(posted));
    // Whoever asked may have gone.
    match manner {
        Manner::Says(wait, answer) => {
            tokio::time::sleep(wait).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Manner::Drips(answer) => {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            for byte in answer.bytes().chain(std::iter::repeat(b' ')) {
                tick.tick().await;
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        }
        Manner::Silent => std::future::pending().await,
        Manner::HangsUp | Manner::Deaf => {}
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Posted> {
    let (mut id, mut timestamp, mut signature, mut length) = (String::new(), 0, String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "webhook-id" => value.clone_into(&mut id),
            "webhook-timestamp" => timestamp = value.parse().ok()?,
            "webhook-signature" => value.clone_into(&mut signature),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let text = String::from_utf8(body).ok()?;
    let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
    mac.update(format!("{id}.{timestamp}.{text}").as_bytes());
    let given = signature.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
    let signed = given.is_some_and(|given| mac.verify_slice(&given).is_ok());
    Some(Posted { id, timestamp, signed, text })
}
