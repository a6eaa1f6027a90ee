//! A number that comes back after a long time.

use std::sync::Arc;

use latchkey::ambient::ManualClock;
use serde_json::{Value, json};

use super::{MAILBOX, OTHER, changed, linked, log_in_by_mail, proof, user_of};
use crate::harness::app::{Answer, PHONE, now};
use crate::harness::{Database, Mint, TestApp, on_both};
use crate::sessions::{NUMBER, log_in, log_in_as, post, refreshed};

const DAY: u64 = 86_400;

fn start(database: &Database, policy: &str) -> TestApp {
    TestApp::builder(database).with_mail().set("email.login", true).set("session.recycled", policy).start()
}

/// Who logs in now, and whether they are new.
async fn who(app: &TestApp) -> (Value, Value) {
    let answer = log_in_as(app, NUMBER, None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    (answer.get("user_id"), answer.get("is_new_user"))
}

async fn complete(app: &TestApp, asked: &Answer, account: Option<&str>) -> Answer {
    let mut body = json!({"grant": asked.get("grant")});
    if let Some(account) = account {
        body["account"] = account.into();
    }
    post(app, "/v1/login/complete", body).await
}

on_both! {
    async fn keep_is_whoever_had_it_however_long_ago(database) {
        let app = start(&database, "keep");
        let (user, _) = who(&app).await;
        app.advance(1000 * DAY);
        assert_eq!(who(&app).await, (user, json!(false)));
        app.stop().await;
    }
}

on_both! {
    async fn fresh_is_a_new_user_from_the_hundred_and_eightieth_day_on(database) {
        let app = start(&database, "fresh");
        let (user, new) = who(&app).await;
        assert_eq!(new, json!(true));
        app.advance(180 * DAY - 1);
        assert_eq!(who(&app).await, (user.clone(), json!(false)));
        app.advance(180 * DAY);
        let (next, new) = who(&app).await;
        assert_eq!(new, json!(true));
        assert_ne!(next, user, "the chats of whoever had it stay theirs");
        app.advance(600);
        assert_eq!(who(&app).await, (next, json!(false)));
        assert_eq!((database.count("users"), database.count("identities")), (2, 1));
        assert_eq!(database.audited("number.recycled"), 1);
        app.stop().await;
    }
}

on_both! {
    async fn a_session_that_was_used_since_keeps_the_number_also_when_it_is_over(database) {
        let app = start(&database, "fresh");
        let held = log_in(&app, NUMBER).await;
        let user = user_of(&app, &held).await;
        let mut held = held;
        for _ in 0..6 {
            app.advance(29 * DAY);
            held = refreshed(&app, &held).await;
        }
        app.advance(100 * DAY);
        latchkey::jobs::purge(&app.store, &*app.clock).await.expect("a purge");
        assert_eq!(who(&app).await, (user, json!(false)));
        app.stop().await;
    }
}

on_both! {
    async fn an_imported_user_who_was_never_here_is_who_comes(database) {
        let app = start(&database, "fresh");
        let (user, _) = who(&app).await;
        database.execute("UPDATE identities SET last_login_at = NULL, upstream_id = 'ann-7'");
        app.advance(1000 * DAY);
        assert_eq!(who(&app).await, (user, json!(false)));
        app.stop().await;
    }
}

on_both! {
    async fn ask_answers_with_a_grant_and_the_client_says_whose_the_account_is(database) {
        let app = start(&database, "ask");
        let document = app.send(app.request(reqwest::Method::GET, "/openapi.json")).await.json();
        let (user, _) = who(&app).await;
        let last = app.clock_now();
        for (account, is_theirs) in [("keep", true), ("fresh", false)] {
            app.advance(180 * DAY);
            let asked = log_in_as(&app, NUMBER, None).await;
            assert_eq!(asked.status, 200, "{asked:?}");
            crate::v1::hold_to_schema(&document, "Recycled", &asked.json());
            let minted = app.upstream.minted().len();
            let undecided = complete(&app, &asked, None).await;
            assert_eq!((undecided.status, undecided.get("recycled")), (200, asked.get("recycled")));
            let wrong = complete(&app, &asked, Some("mine")).await;
            assert_eq!(wrong.get("code"), json!("invalid_request"));
            assert_eq!(app.upstream.minted().len(), minted, "nothing is minted before it is known for whom");
            if is_theirs {
                assert_eq!(asked.get("recycled")["since"], json!(last));
            }
            let done = complete(&app, &asked, Some(account)).await;
            assert_eq!((done.status, done.get("is_new_user")), (200, json!(!is_theirs)), "{done:?}");
            assert_eq!(done.get("user_id") == user, is_theirs);
            assert_eq!(complete(&app, &asked, Some(account)).await.get("code"), json!("grant_gone"));
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_code_that_is_posted_again_asks_again(database) {
        let app = start(&database, "ask");
        let (user, _) = who(&app).await;
        app.advance(180 * DAY);
        let body = json!({"app_id": crate::harness::app::APP, "phone": NUMBER});
        let started = post(&app, "/v1/login", body).await;
        let posted = proof(&started, &app.outbox.last_code());
        let first = post(&app, "/v1/login/verify", posted.clone()).await;
        let second = post(&app, "/v1/login/verify", posted).await;
        assert_eq!(second.get("recycled"), first.get("recycled"));
        assert_eq!(complete(&app, &first, Some("keep")).await.get("code"), json!("grant_gone"), "its token is a new one");
        assert_eq!(complete(&app, &second, Some("keep")).await.get("user_id"), user);
        app.stop().await;
    }
}

on_both! {
    async fn a_decision_holds_over_a_backend_that_fails_f1(database) {
        let app = start(&database, "ask");
        let (user, _) = who(&app).await;
        app.advance(180 * DAY);
        let asked = log_in_as(&app, NUMBER, None).await;
        app.upstream.next(Mint::Fails(latchkey::upstream::UpstreamError::Unavailable("down".into())));
        let failed = complete(&app, &asked, Some("fresh")).await;
        assert_eq!(failed.status, 503, "{failed:?}");
        let done = complete(&app, &asked, Some("keep")).await;
        assert_eq!((done.status, done.get("is_new_user")), (200, json!(true)), "it was decided");
        assert_ne!(done.get("user_id"), user);
        app.stop().await;
    }
}

on_both! {
    async fn the_mesibo_dialect_cannot_ask_and_takes_a_new_user(database) {
        let app = start(&database, "ask");
        app.log_in(PHONE).await;
        app.advance(360 * DAY);
        app.log_in(PHONE).await;
        let users: Vec<_> = app.upstream.subjects().into_iter().map(|subject| subject.user).collect();
        assert_eq!(users.len(), 2);
        assert_ne!(users[0], users[1]);
        app.stop().await;
    }
}

on_both! {
    async fn a_number_that_may_have_changed_hands_can_become_the_new_one_of_somebody(database) {
        let clock = Arc::new(ManualClock::new(now()));
        for (policy, status) in [("keep", 409), ("fresh", 200), ("ask", 200)] {
            let app = TestApp::builder(&database).clock(&clock).set("session.recycled", policy).start();
            app.advance(600);
            log_in(&app, OTHER).await;
            app.advance(180 * DAY);
            let held = log_in(&app, NUMBER).await;
            assert_eq!(changed(&app, &held, OTHER).await.status, status, "{policy}");
            app.stop().await;
            for table in ["sessions", "identities", "challenges", "deliveries", "users"] {
                database.execute(&format!("DELETE FROM {table}"));
            }
        }
    }
}

on_both! {
    async fn whoever_lost_a_number_still_logs_in_with_their_mailbox(database) {
        let app = start(&database, "fresh");
        let held = log_in(&app, NUMBER).await;
        let user = user_of(&app, &held).await;
        assert_eq!(linked(&app, &held, MAILBOX).await.status, 200);
        app.advance(180 * DAY);
        let (next, _) = who(&app).await;
        assert_ne!(next, user);
        assert_eq!(log_in_by_mail(&app, MAILBOX).await.get("user_id"), user, "mailboxes do not change hands");
        app.stop().await;
    }
}
