//! Backends that come with us.

use super::*;

fn text(more: &str) -> String {
    format!("[upstreams.chat]\n{more}")
}

#[test]
fn a_preset_asks_for_its_own_settings_and_takes_no_others() {
    let talkjs = "kind = \"jwt\"\npreset = \"talkjs\"\nkey = \"sk_test_0123456789\"";
    assert_eq!(
        only_problem(&text(talkjs)),
        "upstreams.chat.app_id (not set): set it: the App ID, from TalkJS's dashboard"
    );
    assert_eq!(problems(parse(&text(&format!("{talkjs}\napp_id = \"tAbc\"")))), []);
    assert!(
        only_problem(&text(&format!("{talkjs}\napp_id = \"t-Abc!\""))).contains("must match [A-Za-z0-9]+")
    );
    let issuer = only_problem(&text(&format!("{talkjs}\napp_id = \"tAbc\"\nissuer = \"us\"")));
    assert!(
        issuer.starts_with("upstreams.chat.issuer (latchkey.toml): there is no such key; this table knows "),
        "{issuer}"
    );
    assert!(only_problem(&text("kind = \"jwt\"\npreset = \"streem\"\nkey = \"k\"\nx = 1")).starts_with(
        "upstreams.chat.preset (latchkey.toml): there is no such preset; known are ably, centrifugo, "
    ));
}

#[test]
fn a_vendors_secret_is_as_long_as_the_vendor_makes_it_and_ones_own_has_32_bytes_g3() {
    let with = |preset: &str, bytes: usize| {
        problems(parse(&text(&format!(
            "kind = \"jwt\"\npreset = \"{preset}\"\nkey = \"{}\"",
            "x".repeat(bytes)
        ))))
    };
    assert_eq!(with("stream", 16), []);
    assert_eq!(keys(&with("stream", 15)), ["upstreams.chat.key"]);
    assert_eq!(with("centrifugo", 32), []);
    assert_eq!(keys(&with("centrifugo", 31)), ["upstreams.chat.key"]);
}

#[test]
fn the_whole_of_an_ably_key_is_told_from_its_secret_without_quoting_it() {
    let problem = only_problem(&text(
        "kind = \"jwt\"\npreset = \"ably\"\nkey_name = \"xVLyHw.LMJZxw\"\nkey = \"xVLyHw.LMJZxw:hunter2hunter2\"",
    ));
    assert!(problem.ends_with("it is what is behind the colon of the API key"), "{problem}");
    assert!(!problem.contains("hunter2"), "{problem}");
}

#[test]
fn a_backend_verifies_only_what_it_says() {
    let problem = only_problem(&text(
        "kind = \"jwt\"\npreset = \"stream\"\nalgorithm = \"RS256\"\nkey = \"0123456789abcdef\"",
    ));
    assert_eq!(problem, "upstreams.chat.algorithm (latchkey.toml): must be one of HS256");
    let files = only_problem(&text("kind = \"jwt\"\nalgorithm = \"ES256\""));
    assert_eq!(
        files,
        "upstreams.chat.key_file (not set): name the file of the private key: run `openssl genpkey -algorithm EC \
         -pkeyopt ec_paramgen_curve:P-256 -out key.pem`"
    );
}

#[test]
fn kustomers_secret_is_configured_or_fetched_and_not_both() {
    let kustomer = |more: &str| problems(parse(&text(&format!("kind = \"kustomer\"\n{more}"))));
    assert_eq!(keys(&kustomer("")), ["upstreams.chat.secret_file"]);
    assert_eq!(kustomer("secret = \"s\"\nidentify_by = \"email\""), []);
    assert_eq!(kustomer("org = \"acme\"\napi_key = \"k\""), []);
    assert_eq!(keys(&kustomer("api_key = \"k\"")), ["upstreams.chat.org"]);
    assert_eq!(keys(&kustomer("org = \"acme.kustomerapp.com\"\napi_key = \"k\"")), ["upstreams.chat.org"]);
    assert_eq!(keys(&kustomer("org = \"acme\"\napi_key = \"k\"\nsecret = \"s\"")), ["upstreams.chat.secret"]);
    let plain = kustomer("url = \"http://acme.example.com/settings\"\napi_key = \"k\"");
    assert_eq!(keys(&plain), ["upstreams.chat.url"]);
    let config = parse(&text("kind = \"kustomer\"\norg = \"acme\"\napi_key = \"k\"")).expect("no problems");
    let UpstreamConfig::Kustomer(KustomerUpstream { secret: KustomerSecret::Fetched { url, .. }, .. }) =
        &config.upstreams["chat"]
    else {
        panic!("another secret")
    };
    assert_eq!(url.as_str(), "https://acme.api.kustomerapp.com/v1/auth/customer/settings");
}

#[test]
fn the_readme_names_every_preset_and_what_it_needs() {
    let readme = include_str!("../../../README.md");
    for (name, preset) in jwt_presets() {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("README has no row for {name}"));
        for key in preset.settings.keys() {
            assert!(row.contains(&format!("`{key}`")), "{name}.{key}");
        }
    }
    assert!(http_presets().all(|name| readme.contains(&format!("preset = \"{name}\""))));
}
