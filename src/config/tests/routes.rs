//! Routes, prices, and what a provider says of itself.

use super::*;
use crate::domain::money::Money;
use crate::domain::phone::Country;
use crate::domain::selection::Strategy;

const TWO: &str = "[providers.a]\nkind = \"console\"\n[providers.b]\nkind = \"console\"\n\
                   [routes.sms]\ndefault = [\"a\", \"b\"]\n";

#[test]
fn a_rule_by_prefix_and_language_takes_only_what_fits_all_of_it() {
    let text = format!(
        "{TWO}[[routes.sms.rules]]\nprefixes = [\"+4477\", \"+91\"]\nlocales = [\"pt\", \"en-GB\"]\nproviders = [\"b\"]\n"
    );
    let routes = parse(&text).expect("no problems").routes;
    let rule = |to: &str, locale: &str| {
        let to = Address::parse(to).expect("a number");
        let trip = Trip { channel: Channel::Sms, to: &to, app_id: "x", locale };
        routes.way(&trip).expect("a way").rule
    };
    let cases = [
        ("+447700900123", "en-GB", Some(1)),
        ("+447700900123", "pt-BR", Some(1)),
        ("+919812345678", "pt", Some(1)),
        ("+447700900123", "en", None),
        ("+447700900123", "ptx", None),
        ("+442071838750", "pt", None),
    ];
    for (to, locale, wanted) in cases {
        assert_eq!(rule(to, locale), wanted, "{to} {locale}");
    }
}

#[test]
fn a_rule_has_its_routes_strategy_unless_it_names_its_own() {
    let text = format!(
        "{TWO}strategy = \"adaptive\"\n\
         [[routes.sms.rules]]\napps = [\"x\"]\nproviders = [\"b\", \"a\"]\n\
         [[routes.sms.rules]]\napps = [\"y\"]\nproviders = [\"b\", \"a\"]\nstrategy = \"weighted\"\nweights = [3, 1]\n"
    );
    let routes = parse(&text).expect("no problems").routes;
    let to = Address::parse("+12015550123").expect("a number");
    let line = |app_id: &str| {
        let trip = Trip { channel: Channel::Sms, to: &to, app_id, locale: "en" };
        routes.way(&trip).expect("a way").line.clone()
    };
    assert_eq!(line("z").strategy, Strategy::Adaptive);
    assert_eq!(line("x").strategy, Strategy::Adaptive);
    let weighted =
        Line { providers: vec![("b".to_owned(), 3), ("a".to_owned(), 1)], strategy: Strategy::Weighted };
    assert_eq!(line("y"), weighted);
}

#[test]
fn a_route_that_says_too_little_or_too_much_is_named_by_its_key() {
    let cases = [
        (
            "strategy = \"weighted\"",
            "routes.sms.weights (not set): set one for each of `default`, such as [70, 30]",
        ),
        (
            "strategy = \"weighted\"\nweights = [1]",
            "routes.sms.weights (latchkey.toml): must hold one number for each of `default`, not all 0",
        ),
        (
            "strategy = \"weighted\"\nweights = [0, 0]",
            "routes.sms.weights (latchkey.toml): must hold one number for each of `default`, not all 0",
        ),
        (
            "strategy = \"best\"",
            "routes.sms.strategy (latchkey.toml): must be one of ordered, weighted, adaptive",
        ),
        (
            "[[routes.sms.rules]]\nprefixes = [\"44\"]\nproviders = [\"b\"]",
            "routes.sms.rules[0].prefixes (latchkey.toml): must hold beginnings of numbers in E.164, such as [\"+4477\"]",
        ),
        (
            "[[routes.sms.rules]]\ncountries = [\"UK\"]\nproviders = [\"b\"]",
            "routes.sms.rules[0].countries (latchkey.toml): there is no country \"UK\": each must be two capital \
             letters of ISO 3166-1, such as [\"US\", \"GB\"]",
        ),
        (
            "[[apps]]\nid = \"y\"\nname = \"Y\"\n[[routes.sms.rules]]\napps = [\"x\"]\nproviders = [\"b\"]",
            "routes.sms.rules[0].apps (latchkey.toml): there is no app \"x\" under [[apps]]",
        ),
        (
            "[[routes.sms.rules]]\nlocales = [\"pt_BR\"]\nproviders = [\"b\"]",
            "routes.sms.rules[0].locales (latchkey.toml): \"pt_BR\": write \"pt-BR\"",
        ),
        (
            "[[apps]]\nid = \"y\"\n[[routes.sms.rules]]\napps = [\"y\"]\nproviders = [\"b\"]",
            "apps[0].name (not set): set what messages call the app, such as \"Messenger\"",
        ),
        (
            "[[routes.sms.rules]]\napps = [\"x\"]\nproviders = [\"b\", \"b\"]",
            "routes.sms.rules[0].providers (latchkey.toml): names b twice",
        ),
        (
            "[[routes.sms.rules]]\napps = [\"x\"]\nproviders = [\"b\"]\nstrategy = \"best\"",
            "routes.sms.rules[0].strategy (latchkey.toml): must be one of ordered, weighted, adaptive",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(only_problem(&format!("{TWO}{text}")), wanted);
    }
}

#[test]
fn prices_are_by_provider_and_prefix_and_the_days_money_needs_them() {
    let text = format!(
        "{TWO}[prices]\ncurrency = \"EUR\"\n[prices.a]\ndefault = 0.05\n\"+1\" = 0.0079\n\"+44\" = 1\n\
                        [limits]\nspend_per_day = 250.5\n"
    );
    let config = parse(&text).expect("no problems");
    let price =
        |provider: &str, to: &str| config.prices.price(provider, &Address::parse(to).expect("a number"));
    let money = |text: &str| Money::parse(text).expect(text);
    assert_eq!(price("a", "+12015550123"), money("0.0079"));
    assert_eq!(price("a", "+447700900123"), money("1"));
    assert_eq!(price("a", "+919812345678"), money("0.05"));
    assert_eq!(price("b", "+12015550123"), Money::ZERO);
    assert_eq!(config.limits.spend_per_day, crate::domain::money::DailySpend::new(money("250.5")));
    let cases = [
        ("[prices.c]\ndefault = 1", "prices.c (latchkey.toml): there is no [providers.…] of that name"),
        (
            "[prices.a]\n\"1\" = 1",
            "prices.a.1 (latchkey.toml): must be the beginning of numbers in E.164 in quotes, such as \"+1\", or default",
        ),
        (
            "[prices.a]\ndefault = -1",
            "prices.a.default (latchkey.toml): must be an amount such as 0.0079, with up to six decimals",
        ),
        (
            "[limits]\nspend_per_day = 100",
            "prices (not set): limits.spend_per_day counts what messages cost: write [prices.NAME] for your providers",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(only_problem(&format!("{TWO}{text}")), wanted);
    }
}

#[test]
fn a_provider_says_what_it_may_be_given_and_an_app_how_its_codes_travel() {
    let text = "[providers.a]\nkind = \"console\"\ncountries = [\"US\"]\ncharset = \"gsm7\"\nper_second = 5\n\
                [[apps]]\nid = \"x\"\nname = \"X\"\nchannels = [\"voice\", \"sms\"]\n";
    let config = parse(text).expect("no problems");
    let terms = Terms { countries: [Country::of("US")].into(), charset: Charset::Gsm7, per_second: 5 };
    assert_eq!(config.terms, [("a".to_owned(), terms)].into());
    assert_eq!(config.apps.find("x").expect("the app").channels, [Channel::Voice, Channel::Sms]);
    for wrong in ["[\"fax\"]", "[]", "[\"sms\", \"sms\"]"] {
        assert_eq!(
            only_problem(&format!("[[apps]]\nid = \"x\"\nname = \"X\"\nchannels = {wrong}\n")),
            "apps[0].channels (latchkey.toml): must be a list of sms, whatsapp, telegram, voice, email, each at most once"
        );
    }
}

#[test]
fn every_file_that_was_read_is_known_so_that_it_can_be_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "token").expect("our folder");
    let file = folder.path().join("latchkey.toml");
    let text = format!(
        "[providers.twilio]\nrecipe = \"twilio\"\naccount_sid = \"AC0123456789abcdef0123456789abcdef\"\n\
         auth_token_file = {secret:?}\nsender = \"+1\"\n"
    );
    std::fs::write(&file, text).expect("our folder");
    let config = Config::load(Some(&file), &BTreeMap::new()).expect("no problems");
    assert_eq!(config.files, [file, secret].into());
}
