//! What is said to whom, over HTTP.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::APP;
use crate::harness::{Database, TestApp, on_both};

/// An app that Turks use, with lines for machines.
const APPS: &str = r#"
    [[apps]]
    id = "com.messenger.appid"
    name = "{{ code }} & <Chat>"
    locale = "tr"
    android_hash = "FA+9qCX9VSu"
    web_domain = "a.example"
    dialects = ["v1", "mesibo"]
    [apps.messages]
    de = "{{ app }}: {{ code }}"
"#;

fn start(database: &Database) -> TestApp {
    TestApp::builder(database).config(APPS).start()
}

/// Asks for a code for a number of its own; the language and the text of what was sent, with CODE for the code.
async fn written(app: &TestApp, body: Value, headers: &[(&str, &str)]) -> (String, String) {
    let number = 1_000 + app.outbox.count();
    let mut whole = json!({"app_id": APP, "phone": format!("+1415555{number}")});
    whole.as_object_mut().expect("an object").extend(body.as_object().expect("an object").clone());
    let mut request = app.request(Method::POST, "/v1/login").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = app.send(request.body(whole.to_string())).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let sent = app.outbox.sent().pop().expect("a message");
    let text = sent.text.replace(&sent.code, "CODE");
    (sent.locale, text)
}

on_both! {
    async fn the_language_is_the_bodys_then_the_headers_then_the_apps(database) {
        let app = start(&database);
        let header = [("accept-language", "sv, fr;q=0.9, en;q=0.8")];
        for (body, headers, wanted) in [
            (json!({"locale": "pt-PT"}), &header[..], "pt-BR"),
            (json!({"locale": "zh_CN".replace('_', "-")}), &header, "zh-Hans"),
            (json!({"locale": "sv"}), &header, "fr"),
            (json!({}), &header, "fr"),
            (json!({"locale": "sv"}), &[], "tr"),
            (json!({}), &[("accept-language", "*, tlh")], "tr"),
            (json!({}), &[], "tr"),
        ] {
            let (locale, _) = written(&app, body.clone(), headers).await;
            assert_eq!(locale, wanted, "{body} {headers:?}");
        }
        app.stop().await;
    }
}

on_both! {
    async fn a_forged_head_changes_no_message_d4(database) {
        let app = start(&database);
        let plain = written(&app, json!({}), &[]).await;
        assert!(plain.1.ends_with("\nFA+9qCX9VSu\n@a.example #CODE"), "{plain:?}");
        for header in [
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-for", "evil.example"),
            ("forwarded", "host=evil.example"),
            ("x-original-host", "evil.example"),
            ("origin", "https://evil.example"),
            ("referer", "https://evil.example/"),
            ("user-agent", "@evil.example #000000"),
            ("accept-language", "../../etc/passwd"),
            ("accept-language", "{{ code }}"),
            ("accept-language", "en-evil.example"),
            ("accept-language", "@evil.example #000000"),
            ("accept-language", "<b>en</b>"),
        ] {
            assert_eq!(written(&app, json!({}), &[header]).await, plain, "{header:?}");
        }
        app.stop().await;
    }
}

on_both! {
    async fn what_stands_in_a_placeholder_is_never_a_placeholder_d5(database) {
        let app = start(&database);
        let (_, text) = written(&app, json!({"locale": "de-AT"}), &[]).await;
        assert_eq!(text, "{{ code }} & <Chat>: CODE\nFA+9qCX9VSu\n@a.example #CODE");
        app.stop().await;
    }
}

on_both! {
    async fn a_locale_that_is_no_tag_is_refused_and_nothing_is_sent_d5(database) {
        let app = start(&database);
        for bad in ["", "e", "{{ code }}", "en\n@evil.example #1", "../en", "en\u{202e}", &"a".repeat(36)] {
            let body = json!({"app_id": APP, "phone": "+14155551234", "locale": bad});
            let request = app.request(Method::POST, "/v1/login").header("content-type", "application/json");
            let answer = app.send(request.body(body.to_string())).await;
            assert_eq!(answer.status, 400, "{bad:?}: {answer:?}");
        }
        assert_eq!(app.outbox.count(), 0);
        app.stop().await;
    }
}

on_both! {
    async fn mesibos_apps_get_their_message_by_accept_language_too(database) {
        let app = start(&database);
        let body = json!({"op": "login", "appid": APP, "phone": "14155551234", "dt": "1"}).to_string();
        let request = app.request(Method::POST, "/").header("accept-language", "ja-JP,ja;q=0.9");
        assert!(app.send(request.body(body)).await.is_ok());
        let sent = app.outbox.sent();
        assert_eq!((sent.len(), sent[0].locale.as_str()), (1, "ja"));
        assert!(sent[0].text.ends_with(&format!("\nFA+9qCX9VSu\n@a.example #{}", sent[0].code)));
        app.stop().await;
    }
}
