//! What the configuration says about messages.

use super::*;
use crate::domain::locale::Locale;
use crate::domain::template::Values;

const APP: &str = "[[apps]]\nid = \"a\"\nname = \"Messenger\"";

fn locale(tag: &str) -> Locale {
    Locale::parse(tag).expect(tag)
}

#[test]
fn twelve_languages_are_built_in_each_with_its_own_subject() {
    let texts = parse("").expect("no problems").messages;
    let tags: Vec<&str> = texts.locales().map(Locale::as_str).collect();
    assert_eq!(tags, ["ar", "de", "en", "es", "fr", "hi", "id", "ja", "pt-BR", "ru", "tr", "zh-Hans"]);
    let values = Values { app: "Messenger", code: "123456", minutes: 5 };
    for one in texts.locales() {
        let subject = texts.find(one).expect("its texts").subject.render(values);
        assert!(subject.contains("Messenger") && !subject.contains("123456"), "{one}: {}", *subject);
    }
}

#[test]
fn a_text_is_replaced_or_added_and_an_app_has_its_own() {
    let text = format!(
        "{APP}\nlocale = \"it\"\n[apps.messages]\nde = \"App: {{{{ code }}}}\"\n[messages.it]\ntext = \"It: {{{{ code }}}}\"\n\
         [messages.PT_br]\ntext = \"Pt: {{{{ code }}}}\""
    );
    let config = parse(&text).expect("no problems");
    let app = &config.apps.find("a").expect("an app").messages;
    let values = Values { app: "Messenger", code: "123456", minutes: 5 };
    let said = |tag| app.template(&config.messages, &locale(tag)).expect("a text").render(values).to_string();
    assert_eq!((said("it").as_str(), said("pt-BR").as_str()), ("It: 123456", "Pt: 123456"));
    assert_eq!((said("de").as_str(), app.locale.as_str()), ("App: 123456", "it"));
    let subject = |tag| config.messages.find(&locale(tag)).expect("texts").subject.render(values).to_string();
    assert_eq!(subject("it"), "Messenger", "a new language has the app's name for a subject");
    assert_eq!(subject("pt-BR"), "Seu token de acesso ao Messenger", "an old one keeps what is not set");
}

#[test]
fn a_variable_replaces_a_text() {
    let config = parse_with("", &[("LATCHKEY_MESSAGES__EN__TEXT", "{{ code }}!")]).expect("no problems");
    let values = Values { app: "Messenger", code: "123456", minutes: 5 };
    let texts = config.messages.find(&locale("en")).expect("texts");
    assert_eq!(*texts.text.render(values), "123456!");
}

#[test]
fn a_wrong_text_is_told_by_its_key_d5() {
    let cases = [
        (
            "[messages.en]\ntext = \"{{ code }} {{ name }}\"",
            "messages.en.text (latchkey.toml): there is no {{ name }}; a text knows app, code, minutes",
        ),
        ("[messages.en]\ntext = \"hello\"", "messages.en.text (latchkey.toml): must contain {{ code }}"),
        (
            "[messages.en]\nsubject = \"a\"",
            "messages.en.text (not set): set the text, such as \"{{ code }} is your code.\"",
        ),
        (
            "[messages.en]\ntext = \"{{ code }}\"\nsubject = \"{{ code }}\"",
            "messages.en.subject (latchkey.toml): must not contain {{ code }}: subjects show on locked screens",
        ),
        (
            "[messages.klingon]\ntext = \"{{ code }}\"",
            "messages.klingon (latchkey.toml): must be named by a language tag, such as en, pt-BR or zh-Hans",
        ),
        (
            "[messages.in]\ntext = \"{{ code }}\"\n[messages.id]\ntext = \"{{ code }}\"",
            "messages.in (latchkey.toml): id is written twice; keep one",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(only_problem(text), wanted);
    }
    let broken = only_problem("[messages.en]\ntext = \"{{ code\"");
    assert!(broken.starts_with("messages.en.text (latchkey.toml): is no template: syntax error"), "{broken}");
    let own = only_problem(&format!("{APP}\n[apps.messages]\nen = \"{{{{ cod }}}}\""));
    assert!(own.starts_with("apps[0].messages.en (latchkey.toml): there is no {{ cod }}"), "{own}");
}

#[test]
fn the_lines_for_machines_are_checked_d2_d5() {
    for (line, key) in [
        ("android_hash = \"FA+9qCX9VS\"", "apps[0].android_hash"),
        ("android_hash = \"FA+9qCX9VSu=\"", "apps[0].android_hash"),
        ("web_domain = \"https://example.com\"", "apps[0].web_domain"),
        ("web_domain = \"example.com #1\"", "apps[0].web_domain"),
        ("locale = \"tlh\"", "apps[0].locale"),
        ("locale = \"../en\"", "apps[0].locale"),
    ] {
        assert_eq!(keys(&problems(parse(&format!("{APP}\n{line}")))), [key], "{line}");
    }
    for name in ["a\\nb", "a\\u202eb", "@evil.example #1", ""] {
        let text = format!("[[apps]]\nid = \"a\"\nname = \"{name}\"");
        assert_eq!(keys(&problems(parse(&text))), ["apps[0].name"], "{name}");
    }
}

#[test]
fn messages_that_android_would_not_read_are_told_with_their_length_d2() {
    let hash = format!("{APP}\nandroid_hash = \"FA+9qCX9VSu\"");
    assert_eq!(problems(parse(&hash)), []);
    assert_eq!(problems(parse(&format!("{hash}\nweb_domain = \"login.example.com\""))), []);
    let exact = |filler: usize| {
        // 6 of the code, 12 of the hash with its line end.
        let text = format!("{{{{ code }}}}{}", "x".repeat(filler));
        format!("{hash}\n[apps.messages]\nen = \"{text}\"")
    };
    assert_eq!(problems(parse(&exact(122))), []);
    let wanted = "apps[0].android_hash (latchkey.toml): Android reads messages of 140 bytes at most, with the hash; \
                  longer are en text (141 bytes): shorten the name or web_domain, or write shorter texts into [messages] or [apps.messages]";
    assert_eq!(only_problem(&exact(123)), wanted);
    assert_eq!(problems(parse(&exact(123).replace("android_hash = \"FA+9qCX9VSu\"", ""))), []);
}
