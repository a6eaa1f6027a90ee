//! The reference holds the same keys and defaults as the parser.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::setting::{Raw, Setting};
use super::*;
use crate::domain::channel::Channel;
use crate::domain::limits::Rate;

/// One `key = value` of the reference.
struct Entry {
    value: toml::Value,
    commented: bool,
    in_example: bool,
}

/// Strips a line of its comment sign where what follows is a table's head or a key, and not prose.
fn significant(line: &str) -> Option<(&str, bool)> {
    let (text, commented) = line.strip_prefix("# ").map_or((line, false), |text| (text, true));
    let is_head = text.starts_with('[') && text.ends_with(']');
    let is_key = text.split_once(" = ").is_some_and(|(key, _)| {
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    });
    (is_head || is_key).then_some((text, commented))
}

/// The reference with all its examples in force.
fn uncommented() -> toml::Table {
    let lines = REFERENCE.lines().filter_map(significant).map(|(text, _)| text);
    table(&lines.collect::<Vec<_>>().join("\n"))
}

fn entries() -> BTreeMap<String, Entry> {
    let (mut section, mut in_example) = (String::new(), false);
    let mut entries = BTreeMap::new();
    for (text, commented) in REFERENCE.lines().filter_map(significant) {
        let Some((key, _)) = text.split_once(" = ") else {
            section = format!("{}.", text.trim_matches(['[', ']']));
            in_example = commented;
            continue;
        };
        let value = table(text).remove(key).expect("the key");
        let entry = Entry { value, commented, in_example };
        assert!(entries.insert(format!("{section}{key}"), entry).is_none(), "{section}{key} occurs twice");
    }
    entries
}

/// All that the parser asks for over the documents that make it ask for everything, under the reference's names.
fn asked() -> Asked {
    let documents = [toml::Table::new(), uncommented()];
    let asked = documents.map(|document| Config::read(document, FILE, &BTreeMap::new()).1);
    let channels = Channel::ALL.map(|channel| format!("routes.{}.", channel.as_str()));
    let name = |key: String| {
        let channel = channels.iter().find(|channel| key.starts_with(*channel));
        let key = channel.map_or_else(|| key.clone(), |channel| key.replace(channel, "routes.sms."));
        // Every provider has these; they are described once.
        let common = ["countries", "charset", "per_second"].iter().find(|common| {
            key.starts_with("providers.") && key.split('.').skip(2).eq(std::iter::once(**common))
        });
        common.map_or_else(|| key.replace("[0]", ""), |common| format!("providers.twilio.{common}"))
    };
    asked.into_iter().flatten().map(|(key, default)| (name(key), default)).collect()
}

/// One spelling for values that mean the same, such as "24h" and "1d".
fn normal(value: toml::Value) -> toml::Value {
    if let toml::Value::Array(items) = value {
        return items.into_iter().map(normal).collect::<Vec<_>>().into();
    }
    let raw = Raw::Toml(value.clone());
    let time = Duration::read(&raw).map(|time| time.show());
    let rate = || Rate::read(&raw).map(|rate| rate.show());
    let url = || Url::read(&raw).map(|url| url.show());
    time.or_else(rate).or_else(url).map_or(value, toml::Value::String)
}

#[test]
fn the_reference_as_it_stands_is_the_same_as_no_file() {
    let (reference, nothing) = (parse(REFERENCE).expect("no problems"), parse("").expect("no problems"));
    assert_eq!(format!("{reference:#?}"), format!("{nothing:#?}"));
}

#[test]
fn the_reference_holds_exactly_the_keys_that_the_parser_asks_for() {
    let written: BTreeSet<String> = entries().into_keys().collect();
    let asked: BTreeSet<String> = asked().into_keys().collect();
    let missing: Vec<_> = asked.difference(&written).collect();
    let unknown: Vec<_> = written.difference(&asked).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not in it: {missing:?}; not in the parser: {unknown:?}"
    );
}

#[test]
fn the_reference_shows_the_parsers_defaults_and_comments_out_what_has_none() {
    let asked = asked();
    for (key, entry) in entries() {
        let default = asked.get(&key).cloned().flatten();
        assert_eq!(entry.commented, entry.in_example || default.is_none(), "whether {key} is commented out");
        if let Some(default) = default {
            let default = table(&format!("value = {default}")).remove("value").expect("a value");
            assert_eq!(normal(entry.value), normal(default), "the default of {key}");
        }
    }
}

#[test]
fn the_examples_of_the_reference_are_valid() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let mut document = uncommented();
    let sections = [
        ("database", "url", "sqlite://latchkey.db"),
        ("otp", "pepper", PEPPER),
        ("upstreams.chat", "app_token", "a token"),
        ("upstreams.chatsdk", "api_key", "a key"),
        ("upstreams.own", "key", "a key"),
        ("upstreams.sendbird", "api_token", "a token"),
        ("upstreams.conversations", "key", "0123456789abcdef0123456789abcdef"),
        ("upstreams.support", "secret", "a secret"),
        ("upstreams.helpdesk", "api_key", "a key"),
        ("upstreams.comet", "api_key", "a key"),
        ("upstreams.rest.secrets", "api_key", "a key"),
        ("providers.india", "auth_key", "a key"),
        ("providers.mail", "password", "a password"),
        ("providers.twilio", "auth_token", "a token"),
    ];
    let recipes = folder.path().display().to_string();
    document.insert("providers_dir".to_owned(), recipes.into()).expect("the folder of recipes");
    for (section, key, text) in sections {
        let place = section.split('.').fold(&mut document, |place, name| {
            place.get_mut(name).and_then(toml::Value::as_table_mut).expect("a section")
        });
        place.remove(key).expect("the secret as text");
        let old = place.insert(format!("{key}_file"), file(key, text).into());
        old.expect("the secret as a file");
    }
    let mail = document.get_mut("providers").and_then(|providers| providers.get_mut("mail"));
    let mail = mail.and_then(toml::Value::as_table_mut).expect("a mail server");
    mail.insert("ca_file".to_owned(), file("ca", "-----BEGIN CERTIFICATE-----").into())
        .expect("a file in the example");
    let found = problems(Config::parse(document, FILE, &BTreeMap::new()));
    assert_eq!(found, []);
}
