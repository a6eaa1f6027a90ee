//! Variables over the file, and which file.

use super::*;

#[test]
fn variables_override_the_file() {
    let text = "mode = \"production\"\n[otp]\nattempts = 3\n[log]\nlevel = \"warn\"";
    let pairs = [
        ("LATCHKEY_MODE", "development"),
        ("LATCHKEY_PUBLIC_URL", "https://login.example.com"),
        ("LATCHKEY_OTP__ATTEMPTS", "4"),
        ("LATCHKEY_POLICY__COUNTRIES", "US, GB"),
        ("LATCHKEY_UPSTREAMS__CHAT__KIND", "jwt"),
        ("LATCHKEY_LIMITS__SEND_WAITS", "1s,2s,3s,4s"),
    ];
    let config = parse_with(text, &pairs).expect("no problems");
    assert_eq!(config.mode, Mode::Development);
    assert_eq!(config.public_url.as_str(), "https://login.example.com/");
    assert_eq!(config.otp.attempts, 4);
    assert_eq!(config.policy.countries.len(), 2);
    assert_eq!(config.limits.send_waits.0.map(|wait| wait.as_secs()), [1, 2, 3, 4]);
    assert_eq!(config.upstreams.keys().collect::<Vec<_>>(), ["chat"]);
    assert_eq!(config.log.level, tracing::Level::WARN, "what no variable names stays");
}

#[test]
fn a_variable_finds_its_table_in_any_spelling() {
    let text = "[messages.pt-BR]\ntext = \"{{ code }}\"\n[providers.my-hook]\nkind = \"console\"\n\
                [upstreams.own]\nkind = \"jwt\"\n[upstreams.own.claims]\napp-name = \"theirs\"";
    let pairs = [
        ("LATCHKEY_MESSAGES__PT_BR__TEXT", "{{ code }}!"),
        ("LATCHKEY_PROVIDERS__MY_HOOK__FILE", "/tmp/codes"),
        ("LATCHKEY_UPSTREAMS__OWN__CLAIMS__APP_NAME", "ours"),
        ("LATCHKEY_PROVIDERS_DIR", "/nowhere"),
    ];
    let found = problems(parse_with(text, &pairs));
    assert_eq!(keys(&found), ["providers_dir"], "the others are well: {found:?}");
    let config = parse_with(text, pairs.get(..3).expect("three")).expect("no problems");
    let locale = crate::domain::locale::Locale::parse("pt-BR").expect("a language");
    let values = crate::domain::template::Values { app: "A", code: "123456", minutes: 5 };
    let texts = config.messages.find(&locale).expect("Portuguese");
    assert_eq!(*texts.text.render(values), "123456!");
    assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["my-hook"]);
    let shown = format!("{:?}", config.upstreams["own"]);
    assert!(shown.contains("app-name") && shown.contains("ours") && !shown.contains("theirs"), "{shown}");
}

#[test]
fn variables_that_name_no_key_are_not_ours() {
    let pairs = [
        ("LATCHKEY_FOO", "1"),
        ("LATCHKEY_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("LATCHKEY_CONFIG", "/nowhere"),
        ("OTHER__LENGTH", "1"),
    ];
    assert_eq!(problems(parse_with("", &pairs)), []);
}

#[test]
fn a_variable_in_a_wrong_form_is_named() {
    let pairs = [
        ("LATCHKEY_MODE", "prod"),
        ("LATCHKEY_OTP__COLOUR", "red"),
        ("LATCHKEY_OTP__LENGTH", "six"),
        ("LATCHKEY_OTTER__LENGTH", "6"),
        ("LATCHKEY_POLICY__COUNTRIES__US", "1"),
        ("LATCHKEY_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,proxy"),
        ("LATCHKEY_UPSTREAMS", "x"),
        ("LATCHKEY_UPSTREAMS__CHAT", "x"),
    ];
    let found = problems(parse_with("[policy]\ncountries = [\"US\"]", &pairs));
    let found: Vec<(&str, &str)> = found.iter().map(|p| (p.key.as_str(), p.source.as_str())).collect();
    let wanted = [
        ("policy.countries.us", "LATCHKEY_POLICY__COUNTRIES__US"),
        ("mode", "LATCHKEY_MODE"),
        ("server.trusted_proxies", "LATCHKEY_SERVER__TRUSTED_PROXIES"),
        ("otp.length", "LATCHKEY_OTP__LENGTH"),
        ("otp.colour", "LATCHKEY_OTP__COLOUR"),
        ("upstreams.chat", "LATCHKEY_UPSTREAMS__CHAT"),
        ("upstreams.chat.kind", "not set"),
        ("otter", "LATCHKEY_OTTER__LENGTH"),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn apps_have_no_variables() {
    let app = "[[apps]]\nid = \"a\"\nname = \"A\"";
    let found = problems(parse_with(app, &[("LATCHKEY_APPS__ID", "b")]));
    let text = "apps.id (LATCHKEY_APPS__ID): the variable names something that is not a single value; set it in the \
                file";
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
    let found = problems(parse_with("", &[("LATCHKEY_APPS__ID", "b")]));
    let text = "apps (LATCHKEY_APPS__ID): must be a list of tables: write [[apps]]";
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
}

#[test]
fn the_file_is_the_one_that_is_named_first_by_argument_then_by_variable() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, attempts: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("[otp]\nattempts = {attempts}")).expect("a file");
        path
    };
    let (argument, variable) = (file("argument.toml", 2), file("variable.toml", 3));
    let named = variables(&[("LATCHKEY_CONFIG", variable.to_str().expect("UTF-8"))]);
    let attempts = |file: Option<&Path>, variables| {
        Config::load(file, variables).map(|config| config.otp.attempts).expect("no problems")
    };
    assert_eq!(attempts(Some(&argument), &named), 2);
    assert_eq!(attempts(None, &named), 3);
    assert_eq!(attempts(Some(&argument), &BTreeMap::new()), 2);
}

#[test]
fn a_named_file_that_is_not_there_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("missing.toml");
    let error = Config::load(Some(&path), &BTreeMap::new()).expect_err("no file").to_string();
    assert!(error.contains("missing.toml") && error.contains("LATCHKEY_CONFIG"), "{error}");
}
