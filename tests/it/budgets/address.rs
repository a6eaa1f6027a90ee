//! What one address may be sent.

use std::sync::Arc;

use latchkey::delivery::SendError;

use super::{behind_a_proxy, everything_written, named_wait, number, start_from};
use crate::harness::app::{APP, PHONE};
use crate::harness::{Database, TestApp, on_both};

/// How many seconds the next message waits: tried just before, and then.
async fn sends_after(app: &TestApp, wait: u64) -> bool {
    let before = app.outbox.count();
    app.advance(wait - 1);
    app.start_login(PHONE).await;
    if app.outbox.count() != before {
        return false;
    }
    app.advance(1);
    app.start_login(PHONE).await;
    app.outbox.count() == before + 1
}

on_both! {
    async fn messages_to_one_address_wait_longer_each_time_c3(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        for wait in [60, 120, 300, 600, 600, 600] {
            assert!(sends_after(&app, wait).await, "{wait}");
        }
        app.stop().await;
    }
}

on_both! {
    async fn ten_messages_a_day_and_one_back_every_two_hours_twenty_four_c3(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        for wait in [60, 120, 300, 600, 600, 600, 600, 600, 600] {
            assert!(sends_after(&app, wait).await, "{wait}");
        }
        assert_eq!(app.outbox.count(), 10);
        // The first one is back 2 h 24 min after it was sent.
        let passed = 60 + 120 + 300 + 6 * 600;
        assert!(sends_after(&app, 8640 - passed).await, "the eleventh");
        assert!(sends_after(&app, 8640).await, "the twelfth");
        // After a day without messages the waits are short again.
        app.advance(86_400);
        app.start_login(PHONE).await;
        assert!(sends_after(&app, 60).await);
        app.stop().await;
    }
}

/// Two apps of one realm, and one of another.
const TWO_REALMS: &str = r#"
    [[apps]]
    id = "one"
    name = "One"
    upstream = "local"
    dialects = ["mesibo"]
    [[apps]]
    id = "two"
    name = "Two"
    upstream = "local"
    dialects = ["mesibo"]
    [[apps]]
    id = "three"
    name = "Three"
    upstream = "other"
    dialects = ["mesibo"]
    [upstreams.local]
    kind = "jwt"
    algorithm = "HS256"
    key = "0123456789abcdef0123456789abcdef"
    [upstreams.other]
    kind = "jwt"
    algorithm = "HS256"
    key = "fedcba9876543210fedcba9876543210"
"#;

on_both! {
    async fn waits_belong_to_the_address_whatever_asks_c3(database) {
        let build = || behind_a_proxy(&database).config(TWO_REALMS);
        let app = build().start();
        assert!(start_from(&app, "one", PHONE, "192.0.2.1").await.is_ok());
        app.advance(59);
        for (app_id, ip) in [("two", "192.0.2.1"), ("three", "192.0.2.2"), ("two", "2001:db8::1")] {
            let refused = start_from(&app, app_id, PHONE, ip).await;
            assert_eq!(named_wait(&refused), 1, "{app_id}: another realm, another network");
        }
        // A restart forgets nothing.
        assert_eq!(app.outbox.count(), 1);
        let clock = Arc::clone(&app.clock);
        app.stop().await;
        let app = build().clock(&clock).seed(2).start();
        assert_eq!(named_wait(&start_from(&app, "three", PHONE, "192.0.2.1").await), 1);
        assert_eq!(app.outbox.count(), 0);
        app.advance(1);
        assert!(start_from(&app, "three", PHONE, "192.0.2.1").await.is_ok());
        assert_eq!(app.outbox.count(), 1);
        app.advance(119);
        assert_eq!(named_wait(&start_from(&app, "two", PHONE, "192.0.2.1").await), 1, "the second wait");
        app.stop().await;
    }
}

on_both! {
    async fn the_wait_that_is_named_is_the_wait_that_is_needed(database) {
        // No code lives for long: each repeat inside a wait is refused in words.
        let app = TestApp::builder(&database).set("otp.lifetime", "30s").start();
        let mut waited = Vec::new();
        for message in 1..=12 {
            assert!(app.start_login(PHONE).await.is_ok(), "message {message}");
            noted(&database, PHONE).await;
            app.advance(30);
            let before = everything_written(&database);
            let wait = named_wait(&app.start_login(PHONE).await);
            assert_eq!(everything_written(&database), before, "a refusal writes nothing");
            waited.push(wait);
            app.advance(wait);
        }
        // 30 seconds of each wait had passed; what is not whole minutes is rounded up.
        assert_eq!(waited[..9], [30, 120 - 30, 300, 600, 600, 600, 600, 600, 600]);
        assert!(waited[9] > 3600 && waited[9] <= 8640, "{waited:?}");
        assert_eq!(app.outbox.count(), 12);
        app.stop().await;
    }
}

on_both! {
    async fn a_providers_fault_gives_the_address_its_send_back(database) {
        let app = behind_a_proxy(&database).start();
        let text = || "why".to_owned();
        let faults = [
            SendError::Auth(text()),
            SendError::NoFunds(text()),
            SendError::Unroutable(text()),
            SendError::Temporary(text()),
        ];
        for (n, fault) in (0..).zip(faults) {
            let (phone, ip) = (number(n), format!("192.0.2.{n}"));
            app.outbox.fail_next(fault.clone());
            let refused = start_from(&app, APP, &phone, &ip).await;
            assert!(!refused.is_ok(), "{refused:?}");
            noted(&database, &phone).await;
            assert!(start_from(&app, APP, &phone, &ip).await.is_ok(), "{fault}: at once");
            // The wait behind it is the first one: the fault does not count as a message.
            app.advance(60);
            let before = app.outbox.count();
            start_from(&app, APP, &phone, &ip).await;
            assert_eq!(app.outbox.count(), before + 1, "{fault}");
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_message_that_nobody_takes_or_that_may_have_left_is_spent(database) {
        let app = behind_a_proxy(&database).start();
        let text = || "why".to_owned();
        let ends = [
            SendError::BadNumber(text()),
            SendError::Blocked(text()),
            SendError::Unknown(text()),
        ];
        for (n, end) in (0..).zip(ends) {
            let (phone, ip) = (number(n), format!("192.0.2.{n}"));
            app.outbox.fail_next(end.clone());
            start_from(&app, APP, &phone, &ip).await;
            noted(&database, &phone).await;
            let before = app.outbox.count();
            app.advance(59);
            start_from(&app, APP, &phone, &ip).await;
            assert_eq!(app.outbox.count(), before, "{end}");
            app.advance(1);
            start_from(&app, APP, &phone, &ip).await;
            assert_eq!(app.outbox.count(), before + 1, "{end}");
        }
        app.stop().await;
    }
}

/// Waits until the outcome of the last message to a number is written down: nobody waits for that.
async fn noted(database: &Database, phone: &str) {
    let pending =
        format!("SELECT count(*) AS n FROM deliveries WHERE status = 'pending' AND address = '+{phone}'");
    for _ in 0..10_000 {
        if database.number(&pending) == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the outcome was never written down");
}

on_both! {
    async fn no_failure_refusal_or_resend_lowers_a_count_of_guesses_b5(database) {
        let app = TestApp::start(&database);
        let counts = || {
            let sum = |column: &str, table: &str| {
                database.number(&format!("SELECT CAST(COALESCE(sum({column}), 0) AS BIGINT) AS n FROM {table}"))
            };
            (sum("guesses", "challenges"), sum("failures", "guards"), sum("comparisons", "guards"))
        };
        app.start_login(PHONE).await;
        for _ in 0..2 {
            app.verify(PHONE, &app.outbox.wrong_code()).await;
        }
        assert_eq!(counts(), (2, 2, 2));
        let text = || "why".to_owned();
        let failures = [
            SendError::BadNumber(text()),
            SendError::Blocked(text()),
            SendError::Unroutable(text()),
            SendError::Rejected(text()),
            SendError::Auth(text()),
            SendError::NoFunds(text()),
            SendError::Throttled { said: text(), after: None },
            SendError::Temporary(text()),
            SendError::Unknown(text()),
        ];
        for failure in failures {
            app.outbox.fail_next(failure.clone());
            app.advance(600);
            app.start_login(PHONE).await;
            assert_eq!(counts(), (2, 2, 2), "{failure}");
            app.start_login(PHONE).await;
            assert_eq!(counts(), (2, 2, 2), "{failure}, and again");
        }
        app.advance(86_400);
        assert!(app.start_login(PHONE).await.is_ok());
        assert_eq!(counts(), (2, 2, 2), "also by a new challenge");
        app.verify(PHONE, &app.outbox.wrong_code()).await;
        assert_eq!(counts(), (3, 3, 3));
        app.verify(PHONE, &app.outbox.last_code()).await;
        assert_eq!(counts().1, 0, "only a right code does");
        app.stop().await;
    }
}
