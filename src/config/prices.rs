//! `[prices]`.

use std::collections::BTreeMap;

use super::reader::Section;
use super::routes::is_prefix;
use super::setting::{Raw, Setting};
use crate::domain::address::Address;
use crate::domain::money::{DailySpend, Money, Prices};

/// What messages cost, by provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriceBook {
    /// What the numbers are in. A label, no more.
    pub currency: String,
    /// What a login is worth: what a better provider may cost.
    pub login_worth: Money,
    /// Prices of one message, by the provider's name.
    pub providers: BTreeMap<String, Prices>,
}

impl PriceBook {
    /// The price of one message. Nothing where the book says nothing.
    #[must_use]
    pub fn price(&self, provider: &str, to: &Address) -> Money {
        self.providers.get(provider).map_or(Money::ZERO, |prices| prices.of(to))
    }
}

/// Keys of `[prices]` that are no providers.
const OWN: [&str; 2] = ["currency", "login_worth"];
/// The price where no prefix matches.
const DEFAULT: &str = "default";

impl Setting for Money {
    fn wanted() -> String {
        "an amount such as 0.0079, with up to six decimals".to_owned()
    }

    fn read(raw: &Raw) -> Option<Self> {
        match raw {
            // The shortest text that reads as the same number: what the file says.
            Raw::Toml(toml::Value::Float(number)) => Self::parse(&number.to_string()),
            Raw::Toml(toml::Value::Integer(number)) => Self::parse(&number.to_string()),
            Raw::Toml(_) => None,
            Raw::Env(text) => Self::parse(text),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

pub(super) fn read_prices<'a>(root: &Section<'_>, providers: impl Iterator<Item = &'a String>) -> PriceBook {
    let section = root.section("prices");
    let currency = section.get("currency", "USD".to_owned());
    let login_worth = section.get("login_worth", Money::parse("0.5").unwrap_or_default());
    let known: Vec<&String> = providers.collect();
    let mut book = BTreeMap::new();
    for name in section.keys().into_iter().filter(|name| !OWN.contains(&name.as_str())) {
        if !known.contains(&&name) {
            section.problem(&name, "there is no [providers.…] of that name");
        }
        let prices = read_of_provider(&section.section(&name));
        book.insert(name, prices);
    }
    section.finish();
    PriceBook { currency, login_worth, providers: book }
}

fn read_of_provider(section: &Section<'_>) -> Prices {
    let default = section.optional::<Money>(DEFAULT).unwrap_or_default();
    let mut by_prefix = BTreeMap::new();
    for prefix in section.keys().into_iter().filter(|key| key != DEFAULT) {
        if !is_prefix(&prefix) {
            let fix = "must be the beginning of numbers in E.164 in quotes, such as \"+1\", or default";
            section.problem(&prefix, fix);
        }
        by_prefix.extend(section.optional::<Money>(&prefix).map(|price| (prefix, price)));
    }
    Prices { default, by_prefix }
}

/// Reads `limits.spend_per_day`.
pub(super) fn read_daily_spend(section: &Section<'_>) -> Option<DailySpend> {
    let limit = section.optional::<Money>("spend_per_day")?;
    let spend = DailySpend::new(limit);
    if spend.is_none() {
        section.problem("spend_per_day", "must be more than 0; without it there is no such limit");
    }
    spend
}
