//! A bare connection, for what no HTTP client would send.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Longer than any wait of a healthy server, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection, and what has been read from it beyond the last answer.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// Waits for something that must happen.
pub async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, happens).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// Asks again and again until the answer is yes.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let poll = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while !is_so() {
            tick.tick().await;
        }
    };
    soon(what, poll).await;
}

impl Wire {
    /// From any port of the address that the system chooses.
    pub async fn connect(to: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(to)).await.expect("a listener");
        Self { stream, unread: Vec::new() }
    }

    /// From another address of this machine.
    pub async fn connect_from(from: IpAddr, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(from, 0)).expect("an address of this machine");
        let stream = soon("a connection", socket.connect(to)).await.expect("a listener");
        Self { stream, unread: Vec::new() }
    }

    /// Sends bytes. A server that has hung up already is noticed when its answer is read.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = soon("sending", self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends bytes as long as the other side takes them. False: it took none for a while.
    pub async fn send_while_taken(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = tokio::time::timeout(Duration::from_secs(1), self.stream.write_all(bytes.as_ref())).await;
        matches!(sent, Ok(Ok(())))
    }

    /// Whether the server has not hung up yet.
    pub async fn is_open(&mut self) -> bool {
        let read = tokio::time::timeout(Duration::ZERO, self.read_more()).await;
        read.unwrap_or(true)
    }

    /// Posts a body to the mesibo dialect and keeps the connection.
    pub async fn post(&mut self, body: &str) {
        self.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
            .await;
    }

    /// The next answer, whole. Panics when none comes.
    pub async fn answer(&mut self) -> String {
        self.next_answer().await.expect("an answer, not the end")
    }

    /// The next answer; nothing when the server hangs up instead.
    pub async fn next_answer(&mut self) -> Option<String> {
        loop {
            if let Some(length) = answer_length(&self.unread) {
                let answer = self.unread.drain(..length).collect();
                return Some(String::from_utf8(answer).expect("text"));
            }
            if !soon("an answer", self.read_more()).await {
                return None;
            }
        }
    }

    /// Everything until the server hangs up, which it must.
    #[track_caller]
    pub fn rest(self) -> impl Future<Output = String> {
        let asked_at = std::panic::Location::caller();
        self.read_to_end(asked_at.to_string())
    }

    async fn read_to_end(mut self, asked_at: String) -> String {
        soon(&format!("the end of a connection, at {asked_at}"), async { while self.read_more().await {} })
            .await;
        String::from_utf8(self.unread).expect("text")
    }

    /// Goes away without a word, as a phone does that loses its network.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("our socket");
    }

    async fn read_more(&mut self) -> bool {
        // A reset is an end, too.
        self.stream.read_buf(&mut self.unread).await.is_ok_and(|read| read > 0)
    }
}

/// The length of the answer at the beginning, if it is whole.
fn answer_length(bytes: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let lengths = head.lines().filter_map(|line| line.split_once(':'));
    let length = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length =
        length.map(|(_, length)| length.trim().parse::<usize>().expect("a length")).next().unwrap_or(0);
    (body.len() >= length).then_some(head.len() + 4 + length)
}
