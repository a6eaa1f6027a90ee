//! Codes going out: again, late, to the wrong place, not at all.

use latchkey::delivery::SendError;

use crate::harness::app::{APP, PHONE};
use crate::harness::{Database, TestApp, on_both};

on_both! {
    async fn three_codes_stay_valid_at_once_and_the_fourth_pushes_out_the_first(database) {
        let app = TestApp::builder(&database).set("otp.lifetime", "10m").start();
        for wait in [0, 60, 120, 300] {
            app.advance(wait);
            assert!(app.start_login(PHONE).await.is_ok());
        }
        let codes: Vec<String> = app.outbox.sent().into_iter().map(|sent| sent.code).collect();
        assert_eq!((codes.len(), database.count("challenges")), (4, 1), "a resend adds to the challenge");
        assert_eq!(app.verify(PHONE, &codes[0]).await.error(), "BADUSER");
        assert!(app.verify(PHONE, &codes[1]).await.is_ok(), "the oldest of the last three still works");
        app.stop().await;
    }
}

on_both! {
    async fn each_code_dies_in_its_own_time_a2(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        app.advance(60);
        app.start_login(PHONE).await;
        let codes: Vec<String> = app.outbox.sent().into_iter().map(|sent| sent.code).collect();
        app.advance(240);
        assert_eq!(app.verify(PHONE, &codes[0]).await.error(), "BADUSER", "300 s old");
        app.advance(59);
        assert!(app.verify(PHONE, &codes[1]).await.is_ok(), "299 s old");
        app.stop().await;
    }
}

on_both! {
    async fn a_repeat_inside_the_wait_sends_nothing_and_says_ok_while_a_code_lives(database) {
        let app = TestApp::start(&database);
        assert!(app.start_login(PHONE).await.is_ok());
        app.advance(59);
        assert!(app.start_login(PHONE).await.is_ok());
        assert_eq!(app.outbox.count(), 1);
        app.advance(1);
        assert!(app.start_login(PHONE).await.is_ok());
        assert_eq!(app.outbox.count(), 2);
        app.stop().await;
    }
}

on_both! {
    async fn a_repeat_inside_the_wait_fails_with_its_reason_when_no_code_lives(database) {
        let app = TestApp::start(&database);
        app.log_in(PHONE).await;
        let again = app.start_login(PHONE).await;
        assert_eq!((again.error().as_str(), again.is_ok()), ("TOOSOON", false));
        assert_eq!(again.get("errmsg"), "Please wait 60 seconds before asking for another code.");
        app.advance(60);
        assert!(app.start_login(PHONE).await.is_ok(), "waiting exactly that long succeeds");
        app.stop().await;
    }
}

on_both! {
    async fn an_expired_or_exhausted_challenge_makes_room_for_a_new_one(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        app.advance(20 * 60);
        assert!(app.start_login(PHONE).await.is_ok(), "the first has expired");
        for _ in 0..5 {
            assert_eq!(app.verify(PHONE, &app.outbox.wrong_code()).await.error(), "BADUSER");
        }
        app.advance(10 * 60);
        assert!(app.start_login(PHONE).await.is_ok(), "the second is exhausted");
        assert_eq!(database.count("challenges"), 3);
        assert!(app.verify(PHONE, &app.outbox.last_code()).await.is_ok());
        app.stop().await;
    }
}

on_both! {
    async fn a_challenge_belongs_to_the_app_that_started_it_a6(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        let other = format!(r#"{{"op":"login","appid":"com.other","phone":"{PHONE}","dt":"1","otp":"{code}"}}"#);
        assert_eq!(app.post(other).await.error(), "BADUSER");
        let stranger = app.verify("18005551235", &code).await;
        assert_eq!(stranger.error(), "BADUSER", "nor does it fit another number");
        assert!(app.verify(PHONE, &code).await.is_ok());
        app.stop().await;
    }
}

on_both! {
    async fn every_spelling_is_one_person_in_both_steps_e1(database) {
        let app = TestApp::start(&database);
        assert!(app.start_login("+1 800 555 1234").await.is_ok());
        let verified = app.verify("0018005551234", &app.outbox.last_code()).await;
        assert_eq!(verified.get("phone"), "18005551234");
        app.advance(60);
        app.log_in("18005551234").await;
        assert_eq!(database.count("users"), 1);
        assert_eq!(database.number("SELECT count(*) AS n FROM budgets WHERE key LIKE 'to:%'"), 1);
        app.stop().await;
    }
}

on_both! {
    async fn a_country_that_is_not_served_gets_no_code_c2(database) {
        let app = TestApp::builder(&database).set("policy.countries", vec!["GB"]).start();
        let refused = app.start_login(PHONE).await;
        assert_eq!(refused.error(), "BADPHONE");
        assert_eq!((app.outbox.count(), database.count("challenges"), database.count("budgets")), (0, 0, 0));
        assert!(app.start_login("447400123456").await.is_ok());
        app.stop().await;
    }
}

on_both! {
    async fn what_a_provider_says_is_what_the_person_is_told(database) {
        let app = TestApp::start(&database);
        let text = || "the provider's own words".to_owned();
        let cases = [
            (SendError::BadNumber(text()), "BADPHONE"),
            (SendError::Blocked(text()), "BADPHONE"),
            (SendError::NoFunds(text()), "BADAPP"),
            (SendError::Temporary(text()), "BADAPP"),
        ];
        for (index, (error, word)) in cases.into_iter().enumerate() {
            let kind = error.kind();
            app.outbox.fail_next(error);
            let phone = format!("1800555{:04}", 2000 + index);
            let answer = app.start_login(&phone).await;
            assert_eq!(answer.error(), word, "{kind}");
            assert!(!answer.text.contains("own words"), "{kind}");
        }
        app.outbox.fail_next(SendError::Unknown(text()));
        assert!(app.start_login("18005553000").await.is_ok(), "it may have been sent");
        app.stop().await;
        let kinds = "SELECT coalesce(error, '') AS t FROM deliveries ORDER BY address";
        assert_eq!(database.texts(kinds), ["bad_number", "blocked", "no_funds", "temporary", "unknown"]);
        let statuses = "SELECT status AS t FROM deliveries ORDER BY address";
        assert_eq!(database.texts(statuses), ["failed", "failed", "failed", "failed", "unknown"]);
    }
}

/// Waits until what nobody waits for is written.
async fn noted(database: &Database) {
    for _ in 0..500 {
        if database.number("SELECT count(*) AS n FROM deliveries WHERE status = 'pending'") == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("a delivery stays pending");
}

on_both! {
    async fn a_code_that_was_not_sent_pushes_out_none_and_counts_for_none(database) {
        let app = TestApp::start(&database);
        assert!(app.start_login(PHONE).await.is_ok());
        let sent = app.outbox.last_code();
        app.advance(60);
        for _ in 0..4 {
            app.outbox.fail_next(SendError::Temporary("busy".to_owned()));
            assert_eq!(app.start_login(PHONE).await.error(), "BADAPP");
            noted(&database).await;
        }
        assert_eq!(app.verify(PHONE, &app.outbox.wrong_code()).await.error(), "BADUSER");
        assert_eq!(database.number("SELECT comparisons AS n FROM guards"), 1);
        assert!(app.verify(PHONE, &sent).await.is_ok(), "the message that was only late");

        let unreachable = "18005554444";
        app.outbox.fail_next(SendError::BadNumber("nobody".to_owned()));
        assert_eq!(app.start_login(unreachable).await.error(), "BADPHONE");
        noted(&database).await;
        assert_eq!(app.start_login(unreachable).await.error(), "TOOSOON", "no code of it is on its way");
        app.stop().await;
    }
}

on_both! {
    async fn the_message_is_written_down_before_it_is_sent_c1(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let sent = app.outbox.sent();
        assert_eq!(database.texts("SELECT id AS t FROM deliveries"), [sent[0].id.clone()]);
        assert_eq!(database.audited("code.sent"), 1);
        assert_eq!(database.texts("SELECT detail AS t FROM audit WHERE event = 'code.sent'"), [format!("{} via console (ordered)", sent[0].id)]);
        app.stop().await;
    }
}

on_both! {
    async fn known_unknown_and_closed_numbers_are_answered_alike_e5(database) {
        let app = TestApp::builder(&database).set("otp.at_cap", "close").start();
        app.log_in(PHONE).await;
        app.advance(60);
        let (unknown, closed) = ("18005552222", "18005553333");
        let never = i64::MAX;
        database.execute(&format!("INSERT INTO guards VALUES ('local', '+{closed}', 100, 100, {never}, 0)"));
        let mut answers = Vec::new();
        for phone in [PHONE, unknown, closed] {
            let mut answer = app.start_login(phone).await;
            answer.headers.remove("date");
            answers.push((answer.status, format!("{:?}", answer.headers), answer.text));
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0], answers[2]);
        assert_eq!(app.outbox.count(), 3, "nothing went to the closed one");
        assert_eq!(database.audited("code.withheld"), 1);
        app.stop().await;
    }
}

on_both! {
    async fn a_closed_number_hears_like_others_that_nobody_carries_a_code_or_that_the_money_is_spent_e5(database) {
        let nobody = "[routes.sms]\ndefault = [\"console\"]\n[providers.console]\nkind = \"console\"\ncountries = [\"GB\"]";
        let spent = "[limits]\nspend_per_day = 0.01\n[prices.console]\ndefault = 0.02\n[providers.console]\nkind = \"console\"";
        for lines in [nobody, spent] {
            let app = TestApp::builder(&database).set("otp.at_cap", "close").config(lines).start();
            let (open, closed) = ("18005552222", "18005553333");
            database.execute("DELETE FROM guards");
            let never = i64::MAX;
            database.execute(&format!("INSERT INTO guards VALUES ('local', '+{closed}', 100, 100, {never}, 0)"));
            for _ in 0..2 {
                let mut answers = Vec::new();
                for phone in [open, closed] {
                    let answer = app.start_login(phone).await;
                    assert!(!answer.is_ok(), "{answer:?}");
                    answers.push((answer.status, answer.text));
                }
                assert_eq!(answers[0], answers[1]);
            }
            assert_eq!(app.outbox.count(), 0);
            app.stop().await;
        }
    }
}

on_both! {
    async fn what_is_withheld_from_closed_numbers_costs_nothing_e5(database) {
        let lines = "[limits]\nspend_per_day = 0.05\n[prices.console]\ndefault = 0.02\n[providers.console]\nkind = \"console\"";
        let app = TestApp::builder(&database).set("otp.at_cap", "close").config(lines).start();
        let never = i64::MAX;
        for closed in 18_005_553_330_u64..18_005_553_335 {
            database.execute(&format!("INSERT INTO guards VALUES ('local', '+{closed}', 100, 100, {never}, 0)"));
            assert!(app.start_login(&closed.to_string()).await.is_ok());
        }
        assert_eq!(database.audited("code.withheld"), 5);
        assert!(app.start_login("18005552222").await.is_ok(), "there is money for it");
        app.stop().await;
    }
}

on_both! {
    async fn what_nobody_took_can_be_asked_for_again_when_that_is_answered_c10(database) {
        let app = TestApp::start(&database);
        for number in 18_005_551_000_u64..18_005_551_030 {
            app.outbox.fail_next(SendError::Rejected("no".to_owned()));
            assert!(!app.start_login(&number.to_string()).await.is_ok());
            let noted = "SELECT count(*) AS n FROM deliveries WHERE status = 'failed'";
            assert_eq!(database.number(noted), i64::try_from(number - 18_005_550_999).expect("few"));
            assert!(app.start_login(&number.to_string()).await.is_ok(), "at once");
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_code_survives_a_restart_and_a_new_pepper_above_the_old_one_k2(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let (code, clock) = (app.outbox.last_code(), std::sync::Arc::clone(&app.clock));
        app.stop().await;
        let old = std::fs::read_to_string(database.file("pepper")).expect("a pepper");
        let rotated = format!("k2 {}\n{old}", "ab".repeat(32));
        std::fs::write(database.file("pepper"), rotated).expect("our file");
        let app = TestApp::builder(&database).clock(&clock).seed(2).start();
        assert!(app.verify(PHONE, &code).await.is_ok());
        app.advance(60);
        app.log_in(PHONE).await;
        let keys = "SELECT key_id AS t FROM challenges ORDER BY created_at";
        assert_eq!(database.texts(keys), ["k1", "k2"]);
        app.stop().await;
    }
}

#[tokio::test]
async fn hashing_too_slow_to_do_inline_gives_the_same_logins() {
    let database = Database::fresh(crate::harness::Backend::Sqlite);
    let app = TestApp::builder(&database).set("otp.hash_memory_kib", 1024).start();
    app.log_in(PHONE).await;
    let wrong = app.verify(PHONE, "000000").await;
    assert_eq!(wrong.error(), "BADUSER");
    assert_eq!(database.texts("SELECT app_id AS t FROM challenges"), [APP]);
    app.stop().await;
}
