//! Words for the templates of recipes, by purpose, language and country.

use super::*;
use crate::domain::phone::Country;

/// A provider whose recipe sends nothing without a template.
const MSG91: &str = "[providers.india]\nrecipe = \"msg91\"\nauth_key = \"k\"\n";
/// One that asks for ids in India alone.
const VONAGE: &str =
    "[providers.world]\nrecipe = \"vonage\"\napi_key = \"k\"\napi_secret = \"s\"\nsender = \"M\"\n";

fn kind<'a>(locale: &'a str, country: &str) -> Kind<'a> {
    Kind { purpose: "login", locale, country: Some(Country::of(country)) }
}

#[test]
fn the_first_word_that_is_set_for_a_message_goes_before_the_one_for_all() {
    let text = format!(
        "{MSG91}vars = {{ template_id = \"all\" }}\n\
         [[providers.india.vars_for]]\nlocales = [\"hi\", \"pt\"]\ncountries = [\"IN\"]\ntemplate_id = \"hindi\"\n\
         [[providers.india.vars_for]]\ncountries = [\"IN\"]\npurposes = [\"login\"]\ntemplate_id = \"india\"\n\
         [[providers.india.vars_for]]\nlocales = [\"pt\"]\ntemplate_id = \"portuguese\""
    );
    let config = parse(&text).expect("no problems");
    let ProviderConfig::Recipe(provider) = &config.providers["india"] else { panic!("another kind") };
    let word = |locale, country| provider.vars.get("template_id", kind(locale, country)).expect("a word");
    assert_eq!(word("hi", "IN"), "hindi");
    assert_eq!(word("hi-Latn", "IN"), "hindi", "a language fits its scripts and regions");
    assert_eq!(word("en", "IN"), "india");
    assert_eq!(word("pt-BR", "BR"), "portuguese");
    assert_eq!(word("en", "BR"), "all");
    assert_eq!(word("hil", "BR"), "all", "another language");
    let mail = Kind { purpose: "login", locale: "hi", country: None };
    assert_eq!(provider.vars.get("template_id", mail), Some("all"));
}

#[test]
fn a_word_for_logins_serves_other_purposes_where_nothing_else_is_said_of_them() {
    let text = format!(
        "{MSG91}[[providers.india.vars_for]]\npurposes = [\"change_phone\"]\nlocales = [\"hi\"]\ntemplate_id = \"change\"\n\
         [[providers.india.vars_for]]\npurposes = [\"login\"]\ntemplate_id = \"login\"\n"
    );
    let word = |text: &str, purpose, locale| {
        let config = parse(text).expect("each purpose has a word");
        let ProviderConfig::Recipe(provider) = &config.providers["india"] else { panic!("another kind") };
        let kind = Kind { purpose, locale, country: None };
        provider.vars.get("template_id", kind).expect("a word").to_owned()
    };
    assert_eq!(word(&text, "login", "hi"), "login");
    assert_eq!(word(&text, "change_phone", "hi"), "change");
    assert_eq!(
        (word(&text, "change_phone", "en"), word(&text, "link_email", "hi")),
        ("login".into(), "login".into())
    );
    let all = text.replace(MSG91, &format!("{MSG91}vars = {{ template_id = \"all\" }}\n"));
    assert_eq!((word(&all, "login", "en"), word(&all, "link_email", "en")), ("login".into(), "all".into()));
    let problem = only_problem(&text.replace("\"login\"]", "\"link_email\"]"));
    assert!(problem.contains("a message (login, "), "{problem}");
}

#[test]
fn a_word_that_a_message_would_lack_is_a_problem_at_the_start() {
    let problem = only_problem(MSG91);
    assert!(
        problem.starts_with("providers.india.vars.template_id (not set): a message (login, "),
        "{problem}"
    );
    assert!(problem.contains("providers.india.vars_for") && problem.contains("##OTP##"), "{problem}");
    let empty = only_problem(&format!("{MSG91}vars = {{ template_id = \"\" }}"));
    assert!(empty.starts_with("providers.india.vars.template_id "), "{empty}");
    let one_language = format!(
        "[policy]\ncountries = [\"IN\"]\n{MSG91}[[providers.india.vars_for]]\nlocales = [\"hi\"]\n\
         template_id = \"1\""
    );
    let problem = only_problem(&one_language);
    assert!(problem.contains("to IN needs it"), "{problem}");
}

#[test]
fn a_word_is_needed_only_where_a_route_leads() {
    let routes = "[routes.sms]\ndefault = [\"world\"]\n[[routes.sms.rules]]\ncountries = [\"IN\"]\n\
                  providers = [\"india\"]\n";
    let both = |policy: &str, routes: &str, india: &str| {
        format!("[policy]\ncountries = {policy}\n{routes}{VONAGE}{MSG91}{india}")
    };
    let india = "[[providers.india.vars_for]]\ncountries = [\"IN\"]\ntemplate_id = \"1\"\n";
    assert_eq!(problems(parse(&both("[\"IN\", \"US\"]", routes, india))), [], "each has what it needs");
    assert_eq!(problems(parse(&both("[\"US\"]", routes, ""))), [], "nobody is in India");
    let bound = format!("{MSG91}countries = [\"IN\"]\n{india}");
    assert_eq!(problems(parse(&bound)), [], "it is given messages to India alone");
    let default = "[routes.sms]\ndefault = [\"world\"]\n";
    let missing = problems(parse(&both("[\"IN\", \"US\"]", default, "")));
    assert_eq!(
        keys(&missing),
        ["providers.world.vars.dlt_entity_id", "providers.world.vars.dlt_template_id"]
    );
    let said = format!(
        "[policy]\ncountries = [\"IN\"]\n{VONAGE}[providers.world.vars]\ndlt_entity_id = \"\"\n\
         dlt_template_id = \"\""
    );
    assert_eq!(problems(parse(&said)), [], "its route asks for none");
}

#[test]
fn a_word_that_the_recipe_does_not_know_is_a_problem() {
    let vars = |line: &str| format!("{MSG91}vars = {{ template_id = \"1\" }}\n{line}");
    let problem = only_problem(&format!("{MSG91}vars = {{ template_id = \"1\", colour = \"red\" }}"));
    assert!(
        problem.starts_with("providers.india.vars.colour ") && problem.contains("template_id"),
        "{problem}"
    );
    for (line, key) in [
        ("colour = \"red\"", "colour"),
        ("purposes = [\"logout\"]", "purposes"),
        ("countries = [\"India\"]", "countries"),
    ] {
        let problem = only_problem(&vars(&format!("[[providers.india.vars_for]]\n{line}")));
        assert!(problem.starts_with(&format!("providers.india.vars_for[0].{key} ")), "{problem}");
    }
}

#[test]
fn every_address_of_a_recipe_is_checked_as_the_base_url_is_f4() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = "id = \"ours\"\nname = \"Ours\"\nchannel = \"sms\"\n[settings]\n\
                  base_url = { default = \"https://a.b\" }\ntoken_url = {}\n";
    std::fs::write(folder.path().join("ours.toml"), recipe).expect("a file");
    let text = |url: &str| {
        format!(
            "providers_dir = {:?}\n[providers.sms]\nrecipe = \"ours\"\ntoken_url = \"{url}\"",
            folder.path().display().to_string()
        )
    };
    assert_eq!(problems(parse(&text(""))), [], "it may be left out");
    assert_eq!(problems(parse(&text("https://auth.example.com/token"))), []);
    let problem = only_problem(&text("http://auth.example.com/token"));
    assert!(problem.starts_with("providers.sms.token_url ") && problem.contains("https"), "{problem}");
}
