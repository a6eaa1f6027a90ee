//! A backend that is not well, and the logins that meet it.

use serde_json::json;

use crate::harness::app::{APP, PHONE};
use crate::harness::process::{Settings, run};
use crate::harness::{Backend, Database, FakeMesibo, TestApp, on_both};

/// A server with this backend.
fn app(database: &Database, mesibo: &FakeMesibo) -> TestApp {
    let upstream =
        format!("[upstreams.chat]\nkind = \"mesibo\"\nurl = {:?}\napp_token = \"the-app-token\"", mesibo.url);
    TestApp::builder(database).config(&upstream).real_upstreams().start()
}

/// How the backend is, as the operator's probe tells.
async fn circuit(app: &TestApp) -> String {
    let answer = app.admin("/readyz").await;
    assert_eq!((answer.status, answer.get("status")), (200, json!("ok")), "a backend makes no node unready");
    answer.json()["upstreams"]["chat"].as_str().expect("a state").to_owned()
}

/// Five people fail to log in.
async fn open_the_circuit(app: &TestApp) {
    for index in 0..5 {
        let phone = format!("1201555010{index}");
        assert!(app.start_login(&phone).await.is_ok());
        assert_eq!(app.verify(&phone, &app.outbox.last_code()).await.error(), "BADUSER");
    }
    assert_eq!(circuit(app).await, "open");
}

on_both! {
    async fn an_open_circuit_costs_no_call_and_the_same_code_finishes_with_one_message_f1_f5(database) {
        let mesibo = FakeMesibo::start().await;
        let app = app(&database, &mesibo);
        assert_eq!(circuit(&app).await, "closed");
        mesibo.ail(true);
        open_the_circuit(&app).await;
        assert_eq!(mesibo.calls().len(), 5);

        let messages = app.outbox.count();
        assert!(app.start_login(PHONE).await.is_ok());
        let code = app.outbox.last_code();
        for _ in 0..3 {
            assert_eq!(app.verify(PHONE, &code).await.error(), "BADUSER");
        }
        assert_eq!(mesibo.calls().len(), 5, "nobody was asked");
        let open = "SELECT count(*) AS n FROM challenges WHERE consumed_at IS NOT NULL AND lease_until = 0";
        assert_eq!(database.number(open), 6, "every lease was given back");

        mesibo.ail(false);
        app.advance(5);
        let finished = app.verify(PHONE, &code).await;
        assert_eq!(finished.token().as_deref(), Some("mesibo-token-00000006"), "{finished:?}");
        assert_eq!((app.outbox.count() - messages, mesibo.calls().len()), (1, 6));
        assert_eq!(circuit(&app).await, "closed");
        let metrics = app.admin("/metrics").await.text;
        for line in [
            "latchkey_upstream_circuit{realm=\"chat\"} 0",
            "latchkey_mints_total{realm=\"chat\",outcome=\"unavailable\"} 5",
            "latchkey_mints_total{realm=\"chat\",outcome=\"resting\"} 3",
            "latchkey_mints_total{realm=\"chat\",outcome=\"minted\"} 1",
        ] {
            assert!(metrics.contains(line), "{line} is not in\n{metrics}");
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_v1_client_is_told_when_the_backend_is_looked_at_again_and_its_grant_works_then_f1_f5(database) {
        let mesibo = FakeMesibo::start().await;
        let app = app(&database, &mesibo);
        mesibo.ail(true);
        open_the_circuit(&app).await;
        let post = async |path: &str, body: serde_json::Value| {
            let request = app.request(reqwest::Method::POST, path).header("content-type", "application/json");
            app.send(request.body(body.to_string())).await
        };
        let started = post("/v1/login", json!({"app_id": APP, "phone": format!("+{PHONE}")})).await;
        assert_eq!(started.status, 202, "{started:?}");
        app.advance(2);
        let code = app.outbox.last_code();
        let (challenge, secret) = (started.get("challenge"), started.get("secret"));
        let failed = post("/v1/login/verify", json!({"challenge": challenge, "secret": secret, "code": code})).await;
        assert_eq!((failed.status, failed.get("code")), (503, json!("upstream_unavailable")));
        assert_eq!(failed.headers["retry-after"], "3");
        mesibo.ail(false);
        app.advance(3);
        let finished = post("/v1/login/complete", json!({"grant": failed.get("grant")})).await;
        assert_eq!((finished.status, mesibo.calls().len(), app.outbox.count()), (200, 6, 6), "{finished:?}");
        app.stop().await;
    }
}

#[tokio::test]
async fn the_public_probe_tells_nothing_of_backends() {
    let database = Database::fresh(Backend::Sqlite);
    let mesibo = FakeMesibo::start().await;
    let app = app(&database, &mesibo);
    let answer = app.send(app.request(reqwest::Method::GET, "/readyz")).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "ok\n"));
    app.stop().await;
}

#[tokio::test]
async fn upstream_check_says_in_one_line_that_it_works_or_what_to_change() {
    let database = Database::fresh(Backend::Sqlite);
    let mesibo = FakeMesibo::start().await;
    let check = async |settings: Settings, name: &str| {
        let file = settings.save();
        let arguments = ["upstream", "check", name, "--config", file.to_str().expect("UTF-8")];
        run(database.folder.path(), &arguments, &[]).await
    };
    let settings = || Settings::of(&database).mesibo(&mesibo);
    let works = check(settings(), "chat").await;
    let line =
        "upstream chat: it works: a token was minted for 12015550123, who is nobody; it was taken back";
    assert_eq!((works.code, works.out.trim(), works.err.as_str()), (Some(0), line, ""));
    let calls = mesibo.calls();
    assert_eq!((&calls[0]["op"], &calls[1]["op"]), (&json!("useradd"), &json!("userset")));
    assert_eq!((calls.len(), &calls[1]["user"]["token"]["remove"]), (2, &json!(true)));

    let one_line = |ended: &crate::harness::process::Ended, parts: &[&str]| {
        assert_eq!(
            (ended.code, ended.out.as_str(), ended.err.lines().count()),
            (Some(1), "", 1),
            "{ended:?}"
        );
        for part in parts {
            assert!(ended.err.contains(part), "{part:?} is not in {}", ended.err);
        }
        assert!(!ended.err.contains("the-app-token"), "{}", ended.err);
    };
    mesibo.ail(true);
    let parts =
        ["upstream chat: the backend is not available: too many calls", "; fix: see that upstreams.chat.url"];
    one_line(&check(settings(), "chat").await, &parts);
    one_line(&check(settings(), "chta").await, &["there is no [upstreams.chta]; configured are chat"]);
    let nobody = settings().set("upstreams.chat.url", "http://127.0.0.1:1/backend/");
    one_line(&check(nobody, "chat").await, &["no connection: connection refused", "fix: "]);
}

#[tokio::test]
async fn upstream_list_names_backends_and_their_apps() {
    let database = Database::fresh(Backend::Sqlite);
    let mesibo = FakeMesibo::start().await;
    let app: toml::Table =
        "id = \"com.example\"\nname = \"Example\"\nupstream = \"chat\"".parse().expect("TOML");
    let settings =
        Settings::of(&database).mesibo(&mesibo).set("upstreams.own.kind", "jwt").set("apps", vec![app]);
    let file = settings.save();
    let ended =
        run(database.folder.path(), &["upstream", "list", "--config", file.to_str().expect("UTF-8")], &[])
            .await;
    let rows: Vec<Vec<&str>> = ended.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["NAME", "KIND", "APPS"], ["chat", "mesibo", "com.example"], ["own", "jwt", "-"]]);
}
