//! Values that no mode takes.

use super::*;
use crate::domain::channel::Channel;
use crate::domain::phone::Country;

#[test]
fn codes_have_six_to_ten_digits_a1() {
    assert_eq!(
        only_problem("[otp]\nlength = 5"),
        "otp.length (latchkey.toml): must be 6 to 10: fewer digits can be guessed, and no phone autofills more"
    );
    assert!(only_problem("[otp]\nlength = 11").starts_with("otp.length "));
}

#[test]
fn codes_live_ten_minutes_at_most_a2() {
    assert_eq!(
        only_problem("[otp]\nlifetime = \"601s\""),
        "otp.lifetime (latchkey.toml): must be \"30s\" to \"10m\": a longer one gives guessing more time (NIST SP \
         800-63B)"
    );
    assert_eq!(problems(parse("[otp]\nlifetime = \"600s\"")), []);
}

#[test]
fn mesibos_apps_take_six_digits_only() {
    let app = "[otp]\nlength = 8\n[[apps]]\nid = \"a\"\nname = \"A\"";
    for dialects in ["", "dialects = [\"v1\", \"mesibo\"]"] {
        let problem = only_problem(&format!("{app}\n{dialects}"));
        assert!(problem.starts_with("apps[0].dialects ") && problem.contains("otp.length = 6"), "{problem}");
    }
    assert_eq!(problems(parse(&format!("{app}\ndialects = [\"v1\"]"))), []);
    assert!(only_problem("[otp]\nlength = 8").starts_with("apps (not set): mesibo's apps take six digits"));
}

#[test]
fn a_wrong_pepper_does_not_hide_that_the_length_suits_no_app() {
    let found = problems(parse("[otp]\nlength = 8\npepper = \"k1\""));
    assert_eq!(keys(&found), ["otp.pepper", "apps"]);
}

#[test]
fn a_shared_signing_secret_has_at_least_32_bytes_g3() {
    let text = |bytes: usize| {
        format!("[upstreams.own]\nkind = \"jwt\"\nalgorithm = \"HS256\"\nkey = \"{}\"", "x".repeat(bytes))
    };
    assert_eq!(
        only_problem(&text(31)),
        "upstreams.own.key (latchkey.toml): must be at least 32 bytes: run `openssl rand -hex 32`"
    );
    assert_eq!(problems(parse(&text(32))), []);
    let none = "[upstreams.own]\nkind = \"jwt\"\nalgorithm = \"HS256\"";
    assert!(
        only_problem(none).starts_with("upstreams.own.key_file (not set): "),
        "development makes no such key"
    );
}

#[test]
fn a_database_on_another_host_needs_tls_or_a_written_word_j8() {
    let text = |url: &str| format!("[database]\nurl = \"{url}\"");
    let remote = [
        "postgres://user@db.example.com/latchkey",
        "postgresql://user@192.0.2.1/latchkey",
        "postgres://user@[2001:db8::1]/latchkey",
        "postgres://user@localhost,db.example.com/latchkey",
        "postgres:///latchkey?host=db.example.com",
        "postgres://localhost/latchkey?hostaddr=192.0.2.1",
    ];
    for url in remote {
        let problem = only_problem(&text(url));
        assert!(problem.starts_with("database.url ") && problem.contains("sslmode=verify-full"), "{problem}");
        let joint = if url.contains('?') { '&' } else { '?' };
        assert_eq!(problems(parse(&text(&format!("{url}{joint}sslmode=verify-full")))), [], "{url}");
    }
    let local = [
        "postgres://user@localhost/latchkey",
        "postgres://user@127.0.0.1:5432/latchkey",
        "postgres://user@[::1]/latchkey",
        "postgres:///latchkey",
        "postgres:///latchkey?host=/var/run/postgresql",
        "postgres://%2Fvar%2Frun%2Fpostgresql/latchkey",
    ];
    for url in local {
        assert_eq!(problems(parse(&text(url))), [], "{url}");
    }
}

#[test]
fn an_app_token_does_not_travel_in_clear_unless_told_to() {
    let text = |url: &str| format!("[upstreams.chat]\nkind = \"mesibo\"\napp_token = \"t\"\nurl = \"{url}\"");
    let problem = only_problem(&text("http://mesibo.example.com/backend/"));
    assert!(problem.starts_with("upstreams.chat.url ") && problem.contains("allow_http = true"), "{problem}");
    let told = format!("{}\nallow_http = true", text("http://mesibo.example.com/backend/"));
    assert_eq!(problems(parse(&told)), []);
    for private in ["http://localhost/", "http://10.1.2.3/", "http://[::1]/", "https://example.com/"] {
        assert_eq!(problems(parse(&text(private))), [], "{private}");
    }
}

#[test]
fn routes_name_providers_that_there_are() {
    assert_eq!(
        only_problem("[routes.sms]\ndefault = [\"console\", \"twilio\"]"),
        "routes.sms.default (latchkey.toml): there is no [providers.twilio] for this channel"
    );
    assert_eq!(
        only_problem("[routes.voice]\ndefault = [\"console\"]"),
        "routes.voice.default (latchkey.toml): there is no [providers.console] for this channel"
    );
}

#[test]
fn several_providers_need_an_order() {
    let two = "[providers.a]\nkind = \"console\"\n[providers.b]\nkind = \"console\"";
    assert_eq!(
        only_problem(two),
        "routes.sms.default (not set): several providers serve this channel: list them in the order to try them in"
    );
    let ordered = format!("{two}\n[routes.sms]\ndefault = [\"b\", \"a\"]");
    let routes = parse(&ordered).expect("no problems").routes;
    assert_eq!(way(&routes, Channel::Sms, "+12015550123", "any"), ["b", "a"]);
}

#[test]
fn two_apps_with_one_id_are_one_too_many() {
    let app = "[[apps]]\nid = \"a\"\nname = \"A\"\n";
    assert_eq!(only_problem(&app.repeat(2)), "apps[1].id (latchkey.toml): another app has the same id");
}

/// Every path that the document names.
fn our_paths() -> Vec<String> {
    let document: serde_json::Value =
        serde_json::from_str(include_str!("../../http/openapi.json")).expect("JSON");
    document["paths"].as_object().expect("paths").keys().cloned().collect()
}

#[test]
fn a_path_for_chat_tokens_is_absolute_plain_and_not_ours() {
    let app = |path: &str| parse(&format!("[[apps]]\nid = \"a\"\nname = \"A\"\nchat_token_path = {path:?}"));
    for path in ["/api/auth/chat-token", "/chat-token", "/login", "/v2/~me/token.json"] {
        let (_, read) = app(path)
            .expect("no problems")
            .apps
            .iter()
            .map(|(id, app)| (id.is_some(), app.clone()))
            .next()
            .expect("an app");
        assert_eq!(read.chat_token_path.as_deref(), Some(path));
    }
    let strange = [
        "",
        "/",
        "api/chat-token",
        "https://a.example/token",
        "/a//b",
        "/a/",
        "/./a",
        "/a/../livez",
        "/{id}",
        "/a?b",
        "/a#b",
        "/a b",
        "/%2e",
        "/ü",
        "/index.php",
        "/api.php",
        "/metrics",
        "/v1/other",
        "/v1",
        "/tools/x",
        "/.well-known/x",
    ];
    let ours = our_paths();
    assert!(ours.len() > 10);
    for path in strange.into_iter().chain(ours.iter().map(String::as_str)) {
        let found = problems(app(path));
        assert_eq!(keys(&found), ["apps[0].chat_token_path"], "{path:?}");
        assert!(found[0].text.starts_with("must be a path of its own"), "{}", found[0].text);
    }
}

#[test]
fn only_our_own_dialect_has_sessions_that_get_another_chat_token() {
    let text = "[[apps]]\nid = \"a\"\nname = \"A\"\nchat_token_path = \"/t\"\ndialects = [\"mesibo\"]";
    assert!(
        only_problem(text)
            .ends_with("only the dialect \"v1\" has sessions that get another chat token: add it")
    );
}

#[test]
fn a_session_outlives_its_access_tokens_g4() {
    for key in ["idle_lifetime", "lifetime"] {
        let problem = only_problem(&format!("[session]\n{key} = \"14m\""));
        assert!(
            problem.starts_with(&format!("session.{key} (latchkey.toml): must be \"15m\" to \"3650d\": ")),
            "{problem}"
        );
    }
    assert!(only_problem("[session]\nchat_tokens = \"0/15m\"").starts_with("session.chat_tokens "));
    let session = parse("[session]\nlifetime = \"1d\"\nchat_tokens = \"1/1s\"").expect("no problems").session;
    assert_eq!(session.lifetimes.whole, std::time::Duration::from_hours(24));
    assert_eq!((session.chat_tokens.burst(), session.chat_tokens.interval_ms()), (1, 1000));
}

#[test]
fn metrics_do_not_share_the_public_listener() {
    let problem = only_problem("[server]\nlisten = \"127.0.0.1:9\"\nadmin_listen = \"127.0.0.1:9\"");
    assert!(problem.starts_with("server.admin_listen "), "{problem}");
}

#[test]
fn a_timeout_of_nothing_is_refused() {
    for key in ["head_timeout", "body_timeout", "idle_timeout", "shutdown_timeout"] {
        let problem = only_problem(&format!("[server]\n{key} = \"0s\""));
        assert!(problem.contains("must be \"1ms\" to \"10m\""), "{problem}");
    }
}

#[test]
fn the_first_rule_that_fits_orders_a_message_and_the_cap_cuts_it() {
    let text = "[providers.a]\nkind = \"console\"\n[providers.b]\nkind = \"console\"\n\
                [routes.sms]\ndefault = [\"a\", \"b\"]\nmax_tries = 1\n\
                [[routes.sms.rules]]\ncountries = [\"IN\"]\nproviders = [\"b\", \"a\"]\n\
                [[routes.sms.rules]]\napps = [\"x\"]\ncountries = [\"GB\", \"US\"]\nproviders = [\"b\"]\n";
    let routes = parse(text).expect("no problems").routes;
    let order = |to, app| way(&routes, Channel::Sms, to, app);
    assert_eq!(order("+919812345678", "any"), ["b"], "the cap is one try");
    assert_eq!(order("+12015550123", "x"), ["b"]);
    assert_eq!(order("+12015550123", "y"), ["a"]);
    assert_eq!(order("ann@mail.example", "x"), ["a"], "a rule by country fits no mailbox");
    assert_eq!(
        only_problem("[[routes.sms.rules]]\nproviders = [\"console\"]"),
        "routes.sms.rules[0].countries (not set): a rule says which messages it is for: set one of countries, prefixes, apps, locales"
    );
    assert_eq!(
        only_problem("[[routes.sms.rules]]\napps = [\"x\"]\nproviders = [\"twilio\"]"),
        "routes.sms.rules[0].providers (latchkey.toml): there is no [providers.twilio] for this channel"
    );
}

#[test]
fn production_sends_to_people_in_listed_countries_alone_c2_c6() {
    let serves = |policy: &Policy, number: &str| policy.serves(&Address::parse(number).expect("a number"));
    let countries = [Country::of("US"), Country::of("GB")].into();
    let mut production = Policy { countries, persons_only: true, new_ranges: Vec::new() };
    assert!(serves(&production, "+12015550123") && serves(&production, "+447400123456"));
    for refused in ["+18005551234", "+19002345678", "+448712345678", "+4915123456789", "+881612345678"] {
        assert!(!serves(&production, refused), "{refused}");
    }
    production.countries.extend(["ZA", "AU", "DE", "KR", "HK", "NO"].map(Country::of));
    let short = ["+2741348", "+2710111", "+4911833", "+8210114", "+85210000", "+4704000", "+491901234567"];
    for refused in short {
        assert!(!serves(&production, refused), "{refused}");
    }
    production.new_ranges = vec!["+4919".to_owned(), "+1900".to_owned()];
    assert!(serves(&production, "+491901234567") && !serves(&production, "+4911833"));
    assert!(!serves(&production, "+19002345678"), "a premium number stays one");
    let development = parse("").expect("no problems").policy;
    assert!(serves(&development, "+18005551234") && serves(&development, "+881612345678"));
}
