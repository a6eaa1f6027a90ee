//! What is where.

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HOST, SERVER};

use crate::harness::app::{APP, PHONE};
use crate::harness::{Backend, Database, TestApp, on_both};

on_both! {
    async fn both_listeners_tell_whether_the_process_lives_and_is_ready(database) {
        let app = TestApp::start(&database);
        let public = async |path| app.send(app.request(Method::GET, path)).await;
        let (plain, detailed) = ("ok\n", "{\"status\":\"ok\",\"upstreams\":{}}");
        let answers = [
            (public("/livez").await, plain),
            (public("/readyz").await, plain),
            (app.admin("/livez").await, plain),
            (app.admin("/readyz").await, detailed),
        ];
        for (answer, text) in answers {
            assert_eq!((answer.status, answer.text.as_str()), (200, text));
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
        app.stop().await;
    }
}

#[tokio::test]
async fn metrics_are_the_operators_alone_j6() {
    let database = Database::fresh(Backend::Sqlite);
    let app = TestApp::start(&database);
    let metrics = app.admin("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text.ends_with("# EOF\n") && metrics.text.contains("latchkey_requests_in_flight 0"));
    for path in ["/metrics", "/metrics/", "//metrics", "/./metrics", "/%6detrics", "/index.php/../metrics"] {
        let answer = app.send(app.request(Method::GET, path)).await;
        assert!(answer.status == 404 && !answer.text.contains("latchkey"), "{path}: {answer:?}");
    }
    assert_eq!(app.admin("/").await.status, 404, "and logins are the public's");
    app.stop().await;
}

#[tokio::test]
async fn where_nothing_is_a_problem_document_says_so_with_the_requests_id_j5() {
    let database = Database::fresh(Backend::Sqlite);
    let app = TestApp::start(&database);
    let mut ids = Vec::new();
    for path in ["/nothing", "/v1/", "/index.php/x", "/.env", "/%00", "/a?b=<script>"] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let answer = app.send(app.request(method, path).body("{}")).await;
            assert_eq!(
                (answer.status, answer.headers[CONTENT_TYPE].as_bytes()),
                (404, &b"application/problem+json"[..])
            );
            let body = answer.json();
            assert_eq!((&body["code"], &body["status"]), (&"not_found".into(), &404.into()), "{path}");
            assert!(body["title"].is_string() && body["type"].is_string());
            assert!(!answer.text.contains("script") && answer.headers.get(SERVER).is_none());
            ids.push(body["request_id"].as_str().expect("an id").to_owned());
        }
    }
    let asked = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), asked, "each request has its own");
    app.stop().await;
}

on_both! {
    async fn a_forged_host_changes_nothing_d4(database) {
        let app = TestApp::start(&database);
        let login = |otp: Option<String>| {
            let body = serde_json::json!({"op": "login", "appid": APP, "phone": PHONE, "dt": "1", "otp": otp});
            app.request(Method::POST, "/")
                .header(HOST, "evil.example")
                .header("X-Forwarded-Host", "evil.example")
                .header("Forwarded", "host=evil.example;proto=https")
                .body(body.to_string())
        };
        let started = app.send(login(None)).await;
        let code = app.outbox.last_code();
        let verified = app.send(login(Some(code))).await;
        assert!(verified.token().is_some(), "{verified:?}");
        let lost = app.request(Method::GET, "/nothing").header(HOST, "evil.example");
        for answer in [started, verified, app.send(lost).await] {
            assert!(!format!("{answer:?}").contains("evil"), "{answer:?}");
        }
        assert_eq!(database.texts("SELECT event AS t FROM audit WHERE detail LIKE '%evil%'"), Vec::<String>::new());
        app.stop().await;
    }
}
