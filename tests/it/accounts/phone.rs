//! Another number in place of the old one.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{MAILBOX, OTHER, change, changed, post_as, proof, user_of};
use crate::harness::app::APP;
use crate::harness::wire::until;
use crate::harness::{TestApp, on_both};
use crate::sessions::{
    NUMBER, is_live, is_over, listed, log_in, log_in_again, log_in_as, post, refresh, refreshed,
};

on_both! {
    async fn the_new_number_is_the_same_user_and_the_old_one_nobody_e7(database) {
        let app = TestApp::start(&database);
        let document = app.send(app.request(reqwest::Method::GET, "/openapi.json")).await.json();
        let held = log_in(&app, NUMBER).await;
        let user = user_of(&app, &held).await;
        let done = changed(&app, &held, OTHER).await;
        assert_eq!((done.status, done.get("to")), (200, json!("+1•••1299")), "{done:?}");
        crate::v1::hold_to_schema(&document, "AddressConfirmed", &done.json());

        assert_eq!(listed(&app, &held).await, is_live(), "its own session goes on");
        assert_eq!(user_of(&app, &held).await, user, "and so does its chat");
        let soon = post(&app, "/v1/login", json!({"app_id": APP, "phone": OTHER})).await;
        assert_eq!(soon.status, 429, "a code was sent there a moment ago: one budget");
        app.advance(600);
        let again = log_in_as(&app, OTHER, None).await;
        assert_eq!((again.get("user_id"), again.get("is_new_user")), (user.clone(), json!(false)));
        let stranger = log_in_as(&app, NUMBER, None).await;
        assert_eq!(stranger.get("is_new_user"), json!(true));
        assert_ne!(stranger.get("user_id"), user);
        assert_eq!((database.audited("phone.changed"), database.audited("code.consumed")), (1, 4));
        let detail = database.texts("SELECT detail AS t FROM audit WHERE event = 'phone.changed'").remove(0);
        assert_eq!(detail, "+1•••1234 to +1•••1299");
        app.stop().await;
    }
}

on_both! {
    async fn the_old_number_is_told_without_a_code_also_within_the_wait_behind_its_last_message_e7(database) {
        let app = TestApp::start(&database);
        let held = log_in(&app, NUMBER).await;
        assert_eq!(changed(&app, &held, OTHER).await.status, 200);
        until("the notice is out", || app.outbox.count() == 3).await;
        let notice = app.outbox.sent().remove(2);
        assert_eq!((notice.to.as_str(), notice.code.as_str()), (NUMBER, ""));
        assert!(notice.text.contains("has a new number"), "{}", notice.text);
        let noted = "SELECT count(*) AS n FROM deliveries WHERE status = 'accepted' AND address = '+18005551234'";
        until("it is noted", || database.number(noted) == 2).await;
        app.stop().await;
    }
}

on_both! {
    async fn codes_for_another_number_and_for_a_mailbox_count_for_whoever_brought_them(database) {
        let app = TestApp::builder(&database).with_mail().start();
        let held = log_in(&app, NUMBER).await;
        for (path, body) in
            [("/v1/phone/change", json!({"phone": "+447400123456"})), ("/v1/email/link", json!({"email": MAILBOX}))]
        {
            let started = post_as(&app, &held, path, body).await;
            let open = "deliveries WHERE status = 'pending'";
            until("it is noted who brought the code", || database.count(open) == 0).await;
            let proof = proof(&started, &app.outbox.last_code());
            assert_eq!(post_as(&app, &held, &format!("{path}/verify"), proof).await.status, 200, "{path}");
        }
        app.stop().await;
        let rows = "SELECT provider || ' ' || country || ' ' || sent || ' ' || verified AS t FROM provider_outcomes \
                    WHERE country <> 'US' ORDER BY provider";
        assert_eq!(database.texts(rows), ["console GB 1 1", "mail ZZ 1 1"]);
    }
}

on_both! {
    async fn a_notice_that_nobody_takes_or_that_is_over_the_budget_fails_no_change(database) {
        let app = TestApp::builder(&database).set("limits.per_address", "1/24h").start();
        let held = log_in(&app, NUMBER).await;
        assert_eq!(changed(&app, &held, OTHER).await.status, 200);
        let of_old = "SELECT count(*) AS n FROM deliveries WHERE address = '+18005551234'";
        assert_eq!(database.number(of_old), 1, "the login's code was all for today");
        app.stop().await;
    }
}

on_both! {
    async fn the_other_sessions_end_and_this_one_goes_on_v_7_5_1(database) {
        let app = TestApp::start(&database);
        let one = log_in(&app, NUMBER).await;
        let two = log_in_again(&app, NUMBER).await;
        let one = refreshed(&app, &one).await;
        assert_eq!(changed(&app, &one, OTHER).await.status, 200);
        assert_eq!((listed(&app, &one).await, listed(&app, &two).await), (is_live(), is_over()));
        assert_eq!(refresh(&app, &two.refresh).await.get("code"), "session_over");
        let why = "SELECT ended_why AS t FROM sessions WHERE ended_at IS NOT NULL";
        assert_eq!(database.texts(why), ["phone_changed"]);
        app.stop().await;
    }
}

on_both! {
    async fn an_operator_may_let_the_other_sessions_go_on(database) {
        let app = TestApp::builder(&database).set("session.on_phone_change", "keep").start();
        let one = log_in(&app, NUMBER).await;
        let two = log_in_again(&app, NUMBER).await;
        let one = refreshed(&app, &one).await;
        assert_eq!(changed(&app, &one, OTHER).await.status, 200);
        assert_eq!(user_of(&app, &one).await, user_of(&app, &two).await, "with a chat each");
        app.stop().await;
    }
}

on_both! {
    async fn a_number_of_somebody_else_is_not_taken_and_a_start_does_not_tell_e5(database) {
        let app = TestApp::start(&database);
        let other = log_in(&app, OTHER).await;
        let held = log_in(&app, NUMBER).await;
        app.advance(600);
        let (free, taken) =
            (change(&app, &held, "+18005551298").await, change(&app, &held, OTHER).await);
        assert_eq!((free.status, taken.status), (202, 202));
        let proof = proof(&taken, &app.outbox.last_code());
        for _ in 0..2 {
            let refused = post_as(&app, &held, "/v1/phone/change/verify", proof.clone()).await;
            assert_eq!((refused.status, refused.get("code")), (409, json!("address_taken")));
        }
        assert_eq!(database.count("guards"), 0, "the code was right");
        assert_eq!(database.audited("phone.changed"), 0);
        assert_ne!(user_of(&app, &held).await, user_of(&app, &other).await);
        app.stop().await;
    }
}

on_both! {
    async fn of_two_changes_to_one_free_number_one_wins(database) {
        let app = TestApp::builder(&database).set("limits.send_waits", vec!["1s"; 4]).start();
        let mut proofs = Vec::new();
        for number in ["+18005551230", "+18005551231", "+18005551232"] {
            let held = log_in(&app, number).await;
            let started = change(&app, &held, OTHER).await;
            assert_eq!(started.status, 202, "{started:?}");
            let code = app.outbox.last_code();
            proofs.push((held, proof(&started, &code)));
            app.advance(1);
        }
        let posts = proofs.iter().map(|(held, proof)| post_as(&app, held, "/v1/phone/change/verify", proof.clone()));
        let mut statuses: Vec<u16> = join_all(posts).await.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409, 409]);
        assert_eq!((database.count("identities"), database.audited("phone.changed")), (3, 1));
        app.stop().await;
    }
}

on_both! {
    async fn of_sixteen_posts_of_one_right_code_one_changes_and_a_repeat_is_answered_alike_a3(database) {
        let app = TestApp::start(&database);
        let held = log_in(&app, NUMBER).await;
        let started = change(&app, &held, OTHER).await;
        let proof = proof(&started, &app.outbox.last_code());
        let posts = (0..16).map(|_| post_as(&app, &held, "/v1/phone/change/verify", proof.clone()));
        let done = join_all(posts).await;
        assert!(done.iter().any(|answer| answer.status == 200), "{done:?}");
        assert!(done.iter().all(|answer| answer.status < 500), "{done:?}");
        assert_eq!((database.audited("phone.changed"), database.audited("code.consumed")), (1, 2));
        database.execute("DELETE FROM guards");
        database.execute("UPDATE challenges SET repeats = 0");
        let repeated = post_as(&app, &held, "/v1/phone/change/verify", proof.clone()).await;
        assert_eq!((repeated.status, repeated.get("to")), (200, json!("+1•••1299")), "the answer may have been lost");
        app.advance(61);
        let late = post_as(&app, &held, "/v1/phone/change/verify", proof).await;
        assert_eq!(late.get("code"), json!("challenge_gone"));
        app.stop().await;
    }
}

on_both! {
    async fn guesses_at_a_change_and_at_a_login_of_a_number_share_its_guard_b1(database) {
        let app = TestApp::start(&database);
        let held = log_in(&app, NUMBER).await;
        let started = change(&app, &held, OTHER).await;
        let wrong = app.outbox.wrong_code();
        for left in (0..5).rev() {
            let answer = post_as(&app, &held, "/v1/phone/change/verify", proof(&started, &wrong)).await;
            assert_eq!((answer.get("code"), answer.get("attempts_left")), (json!("wrong_code"), json!(left)));
        }
        let gone = post_as(&app, &held, "/v1/phone/change/verify", proof(&started, &wrong)).await;
        assert_eq!(gone.get("code"), json!("challenge_gone"));
        app.advance(60);
        let login = post(&app, "/v1/login", json!({"app_id": APP, "phone": OTHER})).await;
        assert_eq!(login.status, 202, "{login:?}");
        let sixth = post(&app, "/v1/login/verify", proof(&login, &wrong)).await;
        assert_eq!(sixth.get("code"), json!("wrong_code"));
        let seventh = post(&app, "/v1/login/verify", proof(&login, &wrong)).await;
        assert_eq!((seventh.status, seventh.get("code")), (429, json!("guess_too_soon")));
        app.stop().await;
    }
}

on_both! {
    async fn nobody_changes_a_number_without_a_live_session(database) {
        let app = TestApp::start(&database);
        let held = log_in(&app, NUMBER).await;
        let started = change(&app, &held, OTHER).await;
        let proof = proof(&started, &app.outbox.last_code());
        let bare = post(&app, "/v1/phone/change", json!({"phone": OTHER})).await;
        assert_eq!((bare.status, bare.get("code")), (401, json!("invalid_token")));
        let bare = post(&app, "/v1/phone/change/verify", proof.clone()).await;
        assert_eq!(bare.get("code"), json!("invalid_token"));
        assert_eq!(post_as(&app, &held, "/v1/logout", json!({"scope": "local"})).await.status, 204);
        for (path, body) in [("/v1/phone/change", json!({"phone": OTHER})), ("/v1/phone/change/verify", proof)] {
            let over = post_as(&app, &held, path, body).await;
            assert_eq!((over.status, over.get("code")), (401, json!("session_over")), "{path}");
        }
        assert_eq!(database.audited("guess.counted"), 1, "the login's");
        app.stop().await;
    }
}

on_both! {
    async fn where_the_backend_goes_by_numbers_it_knows_each_user_as_before_and_no_other_by_that(database) {
        let app = TestApp::start(&database);
        app.upstream.goes_by_address();
        let held = log_in(&app, NUMBER).await;
        assert_eq!(user_of(&app, &held).await, json!(NUMBER));
        assert_eq!(changed(&app, &held, OTHER).await.status, 200);
        assert_eq!(user_of(&app, &held).await, json!(NUMBER), "their chats stay theirs");
        app.advance(600);
        let next = log_in_as(&app, NUMBER, None).await;
        assert_eq!(next.get("chat")["user_id"], next.get("user_id"), "whoever gets the number has chats of their own");
        app.advance(600);
        let held = refreshed(&app, &held).await;
        assert_eq!(changed(&app, &held, "+18005551296").await.status, 200);
        assert_eq!(user_of(&app, &held).await, json!(NUMBER));
        app.stop().await;
    }
}

on_both! {
    async fn ones_own_number_is_no_change(database) {
        let app = TestApp::start(&database);
        let held = log_in(&app, NUMBER).await;
        let other = log_in_again(&app, NUMBER).await;
        let held = refreshed(&app, &held).await;
        app.advance(600);
        assert_eq!(changed(&app, &held, NUMBER).await.status, 200);
        assert_eq!(listed(&app, &other).await, is_live());
        assert_eq!((database.audited("phone.changed"), database.count("identities")), (0, 1));
        app.stop().await;
    }
}

on_both! {
    async fn bodies_are_read_strictly_j5(database) {
        let app = TestApp::start(&database);
        let held = log_in(&app, NUMBER).await;
        let cases = [
            (json!({}), "invalid_request"),
            (json!({"phone": 5}), "invalid_request"),
            (json!({"phone": OTHER, "app_id": APP}), "invalid_request"),
            (json!({"phone": OTHER, "channel": "pigeon"}), "channel_not_offered"),
            (json!({"phone": "18005551299"}), "phone_not_canonical"),
            (json!({"phone": OTHER, "locale": "?"}), "invalid_request"),
            (Value::Array(Vec::new()), "invalid_request"),
        ];
        for (body, code) in cases {
            let answer = post_as(&app, &held, "/v1/phone/change", body.clone()).await;
            assert_eq!((answer.status, answer.get("code")), (400, json!(code)), "{body}");
        }
        assert_eq!(app.outbox.count(), 1);
        app.stop().await;
    }
}
