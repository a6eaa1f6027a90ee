//! A process that is killed amid a change of number: it has moved, or it has not, and never half.

use std::sync::Arc;

use latchkey::ambient::{Clock, ManualClock, SystemClock};
use serde_json::{Value, json};

use super::{OTHER, post_as};
use crate::harness::app::{APP, PHONE};
use crate::harness::process::{Client, Server, Settings, until};
use crate::harness::{FakeMesibo, TestApp, on_both};
use crate::sessions::{Held, NUMBER, is_live, listed};

async fn posted(client: &Client, path: &str, bearer: &str, body: Value) -> Value {
    let answer = client.post_v1(path, bearer, &body).await.expect("an answer");
    serde_json::from_str(&answer.text).unwrap_or(Value::Null)
}

async fn log_in(client: &Client, settings: &Settings, number: &str) -> Held {
    let started = posted(client, "/v1/login", "", json!({"app_id": APP, "phone": number})).await;
    let code = settings.codes(number.trim_start_matches('+')).pop().expect("a code");
    let body = json!({"challenge": started["challenge"], "secret": started["secret"], "code": code});
    Held::of(&posted(client, "/v1/login/verify", "", body).await["session"])
}

on_both! {
    async fn killed_behind_the_write_the_number_has_moved_whole_and_the_client_asks_again_c1(database) {
        let mesibo = FakeMesibo::start().await;
        let settings = Settings::of(&database).mesibo(&mesibo).set("limits.send_waits", vec!["1s"; 4]);
        let mut server = Server::start(&settings).await;
        let held = log_in(&server.client, &settings, NUMBER).await;
        let started = posted(&server.client, "/v1/phone/change", &held.access, json!({"phone": OTHER})).await;
        let code = settings.only_code("18005551299");
        let proof = json!({"challenge": started["challenge"], "secret": started["secret"], "code": code});
        let client = server.client.clone();
        let post = client.post_v1("/v1/phone/change/verify", &held.access, &proof);
        let killed = async {
            until("the code is used up", || database.audited("code.consumed") == 2).await;
            server.process.kill();
        };
        let (_answered_or_not, ()) = tokio::join!(post, killed);
        let moved = "SELECT count(*) AS n FROM identities WHERE address = '+18005551299' AND upstream_id = '18005551234'";
        assert_eq!((database.number(moved), database.count("identities")), (1, 1));
        assert_eq!(database.texts("SELECT address AS t FROM sessions"), [OTHER]);
        assert_eq!(database.audited("phone.changed"), 1);

        let upstream = format!(
            "[upstreams.chat]\nkind = \"mesibo\"\nurl = {:?}\napp_token = \"the-app-token\"\n",
            mesibo.url
        );
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let app = TestApp::builder(&database).clock(&clock).config(&upstream).real_upstreams().start();
        let again = post_as(&app, &held, "/v1/phone/change/verify", proof).await;
        assert_eq!((again.status, again.get("to")), (200, json!("+1•••1299")), "{again:?}");
        let chat = post_as(&app, &held, "/v1/chat-token", Value::Null).await;
        assert_eq!(chat.get("user_id"), json!(PHONE), "mesibo knows them as before");
        assert_eq!(database.audited("phone.changed"), 1);
        app.stop().await;
    }
}

on_both! {
    async fn killed_anywhere_amid_a_change_nothing_is_half_done_c1(database) {
        let settings = Settings::of(&database);
        let mut server = Server::start(&settings).await;
        let held = log_in(&server.client, &settings, NUMBER).await;
        let started = posted(&server.client, "/v1/phone/change", &held.access, json!({"phone": OTHER})).await;
        let code = settings.only_code("18005551299");
        let proof = json!({"challenge": started["challenge"], "secret": started["secret"], "code": code});
        let client = server.client.clone();
        let post = client.post_v1("/v1/phone/change/verify", &held.access, &proof);
        // The guess is counted, and what comes then is under way.
        let killed = async {
            until("the guess is counted", || database.audited("guess.counted") == 2).await;
            server.process.kill();
        };
        let (_answered_or_not, ()) = tokio::join!(post, killed);
        let changed = database.audited("phone.changed");
        let address = if changed == 1 { OTHER } else { NUMBER };
        assert_eq!(database.texts("SELECT address AS t FROM identities"), [address]);
        assert_eq!(database.texts("SELECT address AS t FROM sessions"), [address]);
        assert_eq!(database.audited("code.consumed"), 1 + changed);

        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let app = TestApp::builder(&database).clock(&clock).start();
        assert_eq!(post_as(&app, &held, "/v1/phone/change/verify", proof).await.status, 200);
        assert_eq!(database.texts("SELECT address AS t FROM identities"), [OTHER]);
        assert_eq!(listed(&app, &held).await, is_live());
        app.stop().await;
    }
}
