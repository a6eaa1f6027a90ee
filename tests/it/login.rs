//! The journey, step by step.

use serde_json::json;

use crate::harness::{TestApp, on_both};

const PHONE: &str = crate::harness::app::PHONE;

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
        assert_eq!(database.audited("code.consumed"), 1);
        assert_eq!(database.audited("token.minted"), 1);
        app.stop().await;
    }
}
