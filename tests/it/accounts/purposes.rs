//! A code is good for one thing.

use serde_json::json;

use super::{MAILBOX, OTHER, change, post_as, proof};
use crate::harness::app::APP;
use crate::harness::reports::Pair;
use crate::harness::{TestApp, on_both};
use crate::sessions::{Held, NUMBER, is_live, listed, log_in, log_in_again, post, refreshed};

const PATHS: [&str; 3] = ["/v1/login/verify", "/v1/phone/change/verify", "/v1/email/link/verify"];

on_both! {
    async fn a_code_for_one_purpose_passes_for_no_other_and_nothing_is_counted(database) {
        let app = TestApp::builder(&database).with_mail().set("email.login", true).start();
        let held = log_in(&app, NUMBER).await;
        let login = post(&app, "/v1/login", json!({"app_id": APP, "phone": "+18005551298"})).await;
        let login_proof = proof(&login, &app.outbox.last_code());
        let changing = change(&app, &held, OTHER).await;
        let change_proof = proof(&changing, &app.outbox.last_code());
        let linking = post_as(&app, &held, "/v1/email/link", json!({"email": MAILBOX})).await;
        let link_proof = proof(&linking, &app.outbox.last_code());
        for (right, proof) in [login_proof, change_proof, link_proof].into_iter().enumerate() {
            for (index, path) in PATHS.iter().enumerate().filter(|(index, _)| *index != right) {
                let answer = post_as(&app, &held, path, proof.clone()).await;
                assert_eq!((answer.status, answer.get("code")), (410, json!("challenge_gone")), "{right} at {index}");
            }
            assert_eq!(database.count("guards"), 0);
            let answer = post_as(&app, &held, PATHS[right], proof).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_code_in_the_row_of_another_purpose_is_wrong_a7(database) {
        let app = TestApp::start(&database);
        let held = log_in(&app, NUMBER).await;
        let changing = change(&app, &held, OTHER).await;
        let proof = proof(&changing, &app.outbox.last_code());
        database.execute("UPDATE challenges SET purpose = 'login' WHERE purpose LIKE 'change:%'");
        let answer = post(&app, "/v1/login/verify", proof).await;
        assert_eq!((answer.status, answer.get("code")), (403, json!("wrong_code")), "it is hashed with its purpose");
        app.stop().await;
    }
}

on_both! {
    async fn another_session_cannot_use_the_code_not_even_of_the_same_user(database) {
        let app = TestApp::builder(&database).set("session.on_phone_change", "keep").start();
        let one = log_in(&app, NUMBER).await;
        let two = log_in_again(&app, NUMBER).await;
        let one = refreshed(&app, &one).await;
        let changing = change(&app, &one, OTHER).await;
        let proof = proof(&changing, &app.outbox.last_code());
        let stolen = post_as(&app, &two, "/v1/phone/change/verify", proof.clone()).await;
        assert_eq!(stolen.get("code"), json!("challenge_gone"));
        let resent = json!({"challenge": changing.get("challenge"), "secret": changing.get("secret")});
        assert_eq!(post(&app, "/v1/login/resend", resent).await.get("code"), json!("challenge_gone"));
        assert_eq!(post_as(&app, &one, "/v1/phone/change/verify", proof).await.status, 200);
        assert_eq!(listed(&app, &two).await, is_live());
        app.stop().await;
    }
}

on_both! {
    async fn a_gateway_is_told_what_a_message_is_for(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "").start();
        let login = post(&app, "/v1/login", json!({"app_id": APP, "phone": NUMBER})).await;
        let posted = pair.first.after(0).await;
        assert_eq!(posted.get("purpose"), "login");
        let session = post(&app, "/v1/login/verify", proof(&login, &posted.get("code"))).await;
        let held = Held::of(&session.get("session"));
        let changing = change(&app, &held, OTHER).await;
        let posted = pair.first.after(1).await;
        assert_eq!((posted.get("to"), posted.get("purpose")), (OTHER.to_owned(), "change_phone".to_owned()));
        let changed = post_as(&app, &held, "/v1/phone/change/verify", proof(&changing, &posted.get("code"))).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        let notice = pair.first.after(2).await;
        assert_eq!((notice.get("to"), notice.get("purpose")), (NUMBER.to_owned(), "change_phone".to_owned()));
        assert!(!notice.text.contains("\"code\""), "the old number gets none");
        app.stop().await;
    }
}
