//! Refresh tokens: spent once, given again for a moment, and a thief's alarm after.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use super::{Held, NUMBER, is_live, is_over, listed, log_in, log_in_again, log_in_as, refresh, refreshed};
use crate::harness::{TestApp, on_both};

on_both! {
    async fn a_login_hands_out_a_session_and_a_refresh_goes_on_with_it_g4(database) {
        let app = TestApp::start(&database);
        let answer = log_in_as(&app, NUMBER, None).await;
        let session = answer.get("session");
        assert_eq!((&session["token_type"], &session["expires_in"]), (&json!("Bearer"), &json!(900)));
        assert_eq!(session["refresh_expires_in"], json!(30 * 86_400));
        let first = Held::of(&session);
        app.advance(1000);
        assert_eq!(listed(&app, &first).await, (401, json!("invalid_token")), "the access token is too old");
        let next = refresh(&app, &first.refresh).await;
        assert_eq!((next.get("expires_in"), next.get("refresh_expires_in")), (json!(900), json!(30 * 86_400)));
        let second = Held::of(&next.json());
        assert_ne!(second.refresh, first.refresh);
        assert_eq!(listed(&app, &second).await, is_live());
        assert_eq!(database.audited("session.started"), 1);
        app.stop().await;
    }
}

on_both! {
    async fn of_64_refreshes_at_once_one_spends_the_token_and_all_get_the_same_child_g4(database) {
        let app = TestApp::start(&database);
        let first = log_in(&app, NUMBER).await;
        let answers = join_all((0..64).map(|_| refresh(&app, &first.refresh))).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        let children: BTreeSet<String> = answers.iter().map(|answer| Held::of(&answer.json()).refresh).collect();
        assert_eq!(children.len(), 1, "one child");
        let metrics = app.admin("/metrics").await.text;
        assert!(metrics.contains("latchkey_session_refreshes_total{outcome=\"spent\"} 1\n"), "{metrics}");
        assert!(metrics.contains("latchkey_session_refreshes_total{outcome=\"repeated\"} 63\n"), "{metrics}");
        let child = Held::of(&answers[0].json());
        assert_eq!(listed(&app, &refreshed(&app, &child).await).await, is_live());
        assert_eq!((database.count("sessions"), database.audited("session.reuse")), (1, 0));
        app.stop().await;
    }
}

on_both! {
    async fn who_lost_the_answer_gets_it_again_for_ten_seconds_and_is_a_thief_after_g4(database) {
        let app = TestApp::start(&database);
        let first = log_in(&app, NUMBER).await;
        let child = refreshed(&app, &first).await;
        app.clock.advance(std::time::Duration::from_millis(9_999));
        assert_eq!(refreshed(&app, &first).await.refresh, child.refresh);
        assert_eq!(listed(&app, &child).await, is_live());
        app.clock.advance(std::time::Duration::from_millis(1));
        let stolen = refresh(&app, &first.refresh).await;
        assert_eq!((stolen.status, stolen.get("code")), (401, json!("session_over")));
        assert_eq!(listed(&app, &child).await, is_over(), "access ends at once");
        assert_eq!(refresh(&app, &child.refresh).await.status, 401, "so does the whole family");
        assert_eq!((database.audited("session.reuse"), database.audited("session.ended")), (1, 0));
        assert_eq!(database.texts("SELECT ended_why AS t FROM sessions"), ["reuse"]);
        app.stop().await;
    }
}

on_both! {
    async fn a_grandparent_is_reuse_at_once_g4(database) {
        let app = TestApp::start(&database);
        let first = log_in(&app, NUMBER).await;
        let second = refreshed(&app, &first).await;
        let third = refreshed(&app, &second).await;
        assert_eq!(refreshed(&app, &second).await.refresh, third.refresh);
        assert_eq!(refresh(&app, &first.refresh).await.status, 401);
        assert_eq!(listed(&app, &third).await, is_over());
        assert_eq!(database.audited("session.reuse"), 1);
        app.stop().await;
    }
}

on_both! {
    async fn one_stolen_token_ends_its_own_session_and_no_other_g4(database) {
        let app = TestApp::start(&database);
        let phone = log_in(&app, NUMBER).await;
        let tablet = log_in_again(&app, NUMBER).await;
        let stranger = log_in(&app, "+18005551235").await;
        let phone = { let spent = phone; refreshed(&app, &spent).await; spent };
        app.advance(10);
        assert_eq!(refresh(&app, &phone.refresh).await.status, 401);
        assert_eq!(listed(&app, &tablet).await, is_live());
        assert_eq!(listed(&app, &stranger).await, is_live());
        assert_eq!(database.number("SELECT count(*) AS n FROM sessions WHERE ended_at IS NULL"), 2);
        app.stop().await;
    }
}

on_both! {
    async fn what_is_unknown_or_malformed_is_answered_like_what_was_stolen_and_writes_nothing_g4(database) {
        let app = TestApp::start(&database);
        let held = log_in(&app, NUMBER).await;
        let audited = database.count("audit");
        let unknown = latchkey::domain::refresh::RefreshToken::generate(&latchkey::ambient::SeededEntropy::new(99));
        let typo = held.refresh.replace(&held.refresh[10..11], "-");
        for token in [unknown.reveal(), &typo, "", "rt_", "rt_\0", &"r".repeat(10_000), &held.access] {
            let answer = refresh(&app, token).await;
            assert_eq!((answer.status, answer.get("code")), (401, json!("session_over")), "{token}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        assert_eq!(database.count("audit"), audited);
        assert_eq!(listed(&app, &refreshed(&app, &held).await).await, is_live());
        app.stop().await;
    }
}

on_both! {
    async fn no_token_is_in_the_database_in_a_form_that_anybody_could_use_g4(database) {
        let app = TestApp::start(&database);
        let first = log_in(&app, NUMBER).await;
        let second = refreshed(&app, &first).await;
        let columns = ["family", "refresh_hash", "previous_hash", "successor"];
        for column in columns {
            assert_eq!(database.number(&format!("SELECT length({column}) AS n FROM sessions")), 32, "{column}");
        }
        let rows = crate::leak::dump(&database);
        for held in [&first, &second] {
            assert!(!rows.contains(&held.access) && !rows.contains(&held.refresh));
            // Neither the family nor the secret alone.
            assert!(!rows.contains(&held.refresh[3..25]) && !rows.contains(&held.refresh[25..60]));
        }
        app.stop().await;
    }
}
