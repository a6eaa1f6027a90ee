//! Too much at once, and what breaks on the way.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Notify;

use super::{patient, verify_bytes};
use crate::harness::app::PHONE;
use crate::harness::wire::until;
use crate::harness::{Backend, Database, Mint, TestApp, Wire, on_both};

const LOGOUT: &str = r#"{"op":"logout","dt":"1"}"#;
const LOCAL: [&str; 2] = ["127.0.0.2", "127.0.0.3"];

fn local(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

/// Whether a new connection from there is served.
async fn is_served(app: &TestApp, from: &str) -> bool {
    let mut wire = Wire::connect_from(local(from), app.address).await;
    wire.post(LOGOUT).await;
    wire.next_answer().await.is_some()
}

/// A connection in use.
async fn hold(app: &TestApp, from: &str) -> Wire {
    let mut wire = Wire::connect_from(local(from), app.address).await;
    wire.post(LOGOUT).await;
    wire.answer().await;
    wire
}

/// A closed connection is noticed a moment later.
async fn is_served_soon(app: &TestApp, from: &str) {
    let asking = async { while !is_served(app, from).await {} };
    crate::harness::wire::soon("room for a connection", asking).await;
}

#[tokio::test]
async fn one_address_holds_so_many_connections_and_others_are_not_harmed_j1() {
    let database = Database::fresh(Backend::Sqlite);
    let app = TestApp::builder(&database).set("server.max_connections_per_ip", 3).start();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(hold(&app, LOCAL[0]).await);
    }
    assert!(!is_served(&app, LOCAL[0]).await);
    assert!(is_served(&app, LOCAL[1]).await, "another address");
    drop(held.pop());
    is_served_soon(&app, LOCAL[0]).await;
    app.stop().await;
}

#[tokio::test]
async fn a_trusted_proxy_is_bound_by_the_limit_in_all_alone_j1() {
    let database = Database::fresh(Backend::Sqlite);
    let app = TestApp::builder(&database)
        .set("server.max_connections_per_ip", 1)
        .set("server.max_connections", 4)
        .set("server.trusted_proxies", vec!["127.0.0.2/32"])
        .start();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(hold(&app, LOCAL[0]).await);
    }
    assert!(!is_served(&app, LOCAL[0]).await && !is_served(&app, LOCAL[1]).await, "four are all there are");
    drop(held);
    is_served_soon(&app, LOCAL[1]).await;
    app.stop().await;
}

on_both! {
    async fn what_is_too_much_is_told_to_come_back_and_the_next_one_is_served_j2(database) {
        let app = patient(&database).set("server.max_in_flight", 1).start();
        app.start_login(PHONE).await;
        let gate = Arc::new(Notify::new());
        app.upstream.next(Mint::Hangs(Arc::clone(&gate)));
        let mut first = Wire::connect(app.address).await;
        first.send(verify_bytes(PHONE, &app.outbox.last_code())).await;
        app.upstream.called(1).await;

        let busy = app.start_login("18005551235").await;
        assert_eq!((busy.status, busy.get("op"), busy.error()), (200, "login".into(), "BUSY".to_owned()));
        assert_eq!(busy.get("result"), "FAIL");
        let busy = app.post("{op: \"logout\"}").await;
        assert_eq!((busy.get("result"), busy.error()), (false.into(), "BUSY".to_owned()));
        let probe = app.send(app.request(reqwest::Method::GET, "/livez")).await;
        assert_eq!(probe.status, 200, "probes are not work");
        assert!(app.admin("/metrics").await.text.contains("latchkey_requests_shed_total 2"));
        assert_eq!(app.outbox.count(), 1);

        gate.notify_one();
        assert!(first.answer().await.contains("\"token\""));
        app.log_in("18005551235").await;
        app.stop().await;
    }
}

on_both! {
    async fn mints_that_hang_delay_no_other_login_f3(database) {
        let app = patient(&database).set("database.connections", 2).set("server.workers", 1).start();
        let gate = Arc::new(Notify::new());
        let mut hanging = Vec::new();
        for n in 0..8 {
            let phone = format!("1800555120{n}");
            app.start_login(&phone).await;
            app.upstream.next(Mint::Hangs(Arc::clone(&gate)));
            let mut wire = Wire::connect(app.address).await;
            wire.send(verify_bytes(&phone, &app.outbox.last_code())).await;
            hanging.push(wire);
            app.upstream.called(n + 1).await;
        }
        app.log_in("18005551300").await;
        assert_eq!(app.upstream.minted().len(), 1, "the others still hang");
        for wire in &mut hanging {
            gate.notify_one();
            assert!(crate::harness::wire::soon("a token", wire.answer()).await.contains("\"token\""));
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_panic_is_answered_busy_and_the_process_lives_l2(database) {
        let app = TestApp::builder(&database).set("server.workers", 1).set("server.max_in_flight", 2).start();
        for n in 0..5 {
            let phone = format!("1800555120{n}");
            app.start_login(&phone).await;
            app.upstream.next(Mint::Panics);
            let answer = app.verify(&phone, &app.outbox.last_code()).await;
            assert_eq!((answer.status, answer.get("op"), answer.error()), (200, "login".into(), "BUSY".to_owned()));
            assert_eq!((answer.get("result"), answer.token()), ("FAIL".into(), None));
        }
        app.log_in("18005551300").await;
        let metrics = app.admin("/metrics").await.text;
        assert!(metrics.contains("latchkey_requests_in_flight 0"), "no turn is lost: {metrics}");
        app.stop().await;
    }
}

on_both! {
    async fn a_client_that_goes_away_in_the_middle_of_a_verify_does_not_stop_the_mint(database) {
        let app = patient(&database).start();
        app.start_login(PHONE).await;
        let gate = Arc::new(Notify::new());
        app.upstream.next(Mint::Hangs(Arc::clone(&gate)));
        let mut wire = Wire::connect(app.address).await;
        wire.send(verify_bytes(PHONE, &app.outbox.last_code())).await;
        app.upstream.called(1).await;
        wire.reset();
        // The server has noticed when it has answered somebody else on the same thread.
        app.log_in("18005551300").await;
        gate.notify_one();
        until("the token is on record", || database.audited("token.minted") == 2).await;
        assert_eq!(app.upstream.minted().len(), 2);
        assert_eq!(database.number("SELECT count(*) AS n FROM challenges WHERE minted_at IS NOT NULL"), 2);
        app.stop().await;
    }
}
