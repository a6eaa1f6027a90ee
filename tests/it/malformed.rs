//! Bodies that nobody should send.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;

use crate::harness::app::{APP, Answer, PHONE};
use crate::harness::{Database, TestApp, Wire, on_both};

/// Everything that a guess or a start changes.
fn counters(database: &Database) -> Vec<String> {
    let mut rows: Vec<String> = ["audit", "deliveries", "users", "budgets"]
        .iter()
        .map(|table| format!("{table} {}", database.count(table)))
        .collect();
    rows.extend(
        database.texts("SELECT 'guess ' || guesses || ' ' || repeats || ' ' || version AS t FROM challenges"),
    );
    rows.extend(database.texts("SELECT 'guard ' || failures || ' ' || comparisons AS t FROM guards"));
    rows.extend(database.texts("SELECT 'budget ' || key || ' ' || arrival AS t FROM budgets ORDER BY key"));
    rows
}

/// A no that every client can read.
fn is_a_clear_no(answer: &Answer) -> Result<(), String> {
    let body: serde_json::Value = serde_json::from_str(&answer.text).map_err(|error| error.to_string())?;
    let readable = body["op"].is_string() && body["error"].is_string() && body["ts"].is_i64();
    let no = body["result"] == "FAIL" || body["result"] == false;
    if answer.status == 200 && readable && no && body["error"] != "BUSY" {
        Ok(())
    } else {
        Err(format!("{answer:?}"))
    }
}

/// A server in the middle of a login, so that whatever were counted would show.
async fn waiting_for_a_code(database: &Database) -> (TestApp, Vec<String>) {
    let app = TestApp::start(database);
    assert!(app.start_login(PHONE).await.is_ok());
    assert_eq!(app.verify(PHONE, &app.outbox.wrong_code()).await.error(), "BADUSER");
    crate::harness::wire::until("the delivery is noted", || {
        database.number("SELECT count(*) AS n FROM deliveries WHERE status = 'accepted'") == 1
    })
    .await;
    let counted = counters(database);
    assert!(counted.iter().any(|row| row.starts_with("guard 1")), "{counted:?}");
    (app, counted)
}

/// Nothing was counted or sent, and the login that was begun still works.
async fn nothing_happened(app: TestApp, database: &Database, before: &[String]) {
    assert_eq!(counters(database), before);
    assert_eq!(app.outbox.count(), 1);
    assert!(app.verify(PHONE, &app.outbox.last_code()).await.is_ok(), "the server lives");
    app.stop().await;
}

fn login(field: &str) -> String {
    format!("{{\"op\":\"login\",\"appid\":{APP:?},\"phone\":{PHONE:?},\"dt\":\"1\",{field}}}")
}

fn unreadable() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        "",
        " ",
        "null",
        "true",
        "1",
        "\"login\"",
        "[]",
        "[{\"op\":\"login\"}]",
        "{",
        "}",
        "{]",
        "{\"op\"}",
        "{\"op\":}",
        "{\"op\":\"login\"} {}",
        "{\"op\":\"login\"}x",
        "op=login&appid=x&phone=18005551234",
        "<xml/>",
        "\0",
        "{\0}",
        "{\"op\":\"log\\ud800in\"}",
        "{\"op\":\"\\u12\"}",
        "{\"op\":\"login\",}x",
        "/*",
        "//",
        "{op:",
        "{'op':'login'",
        "{\"dt\":1e999999999999}",
        "{\"dt\":-}",
        "{__proto__:",
        "\u{feff}",
        "\u{feff}[]",
        "{\"op\":\"login\",\"otp\":\"123456\",\"otp\":\"654321\"}",
        "{op:\"login\",op:\"logout\"}",
    ]
    .iter()
    .map(|body| body.as_bytes().to_vec())
    .collect();
    for unit in [
        "[", "{", "{a:", "{\"a\":", "[[", "{a:[", "(", "\"", "'", "\\", "/*", "{\"a\":[", "-", "0x",
        "\u{2028}",
    ] {
        bodies.push(unit.repeat(16 * 1024 / unit.len()).into_bytes());
    }
    bodies.push(vec![b' '; 17 * 1024]);
    bodies.push(login(&format!("\"name\":\"{}\"", "a".repeat(17 * 1024))).into_bytes());
    bodies.push(b"{\"op\":\"log\xffin\"}".to_vec());
    bodies.push(vec![0xff, 0xfe, b'{', 0, b'}', 0]);
    bodies.push(vec![0; 16 * 1024]);
    bodies.push(login("\"otp\":\"123\\u0000456\",\"otp\":\"1\"").into_bytes());
    bodies
}

on_both! {
    async fn an_unreadable_body_gets_a_clear_no_and_counts_nothing_a8(database) {
        let (app, before) = waiting_for_a_code(&database).await;
        for body in unreadable() {
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            for content_type in [Some("application/json"), Some("multipart/form-data; boundary=x"), None] {
                let request = app.request(Method::POST, "/").body(body.clone());
                let request = content_type.into_iter().fold(request, |r, value| r.header(CONTENT_TYPE, value));
                let answer = app.send(request).await;
                is_a_clear_no(&answer).unwrap_or_else(|why| panic!("{shown}: {why}"));
            }
        }
        nothing_happened(app, &database, &before).await;
    }
}

on_both! {
    async fn a_code_that_is_no_six_digits_is_neither_counted_nor_taken_for_a_request_for_one_a8(database) {
        let (app, before) = waiting_for_a_code(&database).await;
        let sent = app.outbox.last_code();
        let long = format!("\"{}\"", "1".repeat(10_000));
        let full_width: String = sent.chars().map(|c| char::from_u32(u32::from(c) + 0xfee0).expect("a digit")).collect();
        let of_the_right_one = [
            format!("\"{sent}0\""), format!("\"0{sent}\""), format!("\"+{sent}\""), format!("\"{sent}\\u0000\""),
            format!("\"{} {}\"", &sent[..3], &sent[3..]), format!("\"{full_width}\""), format!("[\"{sent}\"]"),
            format!("{{\"otp\":\"{sent}\"}}"), format!("\"{sent},000000\""), format!("\"{sent}\\u200b\""), format!("{sent}.5"),
            format!("-{sent}"), format!("[{sent},{sent}]"), format!("\"{sent}e0\""), format!("{sent}{sent}{sent}"),
        ];
        let junk = [
            "true", "false", "[]", "{}", "[[]]", "-1", "-0.5", "1.5", "1e300",
            "\"12345\"", "\"1234567\"", "\"abcdef\"", "\"0x1234\"", "\"-12345\"", "\"' OR 1\"", "\"%00\"", "\"null\"", "\"true\"",
            "1234567", "18446744073709551616", "340282366920938463463374607431768211456", long.as_str(),
        ];
        for otp in of_the_right_one.iter().map(String::as_str).chain(junk) {
            for key in ["otp", "code"] {
                let answer = app.post(login(&format!("{key:?}:{otp}"))).await;
                is_a_clear_no(&answer).unwrap_or_else(|why| panic!("{otp}: {why}"));
                assert_eq!(answer.error(), "BADUSER", "{otp}");
            }
        }
        // Numbers that JSON5 has and JSON has not. They are not null either.
        for otp in ["1e999", "-1e999", "NaN", "-NaN", "Infinity", "-Infinity"] {
            let answer = app.post(login(&format!("\"otp\":{otp}"))).await;
            is_a_clear_no(&answer).unwrap_or_else(|why| panic!("{otp}: {why}"));
        }
        nothing_happened(app, &database, &before).await;
    }
}

on_both! {
    async fn fields_of_the_wrong_type_or_form_get_a_clear_no_and_count_nothing_a8(database) {
        let (app, before) = waiting_for_a_code(&database).await;
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let values = ["true", "[]", "{}", "[\"login\"]", "null", "\"\"", "\"\\u0000\"", "\"a\\u0000b\"", "-1", "1.5", "1e300", &deep];
        for value in values {
            for (op, appid, phone) in [
                (value, "\"com.messenger.appid\"", "\"18005551234\""),
                ("\"login\"", value, "\"18005551234\""),
                ("\"login\"", "\"com.messenger.appid\"", value),
            ] {
                for otp in ["", ",\"otp\":\"123456\""] {
                    let body = format!("{{\"op\":{op},\"appid\":{appid},\"phone\":{phone},\"dt\":\"1\"{otp}}}");
                    let answer = app.post(body.clone()).await;
                    is_a_clear_no(&answer).unwrap_or_else(|why| panic!("{body}: {why}"));
                    let expected = if appid == value { &["BADAPP", "MISSINGAPPID"][..] } else { &["NOOP", "BADOP", "BADPHONE"] };
                    assert!(expected.contains(&answer.error().as_str()), "{body}: {answer:?}");
                }
            }
        }
        nothing_happened(app, &database, &before).await;
    }
}

on_both! {
    async fn blank_codes_ask_for_a_code_and_get_none_while_one_is_valid(database) {
        let (app, before) = waiting_for_a_code(&database).await;
        for otp in ["\"\"", "\"  \"", "null", "\"\\t\\n\""] {
            let answer = app.post(login(&format!("\"otp\":{otp}"))).await;
            assert!(answer.is_ok() && answer.token().is_none(), "{otp}: {answer:?}");
        }
        nothing_happened(app, &database, &before).await;
    }
}

on_both! {
    async fn other_methods_and_queries_do_nothing(database) {
        let (app, before) = waiting_for_a_code(&database).await;
        let query = format!("/?op=login&appid={APP}&phone={PHONE}&otp={}", app.outbox.last_code());
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
            let request = app.request(method.clone(), &query).body(login(&format!("\"otp\":\"{}\"", app.outbox.last_code())));
            let answer = app.send(request).await;
            is_a_clear_no(&answer).unwrap_or_else(|why| panic!("{method}: {why}"));
        }
        let empty = app.send(app.request(Method::POST, &query)).await;
        is_a_clear_no(&empty).unwrap();
        nothing_happened(app, &database, &before).await;
    }
}

/// A body in pieces of three bytes.
fn chunked(body: &[u8]) -> String {
    let body = String::from_utf8(body.to_vec()).expect("text");
    let pieces: Vec<String> = body
        .as_bytes()
        .chunks(3)
        .map(|piece| format!("3\r\n{}\r\n", String::from_utf8_lossy(piece)))
        .collect();
    assert_eq!(body.len() % 3, 0, "pad it");
    format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", pieces.concat())
}

on_both! {
    async fn a_body_in_chunks_is_read_like_any_other_up_to_the_limit(database) {
        let (app, before) = waiting_for_a_code(&database).await;
        let mut wire = Wire::connect(app.address).await;
        let mut body = br#"{"op":"logout","token":"t","dt":"1"}"#.to_vec();
        body.resize(body.len().next_multiple_of(3), b' ');
        wire.send(chunked(&body)).await;
        assert!(wire.answer().await.contains(r#""result":"OK""#));
        let mut nobody = Wire::connect(app.address).await;
        nobody.send(chunked(&vec![b'['; 3 * 6 * 1024])).await;
        let answer = nobody.answer().await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""error":"NOOP""#), "{answer}");
        nothing_happened(app, &database, &before).await;
    }
}

on_both! {
    async fn sixteen_kibibytes_are_read_and_one_byte_more_is_not(database) {
        let app = TestApp::start(&database);
        let padded = |length: usize| {
            let mut body = br#"{"op":"logout","dt":"1"}"#.to_vec();
            body.resize(length, b' ');
            body
        };
        let answer = async |length| app.send(app.request(Method::POST, "/").body(padded(length))).await;
        assert!(answer(16 * 1024).await.is_ok());
        assert_eq!(answer(16 * 1024 + 1).await.error(), "NOOP");
        app.stop().await;
    }
}

/// A value of any kind, small.
fn any_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        ".{0,12}".prop_map(|value| json!(value)),
        "[0-9]{0,12}".prop_map(|value| json!(value)),
        Just(json!("login")),
        Just(json!(PHONE)),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(|values| json!(values)))
}

/// Bytes, texts that look like JSON5, and objects with our keys.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let keys = prop::sample::select(vec!["op", "appid", "phone", "otp", "code", "dt", "token", "name", "x"]);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "[\\[\\]{}:,'\"\\\\a-f0-9/*+. \n\u{0}-]{0,200}".prop_map(String::into_bytes),
        prop::collection::btree_map(keys, any_value(), 0..9)
            .prop_map(|body| serde_json::to_vec(&body).expect("JSON")),
    ]
}

on_both! {
    async fn no_body_at_all_brings_a_server_down_a8(database) {
        let app = Arc::new(TestApp::start(&database));
        let (here, tested) = (tokio::runtime::Handle::current(), Arc::clone(&app));
        let run = move || {
            let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
            let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
            runner.run(&any_body(), |body| {
                let answer = here.block_on(tested.send(tested.request(Method::POST, "/").body(body)));
                let readable = answer.get("op").is_string() && !answer.get("result").is_null();
                prop_assert!(answer.status == 200 && readable && answer.error() != "BUSY", "{:?}", answer);
                prop_assert!(answer.token().is_none());
                Ok(())
            })
        };
        tokio::task::spawn_blocking(run).await.expect("no panic").unwrap_or_else(|error| panic!("{error}"));
        app.log_in("442079460000").await;
        Arc::into_inner(app).expect("nobody else holds it").stop().await;
    }
}
