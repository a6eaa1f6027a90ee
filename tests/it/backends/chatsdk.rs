//! Logins at ChatSDK.

use serde_json::{Value, json};

use super::{chat_of, complete, log_in, told};
use crate::harness::app::APP;
use crate::harness::chatsdk::{ChatSdk, Generation, limited};
use crate::harness::{Database, FakeBackend, TestApp, logs, on_both};

const API_KEY: &str = "csk-api-key-canary-1b9d6bcdbbfd4b2d9b5dab8dfbbd4bed";
const PHONE: &str = "+18005551234";
const SECOND: Generation = Generation::Second { legacy_tokens: true };

fn start(database: &Database, chatsdk: &FakeBackend<ChatSdk>) -> TestApp {
    let url = chatsdk.url();
    TestApp::builder(database)
        .real_upstreams()
        .config(&format!("[upstreams.chat]\nkind = \"chatsdk\"\nurl = {url:?}\napi_key = {API_KEY:?}"))
        .start()
}

/// What the guide's samples (Node, Python, Ruby, PHP) hand on, and its front ends read: `tokens.token`,
/// `tokens.wsToken`, `tokens.user.id`, `tokens.expiresIn`.
fn hold_to_guide(chat: &Value, lifetime: u64) {
    for key in ["token", "wsToken"] {
        let parts =
            chat[key].as_str().unwrap_or_else(|| panic!("a text in {key}: {chat}")).split('.').count();
        assert_eq!(parts, 3, "a JWT in {key}: {chat}");
    }
    assert_ne!(chat["token"], chat["wsToken"]);
    assert_eq!((&chat["expiresIn"], &chat["user"]["id"]), (&json!(lifetime), &chat["user_id"]));
    assert_eq!(chat["provider"], "chatsdk");
}

on_both! {
    async fn the_chat_body_is_what_the_samples_of_both_generations_hand_on(database) {
        let lines = logs::of_this_process();
        let chatsdk = FakeBackend::start(ChatSdk::new(API_KEY, Generation::First));
        let app = start(&database, &chatsdk);
        let first = chat_of(&app, PHONE).await;
        hold_to_guide(&first, 86_400);
        assert_eq!(first.get("refreshToken"), None);
        chatsdk.with(|chatsdk| chatsdk.generation = SECOND);
        app.advance(60);
        let second = chat_of(&app, PHONE).await;
        hold_to_guide(&second, 900);
        assert!(second["refreshToken"].is_string() && second["user_id"] == first["user_id"], "{second}");
        app.stop().await;
        let log = lines.text();
        for secret in [API_KEY, first["token"].as_str().expect("a text"), second["wsToken"].as_str().expect("a text")] {
            assert!(!log.contains(secret), "{secret}");
        }
        assert!(!second.to_string().contains(API_KEY));
        for asked in chatsdk.asked() {
            assert_eq!(asked.json(), json!({"userId": first["user_id"]}), "nothing that is not set, and no number");
        }
    }
}

on_both! {
    async fn a_name_is_passed_on_when_somebody_gives_one(database) {
        let chatsdk = FakeBackend::start(ChatSdk::new(API_KEY, Generation::First));
        let app = start(&database, &chatsdk);
        for name in [json!("Ann"), json!(""), json!(null)] {
            app.start_login("18005551234").await;
            let code = app.outbox.last_code();
            let body = json!({"op": "login", "appid": APP, "phone": "18005551234", "dt": "1", "otp": code, "name": name});
            let verified = app.post(body.to_string()).await;
            assert!(verified.token().is_some(), "{verified:?}");
            app.advance(600);
        }
        let names: Vec<Value> = chatsdk.asked().iter().map(|asked| asked.json()["name"].clone()).collect();
        assert_eq!(names, [json!("Ann"), json!(null), json!(null)]);
        let kept = chatsdk.with(|chatsdk| chatsdk.users.values().next().expect("a user").clone());
        assert_eq!(kept["name"], "Ann");
        app.stop().await;
    }
}

on_both! {
    async fn what_the_operator_has_to_mend_is_in_the_log_and_then_the_grant_finishes_f1(database) {
        let lines = logs::of_this_process();
        let chatsdk = FakeBackend::start(ChatSdk::new(API_KEY, Generation::Second { legacy_tokens: false }));
        let app = start(&database, &chatsdk);
        let disabled = log_in(&app, APP, PHONE).await;
        assert_eq!(told(&disabled), (503, "upstream_misconfigured".to_owned(), None));
        chatsdk.with(|chatsdk| {
            chatsdk.generation = SECOND;
            "another".clone_into(&mut chatsdk.api_key);
        });
        let wrong_key = complete(&app, &disabled).await;
        assert_eq!(told(&wrong_key), (503, "upstream_misconfigured".to_owned(), None));
        for answer in [&disabled, &wrong_key] {
            assert!(!answer.text.contains("egacy") && !answer.text.contains("API key"), "{answer:?}");
        }
        chatsdk.with(|chatsdk| API_KEY.clone_into(&mut chatsdk.api_key));
        assert_eq!((complete(&app, &wrong_key).await.status, app.outbox.count()), (200, 1));
        app.stop().await;
        assert!(lines.text().contains("fix: set CHATSDK_ENABLE_LEGACY_TOKENS=true on the ChatSDK server"));
    }
}

on_both! {
    async fn the_limit_of_our_one_address_is_passed_on_f1(database) {
        let chatsdk = FakeBackend::start(ChatSdk::new(API_KEY, SECOND));
        let app = start(&database, &chatsdk);
        chatsdk.fail("tokens", limited(17));
        let failed = log_in(&app, APP, PHONE).await;
        assert_eq!(told(&failed), (503, "upstream_unavailable".to_owned(), Some(17)));
        chatsdk.heal();
        app.advance(17);
        assert_eq!((complete(&app, &failed).await.status, app.outbox.count()), (200, 1));
        app.stop().await;
    }
}
