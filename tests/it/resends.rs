//! A code that does not arrive goes out again, by another way.

use std::time::Duration;

use latchkey::login::Resent;
use serde_json::json;

use crate::harness::app::{APP, PHONE};
use crate::harness::gateway::{Posted, SECRET};
use crate::harness::reports::{Pair, report, says};
use crate::harness::{Database, FakeGateway, Manner, TestApp, on_both};

const PATIENT: &str = "patience = \"20s\"";

/// A login is started, and its code is noted as on its way.
async fn start(app: &TestApp, pair: &Pair, database: &Database) -> Posted {
    assert!(app.start_login(PHONE).await.is_ok());
    settle(database, 1).await;
    pair.first.after(0).await
}

/// Looks until so many messages are there, and none of them is being sent.
async fn settle(database: &Database, messages: i64) {
    while database.count("deliveries WHERE status <> 'pending'") < messages {
        tokio::task::yield_now().await;
    }
}

async fn look(app: &TestApp) -> Vec<Resent> {
    app.login.resend_overdue().await.expect("a store")
}

on_both! {
    async fn a_failed_code_goes_out_afresh_by_the_next_provider_and_both_are_valid(database) {
        for (index, seed, which) in [(0, 7, "earlier"), (1, 8, "fresh")] {
            let pair = Pair::start().await;
            let app = pair.builder(&database, "").seed(seed).start();
            let phone = format!("1201555010{index}");
            let started = app
                .post(json!({"op": "login", "appid": APP, "phone": phone, "dt": "1"}).to_string())
                .await;
            assert!(started.is_ok());
            settle(&database, 2 * index + 1).await;
            let earlier = pair.first.after(0).await;
            says(&app, &earlier, "failed").await;
            let failed = format!("SELECT coalesce(failed_providers, '-') AS t FROM deliveries WHERE id = '{}'", earlier.id);
            assert_eq!(database.texts(&failed), ["first"], "whoever asks for another code avoids it, too");
            assert_eq!(look(&app).await, [Resent::Sent]);
            let fresh = pair.second.posted()[0].clone();
            assert_ne!((fresh.get("code"), &fresh.id), (earlier.get("code"), &earlier.id));
            assert_eq!((fresh.get("to"), fresh.get("locale")), (earlier.get("to"), earlier.get("locale")));
            assert_eq!(pair.first.posted().len(), 1, "who failed is left out");
            settle(&database, 2 * index + 2).await;
            let link = format!("SELECT coalesce(resend_of, '-') AS t FROM deliveries WHERE id = '{}'", fresh.id);
            assert_eq!(database.texts(&link), std::slice::from_ref(&earlier.id));
            assert_eq!(database.audited("code.resent"), index + 1);
            assert_eq!(look(&app).await, [], "once");
            let code = if which == "fresh" { fresh.get("code") } else { earlier.get("code") };
            assert!(app.verify(&phone, &code).await.token().is_some(), "{which}");
            app.stop().await;
        }
    }
}

on_both! {
    async fn a_client_with_a_secret_can_use_a_code_that_was_sent_without_it(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "").start();
        let login = json!({"app_id": APP, "phone": format!("+{PHONE}"), "locale": "pt-BR"});
        let started = app.post_json("/v1/login", &login).await;
        assert_eq!(started.status, 202, "{started:?}");
        settle(&database, 1).await;
        says(&app, &pair.first.after(0).await, "failed").await;
        assert_eq!(look(&app).await, [Resent::Sent]);
        let fresh = pair.second.posted()[0].clone();
        assert_eq!(fresh.get("locale"), "pt-BR", "the language of the first one");
        let verify = |secret: serde_json::Value| {
            json!({"challenge": started.get("challenge"), "secret": secret, "code": fresh.get("code")})
        };
        let other = app.post_json("/v1/login", &json!({"app_id": APP, "phone": "+12015550199"})).await.get("secret");
        assert_eq!(app.post_json("/v1/login/verify", &verify(other)).await.status, 410, "another's secret");
        let verified = app.post_json("/v1/login/verify", &verify(started.get("secret"))).await;
        assert_eq!(verified.status, 200, "{verified:?}");
        app.stop().await;
    }
}

on_both! {
    async fn what_another_provider_cannot_better_is_not_sent_again(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "").start();
        let posted = start(&app, &pair, &database).await;
        for error in ["bad_number", "blocked"] {
            let body = json!({"status": "failed", "error": error});
            assert_eq!(report(&app, &posted.receipt_path(), &body).await.status, 204);
            assert_eq!(look(&app).await, [], "{error}");
            database.execute("UPDATE deliveries SET status = 'accepted'");
        }
        assert_eq!(database.texts("SELECT error AS t FROM deliveries"), ["blocked"]);
        assert_eq!(pair.second.posted().len(), 0);
        app.stop().await;
    }
}

on_both! {
    async fn silence_is_waited_for_as_long_as_the_route_says_and_a_report_ends_it(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, PATIENT).start();
        let first = start(&app, &pair, &database).await;
        app.advance(19);
        assert_eq!(look(&app).await, []);
        says(&app, &first, "accepted").await;
        app.advance(1);
        assert_eq!(look(&app).await, [Resent::Sent], "on its way is not there");
        settle(&database, 2).await;
        assert_eq!(pair.second.posted().len(), 1);
        says(&app, &first, "delivered").await;
        app.advance(20);
        assert_eq!(look(&app).await, [Resent::Enough], "once for a login");

        let other = "12015550123";
        assert!(app.start_login(other).await.is_ok());
        settle(&database, 3).await;
        says(&app, &pair.first.after(1).await, "delivered").await;
        app.advance(3600);
        assert_eq!(look(&app).await, []);
        app.stop().await;
    }
}

on_both! {
    async fn without_patience_silence_is_nothing(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "").start();
        start(&app, &pair, &database).await;
        app.advance(600);
        assert_eq!(look(&app).await, []);
        assert_eq!(database.count("deliveries WHERE due_at IS NOT NULL"), 0);
        app.stop().await;
    }
}

on_both! {
    async fn a_challenge_that_waits_for_no_code_gets_none(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, PATIENT).start();
        let posted = start(&app, &pair, &database).await;
        assert!(app.verify(PHONE, &posted.get("code")).await.token().is_some());
        app.advance(20);
        assert_eq!(look(&app).await, [Resent::Over], "it is proved");

        let other = "12015550123";
        assert!(app.start_login(other).await.is_ok());
        settle(&database, 2).await;
        app.advance(20 * 60);
        assert_eq!(look(&app).await, [Resent::Over], "it has ended");

        let third = "12015550124";
        assert!(app.start_login(third).await.is_ok());
        settle(&database, 3).await;
        let failed = pair.first.after(2).await;
        app.advance(60);
        database.execute("UPDATE deliveries SET due_at = NULL");
        assert!(app.start_login(third).await.is_ok());
        settle(&database, 4).await;
        says(&app, &failed, "failed").await;
        assert_eq!(look(&app).await, [Resent::Over], "a younger code is on its way");
        assert_eq!(pair.second.posted().len(), 0);
        app.stop().await;
    }
}

on_both! {
    async fn a_code_that_nobody_asked_for_counts_as_any_other_and_makes_nobody_wait_longer(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "").set("limits.per_address", "2/24h").start();
        let posted = start(&app, &pair, &database).await;
        let wait = "SELECT ready_at AS n FROM budgets WHERE key LIKE 'to:%'";
        let told = database.number(wait);
        says(&app, &posted, "failed").await;
        assert_eq!(look(&app).await, [Resent::Sent]);
        settle(&database, 2).await;
        assert_eq!(database.number(wait), told, "nobody\'s wait is longer");
        app.advance(61);
        assert!(app.start_login(PHONE).await.is_ok(), "a code is still valid");
        assert_eq!(pair.first.posted().len() + pair.second.posted().len(), 2, "but two a day are two");
        app.stop().await;
    }
}

on_both! {
    async fn a_code_that_nobody_asked_for_and_nobody_took_ends_nobodys_wait(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "").start();
        let posted = start(&app, &pair, &database).await;
        let told = "SELECT ready_at AS n FROM budgets WHERE key LIKE 'to:%'";
        let spent = "SELECT arrival AS n FROM budgets WHERE key LIKE 'to:%'";
        let before = (database.number(told), database.number(spent));
        pair.second.set(Manner::refuses());
        says(&app, &posted, "failed").await;
        assert_eq!(look(&app).await, [Resent::Undeliverable]);
        settle(&database, 2).await;
        assert_eq!((database.number(told), database.number(spent)), before, "it is given back, and the wait goes on");
        let again = app.start_login(PHONE).await;
        assert!(again.is_ok(), "{again:?}");
        assert_eq!(pair.first.posted().len(), 1, "it is too soon");
        app.stop().await;
    }
}

on_both! {
    async fn a_budget_that_is_used_up_lets_no_code_out_again(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "").set("limits.per_app", "1/24h").start();
        let posted = start(&app, &pair, &database).await;
        let codes = "SELECT sum(arrival) AS n FROM budgets";
        let spent = database.number(codes);
        says(&app, &posted, "failed").await;
        assert_eq!(look(&app).await, [Resent::Denied]);
        assert_eq!((database.number(codes), pair.second.posted().len()), (spent, 0), "all or nothing");
        assert!(app.verify(PHONE, &posted.get("code")).await.token().is_some(), "the earlier one is as it was");
        app.stop().await;
    }
}

on_both! {
    async fn where_there_is_no_other_way_and_where_it_fails_too_nothing_is_repeated(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "max_resends = 2").start();
        let first = start(&app, &pair, &database).await;
        says(&app, &first, "failed").await;
        assert_eq!(look(&app).await, [Resent::Sent]);
        settle(&database, 2).await;
        says(&app, &pair.second.posted()[0], "failed").await;
        assert_eq!(look(&app).await, [Resent::NoOtherWay], "both have failed");

        pair.second.set(Manner::refuses());
        let other = "12015550123";
        assert!(app.start_login(other).await.is_ok());
        settle(&database, 3).await;
        says(&app, &pair.first.after(1).await, "failed").await;
        assert_eq!(look(&app).await, [Resent::Undeliverable]);
        assert_eq!((pair.first.posted().len(), pair.second.posted().len()), (2, 2));
        app.stop().await;
    }
}

on_both! {
    async fn where_the_next_provider_cannot_write_the_text_the_next_channel_carries_the_code(database) {
        let recipes = database.file("recipes");
        std::fs::create_dir(&recipes).expect("our folder");
        let caller = include_str!("../../providers/webhook.toml").replace("id       = \"webhook\"", "id = \"caller\"");
        let caller = caller.replace("channel  = \"sms\"", "channel = \"voice\"");
        std::fs::write(recipes.join("caller.toml"), caller).expect("our folder");
        let pair = Pair::start().await;
        let voice = FakeGateway::start(Manner::accepts()).await;
        let app = pair
            .builder(&database, "")
            .set("providers_dir", recipes.display().to_string())
            .set("providers.second.charset", "gsm7")
            .set("providers.caller.recipe", "caller")
            .set("providers.caller.base_url", voice.url())
            .set("providers.caller.secret", SECRET)
            .start();
        let login = json!({"app_id": APP, "phone": format!("+{PHONE}"), "locale": "ru"});
        assert_eq!(app.post_json("/v1/login", &login).await.status, 202);
        settle(&database, 1).await;
        let posted = pair.first.after(0).await;
        assert_eq!(posted.get("locale"), "ru");
        says(&app, &posted, "failed").await;
        assert_eq!(look(&app).await, [Resent::Sent]);
        assert_eq!((pair.second.posted().len(), voice.posted().len()), (0, 1));
        app.stop().await;
    }
}

on_both! {
    async fn two_nodes_that_look_at_once_send_one_code(database) {
        let pair = Pair::start().await;
        let one = pair.builder(&database, PATIENT).start();
        let other = pair.builder(&database, PATIENT).clock(&one.clock).seed(2).start();
        for index in 0..10 {
            let phone = format!("1201555010{index}");
            assert!(one.start_login(&phone).await.is_ok());
        }
        settle(&database, 10).await;
        one.advance(20);
        let looks = [&one, &other, &one, &other].map(look);
        let done = futures_util::future::join_all(looks).await.concat();
        assert_eq!(done.iter().filter(|resent| **resent == Resent::Sent).count(), 10, "{done:?}");
        assert!(done.iter().all(|resent| matches!(resent, Resent::Sent | Resent::Taken)), "{done:?}");
        assert_eq!((pair.first.posted().len(), pair.second.posted().len()), (10, 10));
        assert_eq!(database.audited("code.resent"), 10);
        one.stop().await;
        other.stop().await;
    }
}

on_both! {
    async fn nobody_has_to_look_the_server_does(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "").looking_every(Duration::from_millis(5)).start();
        let posted = start(&app, &pair, &database).await;
        says(&app, &posted, "failed").await;
        let fresh = pair.second.after(0).await;
        assert!(app.verify(PHONE, &fresh.get("code")).await.token().is_some());
        app.stop().await;
    }
}
