//! Logins at Sendbird.

use latchkey::domain::address::Address;
use latchkey::domain::ids::UserId;
use latchkey::store::Abort;
use latchkey::store::users::{self, Imported};
use serde_json::json;

use super::{chat_of, complete, log_in, told};
use crate::harness::app::{APP, now};
use crate::harness::sendbird::{Sendbird, limited};
use crate::harness::{Database, FakeBackend, TestApp, logs, on_both};

const API_TOKEN: &str = "sb-secondary-api-token-canary-7Q";
const PHONE: &str = "+18005551234";
const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1000;

fn start(database: &Database, sendbird: &FakeBackend<Sendbird>) -> TestApp {
    TestApp::builder(database)
        .real_upstreams()
        .config(&format!(
            "[upstreams.chat]\nkind = \"sendbird\"\nurl = {:?}\napi_token = {API_TOKEN:?}",
            sendbird.url()
        ))
        .start()
}

on_both! {
    async fn the_chat_body_is_what_the_flask_sample_of_the_documents_returns(database) {
        let lines = logs::of_this_process();
        let sendbird = FakeBackend::start(Sendbird::new(API_TOKEN));
        let app = start(&database, &sendbird);
        let chat = chat_of(&app, PHONE).await;
        let id = chat["user_id"].as_str().expect("a text").to_owned();
        let tokens = sendbird.with(|sendbird| sendbird.users[&id].tokens.clone());
        // jsonify({'user_id': …, 'access_token': token_data["token"], 'expires_at': token_data["expires_at"]})
        assert_eq!((&chat["access_token"], &chat["expires_at"]), (&json!(tokens[0]), &json!(now().as_millis() + WEEK_MS)));
        // The messenger of the AI agent: resolve(response.token).
        assert_eq!((&chat["token"], &chat["provider"]), (&json!(tokens[0]), &json!("sendbird")));
        assert!(id.starts_with("usr_"), "opaque, and no phone number: {id}");
        let path = format!("POST /v3/users/{id}/token");
        assert_eq!(sendbird.calls(), [path.clone(), "POST /v3/users".to_owned(), path.clone()]);

        app.advance(60);
        let again = chat_of(&app, PHONE).await;
        assert_eq!((&again["user_id"], sendbird.calls().len()), (&json!(id), 4), "one call for somebody known");
        assert_ne!(again["token"], chat["token"]);
        app.stop().await;
        let log = lines.text();
        for secret in [API_TOKEN, &tokens[0]] {
            assert!(!log.contains(secret) && !again.to_string().contains(API_TOKEN), "{secret}");
        }
        for asked in sendbird.asked() {
            assert!(!asked.body.contains("8005551234") && !asked.path.contains("8005551234"), "{asked:?}");
        }
    }
}

on_both! {
    async fn a_name_becomes_the_nickname_of_a_new_user(database) {
        let sendbird = FakeBackend::start(Sendbird::new(API_TOKEN));
        let app = start(&database, &sendbird);
        app.start_login("18005551234").await;
        let code = app.outbox.last_code();
        let body = json!({"op": "login", "appid": APP, "phone": "18005551234", "dt": "1", "otp": code, "name": "Ann 👋"});
        let verified = app.post(body.to_string()).await;
        let user = sendbird.with(|sendbird| sendbird.users.values().next().expect("a user").clone());
        assert_eq!((user.nickname.as_str(), user.profile_url.as_str()), ("Ann 👋", ""));
        assert_eq!(verified.token().as_ref(), user.tokens.last(), "in the mesibo dialect, too");
        app.stop().await;
    }
}

on_both! {
    async fn whoever_loses_the_race_to_create_a_user_gets_a_token_all_the_same_f2(database) {
        let sendbird = FakeBackend::start(Sendbird::new(API_TOKEN));
        sendbird.with(|sendbird| sendbird.races = true);
        let app = start(&database, &sendbird);
        let chat = chat_of(&app, PHONE).await;
        let users = sendbird.with(|sendbird| sendbird.users.clone());
        assert_eq!(users.len(), 1);
        let user = &users[chat["user_id"].as_str().expect("a text")];
        assert_eq!((user.nickname.as_str(), &json!(user.tokens)), ("first", &json!([chat["token"]])));
        app.stop().await;
    }
}

on_both! {
    async fn a_user_whose_creation_was_not_answered_is_not_created_twice_f2(database) {
        let sendbird = FakeBackend::start(Sendbird::new(API_TOKEN));
        let app = start(&database, &sendbird);
        sendbird.lose("create");
        let failed = log_in(&app, APP, PHONE).await;
        assert_eq!(failed.status, 503, "{failed:?}");
        let created = sendbird.with(|sendbird| sendbird.users.len());
        app.advance(told(&failed).2.expect("a wait"));
        let done = complete(&app, &failed).await;
        assert_eq!((created, done.status, app.outbox.count()), (1, 200, 1), "{done:?}");
        let creations = sendbird.calls().iter().filter(|call| *call == "POST /v3/users").count();
        assert_eq!((creations, sendbird.with(|sendbird| sendbird.users.len())), (1, 1));
        app.stop().await;
    }
}

on_both! {
    async fn a_deactivated_user_is_refused_for_good_and_told_apart_f6(database) {
        let sendbird = FakeBackend::start(Sendbird::new(API_TOKEN));
        let app = start(&database, &sendbird);
        chat_of(&app, PHONE).await;
        sendbird.with(|sendbird| sendbird.users.values_mut().for_each(|user| user.is_active = false));
        app.advance(60);
        let refused = log_in(&app, APP, PHONE).await;
        assert_eq!(told(&refused), (403, "user_refused".to_owned(), None));
        assert_eq!(refused.get("grant"), json!(null), "no loop");
        assert!(!refused.text.contains("eactivated"), "{refused:?}");
        app.stop().await;
    }
}

on_both! {
    async fn an_imported_user_keeps_their_id_whatever_is_in_it(database) {
        let sendbird = FakeBackend::start(Sendbird::new(API_TOKEN));
        let app = start(&database, &sendbird);
        let id = "+1 (800) 555-1234/a?b#c%2F&é";
        sendbird.with(|sendbird| sendbird.add(id, "Ann", "https://a.example/ann.png"));
        let imported = Imported {
            address: Address::parse(PHONE).expect("a number"),
            upstream_id: id.to_owned(),
            name: None,
        };
        let user = UserId::from_stored("usr_0123456789012345678901".to_owned());
        let write = move |db: &mut _| {
            Ok::<_, Abort<std::convert::Infallible>>(users::import(db, "chat", &imported, &user, now())?)
        };
        let Ok(_) = app.store.write(write).await.expect("a write");
        assert_eq!(chat_of(&app, PHONE).await["user_id"], id);
        let encoded = "POST /v3/users/%2B1%20(800)%20555-1234%2Fa%3Fb%23c%252F%26%C3%A9/token";
        assert_eq!(sendbird.calls(), [encoded], "somebody known");
        app.stop().await;
    }
}

on_both! {
    async fn a_wrong_api_token_is_the_operators_and_a_right_one_finishes_the_login_f1(database) {
        let lines = logs::of_this_process();
        let sendbird = FakeBackend::start(Sendbird::new("rotated"));
        let app = start(&database, &sendbird);
        let failed = log_in(&app, APP, PHONE).await;
        assert_eq!(told(&failed), (503, "upstream_misconfigured".to_owned(), None));
        assert!(!failed.text.contains("endbird") && !failed.text.contains(API_TOKEN), "{failed:?}");
        sendbird.with(|sendbird| API_TOKEN.clone_into(&mut sendbird.api_token));
        assert_eq!((complete(&app, &failed).await.status, app.outbox.count()), (200, 1));
        app.stop().await;
        let log = lines.text();
        assert!(log.contains("fix: copy a secondary API token") && !log.contains(API_TOKEN));
    }
}

on_both! {
    async fn a_limit_is_passed_on_in_whole_seconds_so_that_waiting_succeeds_f1(database) {
        let sendbird = FakeBackend::start(Sendbird::new(API_TOKEN));
        let app = start(&database, &sendbird);
        for (index, (retry_after, wait)) in [("0.069786548614502", 1), ("1.0", 1), ("2.07", 3)].into_iter().enumerate() {
            sendbird.fail("token", limited(retry_after));
            let failed = log_in(&app, APP, &format!("+1800555123{index}")).await;
            assert_eq!(told(&failed), (503, "upstream_unavailable".to_owned(), Some(wait)), "{retry_after}");
            sendbird.heal();
            app.advance(wait);
            assert_eq!(complete(&app, &failed).await.status, 200);
        }
        app.stop().await;
    }
}
