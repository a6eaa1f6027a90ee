//! One's own sessions: what they are, and ending one.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Held, NUMBER, call, is_live, is_over, listed, log_in, log_in_as, post, refresh, refreshed};
use crate::harness::app::{APP, now};
use crate::harness::{TestApp, on_both};

/// Behind a proxy, so that each request may come from elsewhere.
fn start(database: &crate::harness::Database) -> TestApp {
    TestApp::builder(database).set("server.trusted_proxies", vec!["127.0.0.1/32"]).start()
}

async fn sessions(app: &TestApp, held: &Held) -> Vec<Value> {
    let answer = call(app, Method::GET, "/v1/sessions", &held.access, Value::Null).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.get("sessions").as_array().expect("a list").clone()
}

async fn end(app: &TestApp, held: &Held, id: &str) -> (u16, Value) {
    let answer = call(app, Method::DELETE, &format!("/v1/sessions/{id}"), &held.access, Value::Null).await;
    let code = if answer.text.is_empty() { Value::Null } else { answer.get("code") };
    (answer.status, code)
}

fn ids(sessions: &[Value]) -> Vec<String> {
    sessions.iter().map(|session| session["id"].as_str().expect("an id").to_owned()).collect()
}

on_both! {
    async fn a_session_shows_its_device_birth_use_and_network_and_which_is_this_one_g6(database) {
        let app = start(&database);
        let document = app.send(app.request(Method::GET, "/openapi.json")).await.json();
        let first = log_in_as(&app, NUMBER, Some(" Ann's phone ")).await;
        crate::v1::hold_to_schema(&document, "LoggedIn", &first.json());
        crate::v1::hold_to_schema(&document, "Session", &first.get("session"));
        let phone = Held::of(&first.get("session"));
        app.advance(600);
        let tablet = Held::of(&log_in_as(&app, NUMBER, None).await.get("session"));
        app.advance(60);
        let request = app.request(Method::POST, "/v1/session/refresh").header("content-type", "application/json");
        let request = request.header("x-forwarded-for", "2001:db8:1:2:aaaa::1");
        let body = json!({"refresh_token": phone.refresh}).to_string();
        let phone = Held::of(&app.send(request.body(body)).await.json());

        let listed = sessions(&app, &phone).await;
        for session in &listed {
            crate::v1::hold_to_schema(&document, "SessionShown", session);
        }
        let born = now().as_secs();
        let shown = |session: &Value| session.as_object().expect("members").clone().into_iter()
            .filter(|(key, _)| key != "id").collect::<Value>();
        assert_eq!(shown(&listed[0]), json!({
            "current": true, "app_id": APP, "device": "Ann's phone", "channel": "sms",
            "network": "2001:db8:1:2::/64",
            "created_at": born, "last_used_at": born + 660, "expires_at": born + 660 + 30 * 86_400,
        }));
        assert_eq!(shown(&listed[1]), json!({
            "current": false, "app_id": APP, "channel": "sms", "network": "127.0.0.1",
            "created_at": born + 600, "last_used_at": born + 600, "expires_at": born + 600 + 30 * 86_400,
        }));
        assert_eq!(listed.len(), 2);
        let others = sessions(&app, &tablet).await;
        assert_eq!(ids(&others), ids(&listed), "last used first");
        assert_eq!((&others[0]["current"], &others[1]["current"]), (&json!(false), &json!(true)));
        app.stop().await;
    }
}

on_both! {
    async fn one_can_end_ones_own_sessions_and_nobody_elses_g6(database) {
        let app = start(&database);
        let stranger = log_in(&app, "+18005551235").await;
        let phone = log_in(&app, NUMBER).await;
        app.advance(600);
        let tablet = log_in(&app, NUMBER).await;
        let both = ids(&sessions(&app, &tablet).await);
        let strangers = ids(&sessions(&app, &stranger).await);
        for id in [strangers[0].as_str(), "ses_0000000000000000000000", "usr_1", "x", "%00", "%FF", "a%2Fb"] {
            assert_eq!(end(&app, &tablet, id).await, (404, json!("session_not_found")), "{id}");
        }
        assert_eq!(listed(&app, &stranger).await, is_live());

        assert_eq!(end(&app, &tablet, &both[1]).await, (204, Value::Null));
        assert_eq!(listed(&app, &phone).await, is_over());
        assert_eq!(refresh(&app, &phone.refresh).await.status, 401);
        assert_eq!(end(&app, &tablet, &both[1]).await, (404, json!("session_not_found")), "it is over");
        assert_eq!(app.upstream.revoked().len(), 0);
        assert_eq!(database.texts("SELECT ended_why AS t FROM sessions WHERE ended_why IS NOT NULL"), ["remote"]);

        assert_eq!(end(&app, &tablet, &both[0]).await, (204, Value::Null), "its own is a logout");
        assert_eq!(listed(&app, &tablet).await, is_over());
        assert_eq!(app.upstream.revoked(), [NUMBER]);
        app.stop().await;
    }
}

on_both! {
    async fn what_is_over_is_not_listed_g6(database) {
        let app = TestApp::builder(&database).set("session.idle_lifetime", "1h").start();
        log_in(&app, NUMBER).await;
        app.advance(1800);
        let second = log_in(&app, NUMBER).await;
        assert_eq!(sessions(&app, &second).await.len(), 2);
        app.advance(1800);
        let second = refreshed(&app, &second).await;
        assert_eq!(sessions(&app, &second).await.len(), 1, "the first was idle for an hour");
        app.stop().await;
    }
}

on_both! {
    async fn a_label_that_is_none_is_refused_before_the_code_counts(database) {
        let app = TestApp::start(&database);
        for device in ["", "a\u{7}b", &"x".repeat(65)] {
            app.advance(600);
            let answer = log_in_as(&app, NUMBER, Some(device)).await;
            assert_eq!((answer.status, answer.get("code")), (400, json!("invalid_request")), "{device:?}");
        }
        assert_eq!(database.audited("guess.counted"), 0);
        let grant = post(&app, "/v1/login/complete", json!({"grant": "gr_1", "device": 5})).await;
        assert_eq!(grant.get("code"), "invalid_request");
        app.stop().await;
    }
}
