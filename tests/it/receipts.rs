//! What gateways report of messages: who may, and what it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use latchkey::config::Config;
use latchkey::delivery::{Board, Callbacks, Receipts};
use latchkey::domain::pepper::Peppers;
use latchkey::domain::receipt::PathKeys;
use reqwest::Method;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::harness::app::{PHONE, now};
use crate::harness::gateway::{Posted, SECRET};
use crate::harness::reports::{Pair, path, report, says, signed};
use crate::harness::{Database, FakeGateway, Manner, TestApp, on_both, wire};

/// A message on its way, once its sender has noted that.
async fn sent(app: &TestApp, pair: &Pair, database: &Database) -> Posted {
    assert!(app.start_login(PHONE).await.is_ok());
    let posted = pair.first.after(0).await;
    // Whatever is written behind the note comes after it.
    until(database, "accepted").await;
    posted
}

/// Looks until the first message is there.
async fn until(database: &Database, wanted: &str) {
    while status(database) != wanted {
        tokio::task::yield_now().await;
    }
}

fn status(database: &Database) -> String {
    database.texts("SELECT status AS t FROM deliveries ORDER BY created_at LIMIT 1").concat()
}

/// Status, provider and error of a message.
fn became(database: &Database, id: &str) -> String {
    let row = "status || ' ' || coalesce(provider, '-') || ' ' || coalesce(error, '-')";
    database.texts(&format!("SELECT {row} AS t FROM deliveries WHERE id = '{id}'")).concat()
}

/// Looks until the sender of a message has said what became of it.
async fn noted(database: &Database, id: &str) {
    while became(database, id).starts_with("pending") {
        tokio::task::yield_now().await;
    }
}

/// Everything that a report could change.
fn everything(database: &Database) -> Vec<String> {
    let deliveries = "SELECT id || status || coalesce(provider, '-') || coalesce(error, '-') || \
                      coalesce(CAST(reported_at AS TEXT), '-') || coalesce(CAST(due_at AS TEXT), '-') AS t \
                      FROM deliveries ORDER BY id";
    let challenges = "SELECT id || CAST(version AS TEXT) || CAST(guesses AS TEXT) || \
                      coalesce(CAST(consumed_at AS TEXT), '-') AS t FROM challenges ORDER BY id";
    [database.texts(deliveries), database.texts(challenges)].concat()
}

on_both! {
    async fn a_report_moves_a_message_forward_once_and_never_back(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "").start();
        let posted = sent(&app, &pair, &database).await;
        says(&app, &posted, "accepted").await;
        assert_eq!(status(&database), "accepted");
        says(&app, &posted, "failed").await;
        assert_eq!(status(&database), "failed");
        let seen = everything(&database);
        app.advance(1);
        for late in ["accepted", "failed"] {
            says(&app, &posted, late).await;
            assert_eq!(everything(&database), seen, "{late}");
        }
        says(&app, &posted, "delivered").await;
        assert_eq!(status(&database), "delivered");
        assert_eq!(database.count("deliveries WHERE due_at IS NOT NULL"), 0, "it arrived after all");
        let seen = everything(&database);
        app.advance(1);
        for late in ["accepted", "failed", "delivered"] {
            says(&app, &posted, late).await;
            assert_eq!(everything(&database), seen, "{late}");
        }
        let metrics = app.admin("/metrics").await.text;
        for line in [
            "latchkey_receipts_total{provider=\"first\",status=\"delivered\"} 1",
            "latchkey_receipts_total{provider=\"first\",status=\"failed\"} 1",
            "latchkey_receipts_total{provider=\"first\",status=\"ignored\"} 6",
        ] {
            assert!(metrics.contains(line), "{line} is not in\n{metrics}");
        }
        app.stop().await;
    }
}

on_both! {
    async fn whoever_has_not_the_path_or_not_the_signature_moves_nothing(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "").start();
        let posted = sent(&app, &pair, &database).await;
        let right = posted.receipt_path();
        let (head, id) = right.rsplit_once('/').expect("an id");
        let (head, token) = head.rsplit_once('/').expect("a token");
        let seen = everything(&database);
        let flipped = if token.starts_with('A') { "B" } else { "A" }.to_owned() + &token[1..];
        let body = json!({"status": "delivered"});
        for forged in [
            format!("{head}/{flipped}/{id}"),
            format!("{head}/{token}/{}", id.replace(&id[10..11], "_")),
            format!("{head}/{token}/msg_0123456789abcdefghijkl"),
            format!("{head}/{token}"),
            format!("{}/{token}/{id}", head.replace("first", "second")),
            format!("{}/{token}/{id}", head.replace("first", "third")),
            format!("{head}//{id}"),
            format!("{head}/{token}/{id}/more"),
        ] {
            assert_eq!(report(&app, &forged, &body).await.status, 404, "{forged}");
        }
        let body = body.to_string();
        let other = "whsec_AfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert_eq!(signed(&app, &right, &body, other, 0).await.status, 403, "another secret");
        for age in [301, -301] {
            assert_eq!(signed(&app, &right, &body, SECRET, age).await.status, 403, "a replay");
        }
        let bare = app.request(Method::POST, &right).body(body.clone());
        assert_eq!(app.send(bare).await.status, 403);
        let get = app.send(app.request(Method::GET, &format!("{right}?status=delivered"))).await;
        assert_eq!((get.status, get.headers["allow"].to_str().expect("text")), (405, "POST"));
        assert_eq!(everything(&database), seen);
        // It is good for as long as that.
        assert_eq!(signed(&app, &right, &body, SECRET, 299).await.status, 204);
        assert_eq!(status(&database), "delivered");
        app.stop().await;
    }
}

on_both! {
    async fn what_nobody_knows_is_answered_alike_and_nothing_is_written(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "").start();
        let posted = sent(&app, &pair, &database).await;
        let seen = everything(&database);
        let unknown = path(&database, "first", Some("msg_0123456789abcdefghijkl"));
        let others = path(&database, "second", Some(&posted.id));
        let all = path(&database, "first", None);
        for (path, body) in [
            (unknown.as_str(), json!({"status": "delivered"})),
            (&others, json!({"status": "delivered"})),
            (&all, json!({"status": "delivered", "id": "nobody's"})),
            (&all, json!({"status": "delivered"})),
            (&posted.receipt_path(), json!({"status": "teleported"})),
            (&posted.receipt_path(), json!([{"status": "delivered"}])),
        ] {
            let answer = report(&app, path, &body).await;
            assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{body}");
            assert_eq!(everything(&database), seen, "{body}");
        }
        // By the gateway's own id it is known; `theirs` is what both fake gateways call all of their messages.
        assert_eq!(report(&app, &path(&database, "second", None), &json!({"status": "delivered", "id": "theirs"})).await.status, 204);
        assert_eq!(everything(&database), seen, "another provider's id");
        assert_eq!(report(&app, &all, &json!({"status": "delivered", "id": "theirs"})).await.status, 204);
        assert_eq!(status(&database), "delivered");
        app.stop().await;
    }
}

on_both! {
    async fn a_report_proves_no_address(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "").start();
        let posted = sent(&app, &pair, &database).await;
        let code = posted.get("code");
        let wrong = if code == "000000" { "000001" } else { "000000" };
        for path in [posted.receipt_path(), path(&database, "first", None)] {
            let body = json!({"status": "delivered", "id": "theirs", "code": code, "verified": true, "user_id": "usr_1"});
            assert_eq!(report(&app, &path, &body).await.status, 204);
        }
        assert_eq!(database.count("challenges WHERE consumed_at IS NULL"), 1);
        assert_eq!((database.count("users"), app.upstream.minted().len()), (0, 0));
        assert!(!app.verify(PHONE, wrong).await.is_ok());
        assert!(app.verify(PHONE, &code).await.token().is_some(), "the code does");
        app.stop().await;
    }
}

on_both! {
    async fn one_call_reports_many_messages_and_the_unknown_among_them_spoil_nothing(database) {
        let answer = json!({"messages": [{"messageId": "m1", "status": {"groupId": 1, "id": 26}}]}).to_string();
        let gateway = FakeGateway::start(Manner::json("200 OK", &answer)).await;
        let provider = format!(
            "[providers.bulk]\nrecipe = \"infobip\"\nbase_url = {:?}\napi_key = \"key\"\nsender = \"Us\"",
            gateway.url()
        );
        let app = TestApp::builder(&database).config(&provider).real_providers().start();
        assert!(app.start_login(PHONE).await.is_ok());
        let asked: serde_json::Value = serde_json::from_str(&gateway.after(0).await.text).expect("JSON");
        let url = asked["messages"][0]["webhooks"]["delivery"]["url"].as_str().expect("a URL");
        assert!(url.starts_with("http://127.0.0.1:8080/v1/receipts/bulk/"), "{url}");
        until(&database, "accepted").await;
        let result = |id: &str, group: i32| json!({"messageId": id, "status": {"groupId": group, "id": 5}});
        let results = json!({"results": [result("m0", 3), {"messageId": "m1"}, result("m1", 1), result("m1", 3), 7]});
        let post = |path: String, body: String| app.send(app.request(Method::POST, &path).body(body));
        let answer = post(path(&database, "bulk", None), results.to_string()).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, ""));
        assert_eq!(status(&database), "delivered");
        app.stop().await;
    }
}

on_both! {
    async fn nothing_that_a_gateway_posts_is_a_5xx_and_too_much_is_refused(database) {
        let gateway = FakeGateway::start(Manner::accepts()).await;
        let provider = format!(
            "[providers.bulk]\nrecipe = \"infobip\"\nbase_url = {:?}\napi_key = \"key\"\nsender = \"Us\"\n\
             [providers.v]\nrecipe = \"vonage\"\nbase_url = {0:?}\napi_key = \"key\"\napi_secret = \"s\"\nsender = \"Us\"\n\
             [routes.sms]\ndefault = [\"bulk\"]",
            gateway.url()
        );
        let app = TestApp::builder(&database).config(&provider).real_providers().start();
        let post = |provider: &str, body: Vec<u8>| {
            app.send(app.request(Method::POST, &path(&database, provider, None)).body(body))
        };
        let deep = "[".repeat(60_000).into_bytes();
        let bodies: [Vec<u8>; 8] = [
            Vec::new(),
            vec![0xff; 100],
            deep,
            b"{\"results\":".to_vec(),
            b"{\"results\":[{\"messageId\":\"\\u0000\",\"status\":{\"groupId\":3}}]}".to_vec(),
            b"{\"results\":[{\"messageId\":\"';DROP TABLE deliveries;--\",\"status\":{\"groupId\":3}}]}".to_vec(),
            b"messageId=%00&status=delivered&client-ref=msg_%FF".to_vec(),
            format!("{{\"results\":[{}0]}}", "{\"messageId\":1,\"status\":{\"groupId\":3}},".repeat(1500)).into_bytes(),
        ];
        for body in bodies {
            for provider in ["bulk", "v"] {
                let answer = post(provider, body.clone()).await;
                assert_eq!(answer.status, 200, "{provider}: {:?}", String::from_utf8_lossy(&body[..body.len().min(80)]));
            }
        }
        assert_eq!(post("bulk", vec![b' '; 64 * 1024]).await.status, 200);
        assert_eq!(post("bulk", vec![b' '; 64 * 1024 + 1]).await.status, 413);
        app.stop().await;
    }
}

on_both! {
    async fn a_report_that_is_quicker_than_the_note_counts_once_that_is_there(database) {
        for (index, said, becomes) in [(0, "delivered", "delivered first -"), (1, "failed", "failed first undelivered")] {
            let pair = Pair::start().await;
            let turn = Arc::new(Semaphore::new(0));
            pair.first.set(Manner::accepts().when(&turn));
            let app = pair.builder(&database, "").seed(7 + index).start();
            let phone = format!("1201555010{index}");
            let (started, id) = tokio::join!(app.start_login(&phone), async {
                let posted = pair.first.after(0).await;
                says(&app, &posted, "accepted").await;
                says(&app, &posted, said).await;
                assert_eq!(became(&database, &posted.id), "pending - -", "its sender says first who took it");
                turn.add_permits(1);
                posted.id
            });
            assert!(started.is_ok());
            noted(&database, &id).await;
            assert_eq!(became(&database, &id), becomes);
            let theirs = format!("SELECT provider_id AS t FROM deliveries WHERE id = '{id}'");
            assert_eq!(database.texts(&theirs), ["theirs"], "nothing of the note is lost");
            assert_eq!(database.count("deliveries WHERE due_at IS NOT NULL"), i64::from(said == "failed"), "{said}");
            app.stop().await;
        }
    }
}

on_both! {
    async fn who_refused_a_message_cannot_fail_it_for_the_one_that_took_it(database) {
        let pair = Pair::start().await;
        let turn = Arc::new(Semaphore::new(0));
        pair.first.set(Manner::refuses());
        pair.second.set(Manner::accepts().when(&turn));
        let app = pair.builder(&database, "").start();
        let (started, id) = tokio::join!(app.start_login(PHONE), async {
            let taken = pair.second.after(0).await;
            let refused = pair.first.posted()[0].clone();
            says(&app, &refused, "failed").await;
            assert_eq!(became(&database, &taken.id), "pending - -");
            assert_eq!(app.login.resend_overdue().await.expect("a store"), [], "it is on its way");
            turn.add_permits(1);
            taken.id
        });
        assert!(started.is_ok());
        noted(&database, &id).await;
        assert_eq!(became(&database, &id), "accepted second -");
        assert_eq!(database.texts("SELECT failed_providers AS t FROM deliveries"), ["first"]);
        assert_eq!(database.audited("code.failed_over"), 1);
        assert_eq!(app.login.resend_overdue().await.expect("a store"), [], "nobody pays twice");
        says(&app, &pair.first.posted()[0], "failed").await;
        assert_eq!(became(&database, &id), "accepted second -", "nor later");
        assert_eq!((pair.first.posted().len(), pair.second.posted().len()), (1, 1));
        app.stop().await;
    }
}

on_both! {
    async fn a_quick_report_costs_nobody_the_money_that_was_not_spent(database) {
        let pair = Pair::start().await;
        let turn = Arc::new(Semaphore::new(0));
        pair.first.set(Manner::accepts().when(&turn));
        let app = pair
            .builder(&database, "")
            .set("limits.spend_per_day", 10)
            .set("prices.first.default", 0.01)
            .set("prices.second.default", 1)
            .start();
        let (started, id) = tokio::join!(app.start_login(PHONE), async {
            let posted = pair.first.after(0).await;
            says(&app, &posted, "delivered").await;
            turn.add_permits(1);
            posted.id
        });
        assert!(started.is_ok());
        noted(&database, &id).await;
        let spent = database.number("SELECT arrival AS n FROM budgets WHERE key = 'money'") - now().as_millis();
        let day = 24 * 60 * 60 * 1000;
        assert_eq!(spent, day / 1000, "a cent of ten, not what the dearest would have taken");
        app.stop().await;
    }
}

on_both! {
    async fn a_message_that_nobody_noted_is_delivered_where_one_says_so_and_never_failed(database) {
        let pair = Pair::start().await;
        let app = pair.builder(&database, "").start();
        let posted = sent(&app, &pair, &database).await;
        database.execute("UPDATE deliveries SET status = 'unknown', provider = NULL, provider_id = NULL");
        says(&app, &posted, "failed").await;
        assert_eq!(became(&database, &posted.id), "unknown - -", "another may have taken it");
        says(&app, &posted, "delivered").await;
        assert_eq!(became(&database, &posted.id), "delivered first -");
        app.stop().await;
    }
}

/// Twilio's signature, over a URL and a form that is sorted already.
fn by_twilio(url: &str, form: &[(&str, &str)]) -> String {
    let pairs: String = form.iter().flat_map(|(name, value)| [*name, *value]).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"token");
    STANDARD.encode(hmac::sign(&key, format!("{url}{pairs}").as_bytes()))
}

on_both! {
    async fn a_url_that_a_gateway_signs_is_the_public_one_whatever_host_a_request_names(database) {
        let answer = json!({"sid": "SM0123456789abcdef0123456789abcdef", "status": "queued"}).to_string();
        let gateway = FakeGateway::start(Manner::json("201 Created", &answer)).await;
        let provider = format!(
            "[providers.t]\nrecipe = \"twilio\"\nbase_url = {:?}\naccount_sid = \"AC0123456789abcdef0123456789abcdef\"\n\
             auth_token = \"token\"\nsender = \"+14155552672\"",
            gateway.url()
        );
        let app = TestApp::builder(&database)
            .config(&provider)
            .set("public_url", "https://login.example.com/behind/a/proxy/")
            .real_providers()
            .start();
        assert!(app.start_login(PHONE).await.is_ok());
        let form = gateway.after(0).await.text;
        let callback = url::form_urlencoded::parse(form.as_bytes()).find(|(name, _)| name == "StatusCallback");
        let callback = callback.expect("a callback").1.into_owned();
        let path = callback.strip_prefix("https://login.example.com/behind/a/proxy").expect("the public URL");
        until(&database, "accepted").await;
        let form = [("MessageSid", "SM1"), ("MessageStatus", "delivered")];
        let post = |signature: String| {
            let request = app.request(Method::POST, path).header("host", "evil.example");
            let request = request.header("x-forwarded-host", "evil.example").header("x-twilio-signature", signature);
            app.send(request.body("MessageSid=SM1&MessageStatus=delivered"))
        };
        for other in [format!("https://evil.example{path}"), format!("http://{}{path}", app.address), path.to_owned()] {
            assert_eq!(post(by_twilio(&other, &form)).await.status, 403, "{other}");
        }
        assert_eq!(status(&database), "accepted");
        let taken = post(by_twilio(&callback, &form)).await;
        assert_eq!((taken.status, taken.text.as_str()), (204, ""));
        assert_eq!(status(&database), "delivered");
        app.stop().await;
    }
}

on_both! {
    async fn silence_says_nothing_of_a_gateway_whose_console_may_hold_no_address(database) {
        let answer = json!({"SMSMessageData": {"Recipients": [{"statusCode": 101, "messageId": "ATPid_1"}]}});
        let gateway = FakeGateway::start(Manner::json("201 Created", &answer.to_string())).await;
        let provider = format!(
            "[providers.at]\nrecipe = \"africastalking\"\nbase_url = {:?}\nusername = \"u\"\napi_key = \"k\"\n\
             [routes.sms]\ndefault = [\"at\"]\npatience = \"20s\"",
            gateway.url()
        );
        let app = TestApp::builder(&database).config(&provider).real_providers().start();
        assert!(app.start_login(PHONE).await.is_ok());
        until(&database, "accepted").await;
        let waited_for = "deliveries WHERE due_at IS NOT NULL";
        assert_eq!(database.count(waited_for), 0, "nobody knows whether it reports at all");
        let report = app.request(Method::POST, &path(&database, "at", None)).body("id=ATPid_1&status=Buffered");
        assert_eq!(app.send(report).await.status, 200);
        assert!(app.start_login("12015550123").await.is_ok());
        wire::until("the second note", || database.count("deliveries WHERE status = 'accepted'") == 2).await;
        assert_eq!(database.count(waited_for), 1, "now it is known");
        app.stop().await;
    }
}

/// What the server makes of providers that report.
fn receipts(providers: &str, public_url: &str, board: &Arc<Board>) -> Receipts {
    let document = providers.parse().expect("TOML");
    let config =
        Config::parse(document, "a test", &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"));
    let keys = PathKeys::new(&Peppers::parse(&format!("k1 {}", "ab".repeat(32))).expect("a pepper"));
    let callbacks = Arc::new(Callbacks::new(public_url.parse().expect("a URL"), keys));
    Receipts::new(&config.providers, callbacks, Arc::clone(board)).expect("receipts")
}

/// Where the gateway is outside and we are not, it is told no address that it cannot reach.
#[test]
fn a_gateway_is_told_an_address_only_where_it_can_reach_it() {
    for (public_url, base_url, expected) in [
        ("https://login.example.com", "https://api.example.com", true),
        ("https://login.example.com", "http://127.0.0.1:1", true),
        ("http://127.0.0.1:8080", "http://127.0.0.1:1", true),
        ("http://127.0.0.1:8080", "https://api.example.com", false),
        ("http://10.0.0.1:8080", "https://api.example.com", false),
    ] {
        let provider =
            format!("[providers.a]\nrecipe = \"webhook\"\nbase_url = {base_url:?}\nsecret = {SECRET:?}");
        let receipts = receipts(&provider, public_url, &Arc::default());
        assert_eq!(receipts.are_expected("a"), expected, "{public_url} {base_url}");
        assert!(!receipts.are_expected("b"));
    }
}

#[test]
fn no_report_is_expected_of_a_gateway_that_cannot_prove_to_be_itself() {
    for (topic, expected) in
        [("", false), ("receipts_topic = \"arn:aws:sns:eu-west-1:123456789012:sms\"", true)]
    {
        let provider = format!(
            "[providers.a]\nrecipe = \"aws_end_user_messaging\"\nregion = \"eu-west-1\"\naccess_key_id = \"id\"\n\
             secret_access_key = \"key\"\nsender = \"+14155552672\"\n\
             base_url = \"https://sms-voice.eu-west-1.amazonaws.com\"\n{topic}\n\
             [providers.a.vars]\ndlt_entity_id = \"\"\ndlt_template_id = \"\""
        );
        let board = Arc::new(Board::default());
        let receipts = receipts(&provider, "https://login.example.com", &board);
        assert!(!receipts.are_expected("a"), "its console may hold no address");
        // As before a change of the configuration.
        board.note_report("a");
        assert_eq!(receipts.are_expected("a"), expected, "{topic}");
    }
}
