//! The fetch calls of the backends' own documents, as request and as rule of what they take for a success.

use reqwest::Method;
use serde_json::{Value, json};

use super::chat_token::APPS;
use super::{NUMBER, call, log_in, post};
use crate::harness::app::Answer;
use crate::harness::chatsdk::{ChatSdk, Generation};
use crate::harness::sendbird::{self, Sendbird};
use crate::harness::{Database, FakeBackend, TestApp, on_both};

fn at_sendbird(database: &Database, sendbird: &FakeBackend<Sendbird>) -> TestApp {
    let url = sendbird.url();
    TestApp::builder(database)
        .real_upstreams()
        .config(&format!("[upstreams.chat]\nkind = \"sendbird\"\nurl = {url:?}\napi_token = \"the-token\""))
        .start()
}

/// What `JSONObject.getString` gives: a text, or an exception.
fn get_string(answer: &Answer, key: &str) -> String {
    answer.get(key).as_str().unwrap_or_else(|| panic!("JSONException: {key}: {answer:?}")).to_owned()
}

/// The session tokens of the only user, oldest first.
fn tokens(sendbird: &FakeBackend<Sendbird>) -> Vec<String> {
    sendbird.with(|sendbird| sendbird.users.values().next().expect("a user").tokens.clone())
}

on_both! {
    async fn sendbirds_kotlin_session_handler_gets_a_fresh_token_and_a_clear_no(database) {
        let sendbird = FakeBackend::start(Sendbird::new("the-token"));
        let app = at_sendbird(&database, &sendbird);
        let held = log_in(&app, NUMBER).await;
        // myServiceLogin(USER_ID) { response, error -> …
        let login = json!({"user_id": "usr_1"});
        let answer = call(&app, Method::POST, "/v1/chat-token", &held.access, login).await;
        assert_eq!(answer.status, 200);
        // … response.getString("access_token") … onSuccess(sendbirdToken) }
        assert_eq!(vec![get_string(&answer, "access_token")], tokens(&sendbird)[1..]);
        // The Flask sample's other keys.
        assert!(!get_string(&answer, "user_id").is_empty() && answer.get("expires_at").is_i64());
        // const response = await fetch('new-token-endpoint'); resolve(response.token), in the AI agent's messenger.
        assert_eq!(get_string(&answer, "token"), get_string(&answer, "access_token"));

        sendbird.fail("again", sendbird::limited("0.5"));
        let slow = call(&app, Method::POST, "/v1/chat-token", &held.access, Value::Null).await;
        assert_eq!((slow.status, slow.get("code")), (503, json!("upstream_unavailable")), "onFail()");
        assert!(slow.headers.contains_key("retry-after") && slow.get("access_token").is_null());
        sendbird.heal();
        sendbird.with(|sendbird| sendbird.users.values_mut().for_each(|user| user.is_active = false));
        app.advance(60);
        let banned = call(&app, Method::POST, "/v1/chat-token", &held.access, Value::Null).await;
        assert_eq!((banned.status, banned.get("code")), (403, json!("user_refused")), "F8");
        app.stop().await;
    }
}

on_both! {
    async fn a_logout_leaves_no_session_token_at_sendbird_g5(database) {
        let sendbird = FakeBackend::start(Sendbird::new("the-token"));
        let app = at_sendbird(&database, &sendbird);
        let held = log_in(&app, NUMBER).await;
        call(&app, Method::POST, "/v1/chat-token", &held.access, Value::Null).await;
        assert_eq!(tokens(&sendbird).len(), 2);
        let out = call(&app, Method::POST, "/v1/logout", &held.access, json!({"scope": "local"})).await;
        assert_eq!((out.status, tokens(&sendbird).len()), (204, 0));
        let late = call(&app, Method::POST, "/v1/chat-token", &held.access, Value::Null).await;
        assert_eq!((late.get("code"), tokens(&sendbird).len()), (json!("session_over"), 0));
        app.stop().await;
    }
}

on_both! {
    async fn chatsdks_react_native_and_react_samples_read_token_and_ws_token(database) {
        let chatsdk = FakeBackend::start(ChatSdk::new("the-key", Generation::First));
        let url = chatsdk.url();
        let upstream = format!("[upstreams.chat]\nkind = \"chatsdk\"\nurl = {url:?}\napi_key = \"the-key\"");
        let app = TestApp::builder(&database).real_upstreams().config(&upstream).config(APPS).start();
        let held = log_in(&app, NUMBER).await;
        // fetch('https://your-api.com/chat-token', { headers: { 'Authorization': `Bearer ${userAccessToken}` } })
        let request = app.request(Method::GET, "/api/auth/chat-token").bearer_auth(&held.access);
        let answer = app.send(request).await;
        // const { token, wsToken } = await response.json();
        assert_ne!(get_string(&answer, "token"), get_string(&answer, "wsToken"));
        assert_eq!((&answer.get("user")["id"], answer.get("expiresIn")), (&answer.get("user_id"), json!(86_400)));
        // fetch('/api/auth/chat-token', { credentials: 'include' }): cookies say nothing here.
        let request = app.request(Method::GET, "/api/auth/chat-token").header("cookie", "session=1");
        let refused = app.send(request).await;
        assert_eq!((refused.status, refused.get("token")), (401, Value::Null));
        let nobody = post(&app, "/api/auth/chat-token", json!({})).await;
        assert_eq!(nobody.get("code"), "invalid_token");
        app.stop().await;
    }
}
