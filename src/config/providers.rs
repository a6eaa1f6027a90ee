//! `[providers.NAME]` and `[routes.CHANNEL]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Mode;
use super::reader::Section;
use super::recipes::{self, RecipeProvider, Recipes};
use crate::domain::channel::Channel;

/// A way out for codes.
#[derive(Debug, Clone)]
pub enum ProviderConfig {
    /// Writes codes to the log.
    Console(ConsoleProvider),
    /// Calls a gateway as a recipe says.
    Recipe(RecipeProvider),
}

impl ProviderConfig {
    /// How its messages travel.
    #[must_use]
    pub fn channel(&self) -> Channel {
        match self {
            Self::Console(_) => Channel::Sms,
            Self::Recipe(provider) => provider.recipe.channel,
        }
    }
}

/// `kind = "console"`: for testers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleProvider {
    /// A file that each line is appended to, beside the log.
    pub file: Option<PathBuf>,
}

/// Which providers a channel uses, first to last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(BTreeMap<Channel, Vec<String>>);

impl Routes {
    /// The names for a channel, in the order in which they are tried; none when it is not offered.
    #[must_use]
    pub fn order(&self, channel: Channel) -> &[String] {
        self.0.get(&channel).map_or(&[], Vec::as_slice)
    }
}

const CONSOLE: &str = "console";

/// `None` is one that is configured, but wrongly: the problem is noted, and routes may still name it.
pub(super) fn read_providers(
    root: &Section<'_>,
    mode: Mode,
    recipes: &Recipes,
) -> BTreeMap<String, Option<ProviderConfig>> {
    let mut providers = BTreeMap::new();
    let sections = root.named("providers");
    let none = sections.is_empty();
    for (name, section) in sections {
        if section.has("recipe") {
            let provider = recipes::read_provider(&section, mode, recipes);
            section.finish();
            providers.insert(name, provider.map(ProviderConfig::Recipe));
            continue;
        }
        let config = match section.optional::<String>("kind").as_deref() {
            Some("console") if mode == Mode::Production => {
                section.problem("kind", "production does not write codes to its log: configure a gateway");
                read_console(&section)
            }
            Some("console") => read_console(&section),
            Some(_) | None => {
                section.problem("kind", "must be \"console\"; or name a gateway: recipe = \"twilio\"");
                providers.insert(name, None);
                continue;
            }
        };
        section.finish();
        providers.insert(name, Some(config));
    }
    if none && mode == Mode::Development {
        let console = ProviderConfig::Console(ConsoleProvider { file: None });
        providers.insert(CONSOLE.to_owned(), Some(console));
    }
    if none && mode == Mode::Production {
        root.problem("providers", "production needs a way out for codes: write [providers.…]");
    }
    providers
}

fn read_console(section: &Section<'_>) -> ProviderConfig {
    ProviderConfig::Console(ConsoleProvider { file: section.optional("file") })
}

pub(super) fn read_routes(
    root: &Section<'_>,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
) -> Routes {
    let outer = root.section("routes");
    let mut routes = BTreeMap::new();
    for channel in Channel::ALL {
        let serves =
            |provider: &Option<ProviderConfig>| provider.as_ref().is_some_and(|p| p.channel() == channel);
        let section = outer.section(channel.as_str());
        let listed = section.optional::<Vec<String>>("default");
        let order = listed.unwrap_or_else(|| {
            let able = providers.iter().filter(|(_, provider)| serves(provider));
            able.map(|(name, _)| name.clone()).collect()
        });
        if !section.has("default") && order.len() > 1 {
            let fix = "several providers serve this channel: list them in the order to try them in";
            section.problem("default", fix);
        }
        for name in &order {
            if providers.get(name).is_none_or(|provider| provider.is_some() && !serves(provider)) {
                section.problem("default", &format!("there is no [providers.{name}] for this channel"));
            }
        }
        section.finish();
        if !order.is_empty() {
            routes.insert(channel, order);
        }
    }
    outer.finish();
    Routes(routes)
}
