//! Logout: this session, the others, all; and what the backend is asked.

use latchkey::upstream::UpstreamError;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Held, NUMBER, call, is_live, is_over, listed, log_in, log_in_again, refresh, refreshed};
use crate::harness::app::{Answer, PHONE};
use crate::harness::{TestApp, on_both};

async fn log_out(app: &TestApp, held: &Held, scope: &str) -> Answer {
    call(app, Method::POST, "/v1/logout", &held.access, json!({"scope": scope})).await
}

/// The same user on three devices, and somebody else.
async fn three_and_a_stranger(app: &TestApp) -> [Held; 4] {
    let stranger = log_in(app, "+18005551235").await;
    let one = log_in(app, NUMBER).await;
    let two = log_in_again(app, NUMBER).await;
    let one = refreshed(app, &one).await;
    let three = log_in_again(app, NUMBER).await;
    [refreshed(app, &one).await, refreshed(app, &two).await, three, refreshed(app, &stranger).await]
}

async fn states(app: &TestApp, all: &[Held]) -> Vec<bool> {
    let mut states = Vec::new();
    for held in all {
        let state = listed(app, held).await;
        assert!([is_live(), is_over()].contains(&state), "{state:?}");
        states.push(state == is_live());
    }
    states
}

on_both! {
    async fn local_ends_this_session_at_once_for_both_of_its_tokens_g5(database) {
        let app = TestApp::start(&database);
        let all = three_and_a_stranger(&app).await;
        let answer = log_out(&app, &all[0], "local").await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
        assert_eq!(states(&app, &all).await, [false, true, true, true]);
        assert_eq!(refresh(&app, &all[0].refresh).await.get("code"), "session_over");
        assert_eq!(log_out(&app, &all[0], "local").await.get("code"), "session_over");
        assert_eq!(app.upstream.revoked(), [NUMBER]);
        assert_eq!(database.audited("session.ended"), 1);
        let detail = database.texts("SELECT detail AS t FROM audit WHERE event = 'session.ended'").remove(0);
        assert!(detail.starts_with("ses_") && detail.ends_with(" logout"), "{detail}");
        app.stop().await;
    }
}

on_both! {
    async fn others_leaves_this_one_and_its_chat_alone_g5(database) {
        let app = TestApp::start(&database);
        let all = three_and_a_stranger(&app).await;
        assert_eq!(log_out(&app, &all[1], "others").await.status, 204);
        assert_eq!(states(&app, &all).await, [false, true, false, true]);
        assert_eq!(app.upstream.revoked().len(), 0, "its own chat token is one of theirs");
        assert_eq!(database.audited("session.ended"), 2);
        assert_eq!(log_out(&app, &all[1], "others").await.status, 204, "none left is no error");
        app.stop().await;
    }
}

on_both! {
    async fn all_ends_everything_of_this_user_and_nothing_of_another_g5(database) {
        let app = TestApp::start(&database);
        let all = three_and_a_stranger(&app).await;
        assert_eq!(log_out(&app, &all[2], "all").await.status, 204);
        assert_eq!(states(&app, &all).await, [false, false, false, true]);
        for held in &all[..3] {
            assert_eq!(refresh(&app, &held.refresh).await.status, 401);
        }
        assert_eq!(app.upstream.revoked(), [NUMBER]);
        assert_eq!((database.audited("session.ended"), database.audited("session.reuse")), (3, 0));
        app.stop().await;
    }
}

on_both! {
    async fn a_backend_that_does_not_revoke_keeps_nobody_logged_in_g5(database) {
        let app = TestApp::start(&database);
        for error in [UpstreamError::Unavailable("down".into()), UpstreamError::Misconfigured("secret key".into())] {
            let held = log_in_again(&app, NUMBER).await;
            app.upstream.revokes_nothing(error);
            let answer = log_out(&app, &held, "local").await;
            assert_eq!((answer.status, answer.text.as_str()), (204, ""));
            assert_eq!(listed(&app, &held).await, is_over());
        }
        let metrics = app.admin("/metrics").await.text;
        assert!(metrics.contains("outcome=\"unavailable\"") && metrics.contains("latchkey_revokes_total"), "{metrics}");
        app.stop().await;
    }
}

on_both! {
    async fn nothing_is_revoked_while_a_device_is_left_that_could_not_get_another_token(database) {
        let app = TestApp::start(&database);
        let published = app.log_in(PHONE).await;
        let own = log_in_again(&app, NUMBER).await;
        let other = log_in_again(&app, NUMBER).await;
        assert_eq!(log_out(&app, &own, "local").await.status, 204);
        assert_eq!(app.upstream.revoked().len(), 0, "the mesibo app would be thrown out");
        let body = json!({"op": "logout", "token": published, "dt": "1"});
        assert!(app.post(body.to_string()).await.is_ok());
        assert_eq!(app.upstream.revoked(), [NUMBER], "the other one fetches itself a new token");
        assert_eq!(listed(&app, &other).await, is_live());
        app.stop().await;
    }
}

on_both! {
    async fn a_scope_that_is_none_ends_nothing_j5(database) {
        let app = TestApp::start(&database);
        let held = log_in(&app, NUMBER).await;
        let bodies = [
            (json!({"scope": "everything"}), "scope must be local, others or all"),
            (json!({"scope": ""}), "scope must be local, others or all"),
            (json!({"scope": null}), "a value of the wrong type at line 1, column 13"),
            (json!({}), "missing field scope"),
            (json!({"scope": "all", "user": "usr_1"}), "unknown field user"),
        ];
        for (body, detail) in bodies {
            let answer = call(&app, Method::POST, "/v1/logout", &held.access, body.clone()).await;
            assert_eq!((answer.status, answer.get("code")), (400, json!("invalid_request")), "{body}");
            assert_eq!(answer.get("detail"), detail);
        }
        let bare = call(&app, Method::POST, "/v1/logout", &held.access, Value::Null).await;
        assert_eq!(bare.get("code"), "unsupported_media_type");
        assert_eq!(listed(&app, &held).await, is_live());
        app.stop().await;
    }
}
