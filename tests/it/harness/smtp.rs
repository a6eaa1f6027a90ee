//! A mail server that keeps what it is given and fails as it is told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A mail as it arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mail {
    pub from: String,
    pub recipients: Vec<String>,
    pub content: String,
    pub encrypted: bool,
    /// What AUTH PLAIN said, decoded.
    pub login: Option<String>,
}

/// What goes wrong with the next dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This command is answered so instead.
    Answer(&'static str, &'static str),
    /// This command is never answered.
    Silence(&'static str),
    /// The connection ends instead of an answer to this command.
    Cut(&'static str),
}

/// The name of the end of a mail, among the commands.
pub const CONTENT: &str = "<content>";
/// The name of the connection's beginning, among the commands.
pub const GREETING: &str = "<greeting>";

/// How it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Plain,
    StartTls,
    Implicit,
}

/// The server.
pub struct Sink {
    pub address: SocketAddr,
    /// What clients have to trust, PEM.
    pub ca: String,
    connections: AtomicUsize,
    mails: Mutex<Vec<Mail>>,
    faults: Mutex<VecDeque<Fault>>,
    pub security: Security,
    tls: TlsAcceptor,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Sink {
    /// On a free port of this host.
    pub async fn start(security: Security) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (tls, ca) = certificate();
        let sink = Arc::new(Self {
            address: listener.local_addr().expect("an address"),
            ca,
            connections: AtomicUsize::new(0),
            mails: Mutex::default(),
            faults: Mutex::default(),
            security,
            tls,
        });
        let server = Arc::clone(&sink);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.connections.fetch_add(1, Ordering::SeqCst);
                let server = Arc::clone(&server);
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        sink
    }

    /// The next time that its command comes, this happens.
    pub fn fail_next(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }

    /// Everything that was taken, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }

    /// How often somebody connected.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn fault(&self, command: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let hit = |fault: &Fault| match fault {
            Fault::Answer(name, _) | Fault::Silence(name) | Fault::Cut(name) => *name == command,
        };
        if faults.front().is_some_and(hit) { faults.pop_front() } else { None }
    }

    async fn serve(&self, stream: TcpStream) {
        if self.security == Security::Implicit {
            let Ok(stream) = self.tls.accept(stream).await else { return };
            self.speak(Box::new(stream), true, true).await;
        } else if let Some(stream) = self.speak(Box::new(stream), true, false).await
            && let Ok(stream) = self.tls.accept(stream).await
        {
            self.speak(Box::new(stream), false, true).await;
        }
    }

    /// One dialogue after another; the stream where the client wants TLS on it.
    async fn speak(&self, stream: Box<dyn Stream>, greets: bool, encrypted: bool) -> Option<Box<dyn Stream>> {
        let mut stream = BufReader::new(stream);
        if greets && !self.answer(&mut stream, GREETING, "220 sink ESMTP").await {
            return None;
        }
        let mut mail = Mail { encrypted, ..Mail::default() };
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let text = line.trim_end_matches("\r\n");
            let command = text.split([' ', ':']).next().unwrap_or_default().to_uppercase();
            let offers_tls = self.security == Security::StartTls && !encrypted;
            let usual = match command.as_str() {
                "EHLO" if offers_tls => "250-sink\r\n250 STARTTLS",
                "EHLO" => "250-sink\r\n250 AUTH PLAIN",
                "STARTTLS" => "220 go",
                "AUTH" => {
                    mail.login = text.rsplit(' ').next().map(decode);
                    "235 2.7.0 ok"
                }
                "MAIL" => {
                    mail = Mail { encrypted, login: mail.login, ..Mail::default() };
                    mail.from = text.split_once(':').map(|(_, from)| from.to_owned()).unwrap_or_default();
                    "250 2.1.0 ok"
                }
                "RCPT" => {
                    mail.recipients.extend(text.split_once(':').map(|(_, to)| to.to_owned()));
                    "250 2.1.5 ok"
                }
                "DATA" => "354 go ahead",
                "NOOP" | "RSET" => "250 2.0.0 ok",
                "QUIT" => "221 2.0.0 bye",
                _ => "500 5.5.2 what?",
            };
            if !self.answer(&mut stream, &command, usual).await || command == "QUIT" {
                return None;
            }
            if command == "STARTTLS" {
                return Some(stream.into_inner());
            }
            if command == "DATA" {
                loop {
                    line.clear();
                    if stream.read_line(&mut line).await.ok()? == 0 {
                        return None;
                    }
                    if line == ".\r\n" {
                        break;
                    }
                    mail.content.push_str(line.strip_prefix('.').unwrap_or(&line));
                }
                // What a server has read it may well deliver, whatever becomes of its answer.
                self.mails.lock().unwrap().push(mail.clone());
                if !self.answer(&mut stream, CONTENT, "250 2.0.0 queued").await {
                    return None;
                }
            }
        }
    }

    /// Answers, as usual or as told; false: the connection is to end.
    async fn answer(&self, stream: &mut BufReader<Box<dyn Stream>>, command: &str, usual: &str) -> bool {
        let text = match self.fault(command) {
            None => usual,
            Some(Fault::Answer(_, text)) => text,
            Some(Fault::Cut(_)) => return false,
            Some(Fault::Silence(_)) => std::future::pending().await,
        };
        stream.write_all(format!("{text}\r\n").as_bytes()).await.is_ok()
    }
}

fn decode(text: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

/// A certificate for this host, and the authority that signed it.
fn certificate() -> (TlsAcceptor, String) {
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("signed");
    let key = KeyPair::generate().expect("a key");
    let leaf =
        CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "0.0.0.0".to_owned()])
            .expect("parameters");
    let leaf = leaf.signed_by(&key, &authority).expect("signed");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8");
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("a certificate");
    (TlsAcceptor::from(Arc::new(config)), authority.pem())
}
