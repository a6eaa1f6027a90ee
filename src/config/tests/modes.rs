//! What development gives, and what production refuses.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::ambient::SeededEntropy;
use crate::domain::challenge::Dialect;
use crate::domain::channel::Channel;
use crate::domain::keyring::KeyRing;

/// A production document with nothing wrong.
fn production(folder: &Path) -> toml::Table {
    let pepper = folder.join("pepper");
    let keys = folder.join("session.keys");
    for (path, text) in [(&pepper, PEPPER), (&keys, &KeyRing::generate(&SeededEntropy::new(1)))] {
        std::fs::write(path, text).expect("a file");
        set_mode(path, 0o600);
    }
    table(&format!(
        r#"
        mode = "production"
        public_url = "https://login.example.com"
        [server]
        listen = "0.0.0.0:8080"
        [otp]
        pepper_file = {pepper:?}
        [session]
        key_file = {keys:?}
        [policy]
        countries = ["US", "GB"]
        [[apps]]
        id = "com.example.chat"
        name = "Chat"
        upstream = "chat"
        [[apps]]
        id = "com.example.own"
        name = "Own"
        upstream = "own"
        [upstreams.chat]
        kind = "mesibo"
        app_token = "a token"
        [upstreams.own]
        kind = "jwt"
        algorithm = "HS256"
        key = "0123456789abcdef0123456789abcdef"
        [providers.sms]
        recipe = "twilio"
        account_sid = "AC0123456789abcdef0123456789abcdef"
        auth_token = "a token"
        sender = "+14155552672"
        "#
    ))
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
}

fn section<'a>(document: &'a mut toml::Table, name: &str) -> &'a mut toml::Table {
    document.get_mut(name).and_then(toml::Value::as_table_mut).expect("a section")
}

#[test]
fn development_with_no_file_works_at_once() {
    let config = parse("").expect("no problems");
    assert_eq!(config.mode, Mode::Development);
    assert!(config.server.listen.ip().is_loopback() && config.server.admin_listen.ip().is_loopback());
    assert!(matches!(&config.database.url, DatabaseUrl::Sqlite(path) if path == Path::new("latchkey.db")));
    assert!(
        matches!(&config.otp.pepper, PepperSource::Generated(path) if path == Path::new("latchkey.pepper"))
    );
    assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["console"]);
    assert!(
        matches!(&config.providers["console"], ProviderConfig::Console(console) if console.file.is_none())
    );
    assert_eq!(way(&config.routes, Channel::Sms, "+12015550123", "any"), ["console"]);
    assert!(!config.routes.offers(Channel::Voice));
    let UpstreamConfig::Jwt(local) = &config.upstreams["local"] else { panic!("another upstream") };
    assert!(matches!(&local.key, JwtKey::GeneratedEdDsa(path) if path == Path::new("latchkey-local.pem")));
    assert!(matches!(&local.form, JwtForm::Standard { issuer, .. } if issuer == "http://127.0.0.1:8080"));
    let app = config.apps.find("com.anything").expect("any app");
    assert_eq!(app.upstream, "local", "one realm");
    assert_eq!(app.dialects, [Dialect::Mesibo, Dialect::V1]);
    assert!(config.apps.find("").is_none() && config.apps.find(&"a".repeat(129)).is_none());
    assert!(config.policy.countries.is_empty());
}

#[test]
fn development_with_apps_takes_those_alone() {
    let config = parse("[[apps]]\nid = \"com.example.chat\"\nname = \"Chat\"").expect("no problems");
    let app = config.apps.find("com.example.chat").expect("the app");
    assert_eq!((app.name.as_str(), app.upstream.as_str()), ("Chat", "local"));
    assert!(config.apps.find("com.anything").is_none());
}

#[test]
fn development_makes_a_named_pepper_file_only_where_there_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pepper");
    let text = format!("[otp]\npepper_file = {path:?}");
    let source = || parse(&text).expect("no problems").otp.pepper;
    assert!(matches!(source(), PepperSource::Generated(named) if named == path));
    std::fs::write(&path, PEPPER).expect("a file");
    assert!(matches!(source(), PepperSource::Given(_)));
    std::fs::write(&path, "k1 00").expect("a file");
    assert_eq!(
        only_problem(&text),
        "otp.pepper_file (latchkey.toml): the key in line 1 is shorter than 32 bytes (64 hex digits)"
    );
}

#[test]
fn development_makes_a_named_key_file_only_where_there_is_none_g3() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("session.keys");
    let text = format!("[session]\nkey_file = {path:?}");
    let keys = || parse(&text).expect("no problems").session.keys;
    assert_eq!(keys(), SessionKeys::Generated(path.clone()));
    std::fs::write(&path, &*KeyRing::generate(&SeededEntropy::new(1))).expect("a file");
    assert_eq!(keys(), SessionKeys::Given(path.clone()));
    std::fs::write(&path, "hunter2").expect("a file");
    assert_eq!(
        only_problem(&text),
        "session.key_file (latchkey.toml): line 1 is neither part of a private key in PEM nor a comment that begins \
         with #"
    );
    for lifetime in ["16m", "30s"] {
        let problem = only_problem(&format!("[session]\naccess_lifetime = {lifetime:?}"));
        assert!(
            problem.starts_with("session.access_lifetime (latchkey.toml): must be \"1m\" to \"15m\": "),
            "{problem}"
        );
    }
}

#[test]
fn development_off_loopback_must_be_asked_for_l4_l8() {
    for key in ["listen", "admin_listen"] {
        for address in ["0.0.0.0:9000", "[::]:9000", "192.0.2.1:9000"] {
            let text = format!("[server]\n{key} = \"{address}\"");
            let problem = only_problem(&text);
            assert!(problem.starts_with(&format!("server.{key} (latchkey.toml): ")), "{problem}");
            assert!(problem.contains("allow_remote_development = true"), "{problem}");
            assert_eq!(problems(parse(&format!("allow_remote_development = true\n{text}"))), []);
        }
        assert_eq!(problems(parse(&format!("[server]\n{key} = \"[::1]:9000\""))), []);
    }
}

#[test]
fn a_valid_production_document_loads() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config::parse(production(folder.path()), FILE, &BTreeMap::new()).expect("no problems");
    assert_eq!(way(&config.routes, Channel::Sms, "+12015550123", "any"), ["sms"]);
}

/// Makes one thing unsafe.
type Change = fn(&mut toml::Table, &Path);

#[test]
#[expect(clippy::too_many_lines, reason = "one table, one line of each case")]
fn production_refuses_what_is_not_safe_k2_l4_l8_c2() {
    let cases: [(&str, Change, &[&str]); 18] = [
        (
            "no way out for codes",
            |document, _| {
                document.remove("providers");
            },
            &["providers"],
        ),
        (
            "F4: a gateway in clear, on this host or not",
            |document, _| {
                let sms = section(section(document, "providers"), "sms");
                sms.insert("base_url".to_owned(), "http://127.0.0.1:1".into());
            },
            &["providers.sms.base_url"],
        ),
        (
            "L4: codes in the log",
            |document, _| {
                document.insert("providers".to_owned(), table("testers.kind = \"console\"").into());
            },
            &["providers.testers.kind"],
        ),
        (
            "K2: no pepper",
            |document, _| {
                section(document, "otp").remove("pepper_file");
            },
            &["otp.pepper_file"],
        ),
        (
            "K2: a pepper file that is not there",
            |_, folder| std::fs::remove_file(folder.join("pepper")).expect("a file"),
            &["otp.pepper_file"],
        ),
        (
            "K2: a pepper that others can read",
            |_, folder| set_mode(&folder.join("pepper"), 0o644),
            &["otp.pepper_file"],
        ),
        (
            "K2: a short pepper",
            |_, folder| std::fs::write(folder.join("pepper"), "k1 0011").expect("a file"),
            &["otp.pepper_file"],
        ),
        (
            "G3: no keys for access tokens",
            |document, _| {
                document.remove("session");
            },
            &["session.key_file"],
        ),
        (
            "G3: a key file that is not there",
            |_, folder| std::fs::remove_file(folder.join("session.keys")).expect("a file"),
            &["session.key_file"],
        ),
        (
            "G3: keys that others can read",
            |_, folder| set_mode(&folder.join("session.keys"), 0o644),
            &["session.key_file"],
        ),
        (
            "G3: another kind of key",
            |_, folder| std::fs::write(folder.join("session.keys"), "k1 0011").expect("a file"),
            &["session.key_file"],
        ),
        (
            "L8: no listed apps",
            |document, _| {
                document.remove("apps");
            },
            &["apps"],
        ),
        (
            "C2: no countries",
            |document, _| {
                document.remove("policy");
            },
            &["policy.countries"],
        ),
        (
            "C2: an empty list of countries",
            |document, _| {
                section(document, "policy").insert("countries".to_owned(), toml::Value::Array(Vec::new()));
            },
            &["policy.countries"],
        ),
        (
            "L8: plain http",
            |document, _| {
                document.insert("public_url".to_owned(), "http://login.example.com".into());
            },
            &["public_url"],
        ),
        (
            "L8: no public_url, whose default is plain http",
            |document, _| {
                document.remove("public_url");
            },
            &["public_url"],
        ),
        (
            "L8: a generated signing key",
            |document, _| {
                let own = section(section(document, "upstreams"), "own");
                *own = table("kind = \"jwt\"");
            },
            &["upstreams.own.key_file"],
        ),
        (
            "L8: no chat backend",
            |document, _| {
                document.remove("upstreams");
            },
            &["upstreams", "apps[0].upstream", "apps[1].upstream"],
        ),
    ];
    for (name, change, wanted) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let mut document = production(folder.path());
        change(&mut document, folder.path());
        assert_eq!(keys(&problems(Config::parse(document, FILE, &BTreeMap::new()))), wanted, "{name}");
    }
}

#[test]
fn production_takes_no_app_by_default_and_development_flags_do_not_help_it_l8() {
    let text = "mode = \"production\"\nallow_remote_development = true";
    let wanted = [
        "public_url",
        "otp.pepper_file",
        "session.key_file",
        "policy.countries",
        "upstreams",
        "apps",
        "providers",
    ];
    assert_eq!(keys(&problems(parse(text))), wanted);
}

#[test]
fn in_production_the_dialect_is_that_of_the_backend() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut document = production(folder.path());
    let both = toml::Value::Array(vec!["v1".into(), "mesibo".into()]);
    let apps = document.get_mut("apps").and_then(toml::Value::as_array_mut).expect("apps");
    let mut third = apps[1].clone();
    third
        .as_table_mut()
        .expect("an app")
        .extend([("id".to_owned(), "com.example.both".into()), ("dialects".to_owned(), both)]);
    apps.push(third);
    let apps = Config::parse(document, FILE, &BTreeMap::new()).expect("no problems").apps;
    let dialects = |id: &str| apps.find(id).expect("the app").dialects.clone();
    assert_eq!(dialects("com.example.chat"), [Dialect::Mesibo]);
    assert_eq!(dialects("com.example.own"), [Dialect::V1]);
    assert_eq!(dialects("com.example.both"), [Dialect::V1, Dialect::Mesibo]);
    assert!(apps.find("com.anything").is_none());
}
