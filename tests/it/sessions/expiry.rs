//! Sessions end by themselves: idle, or old.

use std::sync::Arc;
use std::time::Duration;

use latchkey::ambient::{Clock, ManualClock};
use serde_json::json;

use super::{Held, NUMBER, is_live, is_over, listed, log_in, refresh, refreshed};
use crate::harness::{TestApp, on_both};

const DAY: u64 = 86_400;
const MS: Duration = Duration::from_millis(1);

on_both! {
    async fn a_session_ends_thirty_days_after_its_last_use_to_the_millisecond_g4(database) {
        let app = TestApp::start(&database);
        let held = log_in(&app, NUMBER).await;
        app.advance(30 * DAY - 1);
        app.clock.advance(Duration::from_millis(999));
        let held = refreshed(&app, &held).await;
        assert_eq!(listed(&app, &held).await, is_live());
        app.advance(30 * DAY);
        let late = refresh(&app, &held.refresh).await;
        assert_eq!((late.status, late.get("code")), (401, json!("session_over")));
        assert_eq!(database.audited("session.reuse"), 0, "late is not stolen");
        app.stop().await;
    }
}

on_both! {
    async fn a_session_ends_a_hundred_and_eighty_days_after_its_birth_however_it_is_used_g4(database) {
        let app = TestApp::start(&database);
        let mut held = log_in(&app, NUMBER).await;
        for _ in 0..8 {
            app.advance(20 * DAY);
            held = refreshed(&app, &held).await;
        }
        app.advance(19 * DAY);
        let last = refresh(&app, &held.refresh).await;
        assert_eq!(last.get("refresh_expires_in"), json!(DAY), "and it says so");
        let held = Held::of(&last.json());
        app.advance(DAY - 1);
        app.clock.advance(Duration::from_millis(999));
        let held = refreshed(&app, &held).await;
        assert_eq!(listed(&app, &held).await, is_live());
        app.clock.advance(MS);
        assert_eq!(listed(&app, &held).await, is_over(), "its access token is young");
        assert_eq!(refresh(&app, &held.refresh).await.status, 401);
        app.stop().await;
    }
}

on_both! {
    async fn both_lifetimes_are_settings(database) {
        let app = TestApp::builder(&database)
            .set("session.idle_lifetime", "1h")
            .set("session.lifetime", "90m")
            .set("session.access_lifetime", "1m")
            .start();
        let first = log_in(&app, NUMBER).await;
        app.advance(60 * 60 - 1);
        let second = refreshed(&app, &first).await;
        app.advance(30 * 60);
        let third = refreshed(&app, &second).await;
        app.advance(1);
        assert_eq!(refresh(&app, &third.refresh).await.status, 401);
        app.stop().await;
    }
}

on_both! {
    async fn a_clock_that_is_minutes_off_breaks_no_session_and_revives_no_token_g9(database) {
        let ahead = TestApp::start(&database);
        let first = log_in(&ahead, NUMBER).await;
        // Another node, five minutes behind.
        let clock = Arc::new(ManualClock::new(ahead.clock.now().minus(Duration::from_mins(5))));
        let behind = TestApp::builder(&database).clock(&clock).seed(2).start();
        ahead.advance(1);
        let second = refreshed(&ahead, &first).await;
        let third = refreshed(&behind, &second).await;
        let fourth = refreshed(&ahead, &third).await;
        assert_eq!(listed(&ahead, &fourth).await, is_live());
        assert_eq!(database.audited("session.reuse"), 0);
        // Spent long ago by the clock that spent it; for the other it lies ahead.
        ahead.advance(10);
        assert_eq!(refresh(&behind, &third.refresh).await.status, 401);
        assert_eq!(database.audited("session.reuse"), 1);
        ahead.stop().await;
        behind.stop().await;
    }
}
