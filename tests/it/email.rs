//! Logging in by e-mail, from the request to the token, over real SMTP.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{APP, Answer};
use crate::harness::smtp::{CONTENT, Fault, Security, Sink};
use crate::harness::{Database, TestApp, on_both};

const MAILBOX: &str = "ann@mail.example";

fn start(database: &Database, sink: &Sink) -> TestApp {
    TestApp::builder(database)
        .set("email.login", true)
        .set("providers.mail.kind", "smtp")
        .set("providers.mail.url", format!("smtp://{}", sink.address))
        .set("providers.mail.from", "Messenger <login@example.com>")
        .real_providers()
        .start()
}

async fn post(app: &TestApp, path: &str, body: Value) -> Answer {
    let request = app.request(Method::POST, path).header("content-type", "application/json");
    app.send(request.body(body.to_string())).await
}

async fn login(app: &TestApp, email: &str) -> Answer {
    post(app, "/v1/login", json!({"app_id": APP, "email": email})).await
}

/// The code in the text part.
fn code(content: &str) -> String {
    let (_, behind) = content.split_once("login code is ").unwrap_or_else(|| panic!("no code in {content}"));
    behind.chars().take_while(char::is_ascii_digit).collect()
}

on_both! {
    async fn a_code_goes_to_one_mailbox_comes_back_and_turns_into_a_token(database) {
        let sink = Sink::start(Security::Plain).await;
        let app = start(&database, &sink);
        let started = login(&app, MAILBOX).await;
        assert_eq!(started.status, 202, "{started:?}");
        assert_eq!((started.get("channel"), started.get("to")), (json!("email"), json!("a•••@mail.example")));
        let [mail] = sink.mails().try_into().expect("one mail");
        assert_eq!(mail.recipients, [format!("<{MAILBOX}>")], "D6");
        let code = code(&mail.content);
        assert!(!started.text.contains(&code), "A11");

        let body = json!({"challenge": started.get("challenge"), "secret": started.get("secret"), "code": code});
        let verified = post(&app, "/v1/login/verify", body).await;
        assert_eq!(verified.status, 200, "{verified:?}");
        assert_eq!(verified.json()["chat"]["token"], json!(app.upstream.minted()[0]));
        assert_eq!(sink.mails().len(), 1);
        app.stop().await;
        assert_eq!(database.texts("SELECT status AS t FROM deliveries"), ["accepted"]);
        assert_eq!(database.texts("SELECT channel AS t FROM deliveries"), ["email"]);
    }
}

on_both! {
    async fn an_address_that_is_not_one_plain_mailbox_is_refused_and_nothing_is_sent_e4_d6(database) {
        let sink = Sink::start(Security::Plain).await;
        let app = start(&database, &sink);
        for bad in [
            "a@x",
            "a@x.example,b@y.example",
            "a@x.example;b@y.example",
            "\"a b\"@y.example",
            "a@x.example\r\nBcc: b@y.example",
            "a@x.example\nRCPT TO:<b@y.example>",
            "a@x.example\0",
            "Ann <a@x.example>",
            "<a@x.example>",
            "a@x.example b@y.example",
            " a@x.example",
            "a@b@x.example",
            "a..b@x.example",
            "k\u{212a}@x.example",
            "a@gıthub.example",
            "а@x.example",
            "a(b)@x.example",
            "a@[127.0.0.1]",
            "",
        ] {
            let answer = login(&app, bad).await;
            assert_eq!(answer.status, 400, "{bad:?}: {answer:?}");
            assert_eq!(answer.get("code"), "invalid_email", "{bad:?}");
        }
        assert_eq!((sink.connections(), database.count("challenges")), (0, 0));
        app.stop().await;
    }
}

on_both! {
    async fn the_bytes_that_limits_count_are_the_bytes_that_mail_goes_to_e4(database) {
        let sink = Sink::start(Security::Plain).await;
        let app = start(&database, &sink);
        assert_eq!(login(&app, "ann@Mail.EXAMPLE").await.status, 202);
        assert_eq!(sink.mails()[0].recipients, ["<ann@mail.example>"]);
        assert_eq!(login(&app, MAILBOX).await.status, 429, "the same mailbox in another spelling");
        assert_eq!(sink.mails().len(), 1);
        app.stop().await;
    }
}

on_both! {
    async fn a_mailbox_that_does_not_exist_is_told_and_a_full_server_gives_the_send_back(database) {
        let sink = Sink::start(Security::Plain).await;
        let app = start(&database, &sink);
        sink.fail_next(Fault::Answer("RCPT", "451 4.3.0 later"));
        assert_eq!(login(&app, MAILBOX).await.status, 503);
        app.advance(1);
        sink.fail_next(Fault::Answer("RCPT", "550 5.1.1 no such user"));
        assert_eq!(login(&app, "nobody@mail.example").await.status, 422);
        // Whether it was sent is not known: the person is told to look, and nothing goes out again.
        sink.fail_next(Fault::Cut(CONTENT));
        assert_eq!(login(&app, "bob@mail.example").await.status, 202);
        assert_eq!(sink.mails().len(), 1);
        app.stop().await;
        let statuses = database.texts("SELECT status AS t FROM deliveries ORDER BY created_at, status");
        assert_eq!(statuses, ["failed", "failed", "unknown"]);
    }
}

on_both! {
    async fn without_email_login_no_mailbox_gets_a_code(database) {
        let sink = Sink::start(Security::Plain).await;
        let app = TestApp::builder(&database)
            .set("providers.mail.kind", "smtp")
            .set("providers.mail.url", format!("smtp://{}", sink.address))
            .set("providers.mail.from", "login@example.com")
            .real_providers()
            .start();
        let answer = login(&app, MAILBOX).await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert_eq!(sink.connections(), 0);
        app.stop().await;
    }
}
