//! Known, unknown and closed numbers, to somebody with a watch.

use std::time::Duration;

use latchkey::ambient::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::harness::app::{APP, Answer, http_client, now};
use crate::harness::gateway::SECRET;
use crate::harness::process::{Server, Settings};
use crate::harness::{FakeGateway, Manner, on_both};

const ROUNDS: usize = 40;

/// What a gateway takes for a message.
const GATEWAY: Duration = Duration::from_millis(30);

/// What an answer shows of itself: its status, headers and body, with the length of what is drawn or differs by number.
fn shape(answer: &Answer) -> String {
    let headers = answer.headers.iter().filter(|(name, _)| *name != "date");
    let mut headers: Vec<String> = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
    // Each thread of the server has an order of its own.
    headers.sort();
    let mut body = answer.json();
    for (key, value) in body.as_object_mut().expect("an object") {
        if key == "ts" {
            *value = Value::Null;
        } else if ["challenge", "secret", "to"].contains(&key.as_str()) {
            *value = value.as_str().expect("a text").len().into();
        }
    }
    format!("{} {headers:?} {body}", answer.status)
}

/// Step 1 in either dialect.
async fn start_login(server: &Server, http: &reqwest::Client, phone: &str, v1: bool) -> Answer {
    if !v1 {
        return server.client.start_login(phone).await.expect("an answer");
    }
    let request = http.post(format!("http://{}/v1/login", server.client.address()));
    let body = json!({"app_id": APP, "phone": format!("+{phone}")}).to_string();
    let response = request.header("content-type", "application/json").body(body).send().await;
    let response = response.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.expect("a body") }
}

on_both! {
    async fn what_is_answered_counts_from_the_answer_and_not_from_before_the_gateway_b10(database) {
        let gateway = FakeGateway::start(Manner::accepts().after(Duration::from_millis(1100))).await;
        let settings = Settings::of(&database)
            .set("providers.hook.recipe", "webhook")
            .set("providers.hook.base_url", gateway.url())
            .set("providers.hook.secret", SECRET)
            .set("routes.sms.default", vec!["hook"]);
        let server = Server::start(&settings).await;
        let sent = start_login(&server, &http_client(), "18005551234", true).await;
        assert_eq!(sent.status, 202, "{sent:?}");
        let (challenge, sms) = (sent.get("expires_in").as_u64(), sent.get("next")["sms"].as_u64());
        assert!(challenge.is_some_and(|secs| (1100..1200).contains(&secs)), "{sent:?}");
        assert!(sms.is_some_and(|secs| (1..60).contains(&secs)), "{sent:?}");
    }
}

on_both! {
    async fn a_watch_does_not_tell_closed_numbers_from_known_and_unknown_ones_e5(database) {
        let gateway = FakeGateway::start(Manner::accepts().after(GATEWAY)).await;
        let settings = Settings::of(&database)
            .without_send_limits()
            .set("otp.at_cap", "close")
            .set("providers.hook.recipe", "webhook")
            .set("providers.hook.base_url", gateway.url())
            .set("providers.hook.secret", SECRET)
            .set("routes.sms.default", vec!["hook"]);
        let server = Server::start(&settings).await;
        let never = i64::MAX;
        let at = now().as_millis();
        let number = |kind: usize, round: usize| format!("1800555{:04}", 2000 + 1000 * kind + round);
        for round in 0..ROUNDS {
            let (known, closed) = (number(0, round), number(2, round));
            database.execute(&format!("INSERT INTO users VALUES ('usr_{round}', 'local', NULL, {at})"));
            database.execute(&format!(
                "INSERT INTO identities VALUES ('local', '+{known}', 'usr_{round}', NULL, {at}, {at})"
            ));
            database.execute(&format!("INSERT INTO guards VALUES ('local', '+{closed}', 100, 100, {never}, 0)"));
        }
        // The first message of a connection takes longer.
        assert!(server.client.start_login("18005559999").await.expect("an answer").is_ok());

        let http = http_client();
        let mut spent = [const { Vec::new() }; 3];
        for round in 0..ROUNDS {
            let mut shapes = Vec::new();
            for (kind, spent) in spent.iter_mut().enumerate() {
                let from = SystemClock.now();
                let answer = start_login(&server, &http, &number(kind, round), round % 2 == 1).await;
                spent.push(SystemClock.now().wait_from(from));
                shapes.push(shape(&answer));
            }
            assert_eq!((&shapes[0], &shapes[0]), (&shapes[1], &shapes[2]));
        }
        let rounds = i64::try_from(ROUNDS).expect("few");
        assert_eq!((gateway.posted().len(), database.audited("code.withheld")), (2 * ROUNDS + 1, rounds));
        // The one in the middle: a busy machine makes a few take much longer.
        let [known, unknown, closed] = spent.map(|mut spent| {
            spent.sort();
            spent[ROUNDS / 2]
        });
        let alike = |one: Duration, other: Duration| one * 10 > other * 6 && other * 10 > one * 6;
        let middles = format!("known {known:?}, unknown {unknown:?}, closed {closed:?}");
        assert!(known >= GATEWAY, "{middles}");
        assert!(alike(known, unknown) && alike(known, closed) && alike(unknown, closed), "{middles}");
    }
}
