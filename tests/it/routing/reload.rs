//! The configuration changes while codes go out.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;

use super::Scene;
use crate::harness::gateway::SECRET;
use crate::harness::{Database, Manner, on_both, wire};

/// A whole login; the gateway's copy of the message has the code.
async fn log_in(scene: &Scene, phone: &str) -> Result<(), String> {
    let started = scene.app.start_login(phone).await;
    if !started.is_ok() {
        return Err(format!("{phone}: {started:?}"));
    }
    let number = format!("+{phone}");
    let posted = [scene.one.posted_to(&number), scene.two.posted_to(&number)].concat();
    if posted.len() != 1 {
        return Err(format!("{phone}: {} messages", posted.len()));
    }
    let verified = scene.app.verify(phone, &posted[0].get("code")).await;
    verified.token().map(|_| ()).ok_or_else(|| format!("{phone}: {verified:?}"))
}

/// How a swap is loaded.
struct Load {
    people: usize,
    /// Between two logins of one person.
    pause: Duration,
    /// Logins before the swap, and after it.
    logins: usize,
}

/// Logins go on and on, the operator swaps the only gateway, and nobody notices but the gateways.
async fn swap_under(load: Load, database: &Database) {
    let mut scene = Scene::start(database, |builder| {
        let builder = builder.set("routes.sms.default", vec!["one"]).set("limits.per_country", "100000/1h");
        builder.set("server.max_connections_per_ip", 2000)
    })
    .await;
    // Some are on their way when the route is swapped.
    scene.one.set(Manner::accepts().after(Duration::from_millis(20)));
    scene.app.set("routes.sms.default", vec!["two"]);
    let (next, done, stop) = (AtomicU64::new(12_015_550_000), AtomicUsize::new(0), AtomicBool::new(false));
    let swapped = AtomicBool::new(false);
    let people = (0..load.people).map(|_| async {
        let mut failures = Vec::new();
        let mut tick = tokio::time::interval(load.pause);
        while !stop.load(Ordering::SeqCst) {
            tick.tick().await;
            let phone = next.fetch_add(1, Ordering::SeqCst).to_string();
            let begun_after = swapped.load(Ordering::SeqCst);
            failures.extend(log_in(&scene, &phone).await.err());
            if begun_after && !scene.one.posted_to(&format!("+{phone}")).is_empty() {
                failures.push(format!("{phone} went the old way after the swap"));
            }
            done.fetch_add(1, Ordering::SeqCst);
        }
        failures
    });
    let operator = async {
        let passed = |count: usize| done.load(Ordering::SeqCst) >= count;
        until(|| passed(load.logins)).await;
        let answer = scene.app.reload().await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "the new configuration is in force\n"));
        swapped.store(true, Ordering::SeqCst);
        let before = done.load(Ordering::SeqCst);
        until(|| passed(before + load.logins)).await;
        stop.store(true, Ordering::SeqCst);
    };
    let (failures, ()) = tokio::join!(join_all(people), operator);
    assert_eq!(failures.concat(), Vec::<String>::new());
    assert!(scene.counts().iter().all(|count| *count >= load.logins), "{:?}", scene.counts());
    scene.app.stop().await;
}

async fn until(is_so: impl Fn() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while !is_so() {
        tick.tick().await;
    }
}

on_both! {
    async fn a_route_is_swapped_under_load_without_a_failed_login(database) {
        let load = Load { people: 8, pause: Duration::from_millis(1), logins: 60 };
        wire::soon("the swap", swap_under(load, &database)).await;
    }
}

on_both! {
    async fn a_route_is_swapped_among_thousands_of_logins_without_a_failed_one(database) {
        // 200 a second at most, for half a minute; a debug build is slower.
        let load = Load { people: 40, pause: Duration::from_millis(200), logins: 3000 };
        swap_under(load, &database).await;
    }
}

on_both! {
    async fn a_configuration_that_is_wrong_or_needs_a_restart_is_refused_and_the_old_one_stays(database) {
        let mut scene = Scene::start(&database, |builder| builder).await;
        scene.app.set("routes.sms.default", vec!["two", "three"]);
        scene.app.set("otp.length", 99);
        let refused = scene.app.reload().await;
        assert_eq!(refused.status, 422, "{refused:?}");
        for part in ["the configuration has 2 problem(s)", "otp.length", "routes.sms.default"] {
            assert!(refused.text.contains(part), "{part}: {}", refused.text);
        }
        assert!(scene.app.start_login("18005551231").await.is_ok());
        assert_eq!(scene.counts(), [1, 0]);

        scene.app.set("otp.length", 6);
        scene.app.set("routes.sms.default", vec!["two"]);
        scene.app.set("server.workers", 3);
        scene.app.set("database.url", "sqlite://other.db");
        let refused = scene.app.reload().await;
        let wanted = "server.workers, database.url cannot change while the process runs; fix: restart it, or take the \
                      change back\n";
        assert_eq!((refused.status, refused.text.as_str()), (422, wanted));
        assert!(scene.app.start_login("18005551232").await.is_ok());
        assert_eq!(scene.counts(), [2, 0]);
        let metrics = scene.app.admin("/metrics").await.text;
        assert!(metrics.contains("latchkey_config_reloads_total{outcome=\"refused\"}"), "{metrics}");
        scene.app.stop().await;
    }
}

on_both! {
    async fn an_edit_of_the_file_is_noticed_and_changes_more_than_routes(database) {
        let mut scene = Scene::start(&database, |builder| {
            builder.config("[[apps]]\nid = \"com.messenger.appid\"\nname = \"Old\"\n")
        }).await;
        assert!(scene.app.start_login("18005551231").await.is_ok());
        assert!(scene.one.posted()[0].text.contains("Old"), "{:?}", scene.one.posted());
        let app: toml::Table = "id = \"com.messenger.appid\"\nname = \"New\"".parse().expect("TOML");
        scene.app.set("apps", vec![toml::Value::Table(app)]);
        let mut phone = 18_005_552_000_u64;
        let edited = async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            while !scene.one.posted().last().expect("one").text.contains("New") {
                tick.tick().await;
                assert!(scene.app.start_login(&phone.to_string()).await.is_ok());
                phone += 1;
            }
        };
        wire::soon("the new name", edited).await;
        scene.app.stop().await;
    }
}

on_both! {
    async fn a_file_that_a_refused_configuration_lacks_is_waited_for(database) {
        let mut scene = Scene::start(&database, |builder| builder).await;
        let secret = database.file("three.secret");
        scene.app.set("providers.three.recipe", "webhook");
        scene.app.set("providers.three.base_url", scene.two.url());
        scene.app.set("providers.three.secret_file", secret.display().to_string());
        scene.app.set("routes.sms.default", vec!["three"]);
        let refused = scene.app.reload().await;
        assert!(refused.status == 422 && refused.text.contains("providers.three.secret_file"), "{refused:?}");
        std::fs::write(&secret, SECRET).expect("our folder");
        let mut phone = 18_005_552_000_u64;
        let mended = async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            while scene.counts()[1] == 0 {
                tick.tick().await;
                assert!(scene.app.start_login(&phone.to_string()).await.is_ok());
                phone += 1;
            }
        };
        wire::soon("the third provider", mended).await;
        scene.app.stop().await;
    }
}

on_both! {
    async fn every_recipe_and_every_upstream_that_is_broken_is_named_at_once(database) {
        let mut scene = Scene::start(&database, |builder| builder).await;
        let recipes = database.file("recipes");
        std::fs::create_dir(&recipes).expect("our folder");
        let webhook = include_str!("../../../providers/webhook.toml");
        for name in ["three", "four"] {
            let broken = webhook.replace("id       = \"webhook\"", &format!("id = \"{name}\""));
            let broken = broken.replace("{{ purpose }}", &format!("{{{{ {name} }}}}"));
            std::fs::write(recipes.join(format!("{name}.toml")), broken).expect("our folder");
        }
        scene.app.set("providers_dir", recipes.display().to_string());
        for name in ["three", "four"] {
            scene.app.set(&format!("providers.{name}.recipe"), name);
            scene.app.set(&format!("providers.{name}.base_url"), scene.two.url());
            scene.app.set(&format!("providers.{name}.secret"), SECRET);
        }
        for name in ["five", "six"] {
            scene.app.set(&format!("upstreams.{name}.kind"), "jwt");
            scene.app.set(&format!("upstreams.{name}.algorithm"), "HS256");
            scene.app.set(&format!("upstreams.{name}.key"), "s".repeat(32));
            scene.app.set(&format!("upstreams.{name}.claims.who"), format!("{{{{ {name} }}}}"));
        }
        let refused = scene.app.reload().await;
        assert_eq!(refused.status, 422, "{refused:?}");
        for wanted in [
            "the configuration has 4 problem(s):",
            "providers.four: /",
            "providers.three: /",
            "/recipes/four.toml: send.body.purpose: there is no \"four\"",
            "upstreams.five.claims.who: there is no \"five\"",
            "upstreams.six.claims.who: there is no \"six\"",
        ] {
            assert!(refused.text.contains(wanted), "{wanted}: {}", refused.text);
        }
        scene.app.stop().await;
    }
}

on_both! {
    async fn no_web_page_rings_the_bell(database) {
        let scene = Scene::start(&database, |builder| builder).await;
        let answer = scene.app.reload_from("https://evil.example").await;
        assert_eq!(answer.status, 403);
        scene.app.stop().await;
    }
}
