//! What must not come out: codes, tokens, numbers.

use latchkey::config::LogFormat;
use latchkey::delivery::SendError;
use latchkey::upstream::UpstreamError;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::app::Answer;
use crate::harness::logs::{self, Lines};
use crate::harness::{Backend, Database, Mint, TestApp, on_both};

/// A login with everything that can go wrong on its way.
struct Told {
    answers: Vec<Answer>,
    /// Right and wrong ones.
    codes: Vec<String>,
    token: String,
}

async fn tell_all(app: &TestApp, app_id: &str, number: &str) -> Told {
    let login = async |otp: Option<&str>| {
        let body =
            json!({"op": "login", "appid": app_id, "phone": number, "dt": "1", "name": "Ann", "otp": otp});
        app.post(body.to_string()).await
    };
    app.outbox.fail_next(SendError::Temporary("the gateway is down".into()));
    let mut answers = vec![login(None).await];
    app.advance(60);
    answers.push(login(None).await);
    answers.push(login(None).await);
    let (code, wrong) = (app.outbox.last_code(), app.outbox.wrong_code());
    answers.push(login(Some(&wrong)).await);
    app.upstream.next(Mint::Fails(UpstreamError::Unavailable("the backend is down".into())));
    answers.push(login(Some(&code)).await);
    let verified = login(Some(&code)).await;
    let token = verified.token().unwrap_or_else(|| panic!("{verified:?}"));
    answers.push(login(Some(&code)).await);
    answers.push(app.post(json!({"op": "logout", "token": token, "dt": "1"}).to_string()).await);
    for path in ["/metrics", "/readyz"] {
        answers.push(app.admin(path).await);
    }
    answers.push(app.send(app.request(Method::GET, "/nothing")).await);
    let outside = verified.text.replacen(&token, "", 1);
    answers.push(Answer { text: outside, ..verified });
    Told { answers, codes: vec![code, wrong], token }
}

/// Whether digits stand in a text as a word of their own: six digits of a time of day or of an id are none.
fn has_word(text: &str, digits: &str) -> bool {
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
    text.match_indices(digits).any(|(at, found)| {
        is_edge(text[..at].chars().next_back()) && is_edge(text[at + found.len()..].chars().next())
    })
}

/// Every column of every row of every table, as text; bytes as hex.
pub fn dump(database: &Database) -> String {
    let tables = match database.backend {
        Backend::Sqlite => "SELECT name AS t FROM sqlite_master WHERE type = 'table'",
        Backend::Postgres => "SELECT tablename::text AS t FROM pg_tables WHERE schemaname = 'public'",
    };
    let mut rows = Vec::new();
    for table in database.texts(tables) {
        let query = match database.backend {
            Backend::Sqlite => {
                let columns = database.texts(&format!(
                    "SELECT 'quote(\"' || name || '\")' AS t FROM pragma_table_info('{table}')"
                ));
                format!("SELECT {} AS t FROM \"{table}\"", columns.join(" || ' ' || "))
            }
            Backend::Postgres => format!("SELECT whole::text AS t FROM \"{table}\" AS whole"),
        };
        rows.extend(database.texts(&query).into_iter().map(|row| format!("{table}: {row}\n")));
    }
    rows.concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// A code as somebody might have stored it who has no key.
fn keyless_forms(code: &str, salts: &[String]) -> Vec<String> {
    let mut forms = vec![hex(code.as_bytes()), hex(&Sha256::digest(code))];
    for salt in salts {
        let salt: Vec<u8> = (0..salt.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&salt[at..at + 2], 16).expect("hex"))
            .collect();
        forms.push(hex(&Sha256::digest([&salt, code.as_bytes()].concat())));
        forms.push(hex(&Sha256::digest([code.as_bytes(), &salt].concat())));
    }
    forms
}

on_both! {
    async fn codes_and_tokens_are_in_no_answer_no_log_and_no_table_a11_k1_k4(database) {
        let lines = logs::of_this_process();
        let (app_id, number) = match database.backend {
            Backend::Sqlite => ("com.leak.on.sqlite", "442079460101"),
            Backend::Postgres => ("com.leak.on.postgres", "442079460102"),
        };
        let app = TestApp::builder(&database).seed(411).start();
        let told = tell_all(&app, app_id, number).await;
        app.stop().await;
        let (log, rows) = (lines.text(), dump(&database));
        let salts = match database.backend {
            Backend::Sqlite => "SELECT lower(hex(salt)) AS t FROM challenges",
            Backend::Postgres => "SELECT encode(salt, 'hex') AS t FROM challenges",
        };
        let salts = database.texts(salts);

        // What is there, so that looking for what is not means something.
        assert!(rows.contains(&format!("+{number}")) && rows.contains(app_id) && rows.contains(&salts[0].to_uppercase()) || rows.contains(&salts[0]));
        assert!(log.contains("the backend is down") && log.contains("the gateway is down"));
        let masked = format!("+4•••{}", &number[number.len() - 4..]);
        let about: Vec<&str> = log.lines().filter(|line| line.contains(&masked)).collect();
        assert!(about.len() >= 2, "the masked number is in the log: {about:?}");

        assert!(!log.contains(number), "K4");
        assert!(!log.contains(&told.token) && !rows.contains(&told.token), "the token");
        for code in &told.codes {
            assert!(!has_word(&log, code) && !has_word(&rows, code), "{code}");
            for answer in &told.answers {
                let headers = format!("{:?}", answer.headers);
                assert!(!answer.text.contains(code) && !has_word(&headers, code), "{code}: {answer:?}");
                assert!(!answer.text.contains(&told.token) && !headers.contains(&told.token), "{answer:?}");
            }
            let lower = rows.to_lowercase();
            for form in keyless_forms(code, &salts) {
                assert!(!lower.contains(&form), "{code} as {form}");
            }
        }
    }
}

#[test]
fn looking_for_a_code_finds_one_that_is_there() {
    for leak in ["code=123456", "otp for 1 is 123456", r#"{"otp":"123456"}"#, "123456", "x 123456\n"] {
        assert!(has_word(leak, "123456"), "{leak}");
    }
    for chance in ["12:00:00.123456Z", "a123456f-0000", "0123456", "1234567"] {
        assert!(!has_word(chance, "123456"), "{chance}");
    }
    let stored = hex(&Sha256::digest([&[0xab, 0xcd][..], b"123456"].concat()));
    assert!(keyless_forms("123456", &["abcd".to_owned()]).contains(&stored));
}

/// Characters that would begin a line, or speak to a terminal.
const HOSTILE: &str = "\r\n2026-01-01T00:00:00Z  INFO forged\u{1b}[2J\u{7}\u{9b}31m\u{2028}\u{0}end-of-it";

#[tokio::test]
async fn hostile_input_makes_no_line_of_its_own_in_the_log_k5() {
    let lines = logs::of_this_process();
    let database = Database::fresh(Backend::Sqlite);
    let app = TestApp::builder(&database)
        .config("[[apps]]\nid = \"com.hostile\"\nname = \"Hostile\"\nupstream = \"local\"")
        .start();
    let number = "442079460103";
    let post = async |body: Value| app.post(body.to_string()).await;
    post(json!({"op": "login", "appid": format!("k5-app{HOSTILE}"), "phone": number, "dt": "1"})).await;
    app.outbox.fail_next(SendError::Rejected(format!("k5-provider{HOSTILE}")));
    post(json!({"op": "login", "appid": "com.hostile", "phone": number, "dt": "1"})).await;
    app.advance(60);
    post(json!({"op": "login", "appid": "com.hostile", "phone": number, "dt": "1"})).await;
    let code = app.outbox.last_code();
    app.upstream.next(Mint::Fails(UpstreamError::Unavailable(format!("k5-backend{HOSTILE}"))));
    post(json!({"op": "login", "appid": "com.hostile", "phone": number, "dt": "1", "otp": code, "name": HOSTILE})).await;
    app.stop().await;
    let text = lines.text();
    for canary in ["k5-app", "k5-provider", "k5-backend"] {
        assert!(
            text.lines().any(|line| line.contains(canary) && line.contains("forged")),
            "{canary} was logged"
        );
    }
    is_one_object_a_line(&text);
}

fn is_one_object_a_line(text: &str) {
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{line:?}");
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
        let Keys(keys) = serde_json::from_str(line).expect("an object");
        assert!(
            keys.iter().all(|key| keys.iter().filter(|other| *other == key).count() == 1),
            "one key twice: {line}"
        );
    }
}

/// The keys of an object, in their order.
struct Keys(Vec<String>);

impl<'de> serde::Deserialize<'de> for Keys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> serde::de::Visitor<'de> for Object {
            type Value = Keys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = entries.next_entry::<String, serde::de::IgnoredAny>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[test]
fn a_line_stays_one_line_in_both_formats_whatever_it_says_k5() {
    for format in [LogFormat::Human, LogFormat::Json] {
        let lines = Lines::default();
        tracing::subscriber::with_default(logs::subscriber(format, &lines), || {
            let error = UpstreamError::Refused(HOSTILE.to_owned());
            let span = tracing::error_span!("request", id = HOSTILE);
            let _in_it = span.enter();
            tracing::warn!(app_id = ?HOSTILE, "debug");
            tracing::warn!(app_id = HOSTILE, "text");
            tracing::warn!(error = %error, "display");
            tracing::warn!("message {HOSTILE}");
        });
        let text = lines.text();
        assert_eq!((text.lines().count(), text.matches('\n').count()), (4, 4), "{text:?}");
        for line in text.lines() {
            assert!(
                line.matches("end-of-it").count() >= 2,
                "all of it, of the event and of its span: {line}"
            );
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{2028}'), "{format:?}: {line:?}");
        }
        if format == LogFormat::Json {
            is_one_object_a_line(&text);
        }
    }
}
