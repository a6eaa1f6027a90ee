//! Who is asking, as limits see it: the `from:` rows of the budgets.

use reqwest::Method;
use serde_json::json;

use crate::harness::app::APP;
use crate::harness::{Database, TestApp, on_both};

const FORWARDED_FOR: &str = "X-Forwarded-For";

/// Asks for a code with these headers; the network that paid for it.
async fn payers(app: &TestApp, database: &Database, number: u64, headers: &[&str]) -> Vec<String> {
    let networks = "SELECT key AS t FROM budgets WHERE key LIKE 'from:%' ORDER BY key";
    let before = database.texts(networks);
    let body = json!({"op": "login", "appid": APP, "phone": number, "dt": "1"});
    let request = app.request(Method::POST, "/").body(body.to_string());
    let request = headers.iter().fold(request, |request, value| request.header(FORWARDED_FOR, *value));
    let answer = app.send(request).await;
    assert!(answer.is_ok(), "{answer:?}");
    database.texts(networks).into_iter().filter(|network| !before.contains(network)).collect()
}

on_both! {
    async fn forwarded_addresses_from_nobody_we_trust_are_ignored_j3(database) {
        let app = TestApp::start(&database);
        let mut forged = ["1.2.3.4", "203.0.113.7, 127.0.0.1", "2001:db8::1", "unknown", "", "127.0.0.1"].iter();
        let first = payers(&app, &database, 18_005_551_200, &[forged.next().expect("one")]).await;
        assert_eq!(first, ["from:127.0.0.1"]);
        for (number, value) in (18_005_551_201..).zip(forged) {
            assert_eq!(payers(&app, &database, number, &[value]).await, Vec::<String>::new(), "{value}");
        }
        assert_eq!(database.texts("SELECT DISTINCT network AS t FROM deliveries"), ["127.0.0.1"]);
        app.stop().await;
    }
}

on_both! {
    async fn rotating_forged_addresses_runs_into_the_limit_of_the_real_one_j3(database) {
        let app = TestApp::builder(&database).set("limits.per_ip_unverified", "2/1h").start();
        for number in 18_005_551_200..18_005_551_202 {
            payers(&app, &database, number, &[&format!("10.0.0.{}", number % 100)]).await;
        }
        let body = json!({"op": "login", "appid": APP, "phone": "18005551299", "dt": "1"}).to_string();
        let third = app.send(app.request(Method::POST, "/").header(FORWARDED_FOR, "10.9.9.9").body(body)).await;
        assert_eq!((third.error().as_str(), app.outbox.count()), ("TOOSOON", 2));
        app.stop().await;
    }
}

on_both! {
    async fn behind_trusted_proxies_the_right_most_stranger_pays_j3(database) {
        let app = TestApp::builder(&database).set("server.trusted_proxies", vec!["127.0.0.0/8", "10.0.0.0/8"]).start();
        let cases: [(&[&str], &[&str]); 9] = [
            (&["203.0.113.1"], &["from:203.0.113.1"]),
            (&["6.6.6.6, 203.0.113.2"], &["from:203.0.113.2"]),
            (&["6.6.6.6, 203.0.113.3, 10.0.0.9"], &["from:203.0.113.3"]),
            (&["6.6.6.6", "203.0.113.4"], &["from:203.0.113.4"]),
            (&["127.0.0.1, 203.0.113.5:4711"], &["from:203.0.113.5"]),
            (&["::ffff:203.0.113.6"], &["from:203.0.113.6"]),
            (&["2001:db8:1:2:aaaa::1"], &["from:2001:db8:1:2::/64", "from:2001:db8:1::/48"]),
            (&["[2001:db8:1:2:bbbb::2]:443"], &[]),
            (&["203.0.113.8, nonsense"], &["from:127.0.0.1"]),
        ];
        for (number, (headers, expected)) in (18_005_551_200..).zip(cases) {
            assert_eq!(payers(&app, &database, number, headers).await, expected, "{headers:?}");
        }
        app.stop().await;
    }
}
