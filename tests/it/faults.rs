//! What happens to a code when gateways fail: every fault at the first of two gateways, and at the second.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpSocket;

use crate::harness::app::{Answer, now};
use crate::harness::gateway::{Posted, SECRET};
use crate::harness::{Database, FakeGateway, Manner, TestApp, on_both, wire};

/// All there is to say about a fault. `place`: at which of two gateways it is; the second is `good`, or the first is
/// `refusing`, which certainly sends nothing. `asked`: the requests that each of the two has read. Then what the app
/// is told in either dialect, what the row of the message says (status, provider, kind of error), and whether the
/// address's send is spent or given back.
const TABLE: &str = "
fault         place  asked  mesibo    v1                        delivery                            send
refused       1st    0 1    OK        202                       accepted good -                     spent
refused       2nd    1 0    BADAPP    503 undeliverable         failed refused temporary            back
no_name       1st    0 1    OK        202                       accepted good -                     spent
no_name       2nd    1 0    BADAPP    503 undeliverable         failed no_name temporary            back
no_tls        1st    0 1    OK        202                       accepted good -                     spent
no_tls        2nd    1 0    BADAPP    503 undeliverable         failed no_tls temporary             back
http_500      1st    1 0    OK        202                       unknown http_500 unknown            spent
http_500      2nd    1 1    OK        202                       unknown http_500 unknown            spent
http_429      1st    1 1    OK        202                       accepted good -                     spent
http_429      2nd    1 1    BADAPP    503 undeliverable         failed http_429 throttled           back
http_401      1st    1 1    OK        202                       accepted good -                     spent
http_401      2nd    1 1    BADAPP    503 undeliverable         failed http_401 auth                back
deaf          1st    0 0    OK        202                       unknown deaf unknown                spent
deaf          2nd    1 0    OK        202                       unknown deaf unknown                spent
silent        1st    1 0    OK        202                       unknown silent unknown              spent
silent        2nd    1 1    OK        202                       unknown silent unknown              spent
hangs_up      1st    1 0    OK        202                       unknown hangs_up unknown            spent
hangs_up      2nd    1 1    OK        202                       unknown hangs_up unknown            spent
drips         1st    1 0    OK        202                       unknown drips unknown               spent
drips         2nd    1 1    OK        202                       unknown drips unknown               spent
garbage       1st    1 0    OK        202                       unknown garbage unknown             spent
garbage       2nd    1 1    OK        202                       unknown garbage unknown             spent
too_large     1st    1 0    OK        202                       unknown too_large unknown           spent
too_large     2nd    1 1    OK        202                       unknown too_large unknown           spent
http_302      1st    1 0    OK        202                       unknown http_302 unknown            spent
http_302      2nd    1 1    OK        202                       unknown http_302 unknown            spent
http_307      1st    1 1    OK        202                       accepted good -                     spent
http_307      2nd    1 1    BADAPP    503 undeliverable         failed http_307 rejected            back
bad_number    1st    1 0    BADPHONE  422 address_unreachable   failed bad_number bad_number        spent
bad_number    2nd    1 1    BADPHONE  422 address_unreachable   failed bad_number bad_number        spent
mistyped      1st    1 0    OK        202                       accepted mistyped -                 spent
mistyped      2nd    1 1    OK        202                       accepted mistyped -                 spent
accepts       1st    1 0    OK        202                       accepted accepts -                  spent
accepts       2nd    1 1    OK        202                       accepted accepts -                  spent
";

/// Shorter than the slow faults, which hang for ever.
const IMPATIENT_MS: u64 = 1500;

/// How a gateway of this name behaves. `elsewhere` is where redirects lead.
fn manner(fault: &str, elsewhere: &str) -> Manner {
    let accepted = r#"{"outcome":"accepted"}"#;
    let redirect = |status: &str| Manner::typed(status, &format!("text/plain\r\nLocation: {elsewhere}"), "");
    match fault {
        // One is asked for TLS, and speaks none.
        "good" | "no_tls" | "accepts" => Manner::accepts(),
        "refusing" => Manner::refuses(),
        "http_500" => Manner::json("500 Internal Server Error", r#"{"outcome":"temporary"}"#),
        "http_429" => Manner::typed("429 Too Many Requests", "text/plain\r\nRetry-After: 30", "slow down"),
        "http_401" => Manner::json("401 Unauthorized", "{}"),
        "deaf" => Manner::Deaf,
        "silent" => Manner::Silent,
        "hangs_up" => Manner::HangsUp,
        "drips" => Manner::Drips(format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{accepted}")),
        "garbage" => Manner::json("200 OK", "<html>{\"outcome\":"),
        "too_large" => Manner::json("200 OK", &format!("{accepted}{}", " ".repeat(64 * 1024))),
        "http_302" => redirect("302 Found"),
        "http_307" => redirect("307 Temporary Redirect"),
        "bad_number" => Manner::json("200 OK", r#"{"outcome":"bad_number"}"#),
        "mistyped" => Manner::typed("200 OK", "text/html", accepted),
        other => panic!("nobody knows how {other} fails"),
    }
}

/// The wires that each fault is seen on.
const DIALECTS: [&str; 2] = ["mesibo", "v1"];

/// One line of the table.
struct Cell {
    fault: &'static str,
    place: &'static str,
    says: String,
}

impl Cell {
    fn all() -> Vec<Self> {
        let lines = TABLE.trim().lines().skip(1);
        let cell = |line: &'static str| {
            let mut words = line.split_whitespace();
            let (fault, place) = (words.next().expect("a fault"), words.next().expect("a place"));
            Self { fault, place, says: line.split_whitespace().collect::<Vec<_>>().join(" ") }
        };
        lines.map(cell).collect()
    }

    fn app_id(&self, dialect: &str) -> String {
        format!("{}.{}.{dialect}", self.fault, self.place)
    }

    fn route(&self) -> [&'static str; 2] {
        if self.place == "1st" { [self.fault, "good"] } else { ["refusing", self.fault] }
    }

    /// The names of its providers. No two lines share one that would be left alone for what it did in the other.
    fn providers(&self, dialect: &str) -> [String; 2] {
        self.route().map(|name| match name {
            "refusing" => format!("{name}-{}", self.fault),
            "http_401" | "http_429" => format!("{name}-{}-{dialect}", self.place),
            _ => name.to_owned(),
        })
    }
}

/// The server, and every gateway by its name.
struct Scene {
    app: TestApp,
    gateways: Vec<(&'static str, FakeGateway)>,
    elsewhere: FakeGateway,
    /// Nobody listens here, and nobody else can.
    _unheard: TcpSocket,
}

impl Scene {
    async fn start(database: &Database, cells: &[Cell]) -> Self {
        let webhook = include_str!("../../providers/webhook.toml");
        let impatient = webhook
            .replace("id       = \"webhook\"", "id = \"impatient\"")
            .replace("timeout_ms = 8000", &format!("timeout_ms = {IMPATIENT_MS}"));
        let recipes = database.file("recipes");
        std::fs::create_dir(&recipes).expect("our folder");
        std::fs::write(recipes.join("impatient.toml"), impatient).expect("our folder");

        let unheard = TcpSocket::new_v4().expect("a socket");
        unheard.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let elsewhere = FakeGateway::start(Manner::accepts()).await;
        let faults = cells.iter().filter(|cell| cell.place == "1st").map(|cell| cell.fault);
        let mut builder = TestApp::builder(database)
            .real_providers()
            .set("limits.per_ip_unverified", "1000/1h")
            .set("providers_dir", recipes.display().to_string());
        let (mut gateways, mut urls) = (Vec::new(), BTreeMap::new());
        for name in faults.chain(["good", "refusing"]) {
            let url = match name {
                "refused" => format!("http://{}", unheard.local_addr().expect("an address")),
                "no_name" => "https://gateway.invalid".to_owned(),
                _ => {
                    let gateway = FakeGateway::start(manner(name, &elsewhere.url())).await;
                    let scheme = if name == "no_tls" { "https" } else { "http" };
                    let url = format!("{scheme}://{}/hook", gateway.address);
                    gateways.push((name, gateway));
                    url
                }
            };
            urls.insert(name, url);
        }
        let (mut apps, mut rules) = (Vec::new(), Vec::new());
        for (cell, dialect) in cells.iter().flat_map(|cell| DIALECTS.map(|dialect| (cell, dialect))) {
            let id = cell.app_id(dialect);
            let app = format!("id = {id:?}\nname = \"A\"\nupstream = \"local\"\ndialects = [{dialect:?}]");
            apps.push(app.parse::<toml::Table>().expect("TOML").into());
            let providers = cell.providers(dialect);
            let rule = format!("apps = [{id:?}]\nproviders = {providers:?}");
            rules.push(rule.parse::<toml::Table>().expect("TOML").into());
            for (name, provider) in cell.route().into_iter().zip(providers) {
                let hangs = ["deaf", "silent", "drips"].contains(&name);
                builder = builder
                    .set(&format!("providers.{provider}.recipe"), if hangs { "impatient" } else { "webhook" })
                    .set(&format!("providers.{provider}.base_url"), urls[name].clone())
                    .set(&format!("providers.{provider}.secret"), SECRET);
            }
        }
        let app = builder
            .set("apps", toml::Value::Array(apps))
            .set("routes.sms.default", vec!["good"])
            .set("routes.sms.rules", toml::Value::Array(rules))
            .start();
        Self { app, gateways, elsewhere, _unheard: unheard }
    }

    /// The messages that a gateway has read for a number.
    fn posted(&self, gateway: &str, phone: &str) -> Vec<Posted> {
        let found = self.gateways.iter().find(|(name, _)| *name == gateway);
        found.map_or_else(Vec::new, |(_, gateway)| gateway.posted_to(phone))
    }

    /// What became of a start, in the words of the table's columns `asked`, `delivery` and `send`.
    async fn outcome(
        &self,
        database: &Database,
        cell: &Cell,
        phone: &str,
        dialect: &str,
    ) -> (String, String, String) {
        let read = |what: &str, table: &str, key: &str| {
            database.texts(&format!("SELECT {what} AS t FROM {table} WHERE {key}"))
        };
        let by_phone = format!("address = '{phone}'");
        // The outcome is noted by a write that nobody waits for.
        wire::until("the outcome of a message", || read("status", "deliveries", &by_phone) != ["pending"])
            .await;
        let row = "status || ' ' || coalesce(provider, '-') || ' ' || coalesce(error, '-')";
        let delivery = read(row, "deliveries", &by_phone).join(" and ");
        let [first, second] = cell.providers(dialect);
        let delivery = delivery.replace(&first, cell.route()[0]).replace(&second, cell.route()[1]);

        let ids = read("id", "deliveries", &by_phone);
        let asked = cell.route().map(|gateway| self.posted(gateway, phone));
        for posted in asked.iter().flatten() {
            assert_eq!(std::slice::from_ref(&posted.id), ids, "one id for one message, whoever gets it");
            assert!(posted.signed && posted.timestamp == now().as_secs(), "{posted:?}");
        }
        let texts: Vec<String> = asked.iter().flatten().map(Posted::message).collect();
        assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "one code, one text: {texts:?}");
        let audited = read("event || ' ' || detail", "audit", &format!("{by_phone} ORDER BY id"));
        let decided = format!("code.sent {} via {first}, {second} (ordered, rule ", ids[0]);
        assert!(audited[0].starts_with(&decided), "{audited:?}");
        let failed_over = delivery.split(' ').nth(1) == Some(cell.route()[1]);
        let story = format!("code.failed_over {} not via {first} (", ids[0]);
        assert!(audited[1..].iter().all(|line| line.starts_with(&story)), "{audited:?}");
        assert_eq!(audited.len(), 1 + usize::from(failed_over), "{audited:?}");

        let budget = |column: &str| {
            let table = format!("budgets WHERE key = 'to:{phone}'");
            database.number(&format!("SELECT {column} AS n FROM {table}"))
        };
        let (now, day) = (now().as_millis(), 24 * 60 * 60 * 1000);
        let send = match (budget("arrival") - now, budget("ready_at")) {
            (0, 0) => "back".to_owned(),
            (spent, ready_at) if spent == day / 10 && ready_at == now + 60_000 => "spent".to_owned(),
            other => format!("{other:?}"),
        };
        (format!("{} {}", asked[0].len(), asked[1].len()), delivery, send)
    }

    /// Starts a login in each dialect; what the app is told, in the words of the table.
    async fn ask(&self, index: usize, cell: &Cell) -> String {
        let [mesibo, v1] = phones(index);
        let body = json!({"op": "login", "appid": cell.app_id("mesibo"), "phone": mesibo, "dt": "1"});
        let mesibo = self.app.post(body.to_string()).await;
        let v1 = self.v1(&cell.app_id("v1"), &v1).await;
        let mesibo = match (mesibo.get("result").as_str(), mesibo.status) {
            (Some("OK"), 200) => "OK".to_owned(),
            (Some("FAIL"), 200) => mesibo.error(),
            other => format!("{other:?}"),
        };
        let code = v1.get("code").as_str().map_or_else(String::new, |code| format!(" {code}"));
        format!("{mesibo} {}{code}", v1.status)
    }

    /// The line of the table as it turned out.
    async fn line(&self, database: &Database, index: usize, cell: &Cell, told: &str) -> String {
        let [mesibo, v1] = phones(index).map(|phone| format!("+{phone}"));
        let outcome = self.outcome(database, cell, &mesibo, "mesibo").await;
        let other = self.outcome(database, cell, &v1, "v1").await;
        assert_eq!(outcome, other, "{} {}: the dialects differ in words alone", cell.fault, cell.place);
        let (asked, delivery, send) = outcome;
        format!("{} {} {asked} {told} {delivery} {send}", cell.fault, cell.place)
    }

    async fn v1(&self, app_id: &str, phone: &str) -> Answer {
        let body = json!({"app_id": app_id, "phone": format!("+{phone}")});
        let request = self.app.request(Method::POST, "/v1/login").header("content-type", "application/json");
        self.app.send(request.body(body.to_string())).await
    }
}

/// The numbers of a cell, one for each dialect.
fn phones(index: usize) -> [String; 2] {
    [0, 1].map(|dialect| format!("1800555{:04}", 2000 + 2 * index + dialect))
}

on_both! {
    async fn each_fault_of_a_gateway_ends_as_the_table_says_c10_c11_c12_f4(database) {
        let cells = Cell::all();
        let scene = Scene::start(&database, &cells).await;
        let told = join_all(cells.iter().enumerate().map(|(index, cell)| scene.ask(index, cell))).await;
        let mut lines = Vec::new();
        for (index, (cell, told)) in cells.iter().zip(&told).enumerate() {
            lines.push(scene.line(&database, index, cell, told).await);
        }
        let pairs = cells.iter().map(|cell| &cell.says).zip(&lines);
        let wrong: Vec<_> = pairs.filter(|(wanted, found)| wanted != found).collect();
        assert_eq!((cells.len(), wrong), (34, Vec::new()), "(as the table says, as it is)");
        assert_eq!(scene.elsewhere.posted(), [], "a code follows no redirect");
        let sends = i64::try_from(2 * cells.len()).expect("few");
        assert_eq!((database.count("deliveries"), database.audited("code.sent")), (sends, sends));
        scene.app.stop().await;
    }
}

on_both! {
    async fn when_gateways_heal_the_same_person_is_sent_a_code_at_once_c10(database) {
        let gateway = FakeGateway::start(Manner::refuses()).await;
        let app = TestApp::builder(&database)
            .real_providers()
            .set("providers.hook.recipe", "webhook")
            .set("providers.hook.base_url", gateway.url())
            .set("providers.hook.secret", SECRET)
            .start();
        let phone = "18005551234";
        for attempt in 1..=12 {
            assert_eq!(app.start_login(phone).await.error(), "BADAPP", "the send before was given back: {attempt}");
            let open = "SELECT count(*) AS n FROM deliveries WHERE status = 'pending'";
            wire::until("the note", || database.number(open) == 0).await;
        }
        gateway.set(Manner::accepts().after(Duration::from_millis(1)));
        assert!(app.start_login(phone).await.is_ok());
        let posted = gateway.posted_to("+18005551234");
        assert_eq!(posted.len(), 13);
        let code = posted[12].get("code");
        assert!(app.verify(phone, &code).await.is_ok());
        app.stop().await;
    }
}
