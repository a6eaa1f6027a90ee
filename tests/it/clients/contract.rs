//! What a drop-in server must do, whoever asks.

use latchkey::delivery::SendError;
use latchkey::upstream::UpstreamError;
use reqwest::Method;
use reqwest::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
};
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, ORIGIN, SERVER};
use serde_json::{Value, json};

use crate::harness::app::{APP, Answer, PHONE};
use crate::harness::{Mint, TestApp, on_both};

const PATHS: [&str; 3] = ["/", "/index.php", "/api.php"];

/// What holds for every answer of the dialect.
fn check(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let header = |name| answer.headers.get(name).map(|value| value.to_str().expect("text"));
    assert_eq!(header(CACHE_CONTROL), Some("no-store"), "{answer:?}");
    assert_eq!(header(ACCESS_CONTROL_ALLOW_ORIGIN), Some("*"), "{answer:?}");
    assert_eq!(header(CONTENT_TYPE), Some("application/json"), "{answer:?}");
    assert_eq!(header(SERVER), None, "{answer:?}");
    let Value::Object(body) = answer.json() else { panic!("no object: {answer:?}") };
    assert!(body["op"].is_string() && body["ts"].is_i64(), "{answer:?}");
    assert_ne!(body.get("error"), Some(&json!("AUTHFAIL")), "{answer:?}");
    assert_eq!(body.get("error").is_some_and(Value::is_string), !answer.is_ok(), "{answer:?}");
    assert!(!answer.is_ok() || !body.contains_key("error"), "{answer:?}");
}

async fn post(app: &TestApp, body: &Value) -> Answer {
    let answer = app.post(body.to_string()).await;
    check(&answer);
    answer
}

/// `op`, `result` and `error` of an answer.
fn gist(answer: &Answer) -> (String, Value, String) {
    (answer.get("op").as_str().expect("a text").to_owned(), answer.get("result"), answer.error())
}

fn said(op: &str, result: &str, error: &str) -> (String, Value, String) {
    (op.to_owned(), json!(result), error.to_owned())
}

on_both! {
    async fn each_way_to_fail_has_phps_word(database) {
        let app = TestApp::builder(&database)
            .config(&format!("[[apps]]\nid = {APP:?}\nname = \"Messenger\"\nupstream = \"local\"\n\
                              [[apps]]\nid = \"v1.only\"\nname = \"Other\"\nupstream = \"local\"\ndialects = [\"v1\"]"))
            .start();
        for (body, expected) in [
            (json!({"dt": "1"}), said("", "FAIL", "NOOP")),
            (json!({"op": " ", "dt": "1"}), said("", "FAIL", "NOOP")),
            (json!({"op": "login", "phone": PHONE, "dt": "1"}), said("login", "FAIL", "MISSINGAPPID")),
            (json!({"op": "login", "appid": " ", "phone": PHONE, "dt": "1"}), said("login", "FAIL", "MISSINGAPPID")),
            (json!({"op": "login", "appid": "x", "phone": PHONE, "dt": "1"}), said("login", "FAIL", "BADAPP")),
            (json!({"op": "login", "appid": "v1.only", "phone": PHONE, "dt": "1"}), said("login", "FAIL", "BADAPP")),
            (json!({"op": "login", "appid": APP, "dt": "1"}), said("login", "FAIL", "BADPHONE")),
            (json!({"op": "login", "appid": APP, "phone": null, "dt": "1"}), said("login", "FAIL", "BADPHONE")),
            (json!({"op": "login", "appid": APP, "phone": "1800555", "dt": "1"}), said("login", "FAIL", "BADPHONE")),
            (json!({"op": "login", "appid": APP, "phone": "a@example.com", "dt": "1"}), said("login", "FAIL", "BADPHONE")),
            (json!({"op": "getcontacts", "dt": "1"}), said("getcontacts", "FAIL", "BADOP")),
        ] {
            assert_eq!(gist(&post(&app, &body).await), expected, "{body}");
        }
        assert_eq!((app.outbox.count(), database.count("challenges")), (0, 0));
        app.stop().await;
    }
}

on_both! {
    async fn op_comes_back_in_small_letters(database) {
        let app = TestApp::start(&database);
        let login = post(&app, &json!({"op": "LOGIN", "appid": APP, "phone": PHONE, "dt": "1"})).await;
        assert_eq!(gist(&login), said("login", "OK", ""));
        let code = app.outbox.last_code();
        let login = post(&app, &json!({"op": " Login ", "appid": APP, "phone": PHONE, "dt": "1", "otp": code})).await;
        assert_eq!((gist(&login), login.token().is_some()), (said("login", "OK", ""), true));
        assert_eq!(gist(&post(&app, &json!({"op": "LogOut", "dt": "1"})).await), said("logout", "OK", ""));
        assert_eq!(gist(&post(&app, &json!({"op": "SetGroup", "dt": "1"})).await), said("setgroup", "FAIL", "BADOP"));
        app.stop().await;
    }
}

on_both! {
    async fn what_is_echoed_as_op_is_a_word_and_nothing_longer_or_stranger(database) {
        let app = TestApp::start(&database);
        for op in ["<script>alert(1)</script>", "a b", "\u{202e}nigol", "a\nb", "\u{1b}[31m", &"x".repeat(33), "\u{130}"] {
            assert_eq!(gist(&post(&app, &json!({"op": op, "dt": "1"})).await), said("unknown", "FAIL", "BADOP"), "{op:?}");
        }
        app.stop().await;
    }
}

on_both! {
    async fn logout_is_always_ok(database) {
        let app = TestApp::start(&database);
        let token = app.log_in(PHONE).await;
        for body in [
            json!({"op": "logout", "token": token, "dt": "1"}),
            json!({"op": "logout", "token": "never given", "dt": "1"}),
            json!({"op": "logout", "token": ["a"], "appid": {}, "dt": "1"}),
            json!({"op": "logout", "dt": "1"}),
        ] {
            assert_eq!(gist(&post(&app, &body).await), said("logout", "OK", ""), "{body}");
        }
        app.stop().await;
    }
}

on_both! {
    async fn all_three_paths_take_posts_and_answer_preflights_without_a_redirect(database) {
        let app = TestApp::start(&database);
        for path in PATHS {
            let posted = app.request(Method::POST, path).body(json!({"op": "logout", "dt": "1"}).to_string());
            let posted = app.send(posted).await;
            check(&posted);
            assert!(posted.is_ok(), "{path}: {posted:?}");

            let asked = app
                .request(Method::OPTIONS, path)
                .header(ORIGIN, "https://messenger.example")
                .header("Access-Control-Request-Method", "POST")
                .header("Access-Control-Request-Headers", "content-type");
            let asked = app.send(asked).await;
            assert_eq!((asked.status, asked.text.as_str()), (204, ""), "{path}");
            let header = |name| asked.headers.get(name).map_or("", |value| value.to_str().expect("text"));
            assert_eq!(header(ACCESS_CONTROL_ALLOW_ORIGIN), "*");
            assert_eq!(header(ACCESS_CONTROL_ALLOW_METHODS), "GET, POST, OPTIONS");
            assert!(header(ACCESS_CONTROL_ALLOW_HEADERS).contains("content-type"));
            assert_eq!((header(CACHE_CONTROL), header(LOCATION)), ("no-store", ""));
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_code_without_a_phone_or_without_a_first_step_is_refused_and_counts_nothing(database) {
        let app = TestApp::start(&database);
        let no_phone = json!({"op": "login", "appid": APP, "dt": "1", "otp": "123456", "device": "d"});
        assert_eq!(gist(&post(&app, &no_phone).await), said("login", "FAIL", "BADPHONE"));
        let no_start = json!({"op": "login", "appid": APP, "phone": PHONE, "dt": "1", "otp": "123456"});
        assert_eq!(gist(&post(&app, &no_start).await), said("login", "FAIL", "BADUSER"));
        for table in ["challenges", "guards", "audit", "budgets", "users"] {
            assert_eq!(database.count(table), 0, "{table}");
        }
        app.stop().await;
    }
}

on_both! {
    async fn errmsg_is_for_the_first_step_alone(database) {
        let app = TestApp::builder(&database).set("policy.countries", vec!["US"]).start();
        // Another number each time, so that each is refused for its own reason.
        let failures = [
            (SendError::BadNumber("x".into()), "BADPHONE"),
            (SendError::Blocked("x".into()), "BADPHONE"),
            (SendError::Auth("x".into()), "BADAPP"),
            (SendError::NoFunds("x".into()), "BADAPP"),
        ];
        for (number, (failure, error)) in (18_005_551_200_u64..).zip(failures) {
            app.outbox.fail_next(failure.clone());
            let answer = post(&app, &json!({"op": "login", "appid": APP, "phone": number, "dt": "1"})).await;
            assert_eq!(gist(&answer), said("login", "FAIL", error), "{failure}");
            assert!(answer.get("errmsg").is_string() && answer.get("token").is_null(), "{answer:?}");
        }
        let abroad = app.start_login("4915112345678").await;
        assert_eq!((abroad.error().as_str(), abroad.get("errmsg").is_string()), ("BADPHONE", true));

        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        app.upstream.next(Mint::Fails(UpstreamError::Refused("AUTHFAIL banned".into())));
        let mut second = vec![app.verify(PHONE, "12345").await, app.verify(PHONE, &app.outbox.wrong_code()).await];
        second.push(app.verify(PHONE, &code).await);
        second.push(app.verify("4915112345678", &code).await);
        for _ in 0..9 {
            second.push(app.verify(PHONE, &app.outbox.wrong_code()).await);
        }
        for answer in second {
            check(&answer);
            assert_eq!(gist(&answer), said("login", "FAIL", "BADUSER"));
            for key in ["errmsg", "errtitle", "token"] {
                assert_eq!(answer.get(key), Value::Null, "{answer:?}");
            }
            assert!(!answer.text.contains("banned"), "{answer:?}");
        }

        // Too soon, and the code that was sent is used up.
        app.log_in("18005551300").await;
        app.advance(30);
        let too_soon = app.start_login("18005551300").await;
        check(&too_soon);
        assert_eq!(too_soon.error(), "TOOSOON");
        assert!(too_soon.get("errmsg").as_str().is_some_and(|text| text.contains("30 seconds")), "{too_soon:?}");
        app.stop().await;
    }
}

on_both! {
    async fn the_answers_are_phps_with_their_types(database) {
        let app = TestApp::builder(&database)
            .set("mesibo.upload_url", "https://files.example/up")
            .set("mesibo.download_url", "https://files.example/")
            .set("mesibo.title", "Your code")
            .set("mesibo.message", "It is on its way")
            .start();
        let started = app.start_login(PHONE).await;
        let expected = json!({"op": "login", "ts": 1_767_225_600, "title": "Your code", "message": "It is on its way", "result": "OK"});
        assert_eq!(started.json(), expected);
        let verified = app.verify(PHONE, &app.outbox.last_code()).await;
        let body = verified.json();
        let keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
        let expected = [
            "op", "ts", "token", "phone", "fileurl", "downloadurl", "uploadurl", "uiconfig", "urls", "share", "invite",
            "result",
        ];
        assert_eq!(keys, expected);
        assert_eq!(body["urls"], json!({"upload": "https://files.example/up", "download": "https://files.example/"}));
        assert!(["text", "subject", "title"].iter().all(|key| body["share"][key].is_string()));
        assert!(body["invite"].is_string() && body["fileurl"].is_string() && body["uiconfig"].is_object());
        app.stop().await;
    }
}

on_both! {
    async fn the_tutorials_curl_logs_in_with_unquoted_keys_and_is_told_true_and_false(database) {
        let app = TestApp::start(&database);
        let line = |more: &str| format!("{{op: \"login\", phone: \"{PHONE}\", appid: \"{APP}\"{more}}}");
        let post = async |body: String| {
            let answer = app.post(body).await;
            check(&answer);
            answer
        };
        let started = post(line("")).await;
        assert_eq!(started.json(), json!({"op": "login", "ts": 1_767_225_600, "result": true}));
        let wrong = post(line(&format!(", otp: \"{}\"", app.outbox.wrong_code()))).await;
        assert_eq!((wrong.get("result"), wrong.error()), (json!(false), "BADUSER".to_owned()));
        let right = post(line(&format!(", otp: \"{}\"", app.outbox.last_code()))).await;
        assert_eq!((right.get("result"), right.token().is_some()), (json!(true), true));
        app.stop().await;
    }
}

on_both! {
    async fn result_is_boolean_for_the_tutorials_curl_alone(database) {
        let app = TestApp::start(&database);
        let boolean = async |body: &str, origin: Option<&str>| {
            let request = app.request(Method::POST, "/").body(body.to_owned());
            let request = origin.into_iter().fold(request, |request, origin| request.header(ORIGIN, origin));
            let answer = app.send(request).await;
            check(&answer);
            answer.get("result").is_boolean()
        };
        assert!(boolean(r#"{op: "logout"}"#, None).await);
        assert!(boolean(r#"{"op":"logout","token":"t"}"#, None).await);
        assert!(boolean("{}", None).await);
        assert!(!boolean(r#"{"op":"logout"}"#, Some("https://messenger.example")).await);
        assert!(!boolean(r#"{"op":"logout"}"#, Some("null")).await);
        for app_field in [r#""dt":"1""#, r#""dt":5"#, r#""dt":null"#, r#""device":"d""#] {
            assert!(!boolean(&format!("{{\"op\":\"logout\",{app_field}}}"), None).await, "{app_field}");
        }
        for unreadable in ["", "op=logout", "[]", "{", "{\"op\":\"logout\",\"op\":\"logout\"}"] {
            assert!(!boolean(unreadable, None).await, "{unreadable}");
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_logout_that_names_no_app_is_spelled_as_all_apps_want_it(database) {
        let app = |id: &str, result: &str| {
            format!("[[apps]]\nid = \"{id}\"\nname = \"A\"\nupstream = \"local\"\nresult = \"{result}\"\n")
        };
        let (strings, booleans) = (app("s", "strings"), app("b", "booleans"));
        for (apps, spelled) in [(&strings, json!("OK")), (&format!("{strings}{booleans}"), json!(true))] {
            let app = TestApp::builder(&database).config(apps).start();
            let answer = app.post(r#"{"op":"logout","token":"x"}"#).await;
            assert_eq!(answer.get("result"), spelled, "{apps}");
            app.stop().await;
        }
    }
}

on_both! {
    async fn an_apps_own_spelling_of_result_overrides_the_guess(database) {
        let app = TestApp::builder(&database)
            .config("[[apps]]\nid = \"s\"\nname = \"S\"\nupstream = \"local\"\nresult = \"strings\"\n\
                     [[apps]]\nid = \"b\"\nname = \"B\"\nupstream = \"local\"\nresult = \"booleans\"")
            .start();
        let curl = |id: &str| json!({"op": "login", "appid": id, "phone": PHONE});
        let native = |id: &str| json!({"op": "login", "appid": id, "phone": PHONE, "dt": "1", "device": "d"});
        assert_eq!(post(&app, &curl("s")).await.get("result"), json!("OK"));
        app.advance(60);
        assert_eq!(post(&app, &native("b")).await.get("result"), json!(true));
        let failed = json!({"op": "login", "appid": "b", "phone": PHONE, "dt": "1", "otp": "1"});
        assert_eq!(post(&app, &failed).await.get("result"), json!(false));
        assert_eq!(post(&app, &json!({"op": "login", "appid": "s", "otp": "1"})).await.get("result"), json!("FAIL"));
        app.stop().await;
    }
}
