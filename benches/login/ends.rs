//! The ends: gateways that keep codes, and a backend that mints. All answer at once, and speak just enough HTTP/1.1.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where they listen, and the codes that came out.
#[derive(Clone)]
pub struct Ends {
    pub gateways: [Gateway; 2],
    pub backend: SocketAddr,
    codes: Codes,
}

type Codes = Arc<Mutex<HashMap<String, String>>>;

/// One way out.
#[derive(Clone)]
pub struct Gateway {
    pub address: SocketAddr,
    taken: Arc<Mutex<Vec<Instant>>>,
}

impl Gateway {
    /// When it took each message.
    pub fn taken(&self) -> Vec<Instant> {
        self.taken.lock().expect("no panic").clone()
    }
}

impl Ends {
    /// The code that was sent to a number, once.
    pub fn take_code(&self, phone: &str) -> Option<String> {
        self.codes.lock().expect("no panic").remove(phone)
    }
}

/// Starts them.
pub async fn start() -> Ends {
    let codes = Codes::default();
    let backend = serve(|_| {
        r#"{"user":{"uid":123,"address":"1","token":"79a8f0c1d2e3b4a5968778695a4b3c2d"},"op":"useradd","result":true}"#
    })
    .await;
    Ends { gateways: [gateway(&codes).await, gateway(&codes).await], backend, codes }
}

async fn gateway(codes: &Codes) -> Gateway {
    let taken: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let (codes, times) = (Arc::clone(codes), Arc::clone(&taken));
    let address = serve(move |body| {
        let to = member(body, "\"to\":\"").unwrap_or_default().trim_start_matches('+').to_owned();
        let code = member(body, "\"code\":\"").unwrap_or_default().to_owned();
        codes.lock().expect("no panic").insert(to, code);
        times.lock().expect("no panic").push(crate::instant());
        r#"{"outcome":"accepted","id":"m1"}"#
    })
    .await;
    Gateway { address, taken }
}

async fn serve(answer: impl Fn(&str) -> &'static str + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut connection = Connection::new(stream);
                while let Some(body) = connection.read().await {
                    let body = answer(&body);
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    if connection.write(&(head + body)).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

/// The text member that starts with `mark`.
pub fn member<'a>(body: &'a str, mark: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(mark)?;
    rest.split('"').next()
}

/// A kept-alive connection, either side.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket");
        Self { stream, buffer: Vec::with_capacity(4096) }
    }

    pub async fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.write_all(text.as_bytes()).await
    }

    /// The body of the next message; `None` when the other side is gone.
    pub async fn read(&mut self) -> Option<String> {
        loop {
            if let Some(body) = self.take_message() {
                return Some(body);
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    fn take_message(&mut self) -> Option<String> {
        let head_end = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(self.buffer.get(..head_end)?).to_ascii_lowercase();
        let length = head.split("content-length:").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length: usize = length.map_or(0, |text| text.trim().parse().expect("a length"));
        let message: Vec<u8> = (self.buffer.len() >= head_end + length)
            .then(|| self.buffer.drain(..head_end + length).collect())?;
        Some(String::from_utf8_lossy(message.get(head_end..)?).into_owned())
    }
}
