//! The mail provider against a server that does as it is told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use latchkey::ambient::SeededEntropy;
use latchkey::ambient::{Clock, ManualClock};
use latchkey::config::Config;
use latchkey::delivery::{self, OutgoingCode, Provider, Receipt, SendError, Text};
use latchkey::domain::address::Address;
use latchkey::domain::code::{Code, CodeLength};
use latchkey::domain::ids::MessageId;
use latchkey::domain::purpose::Purpose;

use crate::harness::smtp::{CONTENT, Fault, GREETING, Security, Sink};

const CODE: &str = "654321";
const TO: &str = "ann.lee+x@mail.example";

fn build(text: &str) -> Result<Arc<dyn Provider>, Vec<delivery::BuildError>> {
    let config = Config::parse(text.parse().expect("TOML"), "a test", &BTreeMap::new())
        .unwrap_or_else(|error| panic!("{error}"));
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(crate::harness::app::now()));
    delivery::build(&config.providers, &clock, None).map(|mut built| built.remove(0))
}

/// The provider for a sink, with these lines more.
fn provider(sink: &Sink, lines: &str) -> Arc<dyn Provider> {
    let url = match sink.security {
        Security::Plain | Security::StartTls => format!("smtp://USER127.0.0.1:{}", sink.address.port()),
        Security::Implicit => format!("smtps://USER127.0.0.1:{}", sink.address.port()),
    };
    let url = url.replace("USER", if lines.contains("password") { "u%40example.com@" } else { "" });
    let text = format!(
        "[providers.mail]\nkind = \"smtp\"\nurl = \"{url}\"\nfrom = \"Messenger <login@example.com>\"\n\
         timeout = \"5s\"\nconnect_timeout = \"5s\"\n{lines}"
    );
    build(&text).unwrap_or_else(|error| panic!("{error:?}"))
}

fn message(locale: &str, subject: &str, body: &str) -> OutgoingCode {
    OutgoingCode {
        id: MessageId::generate(&SeededEntropy::new(1)),
        to: Address::parse(TO).expect("a mailbox"),
        purpose: Purpose::LOGIN,
        code: Code::parse(CODE, CodeLength::SIX),
        app_id: "com.messenger.appid".to_owned(),
        app_name: "Messenger".to_owned(),
        lifetime: Duration::from_mins(5),
        text: Text { locale: locale.to_owned(), subject: subject.to_owned(), body: body.to_owned().into() },
    }
}

fn english() -> OutgoingCode {
    message("en", "Your Messenger login code", "Your Messenger login code is 654321. Never share it.")
}

async fn send(provider: &Arc<dyn Provider>) -> Result<Receipt, SendError> {
    provider.send(&english()).await
}

#[tokio::test]
async fn a_mail_has_one_recipient_two_parts_our_id_and_no_line_of_the_users_d6() {
    let sink = Sink::start(Security::Plain).await;
    let message = english();
    provider(&sink, "").send(&message).await.expect("taken");
    let [mail] = sink.mails().try_into().expect("one mail");
    assert_eq!(mail.from, "<login@example.com>");
    assert_eq!(mail.recipients, [format!("<{TO}>")]);
    let (head, body) = mail.content.split_once("\r\n\r\n").expect("a head");
    let id = format!("Message-ID: <{}@example.com>", message.id);
    for line in [
        "From: Messenger <login@example.com>",
        &format!("To: {TO}"),
        "Subject: Your Messenger login code",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        &id,
    ] {
        assert!(head.split("\r\n").any(|found| found == line), "{line:?} is not in {head}");
    }
    assert!(!head.contains(CODE) && !head.contains("Bcc") && !head.contains("Cc"), "{head}");
    assert_eq!(head.matches('@').count(), 3, "From, To and Message-ID, and no other address: {head}");
    let text = body.find("Content-Type: text/plain; charset=utf-8").expect("a text part");
    let html = body.find("Content-Type: text/html; charset=utf-8").expect("an HTML part");
    assert!(text < html, "the plainest part comes first (RFC 2046 §5.1.4)");
    assert_eq!(body.matches(CODE).count(), 2, "once in each part: {body}");
    assert!(body.contains("Your Messenger login code is 654321. Never share it."), "{body}");
}

#[tokio::test]
async fn heads_in_other_scripts_are_encoded_and_mails_are_ascii_d6() {
    let sink = Sink::start(Security::Plain).await;
    let provider = provider(&sink, "");
    provider.send(&message("ru", "Код для входа", "Код для входа: 654321.")).await.expect("taken");
    let hostile = "x\r\nBcc: victim@mail.example\r\n\r\nGet rich";
    provider
        .send(&message("en", hostile, "Code 654321.\r\n.\r\nMAIL FROM:<a@b.example>"))
        .await
        .expect("taken");
    let mails = sink.mails();
    assert!(mails.iter().all(|mail| mail.content.is_ascii() && mail.recipients.len() == 1), "{mails:?}");
    assert!(mails[0].content.contains("Subject: =?utf-8?b?"), "{}", mails[0].content);
    let (head, _) = mails[1].content.split_once("\r\n\r\n").expect("a head");
    assert!(!head.split("\r\n").any(|line| line.starts_with("Bcc:")), "{head}");
    assert_eq!(mails.len(), 2, "a line with a dot alone ends no mail");
}

#[tokio::test]
async fn refusals_are_sorted_by_what_to_do_next_c10() {
    let cases = [
        (Fault::Answer("RCPT", "550 5.1.1 no such user"), "bad_number"),
        (Fault::Answer("RCPT", "550 no such user"), "bad_number"),
        (Fault::Answer("RCPT", "554 no"), "bad_number"),
        (Fault::Answer("RCPT", "550 5.7.1 relaying denied"), "rejected"),
        (Fault::Answer("RCPT", "530 5.7.0 log in first"), "auth"),
        (Fault::Answer("RCPT", "451 4.3.0 later"), "temporary"),
        (Fault::Answer("RCPT", "452 4.2.2 full"), "temporary"),
        (Fault::Answer("MAIL", "550 5.1.8 sender"), "rejected"),
        (Fault::Answer("MAIL", "421 4.3.2 closing"), "temporary"),
        (Fault::Answer("DATA", "554 5.5.1 no valid recipients"), "rejected"),
        (Fault::Answer(CONTENT, "554 5.7.1 spam"), "rejected"),
        (Fault::Answer(CONTENT, "550 5.1.1 no such user"), "bad_number"),
        (Fault::Answer(CONTENT, "451 4.3.0 later"), "temporary"),
        (Fault::Answer(GREETING, "554 go away"), "temporary"),
        (Fault::Answer("EHLO", "421 4.3.2 busy"), "temporary"),
        (Fault::Cut(GREETING), "temporary"),
        (Fault::Cut("MAIL"), "temporary"),
        (Fault::Cut("RCPT"), "temporary"),
        (Fault::Cut("DATA"), "temporary"),
        (Fault::Cut(CONTENT), "unknown"),
    ];
    for (fault, wanted) in cases {
        let sink = Sink::start(Security::Plain).await;
        sink.fail_next(fault);
        let error = send(&provider(&sink, "")).await.expect_err("refused");
        assert_eq!(error.kind(), wanted, "{fault:?}: {error}");
        let text = error.to_string();
        assert!(!text.contains('@') && !text.contains(CODE) && !text.contains("user"), "{text}");
    }
}

#[tokio::test]
async fn silence_before_the_mail_is_temporary_and_behind_it_unknown_c11() {
    let cases = [
        (GREETING, "temporary"),
        ("EHLO", "temporary"),
        ("MAIL", "temporary"),
        ("RCPT", "temporary"),
        ("DATA", "temporary"),
        (CONTENT, "unknown"),
    ];
    for (command, wanted) in cases {
        let sink = Sink::start(Security::Plain).await;
        sink.fail_next(Fault::Silence(command));
        let lines = "timeout = \"100ms\"";
        let provider = provider(&sink, "").name().to_owned();
        assert_eq!(provider, "mail");
        let url = format!("smtp://127.0.0.1:{}", sink.address.port());
        let text =
            format!("[providers.mail]\nkind = \"smtp\"\nurl = \"{url}\"\nfrom = \"a@example.com\"\n{lines}");
        let error = send(&build(&text).expect("a provider")).await.expect_err("silence");
        assert_eq!(error.kind(), wanted, "{command}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_temporary_c10() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let text = format!(
        "[providers.mail]\nkind = \"smtp\"\nurl = \"smtp://127.0.0.1:{port}\"\nfrom = \"a@example.com\""
    );
    let error = send(&build(&text).expect("a provider")).await.expect_err("nobody there");
    assert_eq!(error.kind(), "temporary", "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn one_that_speaks_no_tls_where_it_should_is_told_from_one_that_is_not_there() {
    let sink = Sink::start(Security::Plain).await;
    let text = format!(
        "[providers.mail]\nkind = \"smtp\"\nurl = \"smtps://127.0.0.1:{}\"\nfrom = \"a@example.com\"",
        sink.address.port()
    );
    let error = send(&build(&text).expect("a provider")).await.expect_err("no TLS");
    assert_eq!((error.kind(), sink.mails().len()), ("temporary", 0), "{error}");
    assert!(error.to_string().contains("fix: it speaks no TLS from the first byte there"), "{error}");
}

#[tokio::test]
async fn one_connection_serves_mail_after_mail_and_a_dead_one_is_replaced() {
    let sink = Sink::start(Security::Plain).await;
    let provider = provider(&sink, "");
    for _ in 0..3 {
        send(&provider).await.expect("taken");
    }
    assert_eq!((sink.mails().len(), sink.connections()), (3, 1));
    // The server closes it while it is idle.
    sink.fail_next(Fault::Cut("NOOP"));
    send(&provider).await.expect("taken over a new one");
    assert_eq!((sink.mails().len(), sink.connections()), (4, 2));
}

#[tokio::test]
async fn a_sender_that_is_dropped_half_way_leaves_no_connection_behind_c11() {
    let sink = Sink::start(Security::Plain).await;
    let provider = provider(&sink, "");
    send(&provider).await.expect("taken");
    sink.fail_next(Fault::Silence("RCPT"));
    let late = tokio::time::timeout(Duration::from_millis(100), send(&provider)).await;
    assert!(late.is_err(), "the deadline of the use case drops it");
    send(&provider).await.expect("taken");
    assert_eq!(
        (sink.mails().len(), sink.connections()),
        (2, 2),
        "nobody reads the answers to another's mail"
    );
}

#[tokio::test]
async fn no_more_connections_are_opened_than_configured() {
    let sink = Sink::start(Security::Plain).await;
    let provider = provider(&sink, "connections = 2");
    let sends = (0..8).map(|_| send(&provider));
    for result in futures_util::future::join_all(sends).await {
        result.expect("taken");
    }
    assert_eq!(sink.mails().len(), 8);
    assert!(sink.connections() <= 2, "{}", sink.connections());
}

#[tokio::test]
async fn tls_from_the_first_byte_and_a_login() {
    let sink = Sink::start(Security::Implicit).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, &sink.ca).expect("a file");
    let lines = format!("password = \"hunter2\"\nca_file = {path:?}");
    send(&provider(&sink, &lines)).await.expect("taken");
    let [mail] = sink.mails().try_into().expect("one mail");
    assert_eq!((mail.encrypted, mail.login.as_deref()), (true, Some("u@example.com hunter2")));

    sink.fail_next(Fault::Answer("AUTH", "535 5.7.8 wrong"));
    let error = send(&provider(&sink, &lines)).await.expect_err("refused");
    assert_eq!(error.kind(), "auth", "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");

    let error = send(&provider(&sink, "")).await.expect_err("a certificate of nobody");
    assert_eq!(error.kind(), "temporary", "{error}");
    assert!(error.to_string().contains("fix: write the host as its certificate names it"), "{error}");
    assert_eq!(sink.mails().len(), 1);
}

#[tokio::test]
async fn starttls_is_demanded_of_every_host_but_this_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    for (security, taken) in [(Security::StartTls, true), (Security::Plain, false)] {
        let sink = Sink::start(security).await;
        std::fs::write(&path, &sink.ca).expect("a file");
        // Not taken for this host, and leads here all the same.
        let text = format!(
            "[providers.mail]\nkind = \"smtp\"\nurl = \"smtp://u@0.0.0.0:{}\"\nfrom = \"a@example.com\"\n\
             password = \"hunter2\"\nca_file = {path:?}",
            sink.address.port()
        );
        let result = send(&build(&text).expect("a provider")).await;
        let mails = sink.mails();
        if taken {
            result.expect("taken");
            assert_eq!((mails.len(), mails[0].encrypted), (1, true));
            assert_eq!(mails[0].login.as_deref(), Some("u hunter2"), "the password went over TLS alone");
        } else {
            let error = result.expect_err("no TLS");
            assert_eq!(error.kind(), "temporary", "{error}");
            assert!(
                error.to_string().contains("fix: write smtps:// if it speaks TLS from the first"),
                "{error}"
            );
            assert_eq!(mails, [], "not a word without TLS");
        }
    }
}

#[tokio::test]
async fn what_is_said_before_tls_is_not_taken_for_what_is_said_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    let sink = Sink::start(Security::StartTls).await;
    std::fs::write(&path, &sink.ca).expect("a file");
    // Somebody on the wire answers the question that only the server behind TLS should hear.
    sink.fail_next(Fault::Answer("STARTTLS", "220 go\r\n250 injected"));
    let text = format!(
        "[providers.mail]\nkind = \"smtp\"\nurl = \"smtp://0.0.0.0:{}\"\nfrom = \"a@example.com\"\nca_file = {path:?}",
        sink.address.port()
    );
    let error = send(&build(&text).expect("a provider")).await.expect_err("an answer without a question");
    assert_eq!((error.kind(), sink.mails().len()), ("temporary", 0), "{error}");
}

#[test]
fn a_file_that_holds_no_certificates_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        .expect("a file");
    let text = format!(
        "[providers.mail]\nkind = \"smtp\"\nurl = \"smtps://mail.example.com\"\nfrom = \"a@example.com\"\nca_file = {path:?}"
    );
    let error = build(&text).err().expect("no certificates").remove(0).to_string();
    assert!(error.starts_with("providers.mail: ") && error.contains("ca_file"), "{error}");
}

/// What was logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_line_of_any_level_holds_the_code_the_address_or_the_password() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::trace!("a line");
    let sink = Sink::start(Security::Plain).await;
    let provider = provider(&sink, "password = \"hunter2\"");
    send(&provider).await.expect("taken");
    for fault in [
        Fault::Answer("RCPT", "550 5.1.1 <ann.lee+x@mail.example> no such user"),
        Fault::Answer(CONTENT, "554 5.7.1 code 654321 is spam"),
    ] {
        sink.fail_next(fault);
        let error = send(&provider).await.expect_err("refused");
        tracing::error!(error = %error, debug = ?error, "a code was not delivered");
    }
    let text = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    assert!(text.contains("a line") && text.contains("a code was not delivered"), "{text}");
    for secret in [CODE, TO, "hunter2"] {
        assert!(!text.contains(secret), "{text}");
    }
}
