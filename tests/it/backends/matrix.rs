//! Every fault of a backend, at the first try and at the next: one message, and a token once the backend has healed.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{complete, log_in, told};
use crate::harness::app::{Answer, Builder};
use crate::harness::backend::Vendor;
use crate::harness::chatsdk::{self, ChatSdk, Generation};
use crate::harness::sendbird::{self, Sendbird};
use crate::harness::{Database, FakeBackend, Manner, TestApp, on_both};

const SECRET: &str = "matrix-secret-canary";

/// What a client is told, by the fault and the step of the mint that it is at: `upstream_` and a code, and the seconds
/// until trying again makes sense. While nobody knows whether a token was minted, that is the end of the lease.
const SENDBIRD: &str = "
fault      token            create         again
refused    unavailable:5    .              .
no-name    unavailable:5    .              .
no-tls     unavailable:5    .              .
http-500   unavailable:15   unavailable:5  unavailable:15
own-500    unavailable:5    unavailable:5  unavailable:5
own-429    unavailable:3    unavailable:3  unavailable:3
own-401    misconfigured    misconfigured  misconfigured
http-404   misconfigured    misconfigured  misconfigured
http-302   misconfigured    misconfigured  misconfigured
silent     unavailable:7    .              unavailable:7
drips      unavailable:7    .              unavailable:7
hangs-up   unavailable:15   unavailable:5  unavailable:15
cut        unavailable:15   unavailable:5  unavailable:15
garbage    unavailable:15   unavailable:5  unavailable:15
too-large  unavailable:15   unavailable:5  unavailable:15
";

const CHATSDK: &str = "
fault      tokens
refused    unavailable:5
no-name    unavailable:5
no-tls     unavailable:5
http-500   unavailable:15
own-500    unavailable:5
own-429    unavailable:3
own-401    misconfigured
http-404   misconfigured
http-302   misconfigured
silent     unavailable:7
drips      unavailable:7
hangs-up   unavailable:15
cut        unavailable:15
garbage    unavailable:15
too-large  unavailable:15
";

/// A vendor's server as the matrix needs it.
trait Faulty: Vendor + Sized {
    const KIND: &'static str;
    const SECRET_KEY: &'static str;
    const TABLE: &'static str;

    fn fresh() -> Self;

    /// The vendor's own words for a limit (3 s to wait), a fault of theirs and a wrong secret.
    fn own(fault: &str) -> Manner;
}

impl Faulty for Sendbird {
    const KIND: &'static str = "sendbird";
    const SECRET_KEY: &'static str = "api_token";
    const TABLE: &'static str = SENDBIRD;

    fn fresh() -> Self {
        Self::new(SECRET)
    }

    fn own(fault: &str) -> Manner {
        match fault {
            "own-429" => sendbird::limited("2.069786548614502"),
            "own-401" => {
                Manner::json("400 Bad Request", r#"{"message":"Invalid","code":400401,"error":true}"#)
            }
            _ => Manner::json("500 X", r#"{"message":"Internal error.","code":500901,"error":true}"#),
        }
    }
}

impl Faulty for ChatSdk {
    const KIND: &'static str = "chatsdk";
    const SECRET_KEY: &'static str = "api_key";
    const TABLE: &'static str = CHATSDK;

    fn fresh() -> Self {
        Self::new(SECRET, Generation::First)
    }

    fn own(fault: &str) -> Manner {
        match fault {
            "own-429" => chatsdk::limited(3),
            "own-401" => Manner::json("401 Unauthorized", r#"{"error":{"message":"Invalid API key"}}"#),
            _ => Manner::json("500 X", r#"{"error":{"message":"Internal","code":"INTERNAL_ERROR"}}"#),
        }
    }
}

/// How a server of this fault treats requests; nothing where it is reached by no request at all.
fn manner<V: Faulty>(fault: &str) -> Option<Manner> {
    let answer = r#"{"token":"half-a-token"}"#;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n";
    Some(match fault {
        "refused" | "no-name" | "no-tls" => return None,
        "http-500" => Manner::typed("500 Internal Server Error", "text/html", "<html>"),
        "http-404" => Manner::typed("404 Not Found", "text/html", "<html>"),
        "http-302" => Manner::typed("302 Found", "text/html\r\nLocation: http://127.0.0.1:9/", ""),
        "silent" => Manner::Silent,
        "hangs-up" => Manner::HangsUp,
        "drips" => Manner::Drips(format!("{head}{answer}")),
        "cut" => Manner::Says(std::time::Duration::ZERO, format!("{head}{answer}")),
        "garbage" => Manner::json("200 OK", "<html>{\"token\":"),
        "too-large" => Manner::json("200 OK", &format!("{answer}{}", " ".repeat(64 * 1024))),
        _ => V::own(fault),
    })
}

/// One fault at one step, with a backend, an upstream, an app and a number of its own.
struct Cell<V> {
    fault: &'static str,
    step: &'static str,
    says: &'static str,
    phone: String,
    backend: FakeBackend<V>,
}

impl<V: Faulty> Cell<V> {
    fn all() -> Vec<Self> {
        let mut lines = V::TABLE.trim().lines().map(|line| line.split_whitespace());
        let steps: Vec<&str> = lines.next().expect("a head").skip(1).collect();
        let mut cells = Vec::new();
        for mut line in lines {
            let fault = line.next().expect("a fault");
            for (step, says) in steps.iter().zip(line).filter(|(_, says)| *says != ".") {
                let phone = format!("+1800555{:04}", 3000 + cells.len());
                cells.push(Self { fault, step, says, phone, backend: FakeBackend::deaf(V::fresh()) });
            }
        }
        cells
    }

    fn name(&self) -> String {
        format!("{}-{}", self.fault, self.step)
    }

    /// Where the configuration alone is wrong.
    fn wrong_url(&self) -> Option<String> {
        match self.fault {
            "no-name" => Some("https://backend.invalid".to_owned()),
            "no-tls" => Some(self.backend.url().replace("http:", "https:")),
            _ => None,
        }
    }

    fn fall_ill(&self) {
        if self.fault != "refused" {
            self.backend.heal();
        }
        if let Some(manner) = manner::<V>(self.fault) {
            self.backend.fail(self.step, manner);
        }
    }
}

/// A server with one upstream for each cell; right addresses, or those that the table asks for.
fn builder<'a, V: Faulty>(database: &'a Database, cells: &[Cell<V>], mended: bool) -> Builder<'a> {
    let mut builder = TestApp::builder(database).real_upstreams().set("limits.per_ip_unverified", "1000/1h");
    let mut apps = Vec::new();
    for cell in cells {
        let name = cell.name();
        let url = cell.wrong_url().filter(|_| !mended).unwrap_or_else(|| cell.backend.url());
        builder = builder
            .set(&format!("upstreams.{name}.kind"), V::KIND)
            .set(&format!("upstreams.{name}.url"), url)
            .set(&format!("upstreams.{name}.{}", V::SECRET_KEY), SECRET);
        if ["silent", "drips"].contains(&cell.fault) {
            builder = builder.set(&format!("upstreams.{name}.timeout"), "1500ms");
        }
        let app = format!("id = {name:?}\nname = \"A\"\nupstream = {name:?}");
        apps.push(app.parse::<toml::Table>().expect("TOML").into());
    }
    builder.set("apps", toml::Value::Array(apps))
}

/// The table's word for an answer.
fn says(answer: &Answer) -> String {
    let (_, code, wait) = told(answer);
    let wait = wait.map_or_else(String::new, |wait| format!(":{wait}"));
    format!("{}{wait}", code.trim_start_matches("upstream_"))
}

fn hold_to_table<V: Faulty>(cells: &[Cell<V>], answers: &[Answer]) {
    let lines = cells.iter().zip(answers);
    let lines = lines.map(|(cell, answer)| (cell.name(), cell.says, says(answer)));
    let wrong: Vec<_> = lines.filter(|(_, wanted, found)| wanted != found).collect();
    assert!(wrong.is_empty(), "(cell, as the table says, as it is): {wrong:#?}");
    for answer in answers {
        assert!(answer.status == 503 && answer.get("grant").is_string(), "{answer:?}");
        assert!(!answer.text.contains(SECRET) && !answer.text.contains("half-a-token"), "{answer:?}");
    }
}

async fn each_fault<V: Faulty>(database: &Database) {
    let cells = Cell::<V>::all();
    let app = builder(database, &cells, false).start();
    cells.iter().for_each(Cell::fall_ill);
    let names: Vec<String> = cells.iter().map(Cell::name).collect();
    let first = join_all(cells.iter().zip(&names).map(|(cell, name)| log_in(&app, name, &cell.phone))).await;
    hold_to_table(&cells, &first);
    app.advance(30);
    let second = join_all(first.iter().map(|failed| complete(&app, failed))).await;
    hold_to_table(&cells, &second);
    app.advance(30);

    for cell in &cells {
        cell.backend.heal();
    }
    let healed: Vec<_> = cells.iter().zip(&second).filter(|(cell, _)| cell.wrong_url().is_none()).collect();
    let done = join_all(healed.iter().map(|(_, failed)| complete(&app, failed))).await;
    let (sent, clock) = (app.outbox.sent(), Arc::clone(&app.clock));
    app.stop().await;
    // Where the configuration was wrong, the operator has to start again.
    let app = builder(database, &cells, true).clock(&clock).seed(2).start();
    let mended: Vec<_> = cells.iter().zip(&second).filter(|(cell, _)| cell.wrong_url().is_some()).collect();
    let mended_done = join_all(mended.iter().map(|(_, failed)| complete(&app, failed))).await;
    assert_eq!((mended.len(), app.outbox.count()), (2, 0));
    app.stop().await;

    for ((cell, _), answer) in healed.iter().chain(&mended).zip(done.iter().chain(&mended_done)) {
        assert_eq!(answer.status, 200, "{}: {answer:?}", cell.name());
        assert!(answer.get("chat")["token"].as_str().is_some_and(|token| token != "half-a-token"));
        let messages = sent.iter().filter(|sent| sent.to == cell.phone).count();
        assert_eq!(messages, 1, "{}", cell.name());
    }
    let all = i64::try_from(cells.len()).expect("few");
    assert_eq!((database.audited("token.minted"), database.audited("mint.failed")), (all, 2 * all));
}

on_both! {
    async fn each_fault_of_sendbird_costs_one_message_and_ends_with_a_token_f1_f4(database) {
        each_fault::<Sendbird>(&database).await;
    }
}

on_both! {
    async fn each_fault_of_chatsdk_costs_one_message_and_ends_with_a_token_f1_f4(database) {
        each_fault::<ChatSdk>(&database).await;
    }
}
