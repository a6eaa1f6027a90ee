//! Which gateway a code takes, what that costs, and how an operator changes it while codes go out.

mod reload;
mod state;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{APP, Answer, Builder, now};
use crate::harness::gateway::SECRET;
use crate::harness::{Database, FakeGateway, Manner, TestApp, on_both, wire};

/// Two gateways, `one` and `two`, which are tried in this order.
pub struct Scene {
    pub app: TestApp,
    pub one: FakeGateway,
    pub two: FakeGateway,
}

impl Scene {
    /// Both take everything.
    pub async fn start(database: &Database, change: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Self {
        let (one, two) =
            (FakeGateway::start(Manner::accepts()).await, FakeGateway::start(Manner::accepts()).await);
        let mut builder = TestApp::builder(database)
            .real_providers()
            .set("limits.per_ip_unverified", "100000/1h")
            .set("limits.per_ip", "100000/1h")
            .set("routes.sms.default", vec!["one", "two"]);
        for (name, gateway) in [("one", &one), ("two", &two)] {
            builder = builder
                .set(&format!("providers.{name}.recipe"), "webhook")
                .set(&format!("providers.{name}.base_url"), gateway.url())
                .set(&format!("providers.{name}.secret"), SECRET);
        }
        Self { app: change(builder).start(), one, two }
    }

    /// How many messages each of them has read.
    pub fn counts(&self) -> [usize; 2] {
        [self.one.posted().len(), self.two.posted().len()]
    }

    pub async fn v1(&self, path: &str, body: &Value) -> Answer {
        let request = self.app.request(Method::POST, path).header("content-type", "application/json");
        self.app.send(request.body(body.to_string())).await
    }
}

/// Until what became of every message is written down.
pub async fn noted(database: &Database) {
    let open = "SELECT count(*) AS n FROM deliveries WHERE status = 'pending'";
    wire::until("the notes", || database.number(open) == 0).await;
}

on_both! {
    async fn a_provider_that_failed_is_left_out_for_the_rest_of_the_challenge_and_no_longer(database) {
        let scene = Scene::start(&database, |builder| builder).await;
        scene.one.set(Manner::refuses());
        let started = scene.v1("/v1/login", &json!({"app_id": APP, "phone": "+18005551234"})).await;
        assert_eq!((started.status, scene.counts()), (202, [1, 1]));
        noted(&database).await;
        scene.one.set(Manner::accepts());
        scene.app.advance(60);
        let resend = json!({"challenge": started.get("challenge"), "secret": started.get("secret")});
        assert_eq!(scene.v1("/v1/login/resend", &resend).await.status, 202);
        assert_eq!(scene.counts(), [1, 2], "the first has failed this person");
        let decided = database.texts("SELECT detail AS t FROM audit WHERE event = 'code.sent' ORDER BY id");
        assert!(decided[0].ends_with(" via one, two (ordered)") && decided[1].ends_with(" via two (ordered)"), "{decided:?}");
        assert!(scene.app.start_login("18005551235").await.is_ok());
        assert_eq!(scene.counts(), [2, 2], "nobody else");
        scene.app.stop().await;
    }
}

on_both! {
    async fn what_became_of_codes_is_in_the_database_when_the_process_ends(database) {
        let scene = Scene::start(&database, |builder| builder).await;
        for phone in ["18005551234", "18005551235"] {
            scene.app.start_login(phone).await;
        }
        let code = scene.one.posted()[0].get("code");
        assert!(scene.app.verify("18005551234", &code).await.is_ok());
        scene.app.stop().await;
        let rows = "SELECT provider || ' ' || country || ' ' || sent || ' ' || verified AS t FROM provider_outcomes";
        assert_eq!(database.texts(rows), ["one US 2 1"]);
        let hour = database.number("SELECT hour AS n FROM provider_outcomes");
        assert_eq!(hour, now().as_secs() / 3600);
    }
}

on_both! {
    async fn a_days_money_is_spent_as_messages_are_taken_and_no_further(database) {
        let scene = Scene::start(&database, |builder| {
            builder
                .config("[prices.one]\ndefault = 0.01\n[prices.two]\ndefault = 0.04\n")
                .set("limits.spend_per_day", 0.09)
        }).await;
        let spent = || {
            let arrival = database.number("SELECT arrival AS n FROM budgets WHERE key = 'money'");
            // Of a day, in thousandths of the unit.
            (arrival - now().as_millis()) * 90 / (24 * 3_600_000)
        };
        assert!(scene.app.start_login("18005551230").await.is_ok());
        noted(&database).await;
        assert_eq!(spent(), 10, "the dearer one was not needed");
        scene.one.set(Manner::refuses());
        assert!(scene.app.start_login("18005551231").await.is_ok());
        noted(&database).await;
        assert_eq!(spent(), 50);
        scene.one.set(Manner::accepts());
        assert!(scene.app.start_login("18005551232").await.is_ok());
        noted(&database).await;
        assert_eq!(spent(), 60);
        let refused = scene.app.start_login("18005551233").await;
        assert_eq!(refused.error(), "TOOSOON", "0.03 is left, and it might cost 0.04");
        assert_eq!((spent(), scene.counts()), (60, [3, 1]));
        let metrics = scene.app.admin("/metrics").await.text;
        assert!(metrics.contains("latchkey_delivery_cost_total{provider=\"one\",currency=\"USD\"} 0.02"), "{metrics}");
        assert!(metrics.contains("latchkey_delivery_cost_total{provider=\"two\",currency=\"USD\"} 0.04"), "{metrics}");
        scene.app.advance(8 * 3600);
        assert!(scene.app.start_login("18005551233").await.is_ok(), "it comes back over a day");
        scene.app.stop().await;
    }
}

/// `caller`, too, which reads codes out.
fn with_caller<'a>(builder: Builder<'a>, database: &Database, caller: &FakeGateway) -> Builder<'a> {
    let recipes = database.file("recipes");
    std::fs::create_dir(&recipes).expect("our folder");
    let voice = include_str!("../../providers/webhook.toml")
        .replace("id       = \"webhook\"", "id = \"caller\"")
        .replace("channel  = \"sms\"", "channel = \"voice\"");
    std::fs::write(recipes.join("caller.toml"), voice).expect("our folder");
    builder
        .set("providers_dir", recipes.display().to_string())
        .set("providers.caller.recipe", "caller")
        .set("providers.caller.base_url", caller.url())
        .set("providers.caller.secret", SECRET)
}

on_both! {
    async fn next_offers_the_channels_that_lead_to_the_number_also_where_one_failed(database) {
        let caller = FakeGateway::start(Manner::accepts()).await;
        let scene = Scene::start(&database, |builder| {
            with_caller(builder, &database, &caller).set("providers.caller.countries", vec!["IN"])
        }).await;
        let log_in = |phone: &'static str| {
            let scene = &scene;
            async move { scene.v1("/v1/login", &json!({"app_id": APP, "phone": phone})).await }
        };
        assert_eq!(log_in("+12015550101").await.get("next"), json!({"sms": 60, "check": 0}), "it calls India alone");
        assert_eq!(log_in("+919876543210").await.get("next"), json!({"sms": 60, "voice": 60, "check": 0}));
        for gateway in [&scene.one, &scene.two] {
            gateway.set(Manner::refuses());
        }
        let failed = log_in("+919876543211").await;
        assert_eq!((failed.get("code"), failed.get("next")), (json!("undeliverable"), json!({"voice": 0})));
        assert_eq!(log_in("+12015550102").await.get("next"), json!({}));
        scene.one.set(Manner::json("200 OK", r#"{"outcome":"blocked"}"#));
        let blocked = log_in("+919876543212").await;
        assert_eq!((blocked.get("code"), blocked.get("next")), (json!("messages_blocked"), json!({"voice": 60})));
        scene.app.stop().await;
    }
}

on_both! {
    async fn an_app_says_in_which_order_channels_are_offered(database) {
        let caller = FakeGateway::start(Manner::accepts()).await;
        let scene = Scene::start(&database, |builder| {
            with_caller(builder, &database, &caller)
                .config("[[apps]]\nid = \"calls\"\nname = \"C\"\nchannels = [\"voice\", \"sms\"]\n\
                         [[apps]]\nid = \"texts\"\nname = \"T\"\n[[apps]]\nid = \"only\"\nname = \"O\"\nchannels = [\"sms\"]\n")
        }).await;
        for (app_id, phone, channels, first) in [
            ("calls", "+18005551231", ["voice", "sms", "check"].as_slice(), "voice"),
            ("texts", "+18005551232", &["sms", "voice", "check"], "sms"),
            ("only", "+18005551233", &["sms", "check"], "sms"),
        ] {
            let started = scene.v1("/v1/login", &json!({"app_id": app_id, "phone": phone})).await;
            let next = started.get("next");
            let offered: Vec<&String> = next.as_object().expect("seconds").keys().collect();
            assert_eq!((offered, started.get("channel")), (channels.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>().iter().collect(), json!(first)));
        }
        assert_eq!((caller.posted().len(), scene.counts()), (1, [2, 0]));
        let refused = scene.v1("/v1/login", &json!({"app_id": "only", "phone": "+18005551234", "channel": "voice"})).await;
        assert_eq!(refused.get("code"), json!("channel_not_offered"));
        scene.app.stop().await;
    }
}
