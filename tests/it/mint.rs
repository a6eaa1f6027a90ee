//! From a right code to a token, when the backend has other plans.

use std::sync::Arc;

use latchkey::upstream::UpstreamError;
use tokio::sync::Notify;

use crate::harness::app::PHONE;
use crate::harness::{Mint, TestApp, on_both};

on_both! {
    async fn a_code_is_accepted_once_a3(database) {
        let app = TestApp::start(&database);
        app.log_in(PHONE).await;
        let again = app.verify(PHONE, &app.outbox.last_code()).await;
        assert_eq!((again.error().as_str(), again.token()), ("BADUSER", None));
        assert_eq!(app.verify(PHONE, &app.outbox.wrong_code()).await.error(), "BADUSER", "A9");
        assert_eq!((app.upstream.minted().len(), database.audited("token.minted")), (1, 1));
        let erased = "SELECT count(*) AS n FROM challenges WHERE code_hash IS NOT NULL OR length(slots) > 0";
        assert_eq!(database.number(erased), 0, "A12");
        app.stop().await;
    }
}

on_both! {
    async fn when_the_backend_fails_the_same_code_finishes_without_another_message_f1(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        for error in [UpstreamError::Unavailable("down".into()), UpstreamError::Misconfigured("bad key".into())] {
            app.upstream.next(Mint::Fails(error));
            let failed = app.verify(PHONE, &code).await;
            assert_eq!((failed.error().as_str(), failed.token()), ("BADUSER", None));
            assert!(!failed.text.contains("down") && !failed.text.contains("bad key"));
        }
        assert_eq!(database.audited("mint.failed"), 2);
        let finished = app.verify(PHONE, &code).await;
        assert_eq!(finished.token(), app.upstream.minted().first().cloned());
        assert_eq!((app.outbox.count(), database.audited("code.consumed")), (1, 1));
        assert_eq!(database.count("users"), 1);
        assert_eq!(app.verify(PHONE, &code).await.error(), "BADUSER", "now it is dead");
        app.stop().await;
    }
}

on_both! {
    async fn a_grant_takes_five_repeats_and_wrong_ones_are_guesses(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        app.upstream.next(Mint::Fails(UpstreamError::Unavailable("down".into())));
        app.verify(PHONE, &code).await;
        for _ in 0..5 {
            assert_eq!(app.verify(PHONE, &app.outbox.wrong_code()).await.error(), "BADUSER");
        }
        assert_eq!(database.number("SELECT failures AS n FROM guards"), 5, "the guard is charged, too");
        assert_eq!(app.verify(PHONE, &code).await.error(), "BADUSER", "the right one comes too late");
        assert_eq!(app.upstream.subjects().len(), 1);
        app.stop().await;
    }
}

on_both! {
    async fn a_grant_is_void_after_ten_minutes(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        app.upstream.next(Mint::Fails(UpstreamError::Unavailable("down".into())));
        app.verify(PHONE, &code).await;
        app.advance(600);
        assert_eq!(app.verify(PHONE, &code).await.error(), "BADUSER");
        assert!(app.start_login(PHONE).await.is_ok());
        assert!(app.verify(PHONE, &app.outbox.last_code()).await.is_ok());
        app.stop().await;
    }
}

on_both! {
    async fn after_an_unknown_outcome_nobody_mints_until_the_lease_is_over(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        app.upstream.next(Mint::Fails(UpstreamError::Unknown("cut".into())));
        assert_eq!(app.verify(PHONE, &code).await.error(), "BADUSER");
        assert_eq!(app.verify(PHONE, &code).await.error(), "BUSY");
        assert_eq!(database.count("guards"), 0, "a busy grant counts no guess");
        // The local upstream's deadline of 1 s, and 5 s more.
        app.advance(6);
        assert!(app.verify(PHONE, &code).await.is_ok());
        assert_eq!(app.upstream.minted().len(), 1);
        app.stop().await;
    }
}

on_both! {
    async fn at_most_one_mint_is_in_flight_for_a_login_f2(database) {
        let app = Arc::new(TestApp::start(&database));
        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        let gate = Arc::new(Notify::new());
        app.upstream.next(Mint::Hangs(Arc::clone(&gate)));
        let first = {
            let (app, code) = (Arc::clone(&app), code.clone());
            tokio::spawn(async move { app.verify(PHONE, &code).await })
        };
        app.upstream.called(1).await;
        assert_eq!(app.verify(PHONE, &code).await.error(), "BUSY");
        gate.notify_one();
        assert!(first.await.expect("no panic").is_ok());
        assert_eq!(app.upstream.subjects().len(), 1);
    }
}

on_both! {
    async fn a_hanging_mint_delays_no_other_login_f3(database) {
        let app = Arc::new(TestApp::builder(&database).set("database.connections", 1).start());
        let gate = Arc::new(Notify::new());
        app.upstream.next(Mint::Hangs(Arc::clone(&gate)));
        app.start_login(PHONE).await;
        let slow = {
            let (app, code) = (Arc::clone(&app), app.outbox.last_code());
            tokio::spawn(async move { app.verify(PHONE, &code).await })
        };
        app.upstream.called(1).await;
        for last in 0..10 {
            app.log_in(&format!("1800555200{last}")).await;
        }
        assert!(!slow.is_finished());
        gate.notify_one();
        assert!(slow.await.expect("no panic").is_ok());
    }
}

on_both! {
    async fn a_mint_past_its_deadline_is_unknown_and_the_person_finishes_later(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        app.upstream.next(Mint::Hangs(Arc::new(Notify::new())));
        assert_eq!(app.verify(PHONE, &code).await.error(), "BADUSER", "given up after the deadline");
        app.advance(6);
        assert!(app.verify(PHONE, &code).await.is_ok());
        app.stop().await;
    }
}

on_both! {
    async fn a_panic_in_a_backend_is_answered_busy_and_the_code_still_works_l2(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        app.upstream.next(Mint::Panics);
        assert_eq!(app.verify(PHONE, &code).await.error(), "BUSY");
        app.advance(6);
        assert!(app.verify(PHONE, &code).await.is_ok());
        app.stop().await;
    }
}

on_both! {
    async fn a_second_login_finds_the_same_user(database) {
        let app = TestApp::start(&database);
        app.log_in(PHONE).await;
        app.advance(60);
        app.log_in(PHONE).await;
        app.log_in("18005551235").await;
        let users: Vec<String> = app.upstream.subjects().iter().map(|subject| subject.user.to_string()).collect();
        assert_eq!(users[0], users[1]);
        assert_ne!(users[0], users[2]);
        assert_eq!((database.count("users"), database.count("identities")), (2, 2));
        app.stop().await;
    }
}

on_both! {
    async fn the_apps_id_and_the_persons_name_reach_the_backend(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let body = serde_json::json!({
            "op": "login", "appid": "com.messenger.appid", "phone": PHONE, "dt": 5, "name": " Ann\u{7} Lee ",
            "otp": app.outbox.last_code(),
        });
        assert!(app.post(body.to_string()).await.is_ok());
        let subject = app.upstream.subjects().remove(0);
        assert_eq!((subject.app_id.as_str(), subject.name.as_deref()), ("com.messenger.appid", Some("Ann Lee")));
        assert_eq!((subject.address.as_str(), subject.upstream_id), ("+18005551234", None));
        app.stop().await;
    }
}
