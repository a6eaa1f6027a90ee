//! The configuration as an operator meets it: a file's text and variables in, a configuration or problems out.

mod backends;
mod environment;
mod messages;
mod modes;
mod presets;
mod problems;
mod recipes;
mod reference;
mod routes;
mod secrets;
mod smtp;
mod values;
mod vars;

use super::*;
use crate::domain::address::Address;
use crate::domain::channel::Channel;

const FILE: &str = "latchkey.toml";

/// What every production document needs.
const PEPPER: &str = "k1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn table(text: &str) -> toml::Table {
    text.parse().expect("TOML")
}

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    parse_with(text, &[])
}

fn parse_with(text: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::parse(table(text), FILE, &variables(pairs))
}

fn problems(result: Result<Config, ConfigError>) -> Vec<Problem> {
    match result {
        Ok(_) => Vec::new(),
        Err(ConfigError::Problems { problems, .. }) => problems,
        Err(error) => panic!("{error}"),
    }
}

fn keys(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.key.as_str()).collect()
}

/// The one problem of a document, as it is shown.
fn only_problem(text: &str) -> String {
    let problems = problems(parse(text));
    assert_eq!(problems.len(), 1, "{text}: {problems:?}");
    problems[0].to_string()
}

/// Who may be tried for a message, in the written order.
fn way(routes: &Routes, channel: Channel, to: &str, app_id: &str) -> Vec<String> {
    let to = Address::parse(to).expect("an address");
    let way = routes.way(&Trip { channel, to: &to, app_id, locale: "en" });
    let names = |way: Way<'_>| -> Vec<String> {
        way.line.providers.iter().map(|(name, _)| name.clone()).take(way.max_tries).collect()
    };
    way.map(names).unwrap_or_default()
}
