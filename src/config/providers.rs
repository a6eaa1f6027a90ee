//! `[providers.NAME]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::reader::Section;
use super::recipes::{self, Charset, RecipeProvider, Recipes};
use super::smtp::{self, SmtpProvider};
use super::{Mode, countries};
use crate::domain::channel::Channel;
use crate::domain::phone::Country;

/// A way out for codes.
#[derive(Debug, Clone)]
pub enum ProviderConfig {
    /// Writes codes to the log.
    Console(ConsoleProvider),
    /// Hands mails to a server.
    Smtp(SmtpProvider),
    /// Calls a gateway as a recipe says.
    Recipe(RecipeProvider),
}

impl ProviderConfig {
    /// How its messages travel.
    #[must_use]
    pub fn channel(&self) -> Channel {
        match self {
            Self::Console(_) => Channel::Sms,
            Self::Smtp(_) => Channel::Email,
            Self::Recipe(provider) => provider.recipe.channel,
        }
    }
}

/// What a provider may be given, whatever its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// The countries that it is for; empty is all.
    pub countries: BTreeSet<Country>,
    /// The letters that it can carry.
    pub charset: Charset,
    /// Messages that it takes in a second, from this process; 0 is any number.
    pub per_second: u32,
}

impl Terms {
    /// Whether it may be given messages to a country.
    #[must_use]
    pub fn serve(&self, country: Country) -> bool {
        self.countries.is_empty() || self.countries.contains(&country)
    }
}

/// `kind = "console"`: for testers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleProvider {
    /// A file that each line is appended to, beside the log.
    pub file: Option<PathBuf>,
}

const CONSOLE: &str = "console";

/// A `None` is one that is configured, but wrongly: the problem is noted, and routes may still name it.
pub(super) fn read_providers(
    root: &Section<'_>,
    mode: Mode,
    recipes: &Recipes,
) -> (BTreeMap<String, Option<ProviderConfig>>, BTreeMap<String, Terms>) {
    let (mut providers, mut all_terms) = (BTreeMap::new(), BTreeMap::new());
    let sections = root.named("providers");
    let none = sections.is_empty();
    for (name, section) in sections {
        if section.has("recipe") {
            let provider = recipes::read_provider(&section, mode, recipes);
            let usual = provider.as_ref().map(|provider| Terms {
                countries: provider.recipe.countries.clone(),
                charset: provider.recipe.charset,
                per_second: provider.recipe.per_second,
            });
            all_terms.insert(name.clone(), read_terms(&section, usual.unwrap_or_default()));
            section.finish();
            providers.insert(name, provider.map(ProviderConfig::Recipe));
            continue;
        }
        all_terms.insert(name.clone(), read_terms(&section, Terms::default()));
        let config = match section.optional::<String>("kind").as_deref() {
            Some("console") if mode == Mode::Production => {
                section.problem("kind", "production does not write codes to its log: configure a gateway");
                Some(read_console(&section))
            }
            Some("console") => Some(read_console(&section)),
            Some("smtp") => smtp::read(&section).map(ProviderConfig::Smtp),
            Some(_) | None => {
                section.problem(
                    "kind",
                    "must be \"smtp\" or \"console\"; or name a gateway: recipe = \"twilio\"",
                );
                providers.insert(name, None);
                continue;
            }
        };
        section.finish();
        providers.insert(name, config);
    }
    if none && mode == Mode::Development {
        let console = ProviderConfig::Console(ConsoleProvider { file: None });
        providers.insert(CONSOLE.to_owned(), Some(console));
    }
    if none && mode == Mode::Production {
        root.problem("providers", "production needs a way out for codes: write [providers.…]");
    }
    (providers, all_terms)
}

/// What the operator says, or what the recipe says where they do not.
fn read_terms(section: &Section<'_>, usual: Terms) -> Terms {
    let charsets = [("any", Charset::Any), ("gsm7", Charset::Gsm7)];
    let countries = countries::read(section);
    let charset = section.choice("charset", "any", &charsets).unwrap_or_default();
    Terms {
        countries: if section.has("countries") { countries } else { usual.countries },
        charset: if section.has("charset") { charset } else { usual.charset },
        per_second: section.get("per_second", usual.per_second),
    }
}

fn read_console(section: &Section<'_>) -> ProviderConfig {
    ProviderConfig::Console(ConsoleProvider { file: section.optional("file") })
}
