//! What an operator says of a provider, for all nodes.

use std::time::Duration;

use diesel::connection::SimpleConnection;

use super::Scene;
use crate::harness::process::{Ended, Settings, run};
use crate::harness::{Backend, Database, on_both};

async fn provider(database: &Database, arguments: &[&str]) -> Ended {
    let file = Settings::of(database)
        .set("providers.one.kind", "console")
        .set("providers.two.kind", "console")
        .set("routes.sms.default", vec!["one", "two"])
        .save();
    let mut all = vec!["provider"];
    all.extend(arguments);
    all.extend(["--config", file.to_str().expect("UTF-8")]);
    run(database.folder.path(), &all, &[]).await
}

/// Logs in one person after the other until somebody's code takes this way; how many that took at most.
async fn until_codes_take(scene: &Scene, place: usize, first_phone: u64) {
    let before = scene.counts()[place];
    let logins = async {
        let mut phone = first_phone;
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while scene.counts()[place] == before {
            tick.tick().await;
            assert!(scene.app.start_login(&phone.to_string()).await.is_ok(), "no login fails meanwhile");
            phone += 1;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), logins).await.expect("nodes follow");
}

on_both! {
    async fn an_operator_disables_and_promotes_a_provider_for_nodes_that_run_and_it_is_on_record(database) {
        let scene = Scene::start(&database, |builder| builder).await;
        assert!(scene.app.start_login("18005550001").await.is_ok());
        assert_eq!(scene.counts(), [1, 0]);

        let ended = provider(&database, &["disable", "one", "--for", "1h", "--by", "ann", "--why", "it is late"]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.out.starts_with("one: nothing goes through it for 3600 s"), "{ended:?}");
        until_codes_take(&scene, 1, 18_005_551_000).await;

        let ended = provider(&database, &["enable", "one", "--by", "ann"]).await;
        assert!(ended.out.starts_with("one: it is used as the routes say"), "{ended:?}");
        until_codes_take(&scene, 0, 18_005_552_000).await;

        let ended = provider(&database, &["promote", "two"]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        until_codes_take(&scene, 1, 18_005_553_000).await;

        let record = database.texts(
            "SELECT event || ': ' || detail AS t FROM audit WHERE event LIKE 'provider.%' ORDER BY id",
        );
        let wanted = [
            "provider.disabled: one for 3600 s, by ann: it is late",
            "provider.enabled: one, by ann: ",
            "provider.promoted: two, by operator: ",
        ];
        assert_eq!(record, wanted);
        scene.app.stop().await;
    }
}

on_both! {
    async fn a_provider_that_was_turned_off_before_a_start_gets_not_even_the_first_code(database) {
        Scene::start(&database, |builder| builder).await.app.stop().await;
        let ended = provider(&database, &["disable", "one"]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        // Where it can be, the table is held back, as a slow database would.
        let mut held = (database.backend == Backend::Postgres).then(|| database.postgres());
        if let Some(connection) = &mut held {
            connection.batch_execute("BEGIN; LOCK TABLE provider_state").expect("our table");
        }
        let scene = Scene::start(&database, |builder| builder.seed(2)).await;
        {
            let mut started = std::pin::pin!(scene.app.start_login("18005550001"));
            if held.is_some() {
                let early = tokio::time::timeout(Duration::from_millis(500), &mut started).await;
                assert!(early.is_err(), "nobody knows yet who is turned off: {early:?}");
            }
            drop(held);
            assert!(started.await.is_ok());
        }
        assert_eq!(scene.counts(), [0, 1]);
        scene.app.stop().await;
    }
}

on_both! {
    async fn a_command_about_a_provider_says_what_is_wrong_with_it(database) {
        let ended = provider(&database, &["disable", "three"]).await;
        assert!(ended.err.contains("there is no [providers.three]; configured are console, one, two"), "{ended:?}");
        let ended = provider(&database, &["disable", "one", "--for", "soon"]).await;
        assert!(ended.err.contains("--for soon: must be a time such as 30m, 1h or 7d"), "{ended:?}");
        let ended = provider(&database, &["enable", "one"]).await;
        assert!(ended.out.starts_with("one: nothing was said of it"), "{ended:?}");
        assert_eq!(database.count("audit"), 0);
    }
}
