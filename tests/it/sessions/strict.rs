//! What is refused, what is never said, and what must not be cached.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Held, NUMBER, call, is_live, is_over, listed, log_in, log_in_as, post, refresh, refreshed};
use crate::harness::app::APP;
use crate::harness::{Backend, Mint, TestApp, logs, on_both};

/// Every address that wants an access token.
const BEARER: [(Method, &str); 4] = [
    (Method::POST, "/v1/chat-token"),
    (Method::POST, "/v1/logout"),
    (Method::GET, "/v1/sessions"),
    (Method::DELETE, "/v1/sessions/ses_0000000000000000000000"),
];

on_both! {
    async fn without_a_good_access_token_nothing_happens_and_the_client_is_told_to_refresh_g1_g5(database) {
        let app = TestApp::start(&database);
        let held = log_in(&app, NUMBER).await;
        let forged = format!("{}x", held.access);
        let bad: [Option<&str>; 9] = [
            None,
            Some(""),
            Some("Bearer"),
            Some("Bearer "),
            Some("Basic dXNlcjpwYXNz"),
            Some(&held.access),
            Some("Bearer eyJhbGciOiJub25lIn0.e30."),
            Some("Bearer rt_abc"),
            Some("Bearer \u{e9}"),
        ];
        for (method, path) in BEARER {
            let body = json!({"scope": "all"}).to_string();
            let request = || app.request(method.clone(), path).header("content-type", "application/json").body(body.clone());
            let mut requests: Vec<_> = bad.iter().map(|header| match header {
                Some(header) => request().header("authorization", header.as_bytes()),
                None => request(),
            }).collect();
            requests.push(request().bearer_auth(&forged));
            requests.push(request().bearer_auth(&held.refresh));
            requests.push(request().bearer_auth(&held.access).header("authorization", "Bearer x"));
            requests.push(app.request(method.clone(), &format!("{path}?access_token={}", held.access))
                .header("content-type", "application/json").body(body.clone()));
            for request in requests {
                let answer = app.send(request).await;
                assert_eq!((answer.status, answer.get("code")), (401, json!("invalid_token")), "{path}");
                assert_eq!(answer.headers["www-authenticate"], "Bearer");
            }
        }
        assert_eq!(listed(&app, &held).await, is_live());
        let small = app.request(Method::GET, "/v1/sessions").header("authorization", format!("bearer {}", held.access));
        assert_eq!(app.send(small).await.status, 200, "the scheme is the same in small letters");
        app.stop().await;
    }
}

on_both! {
    async fn no_body_makes_it_fail_j5(database) {
        let app = TestApp::start(&database);
        let held = log_in(&app, NUMBER).await;
        let bodies: [&[u8]; 12] = [
            b"", b"{", b"[]", b"null", b"5", b"\"a\"", b"\xff\xfe", b"{\"refresh_token\":1}", b"{\"refresh_token\":null}",
            b"{\"refresh_token\":\"a\",\"refresh_token\":\"b\"}", b"{\"scope\":[\"all\"]}", b"{} {}",
        ];
        for path in ["/v1/session/refresh", "/v1/logout"] {
            for body in bodies {
                let request = app.request(Method::POST, path).bearer_auth(&held.access);
                let answer = app.send(request.header("content-type", "application/json").body(body)).await;
                assert_eq!((answer.status, answer.get("code")), (400, json!("invalid_request")), "{body:?}");
            }
        }
        let huge = app.request(Method::POST, "/v1/chat-token").bearer_auth(&held.access).body("x".repeat(16 * 1024 + 1));
        assert_eq!(app.send(huge).await.get("code"), "body_too_large");
        for (method, path) in [(Method::GET, "/v1/chat-token"), (Method::POST, "/v1/sessions"), (Method::PUT, "/v1/sessions/x")] {
            assert_eq!(call(&app, method, path, &held.access, Value::Null).await.get("code"), "method_not_allowed");
        }
        assert_eq!(listed(&app, &held).await, is_live());
        app.stop().await;
    }
}

on_both! {
    async fn no_answer_with_a_token_is_ever_cached_g8(database) {
        let app = TestApp::start(&database);
        let login = log_in_as(&app, NUMBER, None).await;
        let held = Held::of(&login.get("session"));
        let refreshed = refresh(&app, &held.refresh).await;
        let chat = call(&app, Method::POST, "/v1/chat-token", &held.access, Value::Null).await;
        let list = call(&app, Method::GET, "/v1/sessions", &held.access, Value::Null).await;
        for answer in [login, refreshed, chat, list] {
            assert_eq!((answer.status, answer.headers["cache-control"].to_str().ok()), (200, Some("no-store")));
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_page_is_told_which_methods_it_may_use_j6(database) {
        let app = TestApp::start(&database);
        for (path, methods) in [
            ("/v1/session/refresh", "POST"), ("/v1/chat-token", "POST"), ("/v1/logout", "POST"),
            ("/v1/sessions", "GET"), ("/v1/sessions/ses_1", "DELETE"), ("/v1/login", "POST"),
        ] {
            let request = app.request(Method::OPTIONS, path).header("origin", "https://any.example");
            let answer = app.send(request).await;
            assert_eq!((answer.status, answer.headers["access-control-allow-methods"].to_str().ok()), (204, Some(methods)));
            assert_eq!(answer.headers["access-control-allow-origin"], "https://any.example");
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_repeated_login_replaces_its_session_and_that_is_on_record_a9(database) {
        let app = TestApp::start(&database);
        let started = post(&app, "/v1/login", json!({"app_id": APP, "phone": NUMBER})).await;
        let body = json!({
            "challenge": started.get("challenge"), "secret": started.get("secret"), "code": app.outbox.last_code(),
        });
        let first = Held::of(&post(&app, "/v1/login/verify", body.clone()).await.get("session"));
        app.advance(59);
        app.upstream.next(Mint::Fails(latchkey::upstream::UpstreamError::Unavailable("down".into())));
        let failed = post(&app, "/v1/login/verify", body).await;
        assert_eq!(listed(&app, &first).await, is_live(), "nothing took its place yet");
        let grant = json!({"grant": failed.get("grant"), "device": "Ann's phone"});
        let second = Held::of(&post(&app, "/v1/login/complete", grant).await.get("session"));
        assert_eq!(listed(&app, &first).await, is_over());
        assert_eq!(refresh(&app, &first.refresh).await.status, 401);
        let shown = call(&app, Method::GET, "/v1/sessions", &second.access, Value::Null).await.get("sessions");
        assert_eq!((shown.as_array().map(Vec::len), &shown[0]["device"], &shown[0]["channel"]), (Some(1), &json!("Ann's phone"), &json!("sms")));
        assert_eq!((database.audited("session.started"), database.audited("session.ended")), (2, 1));
        assert_eq!(database.texts("SELECT ended_why AS t FROM sessions WHERE ended_why IS NOT NULL"), ["replaced"]);
        app.stop().await;
    }
}

on_both! {
    async fn no_token_and_no_number_is_in_any_log_at_trace_g8_k1(database) {
        let lines = logs::of_this_process();
        let (number, mesibo) = match database.backend {
            Backend::Sqlite => ("+442079460151", "442079460153"),
            Backend::Postgres => ("+442079460152", "442079460154"),
        };
        let app = TestApp::builder(&database).seed(511).start();
        let first = log_in(&app, number).await;
        let second = refreshed(&app, &first).await;
        call(&app, Method::POST, "/v1/chat-token", &second.access, Value::Null).await;
        app.upstream.next(Mint::Fails(latchkey::upstream::UpstreamError::Unavailable("canary-words".into())));
        call(&app, Method::POST, "/v1/chat-token", &second.access, Value::Null).await;
        app.upstream.revokes_nothing(latchkey::upstream::UpstreamError::Unavailable("canary-revoke".into()));
        let published = app.log_in(mesibo).await;
        app.post(json!({"op": "logout", "token": published, "dt": "1"}).to_string()).await;
        app.advance(10);
        refresh(&app, &first.refresh).await;
        call(&app, Method::GET, "/v1/sessions", &format!("{}x", second.access), Value::Null).await;
        let minted = app.upstream.minted();
        app.stop().await;
        let log = lines.text();
        assert!(log.contains("canary-words") && log.contains("canary-revoke"), "the operator is told");
        assert!(log.contains("a refresh token came that was used before"));
        for secret in [&first.access, &first.refresh, &second.access, &second.refresh, &published, &minted[1]] {
            assert!(!log.contains(secret.as_str()), "{secret}");
        }
        for held in [&first, &second] {
            // Parts that would do: the family, the secret, the signature.
            let signature = held.access.rsplit('.').next().expect("three parts");
            assert!(!log.contains(&held.refresh[3..25]) && !log.contains(&held.refresh[25..60]) && !log.contains(signature));
        }
        assert!(!log.contains(number) && !log.contains(mesibo), "K4");
    }
}
