//! Servers that Latchkey calls: how they read a request, and how they treat it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// How a server treats a request.
#[derive(Clone)]
pub enum Manner {
    /// Reads it, waits this long, and answers with these bytes.
    Says(Duration, String),
    /// Reads it, and answers with these bytes once there is a permit.
    Waits(Arc<Semaphore>, String),
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

    /// Takes a message, as the `webhook` recipe understands it.
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
            other @ (Self::Waits(..) | Self::Drips(_) | Self::Deaf | Self::Silent | Self::HangsUp) => other,
        }
    }

    /// Does the same, once there is a permit.
    pub fn when(self, turn: &Arc<Semaphore>) -> Self {
        match self {
            Self::Says(_, answer) => Self::Waits(Arc::clone(turn), answer),
            other @ (Self::Waits(..) | Self::Drips(_) | Self::Deaf | Self::Silent | Self::HangsUp) => other,
        }
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// With its escapes.
    pub path: String,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Asked {
    /// A header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Reads one request. None: whoever asked has gone.
pub async fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok()?;
    let mut words = first.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(Ok(0), |length| length.parse()).ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked { method, path, headers, body: String::from_utf8(body).ok()? })
}

/// Whoever speaks TLS here is told that it is not understood, as web servers do. True: this one does not.
pub async fn is_plain(stream: &mut BufReader<TcpStream>) -> bool {
    let plain = stream.fill_buf().await.is_ok_and(|bytes| bytes.first().is_some_and(u8::is_ascii_uppercase));
    if !plain {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    }
    plain
}

/// Treats a request that was read. Whoever asked may have gone.
pub async fn treat(mut stream: BufReader<TcpStream>, manner: Manner) {
    match manner {
        Manner::Says(wait, answer) => {
            tokio::time::sleep(wait).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Manner::Waits(turn, answer) => {
            turn.acquire().await.expect("it is never closed").forget();
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
        Manner::Silent | Manner::Deaf => std::future::pending().await,
        Manner::HangsUp => {}
    }
}

/// A server on a port of its own.
pub struct FakeServer {
    pub address: SocketAddr,
    answer: Arc<dyn Fn(Asked) -> Manner + Send + Sync>,
    /// Until it listens: nobody is there, and nobody else can be.
    unheard: Mutex<Option<TcpSocket>>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl FakeServer {
    /// One that refuses connections until it listens.
    pub fn deaf(answer: impl Fn(Asked) -> Manner + Send + Sync + 'static) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let address = socket.local_addr().expect("an address");
        let (unheard, accepting) = (Mutex::new(Some(socket)), Mutex::default());
        Self { address, answer: Arc::new(answer), unheard, accepting }
    }

    /// From now on it answers.
    pub fn listen(&self) {
        let Some(socket) = self.unheard.lock().unwrap().take() else { return };
        let listener = socket.listen(1024).expect("our port");
        let answer = Arc::clone(&self.answer);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    if is_plain(&mut stream).await
                        && let Some(asked) = read(&mut stream).await
                    {
                        treat(stream, answer(asked)).await;
                    }
                });
            }
        });
        *self.accepting.lock().unwrap() = Some(accepting);
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.lock().unwrap().take() {
            accepting.abort();
        }
    }
}
