//! Another chat token without another code.

use std::sync::Arc;

use latchkey::upstream::UpstreamError;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Held, NUMBER, call, is_live, listed, log_in, log_in_again, log_in_as, refreshed};
use crate::harness::app::{APP, Answer};
use crate::harness::{Mint, TestApp, on_both};

async fn fetch(app: &TestApp, held: &Held) -> Answer {
    call(app, Method::POST, "/v1/chat-token", &held.access, Value::Null).await
}

fn retry_after(answer: &Answer) -> u64 {
    answer.headers["retry-after"].to_str().expect("ASCII").parse().expect("seconds")
}

on_both! {
    async fn a_live_session_gets_the_same_body_as_its_login_with_a_fresh_token(database) {
        let app = TestApp::start(&database);
        let login = log_in_as(&app, NUMBER, None).await;
        let held = Held::of(&login.get("session"));
        let fresh = fetch(&app, &held).await;
        assert_eq!(fresh.status, 200, "{fresh:?}");
        assert_eq!(fresh.get("token"), json!(app.upstream.minted()[1]));
        let same = |body: Value| body.as_object().expect("members").keys().cloned().collect::<Vec<_>>();
        assert_eq!(same(fresh.json()), same(login.get("chat")));
        let subjects = app.upstream.subjects();
        assert_eq!((&subjects[0].user, &subjects[0].address, APP), (&subjects[1].user, &subjects[1].address, subjects[1].app_id.as_str()));
        assert_eq!((app.outbox.count(), database.audited("chat_token.minted")), (1, 1));
        app.stop().await;
    }
}

on_both! {
    async fn a_user_gets_ten_in_fifteen_minutes_over_all_devices_and_processes(database) {
        let app = TestApp::start(&database);
        let phone = log_in(&app, NUMBER).await;
        let tablet = log_in_again(&app, NUMBER).await;
        let stranger = log_in(&app, "+18005551235").await;
        let phone = refreshed(&app, &phone).await;
        for index in 0..10 {
            let held = if index % 2 == 0 { &phone } else { &tablet };
            assert_eq!(fetch(&app, held).await.status, 200, "{index}");
        }
        let other = TestApp::builder(&database).clock(&app.clock).seed(2).start();
        let late = fetch(&other, &phone).await;
        assert_eq!((late.status, late.get("code"), retry_after(&late)), (429, json!("too_many_chat_tokens"), 90));
        assert_eq!(fetch(&app, &stranger).await.status, 200);
        app.advance(89);
        assert_eq!(retry_after(&fetch(&app, &tablet).await), 1);
        app.advance(1);
        assert_eq!(fetch(&app, &tablet).await.status, 200, "exactly then");
        assert_eq!(fetch(&app, &tablet).await.status, 429);
        assert_eq!(listed(&app, &tablet).await, is_live());
        app.stop().await;
        other.stop().await;
    }
}

on_both! {
    async fn a_backend_that_fails_is_told_apart_without_its_words_and_counts_f1_f8(database) {
        let app = TestApp::builder(&database).set("session.chat_tokens", "5/15m").start();
        let held = log_in(&app, NUMBER).await;
        let after = std::time::Duration::from_millis(2_100);
        let cases = [
            (UpstreamError::Unavailable("secret words".into()), 503, "upstream_unavailable", Some(5)),
            (UpstreamError::Unknown("secret words".into()), 503, "upstream_unavailable", Some(5)),
            (UpstreamError::Throttled { after, said: "secret words".into() }, 503, "upstream_unavailable", Some(3)),
            (UpstreamError::Misconfigured("secret words".into()), 503, "upstream_misconfigured", None),
            (UpstreamError::Refused("secret words".into()), 403, "user_refused", None),
        ];
        for (error, status, code, wait) in cases {
            app.upstream.next(Mint::Fails(error));
            let failed = fetch(&app, &held).await;
            assert_eq!((failed.status, failed.get("code")), (status, json!(code)));
            assert_eq!(failed.headers.contains_key("retry-after").then(|| retry_after(&failed)), wait);
            assert!(!failed.text.contains("secret words") && failed.get("grant").is_null());
        }
        assert_eq!(fetch(&app, &held).await.get("code"), "too_many_chat_tokens");
        assert_eq!(database.audited("chat_token.minted"), 0);
        app.stop().await;
    }
}

on_both! {
    async fn a_token_that_comes_after_a_logout_is_given_to_nobody_g5(database) {
        let app = Arc::new(TestApp::start(&database));
        let held = log_in(&app, NUMBER).await;
        let gate = Arc::new(Notify::new());
        app.upstream.next(Mint::Hangs(Arc::clone(&gate)));
        let waiting = {
            let (app, held) = (Arc::clone(&app), held.clone());
            tokio::spawn(async move { fetch(&app, &held).await })
        };
        app.upstream.called(2).await;
        let out = call(&app, Method::POST, "/v1/logout", &held.access, json!({"scope": "local"})).await;
        assert_eq!(out.status, 204, "nothing is held while the backend is called (F3)");
        gate.notify_one();
        let late = waiting.await.expect("no panic");
        assert_eq!((late.status, late.get("code")), (401, json!("session_over")));
        assert!(!late.text.contains(&app.upstream.minted()[1]));
        assert_eq!(database.audited("chat_token.minted"), 0);
    }
}

on_both! {
    async fn a_number_that_is_somebody_elses_by_now_mints_for_nobody(database) {
        let app = TestApp::start(&database);
        let held = log_in(&app, NUMBER).await;
        database.execute("INSERT INTO users (id, realm, created_at) VALUES ('usr_other', 'local', 0)");
        database.execute("UPDATE identities SET user_id = 'usr_other'");
        assert_eq!(fetch(&app, &held).await.get("code"), "session_over");
        assert_eq!(app.upstream.minted().len(), 1);
        app.stop().await;
    }
}

/// Two apps with pages of their own, one of them with a path that its front end calls.
pub const APPS: &str = r#"
[[apps]]
id = "com.messenger.appid"
name = "A"
origins = ["https://a.example"]
chat_token_path = "/api/auth/chat-token"
[[apps]]
id = "b"
name = "B"
origins = ["https://b.example"]
"#;

on_both! {
    async fn a_path_of_the_operators_choice_does_the_same_for_get_and_post_and_that_apps_pages_j6(database) {
        let app = TestApp::builder(&database).config(APPS).start();
        let held = log_in(&app, NUMBER).await;
        let path = "/api/auth/chat-token";
        let send = async |method: Method, path: &str, origin: &'static str| {
            let request = app.request(method, path).bearer_auth(&held.access).header("origin", origin);
            let answer = app.send(request).await;
            let allowed = answer.headers.get("access-control-allow-origin").map(|value| value.to_str().expect("ASCII").to_owned());
            (answer, allowed)
        };
        for method in [Method::GET, Method::POST] {
            let (answer, allowed) = send(method, path, "https://a.example").await;
            assert_eq!((answer.status, allowed.as_deref()), (200, Some("https://a.example")));
            assert_eq!(answer.get("token"), json!(app.upstream.minted().last()));
        }
        let (answer, allowed) = send(Method::OPTIONS, path, "https://a.example").await;
        assert_eq!((answer.status, allowed.as_deref()), (204, Some("https://a.example")));
        assert_eq!(answer.headers["access-control-allow-methods"], "GET, POST");
        assert_eq!(answer.headers["access-control-allow-headers"], "authorization, content-type");
        let (_, allowed) = send(Method::OPTIONS, path, "https://b.example").await;
        assert_eq!(allowed, None, "it is not that app's path");
        let (_, allowed) = send(Method::OPTIONS, "/v1/chat-token", "https://b.example").await;
        assert_eq!(allowed.as_deref(), Some("https://b.example"));
        let (answer, _) = send(Method::DELETE, path, "https://a.example").await;
        assert_eq!((answer.status, answer.headers["allow"].to_str().ok()), (405, Some("GET, POST, OPTIONS")));
        app.stop().await;
    }
}
