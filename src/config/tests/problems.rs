//! What is wrong is said at once, with key, source and fix.

use super::*;

#[test]
fn all_problems_are_told_at_once_with_key_source_and_fix() {
    let text = r#"
        public_url = "login.example.com"
        [server]
        listen = "here"
        idle_timeout = 5
        [database]
        url = "mysql://somewhere"
        conections = 3
        [otp]
        length = 5
        [[apps]]
        id = "com.example.app"
        upstream = "nowhere"
        [upstreams.chat]
        kind = "mesibo"
        url = "ftp://example.com"
        [upstreams.Own]
        kind = "jwt"
        algorithm = "none"
        key = "some"
        [policy]
        countries = ["us"]
        [limits]
        per_ip = "many"
        send_waits = ["1s"]
        [routes.sms]
        default = ["twilio"]
    "#;
    let pairs = [("LATCHKEY_LOG__LEVEL", "loud"), ("LATCHKEY_SERVER__WORKERS", "-1")];
    let error = parse_with(text, &pairs).expect_err("problems").to_string();
    let wanted = r#"the configuration has 18 problem(s):
  public_url (latchkey.toml): must be a URL such as "https://login.example.com"
  server.listen (latchkey.toml): must be an address and port such as "127.0.0.1:8080"
  server.workers (LATCHKEY_SERVER__WORKERS): must be a whole number from 0 to 4294967295
  server.idle_timeout (latchkey.toml): must be a time such as "250ms", "30s", "5m", "24h" or "180d"
  database.url (latchkey.toml): must be sqlite://FILE or postgres://USER@HOST/NAME
  database.conections (latchkey.toml): there is no such key; this table knows connections, deadline, queue, url, url_file
  log.level (LATCHKEY_LOG__LEVEL): must be one of error, warn, info, debug, trace
  otp.length (latchkey.toml): must be 6 to 10: fewer digits can be guessed, and no phone autofills more
  policy.countries (latchkey.toml): there is no country "us": each must be two capital letters of ISO 3166-1, such as ["US", "GB"]
  limits.send_waits (latchkey.toml): must be four waits: behind the first, second, third and each later message
  limits.per_ip (latchkey.toml): must be a rate such as "10/24h": so many at once, and as many again in that time
  upstreams.Own (latchkey.toml): the table's name must be 1 to 32 of a-z, 0-9, - and single _
  upstreams.Own.algorithm (latchkey.toml): must be one of EdDSA, ES256, RS256, HS256
  upstreams.chat.url (latchkey.toml): must start with https://, such as https://api.mesibo.com/backend/
  upstreams.chat.app_token_file (not set): name the file that holds the app token of mesibo's console (App settings), or set app_token
  apps[0].name (not set): set what messages call the app, such as "Messenger"
  apps[0].upstream (latchkey.toml): there is no [upstreams.…] of that name
  routes.sms.default (latchkey.toml): there is no [providers.twilio] for this channel"#;
    assert_eq!(error, wanted);
}

#[test]
fn unknown_keys_are_errors_with_what_the_table_knows() {
    let cases = [
        (
            "colour = \"red\"",
            "colour (latchkey.toml): there is no such key; this table knows allow_remote_development, apps, database, \
             email, limits, log, mesibo, messages, mode, otp, policy, prices, providers, providers_dir, public_url, routes, \
             server, session, upstreams",
        ),
        (
            "[log]\ncolour = true",
            "log.colour (latchkey.toml): there is no such key; this table knows format, level",
        ),
        (
            "[[apps]]\nid = \"a\"\nname = \"A\"\ncolour = 1",
            "apps[0].colour (latchkey.toml): there is no such key; this table knows android_hash, channels, chat_token_path, dialects, id, locale, messages, \
             name, origins, result, upstream, web_domain",
        ),
        (
            "[upstreams.chat]\nkind = \"jwt\"\ncolour = 1",
            "upstreams.chat.colour (latchkey.toml): there is no such key; this table knows algorithm, audience, \
             claims, issuer, key, key_file, kind, lifetime",
        ),
        (
            "[providers.testers]\nkind = \"console\"\ncolour = 1",
            "providers.testers.colour (latchkey.toml): there is no such key; this table knows charset, countries, file, kind, per_second",
        ),
        (
            "[routes.fax]",
            "routes.fax (latchkey.toml): there is no such key; this table knows email, sms, telegram, voice, whatsapp",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(only_problem(text), wanted);
    }
}

#[test]
fn a_table_where_a_value_belongs_and_the_reverse_are_problems() {
    let cases = [
        ("otp = 6", "otp (latchkey.toml): must be a table: write [otp]"),
        (
            "[[routes.sms.rules]]\nlocales = [\"xx yy\"]\nproviders = [\"console\"]",
            "routes.sms.rules[0].locales (latchkey.toml): \"xx yy\" is no language tag: write such as en, pt-BR or zh-Hans",
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.1\"]",
            "server.trusted_proxies (latchkey.toml): must be a list, each item a network such as \"10.0.0.0/8\"",
        ),
        ("[otp.length]\nis = 6", "otp.length (latchkey.toml): must be a whole number from 0 to 4294967295"),
        ("[apps]\nid = \"a\"", "apps (latchkey.toml): must be a list of tables: write [[apps]]"),
        (
            "[[providers]]\nkind = \"console\"",
            "providers (latchkey.toml): must be a table: write [providers]",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(only_problem(text), wanted);
    }
}

#[test]
fn a_name_that_is_no_realm_is_refused() {
    for name in ["Chat", "\"my chat\"", "a__b", "\"\"", "\"é\"", &"a".repeat(33)] {
        let problem = only_problem(&format!("[upstreams.{name}]\nkind = \"jwt\""));
        assert!(problem.contains("must be 1 to 32 of a-z, 0-9, - and single _"), "{problem}");
    }
}

#[test]
fn one_mistake_in_an_upstream_is_not_told_again_by_the_apps_or_the_routes() {
    let text = r#"
        [[apps]]
        id = "a"
        name = "A"
        upstream = "chat"
        [upstreams.chat]
        kind = "xmpp"
        [providers.testers]
        kind = "pigeon"
        [routes.sms]
        default = ["testers"]
    "#;
    assert_eq!(keys(&problems(parse(text))), ["upstreams.chat.kind", "providers.testers.kind"]);
}

#[test]
fn a_file_that_is_no_toml_is_told_by_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("latchkey.toml");
    std::fs::write(&path, "[otp]\nlength = 6\nlength = 7\n").expect("a file");
    let error = Config::load(Some(&path), &BTreeMap::new()).expect_err("a syntax error").to_string();
    assert_eq!(error, format!("{}, line 3, is not TOML: duplicate key", path.display()));
}

#[test]
fn a_value_that_is_read_twice_is_told_once() {
    let found = problems(parse("mode = \"production\"\n[otp]\npepper = 5"));
    assert_eq!(keys(&found).iter().filter(|key| **key == "otp.pepper").count(), 1, "{found:?}");
}
