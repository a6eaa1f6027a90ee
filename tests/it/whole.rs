//! Whole logins between processes: the binary in production, a gateway and a chat backend of their own.
//!
//! The two others are this very test program, started once more with a variable that makes one of its tests serve.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::app::APP;
use crate::harness::gateway::{SECRET, without_receipt_path};
use crate::harness::process::{Process, Server, Settings};
use crate::harness::{Database, FakeGateway, FakeMesibo, Manner, Wire, on_both};

/// Says what to serve as.
const ROLE: &str = "LATCHKEY_TEST_ROLE";

/// A process that nobody stopped ends by itself.
const LIFETIME: Duration = Duration::from_mins(2);

#[expect(clippy::disallowed_methods, reason = "the suite itself is configured by its environment")]
fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Prints where it is, then each message with whether its signature is right.
#[expect(clippy::print_stdout, reason = "whoever started it reads what it prints")]
async fn serve_gateway() {
    let gateway = FakeGateway::start(Manner::accepts()).await;
    println!("serving at {}", gateway.url());
    for count in 0.. {
        let posted = gateway.after(count).await;
        let line = json!({"id": posted.id, "timestamp": posted.timestamp, "signed": posted.signed, "text": posted.text});
        println!("message {count} {line}");
    }
}

/// Prints where it is, then each call.
#[expect(clippy::print_stdout, reason = "whoever started it reads what it prints")]
async fn serve_backend() {
    let mesibo = FakeMesibo::start().await;
    println!("serving at {}", mesibo.url);
    for count in 0.. {
        mesibo.called(count + 1).await;
        println!("call {count} {}", mesibo.calls()[count]);
    }
}

#[tokio::test]
async fn this_program_is_a_gateway_or_a_backend_when_it_is_told_to_be() {
    let serve = async {
        match role().as_deref() {
            None => {}
            Some("gateway") => serve_gateway().await,
            Some("backend") => serve_backend().await,
            Some(other) => panic!("there is no {other}"),
        }
    };
    // Whoever started it has ended it long before.
    let _ = tokio::time::timeout(LIFETIME, serve).await;
}

/// One of the two others.
struct Other {
    process: Process,
    url: String,
}

impl Other {
    async fn start(database: &Database, role: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let test = "whole::this_program_is_a_gateway_or_a_backend_when_it_is_told_to_be";
        let arguments = ["--exact", test, "--nocapture", "--test-threads=1"];
        let process = Process::start_program(&program, database.folder.path(), &arguments, &[(ROLE, role)]);
        let line = process.out.find("serving at ").await;
        let line = line.unwrap_or_else(|| panic!("it did not serve:\n{}", process.err.text()));
        let url = line.split_once("serving at ").expect("it is there").1.to_owned();
        Self { process, url }
    }

    /// What it said about the `count`th thing that reached it.
    async fn told(&self, what: &str, count: usize) -> Value {
        let head = format!("{what} {count} ");
        let line = self.process.out.find(&head).await.expect("it runs");
        serde_json::from_str(line.split_once(&head).expect("it is there").1).expect("JSON")
    }
}

/// What a person got.
struct Message {
    code: String,
    /// The whole body, with CODE and NUMBER in the places of what differs from one to the next.
    text: String,
    locale: String,
}

/// Everything that runs.
struct Scene {
    server: Server,
    gateway: Other,
    backend: Other,
    messages: std::cell::Cell<usize>,
}

impl Scene {
    async fn start(database: &Database) -> Self {
        let (gateway, backend) =
            tokio::join!(Other::start(database, "gateway"), Other::start(database, "backend"));
        let app = format!(
            "id = {APP:?}\nname = \"Messenger\"\nupstream = \"chat\"\ndialects = [\"mesibo\", \"v1\"]\n\
             android_hash = \"FA+9qCX9VSu\"\nweb_domain = \"login.example.com\""
        );
        let settings = Settings::production(database)
            .set("apps", vec![app.parse::<toml::Table>().expect("TOML")])
            .set("upstreams.chat.kind", "mesibo")
            .set("upstreams.chat.url", backend.url.clone())
            .set("upstreams.chat.app_token", "the-app-token")
            .set("providers.hook.recipe", "webhook")
            .set("providers.hook.base_url", gateway.url.clone())
            .set("providers.hook.allow_http", true)
            .set("providers.hook.secret", SECRET);
        let server = Server::start(&settings).await;
        Self { server, gateway, backend, messages: std::cell::Cell::new(0) }
    }

    /// Posts JSON with more lines in the head; the status and the body.
    async fn post(&self, path: &str, head: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let mut wire = Wire::connect(self.server.client.address()).await;
        let host = if head.starts_with("Host: ") { "" } else { "Host: login.example.com\r\n" };
        let length = body.len();
        wire.send(format!(
            "POST {path} HTTP/1.1\r\n{host}{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
        let answer = wire.answer().await;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
    }

    /// The next message, which goes to this number.
    async fn message(&self, phone: &str) -> Message {
        let count = self.messages.replace(self.messages.get() + 1);
        let told = self.gateway.told("message", count).await;
        assert_eq!(told["signed"], json!(true), "{told}");
        assert!(told["id"].as_str().is_some_and(|id| id.starts_with("msg_")), "{told}");
        let text = told["text"].as_str().expect("a text");
        let body: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(body["to"], format!("+{phone}"));
        let (code, locale) =
            (body["code"].as_str().expect("a code"), body["locale"].as_str().expect("a tag"));
        Message {
            code: code.to_owned(),
            text: without_receipt_path(text).replace(code, "CODE").replace(phone, "NUMBER"),
            locale: locale.to_owned(),
        }
    }

    /// Step 1 in the mesibo dialect, and what was sent.
    async fn ask(&self, phone: &str, head: &str) -> Message {
        let (status, answer) = self.post("/", head, &login_body(phone, None)).await;
        assert_eq!((status, &answer["result"]), (200, &json!("OK")), "{answer}");
        self.message(phone).await
    }
}

fn login_body(phone: &str, otp: Option<&str>) -> Value {
    let mut body = json!({"op": "login", "appid": APP, "phone": phone, "dt": "1"});
    if let Some(otp) = otp {
        body["otp"] = otp.into();
    }
    body
}

on_both! {
    async fn a_login_in_either_dialect_goes_through_four_processes(database) {
        let scene = Scene::start(&database).await;

        let sent = scene.ask("14155550101", "").await;
        let wrong = crate::harness::process::wrong(&sent.code);
        let (_, refused) = scene.post("/", "", &login_body("14155550101", Some(wrong))).await;
        assert_eq!(refused["error"], "BADUSER");
        let (_, done) = scene.post("/", "", &login_body("14155550101", Some(&sent.code))).await;
        assert_eq!((&done["result"], &done["token"]), (&json!("OK"), &json!("mesibo-token-00000001")), "{done}");
        let call = scene.backend.told("call", 0).await;
        assert_eq!((&call["op"], &call["token"]), (&json!("useradd"), &json!("the-app-token")));
        assert_eq!((&call["user"]["address"], &call["user"]["token"]["appid"]), (&json!("14155550101"), &json!(APP)));

        let start = json!({"app_id": APP, "phone": "+14155550102"});
        let (status, started) = scene.post("/v1/login", "", &start).await;
        assert_eq!(status, 202, "{started}");
        let sent = scene.message("14155550102").await;
        let guess = |code: &str| json!({"challenge": started["challenge"], "secret": started["secret"], "code": code});
        let wrong = crate::harness::process::wrong(&sent.code);
        let (status, refused) = scene.post("/v1/login/verify", "", &guess(wrong)).await;
        assert_eq!((status, &refused["code"]), (403, &json!("wrong_code")));
        assert_eq!(refused["type"], "https://login.example.com/problems#wrong_code");
        let (status, done) = scene.post("/v1/login/verify", "", &guess(&sent.code)).await;
        assert_eq!((status, &done["chat"]["token"]), (200, &json!("mesibo-token-00000002")), "{done}");
        assert_eq!(done["chat"]["provider"], "mesibo");
        assert_eq!(scene.backend.told("call", 1).await["user"]["address"], "14155550102");

        assert_eq!((database.count("users"), database.audited("token.minted")), (2, 2));
        let accepted = "SELECT count(*) AS n FROM deliveries WHERE status = 'accepted' AND provider_id = 'theirs'";
        crate::harness::process::until("both are noted", || database.number(accepted) == 2).await;
        let logs = scene.server.process.err.text();
        for secret in [&sent.code, "mesibo-token-", "the-app-token", "whsec_", "14155550102"] {
            assert!(!logs.contains(secret), "{secret} is in the log:\n{logs}");
        }
    }
}

on_both! {
    async fn a_forged_head_changes_no_byte_of_what_leaves_but_its_language_d4(database) {
        let scene = Scene::start(&database).await;
        let plain = scene.ask("14155550200", "").await;
        assert!(plain.text.contains(r"\nFA+9qCX9VSu\n@login.example.com #CODE"), "{}", plain.text);
        for (index, head) in [
            "Host: evil.example\r\n",
            "Host: evil.example\r\nX-Forwarded-Host: evil.example\r\n",
            "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: http\r\nX-Original-URL: /evil\r\n",
            "Forwarded: host=evil.example;proto=http\r\nReferer: https://evil.example/\r\n",
            "Accept-Language: {{ code }}, ../../etc/passwd, <b>\r\n",
            "User-Agent: evil.example\r\nAccept-Language: *\r\n",
        ]
        .into_iter()
        .enumerate()
        {
            let forged = scene.ask(&format!("141555503{index:02}"), head).await;
            assert_eq!(forged.text, plain.text, "{head}");
        }
        let german = scene.ask("14155550400", "Host: evil.example\r\nAccept-Language: de\r\n").await;
        let asked = scene.ask("14155550401", "Accept-Language: de;q=0.9, xx\r\n").await;
        assert_eq!((plain.locale.as_str(), german.locale.as_str()), ("en", "de"));
        assert_eq!(german.text, asked.text);
        assert!(german.text != plain.text && !german.text.contains("evil"), "{}", german.text);
    }
}
