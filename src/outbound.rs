//! HTTP to others: chat backends, gateways.
//!
//! Guarantees: every client has deadlines, verifies TLS, follows no redirect, uses no proxy from the environment and
//! repeats nothing by itself; no answer is read beyond its cap; and no error text holds a URL, a header
//! or a body, because any of them may hold a secret.
//!
//! Below it is what describes a call as data, for gateways and for chat backends alike: `template` (with `calls`),
//! `body` and `request` make it, `pointer` looks into the answer, `redact` keeps secrets out of what people read;
//! `shared` keeps what is fetched once for all calls.

pub(crate) mod body;
mod calls;
pub(crate) mod pointer;
pub(crate) mod redact;
pub(crate) mod request;
pub(crate) mod shared;
pub(crate) mod template;

use std::error::Error;
use std::ops::Deref;
use std::time::Duration;

use bytes::BytesMut;
use reqwest::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use thread_local::ThreadLocal;

use crate::config::CallLimits;

/// Far more than any backend's or gateway's answer.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Nobody waits longer for a login.
const LONGEST_RETRY: Duration = Duration::from_hours(1);

/// Shorter than the usual 60 s after which servers and NATs drop idle connections.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);

/// There is no way to make a client. Almost always a container image without certificate authorities.
#[derive(Debug, thiserror::Error)]
#[error(
    "no HTTPS client can be made ({reason}), probably because this system has no certificate authorities: install \
     the ca-certificates package"
)]
pub struct ClientError {
    reason: String,
}

/// A call without an answer, sorted by what may have happened at the other end. Texts are for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It certainly never arrived.
    NotSent(String),
    /// It may have been acted on.
    Unknown(String),
}

/// The client of one backend or gateway. Each thread keeps connections of its own: one lives on the runtime that
/// opened it, and a call from another costs two switches between threads.
pub(crate) struct Client {
    limits: CallLimits,
    first: reqwest::Client,
    others: ThreadLocal<reqwest::Client>,
}

impl Deref for Client {
    type Target = reqwest::Client;

    fn deref(&self) -> &reqwest::Client {
        self.others.get_or(|| build(self.limits).unwrap_or_else(|_| self.first.clone()))
    }
}

/// Makes a client, or says what the system lacks for one.
pub(crate) fn client(limits: CallLimits) -> Result<Client, ClientError> {
    Ok(Client { limits, first: build(limits)?, others: ThreadLocal::new() })
}

fn build(limits: CallLimits) -> Result<reqwest::Client, ClientError> {
    #[expect(clippy::disallowed_methods, reason = "the one place that makes a client, with every limit set")]
    let builder = reqwest::Client::builder();
    builder
        .user_agent(concat!("latchkey/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(limits.connect_timeout)
        .timeout(limits.timeout)
        .redirect(reqwest::redirect::Policy::none())
        // A second mint signs the user out of the first, a second message costs: only the use case may try again.
        .retry(reqwest::retry::never())
        .no_proxy()
        .tcp_nodelay(true)
        .pool_idle_timeout(IDLE_CONNECTION)
        .build()
        .map_err(client_error)
}

fn client_error(error: reqwest::Error) -> ClientError {
    let error = error.without_url();
    ClientError { reason: causes(&error).last().map_or_else(|| error.to_string(), ToString::to_string) }
}

/// What is behind an error, the deepest last.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source())
}

/// Reads the body, but gives up on one that is larger than the cap, whatever its `Content-Length` says.
pub(crate) async fn read_capped(mut response: Response, max_bytes: usize) -> Result<BytesMut, Fault> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
        if body.len() + chunk.len() > max_bytes {
            return Err(Fault::Unknown(format!(
                "its answer is larger than {} KiB",
                max_bytes.div_ceil(1024)
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// How long the other end asks to be left alone (RFC 9110 §10.2.3), an hour at most. A date is not read: clocks differ.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let secs = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(secs).min(LONGEST_RETRY))
}

/// Tells a call that certainly never arrived from one that may have.
pub(crate) fn classify(error: &reqwest::Error) -> Fault {
    if error.is_builder() {
        return Fault::NotSent("the request could not be built".to_owned());
    }
    if error.is_connect() {
        return Fault::NotSent(connect_fault(error));
    }
    let text =
        if error.is_timeout() { "no answer in time" } else { "the connection broke before the answer" };
    Fault::Unknown(text.to_owned())
}

/// Only the kind: the full text may name more than a log should hold.
fn connect_fault(error: &reqwest::Error) -> String {
    if error.is_dns() {
        return "its host name does not resolve".to_owned();
    }
    if error.is_timeout() {
        return "no connection in time".to_owned();
    }
    let kind = causes(error)
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .map(std::io::Error::kind)
        .last();
    match kind {
        Some(kind) if kind != std::io::ErrorKind::InvalidData && kind != std::io::ErrorKind::Other => {
            format!("no connection: {kind}")
        }
        Some(_) | None => {
            "no TLS connection: its certificate is expired, of another name or of an unknown authority, or it \
             speaks no TLS"
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};

    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    const LIMITS: CallLimits =
        CallLimits { connect_timeout: Duration::from_millis(200), timeout: Duration::from_millis(200) };

    async fn call(url: &str) -> Result<BytesMut, Fault> {
        let sent = client(LIMITS).expect("authorities").post(url).body("secret=s3cret").send().await;
        read_capped(sent.map_err(|error| classify(&error))?, MAX_ANSWER_BYTES).await
    }

    /// Answers one connection with `head`, then holds it open for a client's whole patience, or closes it.
    fn raw_server(head: &'static str, hold: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let _ = stream.read(&mut [0; 4096]).expect("a request");
            stream.write_all(head.as_bytes()).expect("a head");
            while hold && stream.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        });
        address
    }

    async fn answering(template: ResponseTemplate) -> MockServer {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(template).mount(&server).await;
        server
    }

    #[tokio::test]
    async fn an_answer_of_64_kib_is_read_and_one_byte_more_is_not_f4() {
        let server = answering(ResponseTemplate::new(200).set_body_bytes(vec![b'x'; MAX_ANSWER_BYTES])).await;
        assert_eq!(call(&server.uri()).await.expect("the cap itself").len(), MAX_ANSWER_BYTES);
        let server =
            answering(ResponseTemplate::new(200).set_body_bytes(vec![b'x'; MAX_ANSWER_BYTES + 1])).await;
        assert_eq!(
            call(&server.uri()).await,
            Err(Fault::Unknown("its answer is larger than 64 KiB".to_owned()))
        );
    }

    #[tokio::test]
    async fn a_slow_or_dripping_or_cut_answer_may_have_minted_f4() {
        let late = Err(Fault::Unknown("no answer in time".to_owned()));
        let server = answering(ResponseTemplate::new(200).set_delay(Duration::from_secs(30))).await;
        assert_eq!(call(&server.uri()).await, late);
        let dripping = raw_server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", true);
        assert_eq!(call(&format!("http://{dripping}/")).await, late);
        let cut = Err(Fault::Unknown("the connection broke before the answer".to_owned()));
        let half = raw_server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", false);
        assert_eq!(call(&format!("http://{half}/")).await, cut);
        let nothing = raw_server("", false);
        assert_eq!(call(&format!("http://{nothing}/")).await, cut);
    }

    #[tokio::test]
    async fn without_a_connection_nothing_was_minted_and_the_text_holds_no_url_f7() {
        let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let error = call(&format!("http://user:s3cret@{closed}/?token=s3cret")).await.expect_err("no server");
        assert_eq!(error, Fault::NotSent("no connection: connection refused".to_owned()));
        let plain = raw_server("HTTP/1.1 400 Bad Request\r\n\r\n", false);
        let error = call(&format!("https://{plain}/?token=s3cret")).await.expect_err("no TLS");
        assert!(matches!(&error, Fault::NotSent(text) if text.contains("TLS")), "{error:?}");
        assert!(!format!("{error:?}").contains("s3cret"));
    }

    #[test]
    fn a_missing_authority_file_names_the_package_f7() {
        let cause =
            client(LIMITS).expect("authorities").get("http://s3cret:port/").build().expect_err("no URL");
        let error = client_error(cause);
        assert!(error.to_string().contains("install the ca-certificates package"));
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}
