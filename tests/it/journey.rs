//! The journey from beginning to end.

use serde_json::json;

use crate::harness::app::PHONE;
use crate::harness::{TestApp, on_both};

on_both! {
    async fn a_code_goes_out_comes_back_and_turns_into_a_token(database) {
        let app = TestApp::start(&database);
        let started = app.start_login(PHONE).await;
        assert_eq!(started.json(), json!({"op": "login", "ts": 1_767_225_600, "result": "OK"}));
        let sent = app.outbox.sent();
        assert_eq!((sent.len(), sent[0].to.as_str()), (1, "+18005551234"));
        assert!(!started.text.contains(&sent[0].code), "A11");

        let verified = app.verify(PHONE, &sent[0].code).await;
        assert!(verified.is_ok(), "{verified:?}");
        assert_eq!(verified.token(), app.upstream.minted().first().cloned());
        assert_eq!(verified.get("phone"), PHONE);
        app.stop().await;
        let events = "SELECT event AS t FROM audit ORDER BY id";
        let told = ["code.sent", "guess.counted", "code.consumed", "token.minted", "session.started"];
        assert_eq!(database.texts(events), told);
        assert_eq!(database.texts("SELECT status AS t FROM deliveries"), ["accepted"]);
        assert_eq!(database.number("SELECT count(*) AS n FROM audit a JOIN deliveries d ON a.detail = d.id WHERE a.event = 'code.consumed'"), 1);
    }
}

on_both! {
    async fn the_operator_sees_what_happened_in_metrics_and_nobody_else_does_j6(database) {
        let app = TestApp::start(&database);
        app.log_in(PHONE).await;
        app.verify(PHONE, "000000").await;
        let metrics = app.admin("/metrics").await;
        for line in [
            r#"latchkey_login_starts_total{outcome="sent"} 1"#,
            r#"latchkey_deliveries_total{provider="console",outcome="accepted"} 1"#,
            r#"latchkey_login_verifies_total{outcome="token"} 1"#,
            r#"latchkey_login_verifies_total{outcome="no_challenge"} 1"#,
            r#"latchkey_mints_total{realm="local",outcome="minted"} 1"#,
        ] {
            assert!(metrics.text.contains(line), "{line} is not in {}", metrics.text);
        }
        let public = app.send(app.request(reqwest::Method::GET, "/metrics")).await;
        assert_eq!(public.status, 404);
        app.stop().await;
    }
}
