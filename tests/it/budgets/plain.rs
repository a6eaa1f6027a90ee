//! What a country, an app and the whole house may send, and how a denial ends.

use super::{behind_a_proxy, everything_written, named_wait, number, send_until_refused, start_from};
use crate::harness::app::{APP, PHONE};
use crate::harness::{TestApp, on_both};

/// Another network for each.
fn ip(n: u32) -> String {
    format!("198.51.100.{n}")
}

/// Starts logins of numbers that nobody used, each from its own network, until one is refused.
async fn send_from_everywhere(app: &TestApp, app_id: &str, first: u32) -> (u32, u64) {
    for n in first..first + 50 {
        let answer = start_from(app, app_id, &number(n), &ip(n)).await;
        if !answer.is_ok() {
            return (n - first, named_wait(&answer));
        }
    }
    panic!("fifty messages were sent");
}

on_both! {
    async fn a_country_has_a_budget_and_others_do_not_feel_it_c5(database) {
        let app = behind_a_proxy(&database).set("limits.per_country", "3/1h").start();
        assert_eq!(send_from_everywhere(&app, APP, 0).await, (3, 1200));
        assert!(start_from(&app, APP, "447400123456", &ip(100)).await.is_ok());
        app.advance(1199);
        assert_eq!(send_from_everywhere(&app, APP, 50).await, (0, 1));
        app.advance(1);
        assert_eq!(send_from_everywhere(&app, APP, 50).await, (1, 1200));
        app.stop().await;
    }
}

on_both! {
    async fn an_app_has_a_budget_and_others_do_not_feel_it_c5(database) {
        let app = behind_a_proxy(&database).set("limits.per_app", "3/1h").start();
        assert_eq!(send_from_everywhere(&app, "one", 0).await, (3, 1200));
        assert_eq!(send_from_everywhere(&app, "two", 50).await, (3, 1200));
        app.stop().await;
    }
}

on_both! {
    async fn the_house_has_a_budget_c5(database) {
        let app = behind_a_proxy(&database).set("limits.overall", "3/1h").start();
        assert!(start_from(&app, "one", "447400123456", &ip(100)).await.is_ok());
        assert!(start_from(&app, "two", "491512345678", &ip(101)).await.is_ok());
        assert_eq!(send_from_everywhere(&app, "three", 0).await, (1, 1200));
        app.stop().await;
    }
}

on_both! {
    async fn a_denial_by_any_budget_writes_nothing_at_all(database) {
        for limit in ["per_ip_unverified", "per_ip", "per_country", "per_app", "overall"] {
            let database = crate::harness::Database::fresh(database.backend);
            let app = behind_a_proxy(&database).set(&format!("limits.{limit}"), "2/1h").start();
            assert_eq!(send_until_refused(&app, 0, &ip(1)).await.0, 2, "{limit}");
            app.store.close().await;
            let before = everything_written(&database);
            app.stop().await;
            let app = behind_a_proxy(&database).set(&format!("limits.{limit}"), "2/1h").seed(2).start();
            // For a number of its own, and for one whose challenge waits.
            for n in [0, 10] {
                app.advance(60);
                start_from(&app, APP, &number(n), &ip(1)).await;
            }
            assert_eq!(app.outbox.count(), 0, "{limit}");
            assert_eq!(everything_written(&database), before, "{limit}");
            app.stop().await;
        }
    }
}

on_both! {
    async fn a_denial_names_the_longest_wait(database) {
        for (network, country) in [("1/1h", "1/10h"), ("1/10h", "1/1h")] {
            let database = crate::harness::Database::fresh(database.backend);
            let limits = || {
                behind_a_proxy(&database)
                    .set("limits.per_ip_unverified", network)
                    .set("limits.per_country", country)
                    .set("otp.lifetime", "30s")
            };
            let app = limits().start();
            assert!(start_from(&app, APP, PHONE, &ip(1)).await.is_ok());
            assert_eq!(named_wait(&start_from(&app, APP, &number(0), &ip(1)).await), 36_000);
            // Also where the address itself must wait, for less.
            app.advance(30);
            assert_eq!(named_wait(&start_from(&app, APP, PHONE, &ip(1)).await), 36_000);
            app.advance(35_970);
            assert!(start_from(&app, APP, PHONE, &ip(1)).await.is_ok());
            app.stop().await;
        }
    }
}
