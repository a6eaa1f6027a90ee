//! The eight published clients of mesibo's login API, and what they need of a server.

mod contract;
mod published;

use serde_json::Value;

use self::published::{Client, Crash, OBJECTIVE_C_CRASHES_ON_TRUE, PUBLISHED, Seen, Step};
use crate::harness::app::APP;
use crate::harness::{TestApp, on_both};

on_both! {
    async fn every_published_client_is_refused_with_a_wrong_code_logs_in_with_the_right_one_and_logs_out(database) {
        let app = TestApp::start(&database);
        for client in PUBLISHED {
            log_in_and_out(&app, client).await;
        }
        assert_eq!(database.count("users"), 8, "one person each, however the number was typed");
        app.stop().await;
    }
}

async fn log_in_and_out(app: &TestApp, client: &Client) {
    let name = client.name;
    let [first, second] = client.spellings;
    let before = app.outbox.count();
    let started = app.send(client.login(app, first, None)).await;
    assert_eq!(client.sees(&started, Step::Phone), Seen::AsksForTheCode, "{name}: {started:?}");
    let sent = app.outbox.sent();
    assert_eq!((sent.len(), sent[before].to.as_str()), (before + 1, client.number), "{name}");

    let wrong = app.send(client.login(app, second, Some(&app.outbox.wrong_code()))).await;
    assert_eq!(client.sees(&wrong, Step::Code), Seen::SaysNo, "{name}: {wrong:?}");

    let right = app.send(client.login(app, second, Some(&app.outbox.last_code()))).await;
    let token = app.upstream.minted().pop().expect("a token was minted");
    assert_eq!(client.sees(&right, Step::Code), Seen::Enters(token.clone()), "{name}: {right:?}");
    assert_eq!(right.get("phone"), client.number.trim_start_matches('+'), "{name}");
    assert_eq!(app.upstream.subjects().pop().expect("a mint").app_id, APP, "{name}");

    if let Some(request) = client.logout(app, &token) {
        let out = app.send(request).await;
        assert_eq!(client.sees(&out, Step::Logout), Seen::IsOut, "{name}: {out:?}");
    }
}

on_both! {
    async fn every_published_client_understands_a_refusal(database) {
        let app = TestApp::builder(&database)
            .config("[[apps]]\nid = \"com.listed\"\nname = \"Listed\"\nupstream = \"local\"")
            .start();
        for client in PUBLISHED {
            let refused = app.send(client.login(&app, client.spellings[0], None)).await;
            assert_eq!(refused.error(), "BADAPP");
            assert_eq!(client.sees(&refused, Step::Phone), Seen::SaysNo, "{}: {refused:?}", client.name);
            let refused = app.send(client.login(&app, client.spellings[0], Some("123456"))).await;
            assert_eq!(client.sees(&refused, Step::Code), Seen::SaysNo, "{}: {refused:?}", client.name);
        }
        app.stop().await;
    }
}

/// Reads what a client would do with a body.
fn would_see(client: &Client, step: Step, body: &Value) -> Seen {
    (client.rule)(&body.to_string(), step)
}

#[test]
fn the_rules_of_the_clients_know_what_breaks_each_of_them() {
    use serde_json::json;
    for client in PUBLISHED {
        let name = client.name;
        let see = |step, body| would_see(client, step, &body);
        let good = json!({"op": "login", "ts": 1, "result": "OK"});
        assert_eq!(see(Step::Phone, good), Seen::AsksForTheCode, "{name}");

        let boolean = see(Step::Phone, json!({"op": "login", "ts": 1, "result": true}));
        let crashes = OBJECTIVE_C_CRASHES_ON_TRUE.contains(&name);
        assert_eq!(boolean, if crashes { Seen::Crashes(Crash::NotAString) } else { Seen::SaysNo }, "{name}");

        let no_error = see(Step::Phone, json!({"op": "login", "ts": 1, "result": "FAIL"}));
        let kicked = see(Step::Code, json!({"op": "login", "ts": 1, "result": "FAIL", "error": "AUTHFAIL"}));
        let no_op = see(Step::Phone, json!({"ts": 1, "result": "OK"}));
        let html = (client.rule)("<html>502 Bad Gateway</html>", Step::Phone);
        let float = see(Step::Phone, json!({"op": "login", "ts": 1.5, "result": "OK"}));
        let short = json!({"op": "login", "ts": 1, "result": "OK", "token": "short", "phone": "1"});
        let early = json!({"op": "login", "ts": 1, "result": "OK", "token": ""});
        match name {
            "android" | "kotlin" => {
                assert_eq!(no_error, Seen::Crashes(Crash::NoError));
                assert_eq!(kicked, Seen::Crashes(Crash::AuthFail));
                assert_eq!(no_op, Seen::Crashes(Crash::NoOp));
                assert_eq!((html, float), (Seen::SaysNothing, Seen::SaysNothing));
                let stuck =
                    json!({"op": "login", "ts": 1, "result": "FAIL", "error": "BADUSER", "errmsg": "No"});
                assert_eq!(see(Step::Code, stuck), Seen::HangsInItsDialog);
            }
            "swift" => {
                assert_eq!(kicked, Seen::Crashes(Crash::AuthFail));
                assert_eq!(html, Seen::Crashes(Crash::NoObject));
                assert_eq!(no_op, Seen::SaysNothing);
            }
            "ios" => {
                assert_eq!(kicked, Seen::HangsInItsDialog);
                assert_eq!((html, no_op), (Seen::SaysNothing, Seen::SaysNothing));
            }
            "web" | "conf web" => {
                assert_eq!(see(Step::Code, short), Seen::SaysNothing);
                assert_eq!(html, Seen::SaysNothing);
            }
            "conf Android" => {
                assert_eq!((no_op, html), (Seen::Crashes(Crash::NoOp), Seen::Crashes(Crash::NoObject)));
                assert_eq!(float, Seen::Crashes(Crash::NoObject));
            }
            "conf iOS" => assert_eq!(see(Step::Phone, early), Seen::Enters(String::new())),
            _ => panic!("a client without expectations: {name}"),
        }
    }
}
