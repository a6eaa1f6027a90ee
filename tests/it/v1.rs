//! Our own API over HTTP.

use std::collections::BTreeSet;

use latchkey::delivery::SendError;
use latchkey::upstream::UpstreamError;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{APP, Answer, PHONE};
use crate::harness::{Mint, TestApp, on_both};

const E164: &str = "+18005551234";

async fn post(app: &TestApp, path: &str, body: Value) -> Answer {
    let request = app.request(Method::POST, path).header("content-type", "application/json");
    app.send(request.body(body.to_string())).await
}

async fn login(app: &TestApp) -> Value {
    let answer = post(app, "/v1/login", json!({"app_id": APP, "phone": E164})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()
}

async fn verify(app: &TestApp, started: &Value, code: &str) -> Answer {
    let body = json!({"challenge": started["challenge"], "secret": started["secret"], "code": code});
    post(app, "/v1/login/verify", body).await
}

fn retry_after(answer: &Answer) -> u64 {
    answer.headers["retry-after"].to_str().expect("ASCII").parse().expect("seconds")
}

/// Holds an answer to its schema in the document: every member known, every required one there.
pub fn hold_to_schema(document: &Value, name: &str, value: &Value) {
    let schema = &document["components"]["schemas"][name];
    let object = value.as_object().unwrap_or_else(|| panic!("{name} is an object: {value}"));
    let known = schema["properties"].as_object().expect("properties");
    for key in object.keys().filter(|_| schema["additionalProperties"] == json!(false)) {
        assert!(known.contains_key(key), "{name} has no member {key}");
    }
    for required in schema["required"].as_array().expect("required") {
        assert!(object.contains_key(required.as_str().expect("a name")), "{name} lacks {required}");
    }
}

on_both! {
    async fn a_whole_login_says_what_comes_next_at_each_step(database) {
        let app = TestApp::start(&database);
        let document = app.send(app.request(Method::GET, "/openapi.json")).await.json();
        let started = login(&app).await;
        hold_to_schema(&document, "CodeSent", &started);
        assert_eq!(started["next"], json!({"sms": 60, "check": 0}));
        assert_eq!(started["to"], "+1•••1234");
        let shown = (&started["code_length"], &started["expires_in"], &started["attempts_left"], &started["channel"]);
        assert_eq!(shown, (&json!(6), &json!(1200), &json!(5), &json!("sms")));

        let wrong = verify(&app, &started, &app.outbox.wrong_code()).await;
        hold_to_schema(&document, "Problem", &wrong.json());
        assert_eq!((wrong.status, wrong.get("code"), wrong.get("attempts_left")), (403, json!("wrong_code"), json!(4)));
        assert_eq!(wrong.get("next"), json!({"check": 0}));

        let right = verify(&app, &started, &app.outbox.last_code()).await;
        hold_to_schema(&document, "LoggedIn", &right.json());
        hold_to_schema(&document, "Chat", &right.get("chat"));
        assert_eq!((right.status, right.get("is_new_user")), (200, json!(true)));
        assert_eq!(right.get("chat")["token"], json!(app.upstream.minted()[0]));
        assert_eq!(right.get("user_id"), json!(app.upstream.subjects()[0].user.as_str()));
        app.stop().await;
    }
}

on_both! {
    async fn waiting_exactly_as_long_as_next_says_succeeds_b10(database) {
        let app = TestApp::start(&database);
        let mut started = login(&app).await;
        for _ in 0..4 {
            let wait = started["next"]["sms"].as_u64().expect("seconds");
            let body = json!({"challenge": started["challenge"], "secret": started["secret"]});
            app.advance(wait - 1);
            let early = post(&app, "/v1/login/resend", body.clone()).await;
            assert_eq!((early.status, early.get("code"), retry_after(&early)), (429, json!("too_soon"), 1));
            app.advance(1);
            let again = post(&app, "/v1/login/resend", body).await;
            if again.status == 410 {
                break;
            }
            assert_eq!((again.status, again.get("challenge")), (202, started["challenge"].clone()));
            started = again.json();
        }
        assert!(app.outbox.count() >= 4);
        app.stop().await;
    }
}

on_both! {
    async fn a_channel_is_offered_only_while_its_wait_ends_before_the_challenge_b10(database) {
        let waits = vec!["19m", "20m", "20m", "20m"];
        let app = TestApp::builder(&database).set("limits.send_waits", waits).start();
        let started = login(&app).await;
        assert_eq!(started["next"], json!({"sms": 19 * 60, "check": 0}));
        app.advance(19 * 60);
        let body = json!({"challenge": started["challenge"], "secret": started["secret"]});
        let again = post(&app, "/v1/login/resend", body).await;
        assert_eq!((again.status, again.get("next")), (202, json!({"check": 0})), "the challenge ends in a minute");
        app.stop().await;
    }
}

on_both! {
    async fn of_two_right_guesses_at_once_the_later_one_is_told_to_come_back_and_gets_its_token_a3(database) {
        let app = TestApp::start(&database);
        for _ in 0..10 {
            let started = login(&app).await;
            let code = app.outbox.last_code();
            let (one, other) = tokio::join!(verify(&app, &started, &code), verify(&app, &started, &code));
            let mut statuses = [one.status, other.status];
            statuses.sort_unstable();
            assert!(matches!(statuses, [200, 200 | 409]), "{one:?} {other:?}");
            assert_eq!(verify(&app, &started, &code).await.status, 200);
            app.advance(600);
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_guarded_guess_names_its_wait_and_waiting_succeeds_b10(database) {
        let app = TestApp::builder(&database).set("otp.attempts", 10).start();
        let started = login(&app).await;
        for _ in 0..5 {
            let wrong = verify(&app, &started, &app.outbox.wrong_code()).await;
            assert_eq!(wrong.get("next"), json!({"check": 0}));
        }
        let sixth = verify(&app, &started, &app.outbox.wrong_code()).await;
        assert_eq!(sixth.get("next"), json!({"check": 30}));
        let early = verify(&app, &started, &app.outbox.last_code()).await;
        assert_eq!((early.status, early.get("code"), retry_after(&early)), (429, json!("guess_too_soon"), 30));
        app.advance(30);
        assert_eq!(verify(&app, &started, &app.outbox.last_code()).await.status, 200);
        app.stop().await;
    }
}

on_both! {
    async fn a_code_leaves_when_there_is_time_to_type_it_behind_the_brake_b10(database) {
        let app = TestApp::builder(&database).set("otp.attempts", 10).set("otp.lifetime", "30s").start();
        let started = login(&app).await;
        for _ in 0..6 {
            let _ = verify(&app, &started, &app.outbox.wrong_code()).await;
        }
        app.advance(5);
        let body = json!({"challenge": started["challenge"], "secret": started["secret"]});
        database.execute("DELETE FROM budgets");
        let early = post(&app, "/v1/login/resend", body.clone()).await;
        assert_eq!((early.status, retry_after(&early)), (429, 5), "the brake opens in 25 s, and the code would live 30 s");
        app.advance(5);
        let sent = post(&app, "/v1/login/resend", body).await;
        assert_eq!((sent.status, sent.get("next")["check"].clone()), (202, json!(20)));
        app.advance(20);
        assert_eq!(verify(&app, &started, &app.outbox.last_code()).await.status, 200);
        app.stop().await;
    }
}

on_both! {
    async fn when_the_backend_fails_a_grant_saves_the_second_message_f1(database) {
        let app = TestApp::start(&database);
        for (error, code) in [
            (UpstreamError::Unavailable("down".into()), "upstream_unavailable"),
            (UpstreamError::Unknown("cut".into()), "upstream_unavailable"),
            (UpstreamError::Misconfigured("the master key".into()), "upstream_misconfigured"),
        ] {
            let sent = app.outbox.count();
            let started = login(&app).await;
            app.upstream.next(Mint::Fails(error));
            let failed = verify(&app, &started, &app.outbox.last_code()).await;
            assert_eq!((failed.status, failed.get("code")), (503, json!(code)));
            assert!(!failed.text.contains("master") && !failed.text.contains("down"));
            let wait = failed.headers.contains_key("retry-after").then(|| retry_after(&failed));
            app.advance(wait.unwrap_or(0));
            let done = post(&app, "/v1/login/complete", json!({"grant": failed.get("grant")})).await;
            assert_eq!((done.status, app.outbox.count()), (200, sent + 1), "{code}");
            let again = post(&app, "/v1/login/complete", json!({"grant": failed.get("grant")})).await;
            assert_eq!((again.status, again.get("code")), (410, json!("grant_gone")));
            app.advance(600);
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_lost_answer_is_given_again_for_a_minute_to_the_same_secret_and_code_a9(database) {
        let app = TestApp::start(&database);
        let started = login(&app).await;
        let code = app.outbox.last_code();
        assert_eq!(verify(&app, &started, &code).await.status, 200);
        app.advance(59);
        let again = verify(&app, &started, &code).await;
        assert_eq!((again.status, again.get("is_new_user")), (200, json!(true)));
        assert_eq!(again.get("chat")["token"], json!(app.upstream.minted()[1]), "minted afresh");
        assert_eq!(database.audited("token.minted"), 2);
        let wrong = verify(&app, &started, &app.outbox.wrong_code()).await;
        assert_eq!((wrong.get("code"), wrong.get("attempts_left")), (json!("wrong_code"), json!(3)), "of five repeats");
        app.advance(60);
        assert_eq!(verify(&app, &started, &code).await.get("code"), "challenge_gone");
        assert_eq!((app.outbox.count(), database.audited("code.consumed")), (1, 1));
        app.stop().await;
    }
}

on_both! {
    async fn a_repeat_has_a_grant_of_its_own_and_a_spent_one_stays_spent_f1(database) {
        let app = TestApp::start(&database);
        let started = login(&app).await;
        let code = app.outbox.last_code();
        let fail = || app.upstream.next(Mint::Fails(UpstreamError::Unavailable("down".into())));
        fail();
        let first = verify(&app, &started, &code).await;
        let done = post(&app, "/v1/login/complete", json!({"grant": first.get("grant")})).await;
        assert_eq!(done.status, 200);
        fail();
        let repeat = verify(&app, &started, &code).await;
        assert_eq!(repeat.status, 503, "the answer was lost, and the backend is down again");
        let old = post(&app, "/v1/login/complete", json!({"grant": first.get("grant")})).await;
        assert_eq!(old.get("code"), "grant_gone");
        let new = post(&app, "/v1/login/complete", json!({"grant": repeat.get("grant")})).await;
        assert_eq!((new.status, app.outbox.count()), (200, 1));
        app.stop().await;
    }
}

on_both! {
    async fn what_is_not_exactly_a_code_is_refused_before_it_counts_a8(database) {
        let app = TestApp::start(&database);
        let started = login(&app).await;
        for code in ["", " 12345", "12345", "1234567", "１２３４５６", "12345\0", "12345a", &"1".repeat(10_000)] {
            let answer = verify(&app, &started, code).await;
            assert_eq!((answer.status, answer.get("code")), (400, json!("invalid_code")), "{code:?}");
        }
        for code in [json!(null), json!(true), json!(0), json!(123_456), json!([]), json!({})] {
            let body = json!({"challenge": started["challenge"], "secret": started["secret"], "code": code});
            let answer = post(&app, "/v1/login/verify", body).await;
            assert_eq!((answer.status, answer.get("code")), (400, json!("invalid_request")), "{code}");
        }
        for id in ["", "ch_", "ch_\0", "ch_aaaaaaaaaaaaaaaaaaaaa\0", "msg_1", "' OR 1=1 --"] {
            let body = json!({"challenge": id, "secret": started["secret"], "code": "123456"});
            let answer = post(&app, "/v1/login/verify", body).await;
            assert_eq!((answer.status, answer.get("code")), (410, json!("challenge_gone")), "{id:?}");
        }
        assert_eq!((database.audited("guess.counted"), database.count("guards")), (0, 0));
        assert_eq!(verify(&app, &started, &app.outbox.last_code()).await.status, 200);
        app.stop().await;
    }
}

on_both! {
    async fn bodies_are_read_strictly_and_methods_and_media_types_too_j5(database) {
        let app = TestApp::start(&database);
        let good = format!(r#"{{"app_id":"{APP}","phone":"{E164}""#);
        for (body, detail) in [
            (format!("{good},\"dt\":1}}"), "unknown field dt"),
            (format!("{good},\"phone\":\"{E164}\"}}"), "repeated field phone"),
            (r#"{"phone":"+18005551234"}"#.to_owned(), "missing field app_id"),
            (format!("{good}}} x"), "not JSON at line 1, column 57"),
            (format!(r#"{{"app_id":"{APP}"}}"#), "send either phone or email"),
            (format!("{good},\"email\":\"a@x.example\"}}"), "send either phone or email"),
            (format!("{good},\"locale\":\"{{{{code}}}}\"}}"), "locale must be a language tag such as pt-BR"),
        ] {
            let request = app.request(Method::POST, "/v1/login").header("content-type", "application/json");
            let answer = app.send(request.body(body.clone())).await;
            assert_eq!((answer.status, answer.get("code")), (400, json!("invalid_request")), "{body}");
            assert_eq!(answer.get("detail"), detail, "{body}");
        }
        let typed = |kind: &'static str| app.request(Method::POST, "/v1/login").header("content-type", kind).body("{}");
        assert_eq!(app.send(typed("text/plain")).await.get("code"), "unsupported_media_type");
        assert_eq!(app.send(typed("application/json; charset=utf-8")).await.get("code"), "invalid_request");
        assert_eq!(app.send(app.request(Method::POST, "/v1/login").body("{}")).await.status, 415);
        let large = app.request(Method::POST, "/v1/login").body("x".repeat(16 * 1024 + 1));
        assert_eq!(app.send(large).await.get("code"), "body_too_large");
        let got = app.send(app.request(Method::GET, "/v1/login")).await;
        assert_eq!((got.status, got.headers["allow"].to_str().ok()), (405, Some("POST, OPTIONS")));
        for path in ["/openapi.json", "/problems", "/.well-known/jwks.json"] {
            let put = app.send(app.request(Method::PUT, path)).await;
            assert_eq!((put.status, put.headers["allow"].to_str().ok()), (405, Some("GET")), "{path}");
        }
        let list = app.request(Method::POST, "/v1/login").header("content-type", "application/json");
        let list = app.send(list.body(format!(r#"["{APP}","{E164}",null,null,null,null]"#))).await;
        assert_eq!((list.status, list.get("detail")), (400, json!("must be a JSON object, not a list")));
        assert_eq!(app.outbox.count(), 0);
        app.stop().await;
    }
}

on_both! {
    async fn numbers_apps_and_channels_are_told_apart_e3(database) {
        let app = TestApp::builder(&database)
            .config(&format!(
                "[[apps]]\nid = \"{APP}\"\nname = \"Messenger\"\ndialects = [\"v1\"]\n\
                 [[apps]]\nid = \"old\"\nname = \"Old\"\ndialects = [\"mesibo\"]\n"
            ))
            .set("policy.countries", vec!["US", "GB"])
            .start();
        let cases = [
            (json!({"app_id": APP, "phone": "+1 800 555 1234"}), 400, "phone_not_canonical"),
            (json!({"app_id": APP, "phone": "nobody"}), 400, "invalid_phone"),
            (json!({"app_id": APP, "phone": "+4915123456789"}), 403, "not_served"),
            (json!({"app_id": APP, "phone": E164, "channel": "voice"}), 400, "channel_not_offered"),
            (json!({"app_id": APP, "phone": E164, "channel": "pigeon"}), 400, "channel_not_offered"),
            (json!({"app_id": APP, "phone": E164, "channel": "email"}), 400, "channel_not_offered"),
            (json!({"app_id": APP, "email": "a@x.example"}), 403, "email_login_off"),
            (json!({"app_id": APP, "email": "a@x.example,b@x.example"}), 400, "invalid_email"),
            (json!({"app_id": "unlisted", "phone": E164}), 403, "unknown_app"),
            (json!({"app_id": "old", "phone": E164}), 403, "unknown_app"),
        ];
        for (body, status, code) in cases {
            let answer = post(&app, "/v1/login", body.clone()).await;
            assert_eq!((answer.status, answer.get("code")), (status, json!(code)), "{body}");
            assert_eq!(answer.get("type"), format!("http://127.0.0.1:8080/problems#{code}"));
        }
        let fixable = post(&app, "/v1/login", json!({"app_id": APP, "phone": "18005551234"})).await;
        assert_eq!(fixable.get("suggestion"), E164);
        assert_eq!(app.start_login(PHONE).await.error(), "BADAPP", "this app is not served in the other dialect");
        assert_eq!((app.outbox.count(), database.count("challenges")), (0, 0));
        app.stop().await;
    }
}

on_both! {
    async fn what_a_provider_says_becomes_a_problem_without_its_words(database) {
        let app = TestApp::start(&database);
        let text = || "secret words".to_owned();
        let cases = [
            (SendError::BadNumber(text()), 422, "address_unreachable"),
            (SendError::Blocked(text()), 422, "messages_blocked"),
            (SendError::Auth(text()), 503, "undeliverable"),
        ];
        for (index, (error, status, code)) in cases.into_iter().enumerate() {
            app.outbox.fail_next(error);
            let body = json!({"app_id": APP, "phone": format!("+1800555200{index}")});
            let answer = post(&app, "/v1/login", body).await;
            assert_eq!((answer.status, answer.get("code")), (status, json!(code)));
            assert!(!answer.text.contains("secret words"));
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_page_may_read_answers_only_when_its_app_lists_it_j6(database) {
        let app = TestApp::builder(&database)
            .config(&format!(
                "[[apps]]\nid = \"{APP}\"\nname = \"A\"\norigins = [\"https://a.example\"]\n\
                 [[apps]]\nid = \"b\"\nname = \"B\"\norigins = [\"https://b.example\"]\n"
            ))
            .start();
        let allowed = async |method: Method, origin: &'static str| {
            let request = app.request(method, "/v1/login").header("origin", origin);
            let request = request.header("content-type", "application/json");
            let answer = app.send(request.body(json!({"app_id": APP, "phone": "x"}).to_string())).await;
            assert_eq!(answer.headers["vary"], "Origin");
            answer.headers.get("access-control-allow-origin").map(|value| value.to_str().expect("ASCII").to_owned())
        };
        assert_eq!(allowed(Method::POST, "https://a.example").await.as_deref(), Some("https://a.example"));
        assert_eq!(allowed(Method::POST, "https://b.example").await, None, "another app's");
        assert_eq!(allowed(Method::POST, "https://evil.example").await, None);
        assert_eq!(allowed(Method::OPTIONS, "https://b.example").await.as_deref(), Some("https://b.example"));
        assert_eq!(allowed(Method::OPTIONS, "https://evil.example").await, None);

        let started = login(&app).await;
        let body = json!({"challenge": started["challenge"], "secret": started["secret"], "code": app.outbox.last_code()});
        for (origin, may_read) in [("https://b.example", None), ("https://a.example", Some("https://a.example"))] {
            let request = app.request(Method::POST, "/v1/login/verify").header("origin", origin);
            let answer = app.send(request.header("content-type", "application/json").body(body.to_string())).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let allowed = answer.headers.get("access-control-allow-origin").map(|value| value.to_str().expect("ASCII"));
            assert_eq!(allowed, may_read, "the challenge is of the first app");
        }
        app.stop().await;
    }
}

on_both! {
    async fn the_document_names_every_path_and_every_problem(database) {
        let app = TestApp::start(&database);
        let document = app.send(app.request(Method::GET, "/openapi.json")).await.json();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for method in methods.as_object().expect("methods").keys() {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
                let answer = app.send(app.request(method, path)).await;
                assert!(![404, 405].contains(&answer.status), "{path} is not there");
            }
        }
        let codes = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
        let documented: BTreeSet<&str> = codes.as_array().expect("codes").iter().filter_map(Value::as_str).collect();
        let page = app.send(app.request(Method::GET, "/problems")).await.text;
        let shown: BTreeSet<&str> = page.split("<h2 id=").skip(1).filter_map(|rest| rest.split('>').next()).collect();
        assert_eq!(documented, shown);
        app.stop().await;
    }
}
