//! Clients that dawdle. The timeouts that a test is not about are ten minutes: were they what ends a connection, the
//! test would wait in vain.

use std::time::Duration;

use futures_util::future::join_all;

use crate::harness::app::Builder;
use crate::harness::{Backend, Database, TestApp, Wire};

const LOGOUT: &str = r#"{"op":"logout","dt":"1"}"#;

fn database() -> Database {
    Database::fresh(Backend::Sqlite)
}

/// Only this one of the three is short.
fn impatient<'a>(database: &'a Database, timeout: &str) -> Builder<'a> {
    let keys = ["server.head_timeout", "server.body_timeout", "server.idle_timeout"];
    let builder = keys.iter().fold(TestApp::builder(database), |builder, key| builder.set(key, "10m"));
    builder.set(timeout, "1s")
}

fn is_no(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""error":"NOOP""#)
}

#[tokio::test]
async fn the_head_of_a_first_request_must_come_in_time_j1() {
    let database = database();
    let app = impatient(&database, "server.head_timeout").start();
    for begun in ["", "P", "POST / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let mut wire = Wire::connect(app.address).await;
        wire.send(begun).await;
        let rest = wire.rest().await;
        assert!(!rest.contains(" 200 ") && !rest.contains(" 50"), "{begun:?}: {rest}");
    }
    app.log_in("18005551234").await;
    app.stop().await;
}

#[tokio::test]
async fn the_head_of_every_later_request_must_come_in_time_too_j1() {
    let database = database();
    let app = impatient(&database, "server.head_timeout").start();
    for first in [LOGOUT, "{}"] {
        let mut wire = Wire::connect(app.address).await;
        wire.post(first).await;
        wire.answer().await;
        wire.post(first).await;
        wire.answer().await;
        wire.send("POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
        assert_eq!(wire.rest().await, "");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_head_that_comes_in_drips_must_still_be_whole_in_time_j1() {
    let database = database();
    let app = impatient(&database, "server.head_timeout").start();
    let mut wire = Wire::connect(app.address).await;
    wire.post(LOGOUT).await;
    wire.answer().await;
    let drip = async {
        wire.send("POST / HTTP/1.1\r\nHost: x\r\n").await;
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while wire.is_open().await {
            tick.tick().await;
            wire.send("X-Slow: 1\r\n").await;
        }
    };
    crate::harness::wire::soon("an end to the drips", drip).await;
    app.stop().await;
}

#[tokio::test]
async fn a_head_is_timed_from_its_own_first_byte() {
    let database = database();
    let app = impatient(&database, "server.head_timeout").start();
    let mut wire = Wire::connect(app.address).await;
    // Each request is answered in the moment in which it is read.
    let asking = async {
        loop {
            wire.send("OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            let Some(answer) = wire.next_answer().await else { break };
            assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
        }
    };
    let cut_off = tokio::time::timeout(Duration::from_secs(3), asking).await;
    assert!(cut_off.is_err(), "a connection in good use was cut off");
    app.stop().await;
}

#[tokio::test]
async fn a_head_that_came_with_the_request_before_it_ends_with_the_idle_timeout_j1() {
    let database = database();
    let app = impatient(&database, "server.idle_timeout").start();
    for first in
        ["OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), super::verify_bytes("18005551234", "123456")]
    {
        let mut wire = Wire::connect(app.address).await;
        wire.send(format!("{first}POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ")).await;
        wire.answer().await;
        assert_eq!(wire.rest().await, "", "{first}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_connection_without_a_next_request_is_closed() {
    let database = database();
    let app = impatient(&database, "server.idle_timeout").start();
    let mut wire = Wire::connect(app.address).await;
    wire.post(LOGOUT).await;
    wire.answer().await;
    assert_eq!(wire.rest().await, "");
    app.stop().await;
}

#[tokio::test]
async fn a_body_must_come_in_time_and_the_connection_ends_behind_the_answer_j1() {
    let database = database();
    let app = impatient(&database, "server.body_timeout").set("server.head_timeout", "1s").start();
    let heads = ["Content-Length: 100", "Content-Length: 1000000", "Transfer-Encoding: chunked"];
    let begun = heads.iter().flat_map(|head| ["", "5\r\n{\"op\"\r\n"].map(|begun| (head, begun)));
    let dawdle = async |(head, begun): (&&str, &str)| {
        let mut wire = Wire::connect(app.address).await;
        wire.send(format!("POST / HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{begun}")).await;
        let answer = wire.answer().await;
        assert!(is_no(&answer), "{head}: {answer}");
        assert_eq!(wire.rest().await, "", "{head}");
    };
    join_all(begun.map(dawdle)).await;
    app.log_in("18005551234").await;
    app.stop().await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_hold_its_connection_j1() {
    let database = database();
    let app = impatient(&database, "server.head_timeout").start();
    let lines = ["GET / HTTP/1.1", "OPTIONS / HTTP/1.1", "POST /nowhere HTTP/1.1", "GET /livez HTTP/1.1"];
    let heads = |line| ["Content-Length: 100", "Transfer-Encoding: chunked"].map(|head| (line, head));
    let dawdle = async |(line, head): (&str, &str)| {
        let mut wire = Wire::connect(app.address).await;
        wire.send(format!("{line}\r\nHost: x\r\n{head}\r\n\r\n5\r\n{{\"op\"\r\n")).await;
        wire.answer().await;
        assert_eq!(wire.rest().await, "", "{line} {head}");
    };
    join_all(lines.into_iter().flat_map(heads).map(dawdle)).await;
    app.stop().await;
}

#[tokio::test]
async fn whoever_asks_much_and_reads_nothing_is_cut_off_j1() {
    let database = database();
    let app = impatient(&database, "server.idle_timeout").start();
    let mut wire = Wire::connect(app.address).await;
    // More answers than both ends' buffers hold, then the beginning of another head.
    let asked = "OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2_000);
    for _ in 0..50 {
        if !wire.send_while_taken(&asked).await {
            break;
        }
    }
    wire.send_while_taken("OPTIONS / HTT").await;
    wire.rest().await;
    app.stop().await;
}
