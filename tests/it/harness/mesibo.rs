//! mesibo's backend API, as a server that several processes mint at. It can hold what it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Answers `useradd` with a token of its own each time.
pub struct FakeMesibo {
    pub url: String,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    calls: watch::Sender<Vec<Value>>,
    held: watch::Sender<bool>,
    ails: AtomicBool,
}

impl FakeMesibo {
    /// One that answers at once.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/backend/", listener.local_addr().expect("an address"));
        let state = Arc::new(State {
            calls: watch::Sender::default(),
            held: watch::Sender::new(false),
            ails: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&shared)));
            }
        });
        Self { url, state, accepting }
    }

    /// From now on nobody is answered.
    pub fn hold(&self) {
        self.state.held.send_replace(true);
    }

    /// Answers everybody who waits, and those who come.
    pub fn let_go(&self) {
        self.state.held.send_replace(false);
    }

    /// Whether it says, from now on, that it certainly did not mint.
    pub fn ail(&self, ails: bool) {
        self.state.ails.store(ails, Ordering::SeqCst);
    }

    /// What it was asked, in order.
    pub fn calls(&self) -> Vec<Value> {
        self.state.calls.borrow().clone()
    }

    /// Waits until it was asked this many times.
    pub async fn called(&self, times: usize) {
        let mut calls = self.state.calls.subscribe();
        let enough = calls.wait_for(|calls| calls.len() >= times);
        tokio::time::timeout(Duration::from_mins(1), enough).await.expect("a call").expect("our own");
    }
}

impl Drop for FakeMesibo {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One request, one answer.
async fn answer(stream: TcpStream, state: Arc<State>) {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.is_err() || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let call: Value = serde_json::from_slice(&body).expect("JSON");
    let mut number = 0;
    state.calls.send_modify(|calls| {
        calls.push(call.clone());
        number = calls.len();
    });
    // An error: the test is over.
    let _ = state.held.subscribe().wait_for(|held| !held).await;
    let token = format!("mesibo-token-{number:08}");
    let minted = json!({"result": true, "user": {"address": call["user"]["address"], "token": token}});
    let ails = state.ails.load(Ordering::SeqCst);
    let answer =
        if ails { json!({"result": false, "code": 429, "error": "BUSY"}) } else { minted }.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    // Whoever asked may be gone.
    let _ = stream.get_mut().write_all(format!("{head}{answer}").as_bytes()).await;
    let _ = stream.get_mut().shutdown().await;
}
