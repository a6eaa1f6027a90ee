use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::ambient::SeededEntropy;
use crate::config::Config;
use crate::domain::ids::SessionId;

const HASH: &str = "android_hash = \"FA+9qCX9VSu\"\n";
const DOMAIN: &str = "web_domain = \"login.example.com\"\n";
const LOCALES: [&str; 12] = ["ar", "de", "en", "es", "fr", "hi", "id", "ja", "pt-BR", "ru", "tr", "zh-Hans"];

fn messages(text: &str) -> Messages {
    let config = Config::parse(text.parse().expect("TOML"), "a test", &BTreeMap::new())
        .unwrap_or_else(|error| panic!("{error}"));
    Messages::new(config.messages, Arc::new(config.apps))
}

fn app(lines: &str) -> Messages {
    messages(&format!("[[apps]]\nid = \"app\"\nname = \"Messenger\"\n{lines}"))
}

fn write(messages: &Messages, channel: Channel, languages: &[&str]) -> Text {
    write_for(messages, &Purpose::Login, channel, languages)
}

fn write_for(messages: &Messages, purpose: &Purpose, channel: Channel, languages: &[&str]) -> Text {
    let languages: Vec<String> = languages.iter().map(|tag| (*tag).to_owned()).collect();
    messages.write(&Occasion {
        app_id: "app",
        app_name: "Messenger",
        channel,
        purpose,
        languages: &languages,
        code: &Code::parse("123456", CodeLength::SIX).expect("a code"),
        lifetime: Duration::from_mins(5),
    })
}

fn sms(messages: &Messages, languages: &[&str]) -> String {
    write(messages, Channel::Sms, languages).body.to_string()
}

fn change_phone() -> Purpose {
    Purpose::ChangePhone(SessionId::generate(&SeededEntropy::new(1)))
}

fn link_email() -> Purpose {
    Purpose::LinkEmail(SessionId::generate(&SeededEntropy::new(1)))
}

/// What a browser finds: "parse an origin-bound one-time code message" of WICG sms-one-time-codes, step by step.
fn parse_bound(message: &str) -> Option<(String, String)> {
    fn extract_marked_token(line: &[char], position: &mut usize, marker: char) -> Option<String> {
        (*line.get(*position)? == marker).then_some(())?;
        *position += 1;
        line.get(*position)?;
        let is_token = |c: &&char| !matches!(**c, '\t' | '\n' | '\u{c}' | '\r' | ' ');
        let token: String = line[*position..].iter().take_while(is_token).collect();
        *position += token.chars().count();
        (!token.is_empty()).then_some(token)
    }
    let normal = message.replace("\r\n", "\n").replace('\r', "\n");
    let line: Vec<char> = normal.split('\n').next_back()?.chars().collect();
    let mut position = 0;
    let host = extract_marked_token(&line, &mut position, '@')?;
    (*line.get(position)? == ' ').then_some(())?;
    position += 1;
    let code = extract_marked_token(&line, &mut position, '#')?;
    Some((host, code))
}

#[test]
fn every_message_is_byte_for_byte_its_golden_file_d1_d2_d7() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/messages");
    let both = format!("{HASH}{DOMAIN}");
    let kinds = [("plain", ""), ("hash", HASH), ("domain", DOMAIN), ("both", both.as_str())];
    let mut files = 0;
    let mut compare = |name: &str, written: &str| {
        let path = folder.join(format!("{name}.txt"));
        let wanted = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(written.as_bytes(), wanted, "{name} is now {written:?}");
        files += 1;
    };
    for (kind, lines) in kinds {
        let messages = app(lines);
        for locale in LOCALES {
            compare(&format!("{locale}-{kind}"), &sms(&messages, &[locale]));
        }
    }
    let messages = app(&both);
    for locale in LOCALES {
        let sms = write_for(&messages, &change_phone(), Channel::Sms, &[locale]);
        compare(&format!("{locale}-change_phone"), &sms.body);
        let mail = write_for(&messages, &link_email(), Channel::Email, &[locale]);
        compare(&format!("{locale}-link_email"), &format!("{}\n\n{}", mail.subject, *mail.body));
    }
    assert_eq!(folder.read_dir().expect("a folder").count(), files, "no golden file is without its message");
}

#[test]
fn a_browser_finds_host_and_code_in_every_message_of_an_app_with_a_host_d1_m11() {
    let both = format!("{HASH}{DOMAIN}");
    for lines in [DOMAIN, both.as_str()] {
        let messages = app(lines);
        for locale in LOCALES {
            let found = parse_bound(&sms(&messages, &[locale]));
            assert_eq!(found, Some(("login.example.com".to_owned(), "123456".to_owned())), "{locale}");
        }
    }
    for lines in ["", HASH] {
        for locale in LOCALES {
            assert_eq!(parse_bound(&sms(&app(lines), &[locale])), None, "{locale}");
        }
    }
}

#[test]
fn the_parser_of_these_tests_is_the_one_of_the_draft_m11() {
    for (message, wanted) in [
        ("747723 is your code.\n\n@example.com #747723", Some(("example.com", "747723"))),
        ("@example.com #747723 %ecommerce.example $future", Some(("example.com", "747723"))),
        ("something @example.com #747723", None),
        ("#747723 %ecommerce.example @example.com", None),
        ("@example.com code #747723", None),
        ("@example.com  #747723", None),
        ("@example.com #747723\n", None),
        ("@ #747723", None),
        ("@example.com #", None),
    ] {
        let found = parse_bound(message);
        let found = found.as_ref().map(|(host, code)| (host.as_str(), code.as_str()));
        assert_eq!(found, wanted, "{message:?}");
    }
}

#[test]
fn every_embedded_text_fits_one_segment_d3() {
    let messages = app("");
    let ten = CodeLength::new(10).expect("a length");
    for locale in LOCALES {
        let (alphabet, units, count) = segments(&sms(&messages, &[locale]));
        let wanted = match locale {
            "ru" | "ar" | "hi" | "zh-Hans" | "ja" => Alphabet::Ucs2,
            _ => Alphabet::Gsm7,
        };
        assert_eq!((alphabet, count), (wanted, 1), "{locale} has {units}");
    }
    for locale in LOCALES {
        let change = write_for(&messages, &change_phone(), Channel::Sms, &[locale]);
        assert!(
            change.body.len() <= sms(&messages, &[locale]).len(),
            "{locale}: an app whose logins fit fits"
        );
    }
    assert_eq!(messages.long(ten, Duration::from_mins(10)), [], "nor with the longest codes and lifetimes");
}

#[test]
fn what_takes_more_than_one_segment_is_told_with_its_alphabet_and_length_d3() {
    let messages = app(
        "[apps.messages]\nen = \"{{ code }} — {{ app }}, and a text that a dash makes twice as dear as it \
                        would be without\"",
    );
    let long = messages.long(CodeLength::SIX, Duration::from_mins(5));
    let wanted = Long {
        app_id: Some("app".to_owned()),
        locale: Locale::english(),
        sms: Sms::Login,
        alphabet: Alphabet::Ucs2,
        units: 85,
        segments: 2,
    };
    assert_eq!(long, [wanted]);
    let lines = "[messages.en]\ntext = \"{{ code }}\"\nphone_changed = \"X\"\nchange_phone = \"{{ code }}X\"";
    let lines = lines.replace('X', &"x".repeat(161));
    let long = self::messages(&lines).long(CodeLength::SIX, Duration::from_mins(5));
    assert_eq!(long.iter().map(|long| long.sms).collect::<Vec<_>>(), [Sms::ChangePhone, Sms::PhoneChanged]);
}

#[test]
fn a_code_is_told_to_be_for_what_it_is_good_for_d7() {
    let own = app("locale = \"it\"\n[apps.messages]\nit = \"{{ app }}: {{ code }}\"\nde = \"{{ code }}\"");
    let body = |purpose: &Purpose, channel, language| {
        write_for(&own, purpose, channel, &[language]).body.to_string()
    };
    assert_eq!(body(&Purpose::Login, Channel::Sms, "de"), "123456");
    let number = "Dein Code für die neue Nummer bei Messenger ist 123456. Gib ihn niemals weiter.";
    assert_eq!(body(&change_phone(), Channel::Sms, "de"), number);
    assert_eq!(body(&change_phone(), Channel::Voice, "de"), number);
    let mail = write_for(&own, &link_email(), Channel::Email, &["fr"]);
    assert_eq!(mail.subject, "Votre code Messenger pour cette adresse e-mail");
    assert!(mail.body.starts_with("Votre code pour ajouter cette adresse e-mail à Messenger est 123456."));
    let foreign = write_for(&own, &change_phone(), Channel::Sms, &["sv"]);
    assert!(foreign.locale == "en" && foreign.body.starts_with("Your Messenger code to change your number"));
    let replaced =
        messages("[messages.it]\ntext = \"{{ code }}\"\nchange_phone = \"Nuovo numero: {{ code }}\"");
    assert_eq!(*write_for(&replaced, &change_phone(), Channel::Sms, &["it"]).body, "Nuovo numero: 123456");
    let mail = write_for(&replaced, &link_email(), Channel::Email, &["it"]);
    assert!(
        mail.body.starts_with("Your code to add this e-mail address"),
        "no login, in a language that many read"
    );
}

#[test]
fn a_text_that_leaves_its_code_out_after_all_leaves_the_bare_code() {
    let messages = app("[apps.messages]\nen = \"Hi{% if code == '314159' %} {{ code }}{% endif %}\"");
    assert_eq!(sms(&messages, &["en"]), "Messenger: 123456");
}

#[test]
fn the_language_is_the_wish_then_the_apps_then_english() {
    let turkish = app("locale = \"tr\"\n");
    assert_eq!(write(&turkish, Channel::Sms, &["sv", "zh-CN", "de"]).locale, "zh-Hans");
    assert_eq!(write(&turkish, Channel::Sms, &["sv", "x-y"]).locale, "tr");
    assert_eq!(write(&turkish, Channel::Sms, &[]).locale, "tr");
    assert_eq!(write(&app(""), Channel::Sms, &["sv"]).locale, "en");
    assert_eq!(write(&messages(""), Channel::Sms, &["pt-PT"]).locale, "pt-BR");
}

#[test]
fn only_an_sms_has_lines_for_machines() {
    let messages = app(&format!("{HASH}{DOMAIN}"));
    for channel in [Channel::Voice, Channel::Whatsapp, Channel::Telegram, Channel::Email] {
        let text = write(&messages, channel, &["en"]);
        assert_eq!(*text.body, sms(&app(""), &["en"]));
        let subject = if channel == Channel::Email { "Your Messenger login code" } else { "Messenger" };
        assert_eq!(text.subject, subject);
    }
}

#[test]
fn no_message_holds_a_link_d7() {
    for locale in LOCALES {
        let text = sms(&app(""), &[locale]);
        assert!(!text.contains("://") && !text.contains("www.") && text.contains("123456"), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_an_app_may_be_called_the_last_line_is_ours_d2_d5(name in "\\PC{1,40}", locale in 0..12_usize) {
        let lines = format!("{HASH}{DOMAIN}");
        let name = toml::Value::String(name).to_string();
        let text = format!("[[apps]]\nid = \"app\"\nname = {name}\n{lines}");
        // A name that is refused, or too long for Android, is in no message.
        if let Ok(config) = Config::parse(text.parse().expect("TOML"), "a test", &BTreeMap::new()) {
            let app_name = config.apps.find("app").expect("the app").name.clone();
            let messages = Messages::new(config.messages, Arc::new(config.apps));
            let text = messages.write(&Occasion {
                app_id: "app",
                app_name: &app_name,
                channel: Channel::Sms,
                purpose: &Purpose::Login,
                languages: &[LOCALES[locale].to_owned()],
                code: &Code::parse("123456", CodeLength::SIX).expect("a code"),
                lifetime: Duration::from_mins(5),
            });
            let lines: Vec<&str> = text.body.split('\n').collect();
            proptest::prop_assert_eq!(&lines[1..], ["FA+9qCX9VSu", "@login.example.com #123456"]);
            proptest::prop_assert!(text.body.len() <= 140);
            proptest::prop_assert!(parse_bound(lines[0]).is_none());
        }
    }
}
