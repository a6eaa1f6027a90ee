//! Sessions in processes that are killed: what was answered holds, and what was not can be asked for again.

use std::sync::Arc;

use futures_util::future::join_all;
use latchkey::ambient::{Clock, ManualClock, SystemClock};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Held, NUMBER, call, is_live, is_over, listed, refresh};
use crate::harness::app::{APP, PHONE};
use crate::harness::process::{Client, Server, Settings};
use crate::harness::{Database, FakeMesibo, TestApp, on_both};

async fn post(client: &Client, path: &str, bearer: &str, body: Value) -> (u16, Value) {
    let answer = client.post_v1(path, bearer, &body).await.expect("an answer");
    (answer.status, serde_json::from_str(&answer.text).unwrap_or(Value::Null))
}

async fn log_in(server: &Server, settings: &Settings) -> Held {
    let (_, started) = post(&server.client, "/v1/login", "", json!({"app_id": APP, "phone": NUMBER})).await;
    let code = settings.only_code(PHONE);
    let body = json!({"challenge": started["challenge"], "secret": started["secret"], "code": code});
    let (status, login) = post(&server.client, "/v1/login/verify", "", body).await;
    assert_eq!(status, 200, "{login}");
    Held::of(&login["session"])
}

async fn refreshed(server: &Server, held: &Held) -> Held {
    let (status, next) =
        post(&server.client, "/v1/session/refresh", "", json!({"refresh_token": held.refresh})).await;
    assert_eq!(status, 200, "{next}");
    Held::of(&next)
}

/// A server on the same database whose clock stands where the others died.
fn successor(database: &Database, mesibo: &FakeMesibo) -> TestApp {
    let upstream = format!(
        "[upstreams.chat]\nkind = \"mesibo\"\nurl = {:?}\napp_token = \"the-app-token\"\n",
        mesibo.url
    );
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    TestApp::builder(database).clock(&clock).config(&upstream).real_upstreams().start()
}

on_both! {
    async fn a_refresh_and_a_logout_hold_over_kill_9_g5(database) {
        let mesibo = FakeMesibo::start().await;
        let settings = Settings::of(&database).mesibo(&mesibo);
        let mut server = Server::start(&settings).await;
        let first = log_in(&server, &settings).await;
        let second = refreshed(&server, &first).await;
        server.process.kill();

        let mut server = Server::start(&settings).await;
        let third = refreshed(&server, &second).await;
        let (status, _) = post(&server.client, "/v1/logout", &third.access, json!({"scope": "local"})).await;
        server.process.kill();
        assert_eq!(status, 204);
        let revoked = json!({"address": PHONE, "token": {"remove": true}});
        assert_eq!(mesibo.calls().last().map(|call| call["user"].clone()), Some(revoked));

        let app = successor(&database, &mesibo);
        assert_eq!(listed(&app, &third).await, is_over());
        assert_eq!(refresh(&app, &third.refresh).await.get("code"), "session_over");
        app.stop().await;
    }
}

on_both! {
    async fn a_thief_stays_locked_out_over_kill_9_g4_g5(database) {
        let mesibo = FakeMesibo::start().await;
        let settings = Settings::of(&database).mesibo(&mesibo);
        let mut server = Server::start(&settings).await;
        let first = log_in(&server, &settings).await;
        let second = refreshed(&server, &first).await;
        let third = refreshed(&server, &second).await;
        let stolen = post(&server.client, "/v1/session/refresh", "", json!({"refresh_token": first.refresh})).await;
        server.process.kill();
        assert_eq!((stolen.0, &stolen.1["code"]), (401, &json!("session_over")));
        let app = successor(&database, &mesibo);
        assert_eq!(listed(&app, &third).await, is_over());
        assert_eq!(refresh(&app, &third.refresh).await.status, 401);
        assert_eq!(database.audited("session.reuse"), 1);
        app.stop().await;
    }
}

on_both! {
    async fn killed_amid_refreshes_the_client_repeats_and_goes_on_g4_g5(database) {
        let mesibo = FakeMesibo::start().await;
        let settings = Settings::of(&database).mesibo(&mesibo);
        let mut server = Server::start(&settings).await;
        let held = log_in(&server, &settings).await;
        let client = server.client.clone();
        let body = json!({"refresh_token": held.refresh});
        let asked = join_all((0..32).map(|_| client.post_v1("/v1/session/refresh", "", &body)));
        let killed = async {
            crate::harness::wire::until("one is written", || {
                database.number("SELECT count(*) AS n FROM sessions WHERE rotated_at IS NOT NULL") == 1
            }).await;
            server.process.kill();
        };
        let (answers, ()) = tokio::join!(asked, killed);
        let app = successor(&database, &mesibo);
        let again = refresh(&app, &held.refresh).await;
        assert_eq!(again.status, 200, "{again:?}");
        let child = Held::of(&again.json());
        for answer in answers.into_iter().flatten().filter(|answer| answer.status == 200) {
            assert_eq!(Held::of(&answer.json()).refresh, child.refresh, "whoever was answered has the same");
        }
        assert_eq!(listed(&app, &child).await, is_live());
        let out = call(&app, Method::POST, "/v1/logout", &child.access, json!({"scope": "all"})).await;
        assert_eq!(out.status, 204);
        app.stop().await;
    }
}
