//! Processes that are asked to stop.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use futures_util::future::join_all;

use crate::harness::process::{Ended, Process, Server, Settings};
use crate::harness::{Backend, Database, FakeMesibo, on_both};

const PHONE: &str = crate::harness::app::PHONE;
const IN_FLIGHT: usize = 8;

/// How it ends, within this many seconds.
async fn ends_within(secs: u64, process: Process) -> Ended {
    let said = process.err.clone();
    let ended = tokio::time::timeout(Duration::from_secs(secs), process.end()).await;
    ended.unwrap_or_else(|_| panic!("it goes on:\n{}", said.text()))
}

#[track_caller]
fn assert_clean(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("stopped") && !ended.err.contains("panicked"), "{}", ended.err);
}

on_both! {
    async fn sigterm_during_mints_turns_readiness_off_and_waits_for_the_tokens_l6(database) {
        let mesibo = FakeMesibo::start().await;
        let settings = Settings::of(&database).mesibo(&mesibo);
        let Server { process, client } = Server::start(&settings).await;
        assert_eq!(client.probe("/readyz").await, Some(200));
        let phones: Vec<String> = (0..IN_FLIGHT).map(|index| format!("1212555010{index}")).collect();
        for phone in &phones {
            assert!(client.start_login(phone).await.expect("an answer").is_ok());
        }
        mesibo.hold();
        let verified = join_all(phones.iter().map(async |phone| {
            client.verify(phone, &settings.only_code(phone)).await
        }));
        let stopped = async {
            mesibo.called(IN_FLIGHT).await;
            process.terminate();
            assert!(process.err.find("stopping").await.is_some());
            let off = async { while client.probe("/readyz").await == Some(200) {} };
            tokio::time::timeout(Duration::from_secs(10), off).await.expect("readiness is off");
            assert_eq!(client.probe("/livez").await, Some(200), "it still lives: tokens are on their way");
            mesibo.let_go();
        };
        let (answers, ()) = tokio::join!(verified, stopped);
        for answer in answers {
            let answer = answer.expect("an answer");
            assert!(answer.token().is_some(), "{answer:?}");
        }
        assert_clean(&ends_within(10, process).await);
        assert_eq!(database.number("SELECT count(*) AS n FROM audit WHERE event = 'token.minted'"), 8);
        assert_eq!(database.number("SELECT count(*) AS n FROM deliveries WHERE status = 'pending'"), 0);
    }
}

/// All that comes until the other side closes.
fn rest_of(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("its end");
    text
}

/// Step 1 in as many bytes as a proxy would send.
fn start_request(phone: &str) -> String {
    let body = format!("{{op: \"login\", phone: \"{phone}\", appid: \"com.messenger.appid\"}}");
    format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn while_a_token_is_awaited_a_stop_closes_idle_connections_and_serves_what_has_begun_l6() {
    let database = Database::fresh(Backend::Sqlite);
    let mesibo = FakeMesibo::start().await;
    let settings = Settings::of(&database).mesibo(&mesibo);
    let server = Server::start(&settings).await;
    assert!(server.client.start_login(PHONE).await.expect("an answer").is_ok());
    let code = settings.only_code(PHONE);
    let mut idle = connect(&server, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    idle.read_exact(&mut [0; 12]).expect("an answer");
    let request = start_request("12125550100");
    let (first, second) = request.split_at(request.len() - 9);
    let mut begun = connect(&server, first);
    mesibo.hold();
    let client = server.client.clone();
    let stopped = async {
        mesibo.called(1).await;
        server.process.terminate();
        assert!(server.process.err.find("stopping").await.is_some());
        // A proxy that keeps connections sees this one end, and asks another node.
        let closed = tokio::task::spawn_blocking(|| rest_of(idle)).await.expect("no panic");
        assert!(closed.ends_with("ok\n"), "{closed:?}");
        begun.write_all(second.as_bytes()).expect("it reads");
        let answered = tokio::task::spawn_blocking(|| rest_of(begun)).await.expect("no panic");
        assert!(answered.contains("\"result\":true"), "{answered}");
        mesibo.let_go();
    };
    let (verified, ()) = tokio::join!(client.verify(PHONE, &code), stopped);
    assert!(verified.expect("an answer").token().is_some());
    assert_clean(&ends_within(10, server.process).await);
    assert_eq!(settings.codes("12125550100").len(), 1);
}

on_both! {
    async fn sigterm_ends_a_server_whose_backend_hangs_within_its_own_deadline_l6(database) {
        let mesibo = FakeMesibo::start().await;
        let settings = Settings::of(&database).mesibo(&mesibo).set("server.shutdown_timeout", "3s");
        let Server { process, client } = Server::start(&settings).await;
        assert!(client.start_login(PHONE).await.expect("an answer").is_ok());
        let code = settings.only_code(PHONE);
        mesibo.hold();
        let stopped = async {
            mesibo.called(1).await;
            process.terminate();
            ends_within(5, process).await
        };
        let (_lost, ended) = tokio::join!(client.verify(PHONE, &code), stopped);
        assert_clean(&ended);
        assert!(ended.err.contains("did not end in time"), "{}", ended.err);
        assert_eq!(database.audited("code.consumed"), 1);
    }
}

/// Connects, and sends this much.
fn connect(server: &Server, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.client.address()).expect("it listens");
    stream.write_all(text.as_bytes()).expect("it reads");
    stream
}

#[tokio::test]
async fn connections_that_wait_for_their_client_do_not_hold_up_a_stop_l6() {
    let database = Database::fresh(Backend::Sqlite);
    let settings = Settings::of(&database).set("server.body_timeout", "1s").set("server.head_timeout", "1s");
    let server = Server::start(&settings).await;
    let get = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut kept_alive = connect(&server, get);
    let mut head = [0; 12];
    kept_alive.read_exact(&mut head).expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200");
    let _silent = connect(&server, "");
    let _half_a_head = connect(&server, "POST / HTTP/1.1\r\nHost:");
    let _half_a_body = connect(&server, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{op:");
    assert!(server.client.start_login(PHONE).await.expect("an answer").is_ok());
    server.process.terminate();
    assert_clean(&ends_within(5, server.process).await);
}

#[tokio::test]
async fn a_second_sigterm_ends_it_at_once_l6() {
    let database = Database::fresh(Backend::Sqlite);
    let mesibo = FakeMesibo::start().await;
    let settings = Settings::of(&database).mesibo(&mesibo);
    let Server { process, client } = Server::start(&settings).await;
    assert!(client.start_login(PHONE).await.expect("an answer").is_ok());
    let code = settings.only_code(PHONE);
    mesibo.hold();
    let stopped = async {
        mesibo.called(1).await;
        process.terminate();
        assert!(process.err.find("stopping").await.is_some());
        process.terminate();
        ends_within(5, process).await
    };
    let (lost, ended) = tokio::join!(client.verify(PHONE, &code), stopped);
    assert!(lost.is_err(), "{lost:?}");
    assert_eq!(ended.code, Some(1), "{}", ended.err);
}
