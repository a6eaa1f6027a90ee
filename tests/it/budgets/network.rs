//! What one network may ask for.

use reqwest::Method;
use serde_json::json;

use super::{behind_a_proxy, named_wait, number, send_until_refused, start_from};
use crate::harness::app::APP;
use crate::harness::{TestApp, on_both};

const HERE: &str = "192.0.2.1";
const ELSEWHERE: &str = "192.0.2.2";

/// Step 2, from an address; whether it gave a token.
async fn verify_from(app: &TestApp, phone: &str, ip: &str) -> bool {
    let sent = app.outbox.sent();
    let code = &sent.iter().rfind(|sent| sent.to == format!("+{phone}")).expect("a code was sent").code;
    let body = json!({"op": "login", "appid": APP, "phone": phone, "dt": "1", "otp": code}).to_string();
    app.send(app.request(Method::POST, "/").header("X-Forwarded-For", ip).body(body)).await.token().is_some()
}

on_both! {
    async fn a_network_may_ask_for_sixty_messages_an_hour_that_nobody_verifies_c5(database) {
        let app = behind_a_proxy(&database).start();
        let (sent, refused) = send_until_refused(&app, 0, HERE).await;
        assert_eq!((sent, named_wait(&refused)), (60, 60));
        let (sent, _) = send_until_refused(&app, 100, ELSEWHERE).await;
        assert_eq!(sent, 60, "another network has its own");
        app.advance(59);
        assert_eq!(send_until_refused(&app, 200, HERE).await.0, 0);
        app.advance(1);
        assert_eq!(send_until_refused(&app, 200, HERE).await.0, 1, "after the wait that was named");
        app.stop().await;
    }
}

on_both! {
    async fn a_verified_code_gives_its_network_one_send_back_once_c5(database) {
        let app = behind_a_proxy(&database).set("limits.per_ip_unverified", "3/1h").start();
        assert_eq!(send_until_refused(&app, 0, HERE).await.0, 3);
        // The one that asked gets it, not the one that answers.
        assert!(verify_from(&app, &number(1), ELSEWHERE).await);
        assert!(!verify_from(&app, &number(1), HERE).await, "the code is used up");
        assert_eq!(send_until_refused(&app, 10, HERE).await.0, 1);
        assert_eq!(send_until_refused(&app, 20, ELSEWHERE).await.0, 3);
        // A wrong code gives nothing back.
        app.verify(&number(2), &app.outbox.wrong_code()).await;
        assert_eq!(send_until_refused(&app, 30, HERE).await.0, 0);
        app.stop().await;
    }
}

on_both! {
    async fn two_messages_of_one_challenge_give_back_one_send(database) {
        let app = behind_a_proxy(&database).set("limits.per_ip_unverified", "3/24h").start();
        let phone = number(0);
        start_from(&app, APP, &phone, HERE).await;
        app.advance(60);
        start_from(&app, APP, &phone, HERE).await;
        assert_eq!(app.outbox.count(), 2);
        assert!(verify_from(&app, &phone, HERE).await);
        assert_eq!(send_until_refused(&app, 10, HERE).await.0, 2, "one of three is still out");
        app.stop().await;
    }
}

on_both! {
    async fn a_credit_never_makes_room_that_was_not_there(database) {
        // One comes back every 20 seconds: after a minute the bucket is empty before the codes come in.
        let app = behind_a_proxy(&database).set("limits.per_ip_unverified", "3/1m").start();
        assert_eq!(send_until_refused(&app, 0, HERE).await.0, 3);
        app.advance(61);
        for n in 0..3 {
            assert!(verify_from(&app, &number(n), HERE).await);
        }
        assert_eq!(send_until_refused(&app, 10, HERE).await.0, 3);
        app.stop().await;
    }
}

on_both! {
    async fn what_a_network_may_ask_for_in_all_is_never_given_back_c5(database) {
        let app = behind_a_proxy(&database).set("limits.per_ip_unverified", "3/1h").set("limits.per_ip", "5/1h").start();
        for n in 0..5 {
            assert!(start_from(&app, APP, &number(n), HERE).await.is_ok());
            assert!(verify_from(&app, &number(n), HERE).await);
        }
        let (sent, refused) = send_until_refused(&app, 10, HERE).await;
        assert_eq!((sent, named_wait(&refused)), (0, 720));
        app.advance(720);
        assert_eq!(send_until_refused(&app, 20, HERE).await.0, 1);
        app.stop().await;
    }
}

on_both! {
    async fn an_ipv6_subscriber_is_a_64_and_a_site_is_a_48_with_ten_times_as_much_c5(database) {
        let app = behind_a_proxy(&database).set("limits.per_ip_unverified", "2/1h").start();
        let mut sent = 0;
        for subscriber in 0..10 {
            // Each message from another host of the subscriber.
            for host in 1..=2 {
                let ip = format!("2001:db8:1:{subscriber:x}::{host}");
                assert!(start_from(&app, APP, &number(sent), &ip).await.is_ok(), "{ip}");
                sent += 1;
            }
            let refused = start_from(&app, APP, &number(100), &format!("2001:db8:1:{subscriber:x}:ffff::9")).await;
            assert_eq!(named_wait(&refused), 1800, "the subscriber has no more");
        }
        let (more, refused) = send_until_refused(&app, 200, "2001:db8:1:ff::1").await;
        assert_eq!((more, named_wait(&refused)), (0, 180), "the site has no more");
        assert_eq!(send_until_refused(&app, 300, "2001:db8:2:ff::1").await.0, 2, "another site has");
        app.advance(180);
        assert_eq!(send_until_refused(&app, 400, "2001:db8:1:ff::1").await.0, 1);
        app.stop().await;
    }
}

on_both! {
    async fn a_verified_code_gives_its_send_back_to_the_site_too(database) {
        let app = behind_a_proxy(&database).set("limits.per_ip_unverified", "2/1h").start();
        for sent in 0..20 {
            let ip = format!("2001:db8:1:{:x}::1", sent / 2);
            assert!(start_from(&app, APP, &number(sent), &ip).await.is_ok(), "{ip}");
        }
        assert_eq!(send_until_refused(&app, 200, "2001:db8:1:ff::1").await.0, 0, "the site has no more");
        assert!(app.verify(&number(19), &app.outbox.last_code()).await.is_ok());
        assert_eq!(send_until_refused(&app, 300, "2001:db8:1:ff::1").await.0, 1, "one is back");
        app.stop().await;
    }
}

on_both! {
    async fn ipv4_in_the_clothes_of_ipv6_is_ipv4(database) {
        let app = behind_a_proxy(&database).set("limits.per_ip_unverified", "2/1h").start();
        assert_eq!(send_until_refused(&app, 0, HERE).await.0, 2);
        assert_eq!(send_until_refused(&app, 10, &format!("::ffff:{HERE}")).await.0, 0);
        app.stop().await;
    }
}
