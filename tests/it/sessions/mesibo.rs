//! Sessions of the mesibo dialect: nobody holds one, and `op: logout` ends it.

use reqwest::Method;
use serde_json::{Value, json};

use super::{NUMBER, call, log_in_again};
use crate::harness::app::{APP, Answer, PHONE};
use crate::harness::{TestApp, on_both};

async fn log_out(app: &TestApp, token: &Value) -> Answer {
    app.post(json!({"op": "logout", "token": token, "dt": "1"}).to_string()).await
}

on_both! {
    async fn a_login_has_a_session_that_holds_its_token_hashed_and_is_handed_out_to_nobody(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let verified = app.verify(PHONE, &app.outbox.last_code()).await;
        assert!(verified.token().is_some());
        assert!(verified.get("session").is_null() && !verified.text.contains("refresh"));
        assert_eq!((database.count("sessions"), database.audited("session.started")), (1, 1));
        assert_eq!(database.number("SELECT length(chat_token_hash) AS n FROM sessions WHERE family IS NULL"), 32);
        let life = "SELECT expires_at - created_at AS n FROM sessions";
        assert_eq!(database.number(life), 180 * 86_400_000, "nobody tells us of its use");
        app.stop().await;
    }
}

on_both! {
    async fn logout_ends_the_session_of_its_token_and_revokes_it(database) {
        let app = TestApp::start(&database);
        let token = app.log_in(PHONE).await;
        app.log_in("18005551235").await;
        let answer = log_out(&app, &json!(token)).await;
        assert_eq!((answer.get("op"), answer.get("result")), (json!("logout"), json!("OK")));
        assert_eq!(app.upstream.revoked(), [NUMBER]);
        assert_eq!(database.audited("session.ended"), 1);
        assert_eq!(database.number("SELECT count(*) AS n FROM sessions WHERE ended_at IS NULL"), 1, "the other one's");
        app.stop().await;
    }
}

on_both! {
    async fn logout_is_always_ok_and_an_unknown_token_ends_nothing(database) {
        let app = TestApp::start(&database);
        let token = app.log_in(PHONE).await;
        log_out(&app, &json!(token)).await;
        let audited = database.count("audit");
        for token in [json!(token), json!(""), json!(null), json!(5), json!([]), json!({}), json!("x".repeat(9000)), json!("\u{0}")] {
            let answer = log_out(&app, &token).await;
            assert_eq!((answer.status, answer.get("result")), (200, json!("OK")), "{token}");
        }
        assert_eq!((app.upstream.revoked().len(), database.count("audit")), (1, audited));
        app.stop().await;
    }
}

on_both! {
    async fn a_device_that_was_thrown_out_does_not_log_out_the_one_that_followed_it(database) {
        let app = TestApp::start(&database);
        let old = app.log_in(PHONE).await;
        app.advance(60);
        let new = app.log_in(PHONE).await;
        assert_eq!(database.texts("SELECT ended_why AS t FROM sessions WHERE ended_why IS NOT NULL"), ["replaced"]);
        assert!(log_out(&app, &json!(old)).await.is_ok());
        assert_eq!(app.upstream.revoked().len(), 0, "mesibo made its token void; the next one must live");
        assert!(log_out(&app, &json!(new)).await.is_ok());
        assert_eq!(app.upstream.revoked(), [NUMBER]);
        app.stop().await;
    }
}

on_both! {
    async fn logins_of_our_own_api_see_and_end_it_g6(database) {
        let app = TestApp::start(&database);
        let token = app.log_in(PHONE).await;
        let own = log_in_again(&app, NUMBER).await;
        let listed = call(&app, Method::GET, "/v1/sessions", &own.access, Value::Null).await.get("sessions");
        assert_eq!(listed.as_array().map(Vec::len), Some(2));
        assert_eq!(listed[1]["app_id"], json!(APP));
        let answer = call(&app, Method::POST, "/v1/logout", &own.access, json!({"scope": "all"})).await;
        assert_eq!((answer.status, app.upstream.revoked().len()), (204, 1));
        log_out(&app, &json!(token)).await;
        assert_eq!(app.upstream.revoked().len(), 1, "it is over already");
        app.stop().await;
    }
}
