//! How much is sent, and how long somebody is told to wait.

mod address;
mod model;
mod network;
mod plain;

use reqwest::Method;
use serde_json::json;

use crate::harness::app::{APP, Answer, Builder};
use crate::harness::{Database, TestApp};

/// A server that believes every test about the address that it comes from.
fn behind_a_proxy(database: &Database) -> Builder<'_> {
    TestApp::builder(database).set("server.trusted_proxies", vec!["127.0.0.0/8".to_owned()])
}

/// The number `n` of many.
fn number(n: u32) -> String {
    format!("1212{}", 2_000_000 + n)
}

/// Step 1 for any app, from an address.
async fn start_from(app: &TestApp, app_id: &str, phone: &str, ip: &str) -> Answer {
    let body = json!({"op": "login", "appid": app_id, "phone": phone, "dt": "1"}).to_string();
    app.send(app.request(Method::POST, "/").header("X-Forwarded-For", ip).body(body)).await
}

/// Starts logins of numbers that nobody used, from an address, until one is refused; how many were sent to.
async fn send_until_refused(app: &TestApp, first: u32, ip: &str) -> (u32, Answer) {
    for n in first..first + 1000 {
        let answer = start_from(app, APP, &number(n), ip).await;
        if !answer.is_ok() {
            return (n - first, answer);
        }
    }
    panic!("a thousand messages were sent");
}

/// The wait that `errmsg` names, in seconds.
fn named_wait(answer: &Answer) -> u64 {
    assert_eq!(answer.error(), "TOOSOON", "{answer:?}");
    let text = answer.get("errmsg").as_str().expect("a text").to_owned();
    let words: Vec<&str> = text.split(' ').collect();
    let unit = match words[3] {
        "seconds" => 1,
        "minutes" => 60,
        "hours" => 3600,
        other => panic!("{other} in {text:?}"),
    };
    words[2].parse::<u64>().expect("a number") * unit
}

/// Everything that a start writes but the budgets, and the budgets themselves.
fn everything_written(database: &Database) -> Vec<String> {
    let mut rows = database.texts("SELECT key || ' ' || arrival || ' ' || total_arrival || ' ' || ready_at AS t FROM budgets ORDER BY key");
    rows.extend(database.texts("SELECT id || ' ' || version || ' ' || guesses || ' ' || length(slots) AS t FROM challenges ORDER BY id"));
    rows.extend(database.texts("SELECT id || ' ' || status AS t FROM deliveries ORDER BY id"));
    rows.extend(database.texts("SELECT id || ' ' || event AS t FROM audit ORDER BY id"));
    rows
}
