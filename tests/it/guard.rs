//! Guessing: what is counted, what is waited for, what takes the brake off.

use latchkey::domain::guard::{CAP, WAITS};
use serde_json::json;

use crate::harness::app::PHONE;
use crate::harness::{TestApp, on_both};

/// Guards by failures, comparisons and the seconds until the next guess.
async fn guess_wrong(app: &TestApp, times: usize) {
    for _ in 0..times {
        assert_eq!(app.verify(PHONE, &app.outbox.wrong_code()).await.error(), "BADUSER");
    }
}

const FAILURES: &str = "SELECT failures AS n FROM guards";
const COMPARISONS: &str = "SELECT comparisons AS n FROM guards";
const GUESSES: &str = "SELECT guesses AS n FROM challenges ORDER BY created_at DESC LIMIT 1";

on_both! {
    async fn five_guesses_are_evaluated_and_then_even_the_right_code_is_refused_b2(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        guess_wrong(&app, 5).await;
        assert_eq!(app.verify(PHONE, &app.outbox.last_code()).await.error(), "BADUSER");
        assert_eq!((database.number(GUESSES), database.number(FAILURES)), (5, 5));
        assert_eq!(database.audited("guess.counted"), 5);
        assert!(app.upstream.subjects().is_empty());
        app.stop().await;
    }
}

on_both! {
    async fn the_guard_survives_resend_new_challenge_other_app_and_restart_b3(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        guess_wrong(&app, 2).await;
        app.advance(60);
        app.start_login(PHONE).await;
        assert_eq!(database.number(FAILURES), 2, "a resend");
        guess_wrong(&app, 3).await;
        app.advance(1200);
        app.start_login(PHONE).await;
        assert_eq!((database.count("challenges"), database.number(FAILURES)), (2, 5), "a new challenge");
        guess_wrong(&app, 1).await;
        let clock = std::sync::Arc::clone(&app.clock);
        app.stop().await;

        let app = TestApp::builder(&database).clock(&clock).seed(2).start();
        app.advance(600);
        let other = |otp: Option<&str>| {
            let mut body = json!({"op": "login", "appid": "com.other", "phone": PHONE, "dt": "1"});
            if let Some(otp) = otp {
                body["otp"] = otp.into();
            }
            body.to_string()
        };
        assert!(app.post(other(None)).await.is_ok());
        assert_eq!(app.post(other(Some(&app.outbox.wrong_code()))).await.error(), "BADUSER");
        assert_eq!(database.number(FAILURES), 7, "another app of the realm, after a restart");
        let code = app.outbox.last_code();
        assert_eq!(app.post(other(Some(&code))).await.error(), "BADUSER", "it must wait a minute");
        app.advance(60);
        assert!(app.post(other(Some(&code))).await.is_ok());
        assert_eq!(database.count("guards"), 0, "success alone clears it");
        app.stop().await;
    }
}

on_both! {
    async fn each_guess_costs_as_many_comparisons_as_codes_live(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        guess_wrong(&app, 1).await;
        assert_eq!(database.number(COMPARISONS), 1);
        app.advance(60);
        app.start_login(PHONE).await;
        guess_wrong(&app, 1).await;
        assert_eq!(database.number(COMPARISONS), 3);
        app.advance(120);
        app.start_login(PHONE).await;
        guess_wrong(&app, 1).await;
        assert_eq!(database.number(COMPARISONS), 6);
        app.advance(180);
        guess_wrong(&app, 1).await;
        assert_eq!(database.number(COMPARISONS), 7, "two codes have expired");
        app.stop().await;
    }
}

on_both! {
    async fn waits_grow_and_a_guess_inside_one_writes_nothing_b4(database) {
        let app = TestApp::builder(&database).set("otp.attempts", 10).set("otp.lifetime", "10m").start();
        app.start_login(PHONE).await;
        guess_wrong(&app, 6).await;
        for wait in WAITS.iter().take(3) {
            let before = (database.number(FAILURES), database.number(GUESSES), database.count("audit"));
            app.advance(wait.as_secs() - 1);
            assert_eq!(app.verify(PHONE, &app.outbox.last_code()).await.error(), "BADUSER", "even the right one");
            let after = (database.number(FAILURES), database.number(GUESSES), database.count("audit"));
            assert_eq!(before, after, "a refused guess is not counted");
            app.advance(1);
            guess_wrong(&app, 1).await;
            assert_eq!(database.number(FAILURES), before.0 + 1, "after exactly {wait:?} one is evaluated");
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_number_without_a_live_code_is_not_counted_against(database) {
        let app = TestApp::start(&database);
        assert_eq!(app.verify(PHONE, "123456").await.error(), "BADUSER", "no step 1");
        app.start_login(PHONE).await;
        app.advance(300);
        assert_eq!(app.verify(PHONE, &app.outbox.last_code()).await.error(), "BADUSER", "expired");
        assert_eq!((database.count("guards"), database.number(GUESSES)), (0, 0));
        assert_eq!(database.audited("guess.counted"), 0);
        app.stop().await;
    }
}

/// Brings a guard to a number of comparisons, its last wait over.
fn set_comparisons(database: &crate::harness::Database, comparisons: i32) {
    database.execute(&format!(
        "UPDATE guards SET failures = {comparisons}, comparisons = {comparisons}, next_guess_at = 0"
    ));
}

on_both! {
    async fn at_a_hundred_comparisons_one_guess_a_day_is_left_b4(database) {
        let app = TestApp::builder(&database).set("otp.lifetime", "10m").start();
        app.start_login(PHONE).await;
        guess_wrong(&app, 1).await;
        set_comparisons(&database, CAP - 3);
        guess_wrong(&app, 1).await;
        assert_eq!(database.audited("guard.at_cap"), 1);
        assert!(database.number(COMPARISONS) <= i64::from(CAP));
        assert!(app.start_login(PHONE).await.is_ok(), "inside the wait, with a code that lives");
        app.advance(60);
        assert_eq!(app.start_login(PHONE).await.error(), "TOOSOON", "no message that cannot be used");
        assert_eq!(app.outbox.count(), 1);
        app.advance(24 * 3600 - 61);
        assert!(app.start_login(PHONE).await.is_ok(), "the code outlives the wait");
        assert_eq!(app.verify(PHONE, &app.outbox.last_code()).await.error(), "BADUSER");
        app.advance(1);
        assert!(app.verify(PHONE, &app.outbox.last_code()).await.is_ok());
        assert_eq!(database.count("guards"), 0);
        app.stop().await;
    }
}

on_both! {
    async fn a_closed_guard_takes_nothing_and_looks_like_any_other_b4(database) {
        let app = TestApp::builder(&database).set("otp.at_cap", "close").start();
        app.start_login(PHONE).await;
        guess_wrong(&app, 1).await;
        set_comparisons(&database, CAP - 3);
        guess_wrong(&app, 1).await;
        app.advance(400 * 24 * 3600);
        assert!(app.start_login(PHONE).await.is_ok(), "answered as usual");
        assert_eq!(app.outbox.count(), 1, "and nothing is sent");
        guess_wrong(&app, 1).await;
        assert_eq!(database.number(COMPARISONS), i64::from(CAP) - 2);
        app.stop().await;
    }
}

on_both! {
    async fn guesses_from_a_thousand_addresses_are_guesses_at_one_number_b6(database) {
        let app = TestApp::builder(&database).set("server.trusted_proxies", vec!["127.0.0.0/8"]).start();
        app.start_login(PHONE).await;
        let body = json!({"op": "login", "appid": crate::harness::app::APP, "phone": PHONE, "dt": "1", "otp": app.outbox.wrong_code()});
        for host in 0..50 {
            let request = app.request(reqwest::Method::POST, "/").header("X-Forwarded-For", format!("203.0.113.{host}"));
            assert_eq!(app.send(request.body(body.to_string())).await.error(), "BADUSER");
        }
        assert_eq!((database.number(GUESSES), database.number(FAILURES)), (5, 5));
        app.stop().await;
    }
}
