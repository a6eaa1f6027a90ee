//! A mailbox beside the number.

use reqwest::Method;
use serde_json::{Value, json};

use super::{MAILBOX, OTHER, changed, linked, log_in_by_mail, post_as, user_of};
use crate::harness::app::{APP, Answer};
use crate::harness::{Database, TestApp, on_both};
use crate::sessions::{Held, NUMBER, call, is_live, listed, log_in, log_in_as, post, refreshed};

fn start(database: &Database) -> TestApp {
    TestApp::builder(database).with_mail().set("email.login", true).start()
}

async fn unlink(app: &TestApp, held: &Held) -> Answer {
    call(app, Method::DELETE, "/v1/email", &held.access, Value::Null).await
}

on_both! {
    async fn both_addresses_lead_to_one_user(database) {
        let app = start(&database);
        let held = log_in(&app, NUMBER).await;
        let user = user_of(&app, &held).await;
        let done = linked(&app, &held, MAILBOX).await;
        assert_eq!((done.status, done.get("to")), (200, json!("a•••@mail.example")), "{done:?}");
        app.advance(600);
        let by_mail = log_in_by_mail(&app, MAILBOX).await;
        assert_eq!((by_mail.get("user_id"), by_mail.get("is_new_user")), (user.clone(), json!(false)));
        assert_eq!(log_in_as(&app, NUMBER, None).await.get("user_id"), user);
        assert_eq!((database.count("users"), database.audited("email.linked")), (1, 1));
        app.stop().await;
    }
}

on_both! {
    async fn a_mailbox_can_be_linked_where_nobody_logs_in_by_mail(database) {
        let app = TestApp::builder(&database).with_mail().start();
        let held = log_in(&app, NUMBER).await;
        assert_eq!(linked(&app, &held, MAILBOX).await.status, 200);
        let off = post(&app, "/v1/login", json!({"app_id": APP, "email": MAILBOX})).await;
        assert_eq!((off.status, off.get("code")), (403, json!("email_login_off")));
        app.stop().await;
    }
}

on_both! {
    async fn a_mailbox_of_somebody_else_is_not_taken(database) {
        let app = start(&database);
        assert_eq!(log_in_by_mail(&app, MAILBOX).await.status, 200);
        let held = log_in(&app, NUMBER).await;
        app.advance(60);
        let refused = linked(&app, &held, MAILBOX).await;
        assert_eq!((refused.status, refused.get("code")), (409, json!("address_taken")));
        assert_eq!(database.audited("email.linked"), 0);
        app.stop().await;
    }
}

on_both! {
    async fn another_mailbox_takes_the_place_of_the_first_and_its_sessions_go_on(database) {
        let app = start(&database);
        let held = log_in(&app, NUMBER).await;
        assert_eq!(linked(&app, &held, MAILBOX).await.status, 200);
        app.advance(600);
        let by_mail = Held::of(&log_in_by_mail(&app, MAILBOX).await.get("session"));
        assert_eq!(linked(&app, &held, "lee@mail.example").await.status, 200);
        assert_eq!(listed(&app, &by_mail).await, is_live());
        assert_eq!(user_of(&app, &by_mail).await, user_of(&app, &held).await);
        app.advance(600);
        assert_eq!(log_in_by_mail(&app, MAILBOX).await.get("is_new_user"), json!(true), "it leads to nobody");
        app.stop().await;
    }
}

on_both! {
    async fn an_unlinked_mailbox_leads_to_nobody_and_what_was_logged_in_with_it_goes_on(database) {
        let app = start(&database);
        let held = log_in(&app, NUMBER).await;
        assert_eq!(linked(&app, &held, MAILBOX).await.status, 200);
        app.advance(600);
        let by_mail = Held::of(&log_in_by_mail(&app, MAILBOX).await.get("session"));
        for _ in 0..2 {
            assert_eq!(unlink(&app, &held).await.status, 204, "also where there is none");
        }
        assert_eq!(user_of(&app, &by_mail).await, user_of(&app, &held).await);
        assert_eq!((database.count("identities"), database.audited("email.unlinked")), (1, 1));
        app.stop().await;
    }
}

on_both! {
    async fn the_only_address_stays_until_there_is_a_number(database) {
        let app = start(&database);
        let held = Held::of(&log_in_by_mail(&app, MAILBOX).await.get("session"));
        let user = user_of(&app, &held).await;
        let refused = unlink(&app, &held).await;
        assert_eq!((refused.status, refused.get("code")), (409, json!("only_address")));
        assert_eq!(changed(&app, &held, OTHER).await.status, 200);
        assert_eq!(unlink(&app, &held).await.status, 204);
        app.advance(600);
        let held = refreshed(&app, &held).await;
        assert_eq!(user_of(&app, &held).await, user);
        assert_eq!(log_in_as(&app, OTHER, None).await.get("user_id"), user);
        app.stop().await;
    }
}

on_both! {
    async fn where_the_backend_goes_by_addresses_a_linked_mailbox_is_known_by_the_number(database) {
        let app = start(&database);
        app.upstream.goes_by_address();
        let held = log_in(&app, NUMBER).await;
        assert_eq!(linked(&app, &held, MAILBOX).await.status, 200);
        app.advance(600);
        let by_mail = log_in_by_mail(&app, MAILBOX).await;
        assert_eq!(by_mail.get("chat")["user_id"], json!(NUMBER));
        assert_eq!(changed(&app, &held, OTHER).await.status, 200);
        app.advance(600);
        assert_eq!(log_in_by_mail(&app, MAILBOX).await.get("chat")["user_id"], json!(NUMBER));
        assert_eq!(log_in_as(&app, OTHER, None).await.get("chat")["user_id"], json!(NUMBER));
        app.stop().await;
    }
}

on_both! {
    async fn a_captcha_is_taken_and_nothing_more_j5(database) {
        let app = TestApp::start(&database);
        let login = |captcha: Value| json!({"app_id": APP, "phone": NUMBER, "captcha": captcha});
        for bad in [json!(5), json!(["a"]), json!("x".repeat(4097))] {
            let answer = post(&app, "/v1/login", login(bad)).await;
            assert_eq!((answer.status, answer.get("code")), (400, json!("invalid_request")));
        }
        assert_eq!(app.outbox.count(), 0);
        assert_eq!(post(&app, "/v1/login", login(json!("é".repeat(4096)))).await.status, 202);
        let held = log_in(&app, OTHER).await;
        let other = post_as(&app, &held, "/v1/phone/change", json!({"phone": NUMBER, "captcha": "x"})).await;
        assert_eq!(other.get("detail"), json!("unknown field captcha"));
        app.stop().await;
    }
}
