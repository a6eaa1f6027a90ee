//! `[providers.NAME]` and `[routes.CHANNEL]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::reader::Section;
use super::{Mode, upstreams};
use crate::domain::channel::Channel;

/// A way out for codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderConfig {
    /// Writes codes to the log.
    Console(ConsoleProvider),
}

impl ProviderConfig {
    /// How its messages travel.
    #[must_use]
    pub fn channel(&self) -> Channel {
        match self {
            Self::Console(_) => Channel::Sms,
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

pub(super) fn read_providers(root: &Section<'_>, mode: Mode) -> BTreeMap<String, ProviderConfig> {
    let mut providers = BTreeMap::new();
    let sections = root.named("providers");
    let none = sections.is_empty();
    for (name, section) in sections {
        upstreams::check_name(&section, &name);
        match section.optional::<String>("kind").as_deref() {
            Some("console") if mode == Mode::Production => {
                section.problem("kind", "production does not write codes to its log: configure a gateway");
            }
            Some("console") => {
                let console = ConsoleProvider { file: section.optional("file") };
                providers.insert(name, ProviderConfig::Console(console));
            }
            Some(_) | None => {
                section.problem("kind", "must be \"console\"");
                continue;
            }
        }
        section.finish();
    }
    if none && mode == Mode::Development {
        providers.insert(CONSOLE.to_owned(), ProviderConfig::Console(ConsoleProvider { file: None }));
    }
    if none && mode == Mode::Production {
        root.problem("providers", "production needs a way out for codes: write [providers.…]");
    }
    providers
}

pub(super) fn read_routes(root: &Section<'_>, providers: &BTreeMap<String, ProviderConfig>) -> Routes {
    let outer = root.section("routes");
    let mut routes = BTreeMap::new();
    for channel in Channel::ALL {
        let mut able =
            providers.iter().filter(|(_, provider)| provider.channel() == channel).map(|(name, _)| name);
        let section = outer.section(channel.as_str());
        let order = match section.optional::<Vec<String>>("default") {
            Some(order) => order,
            None => able.next().into_iter().cloned().collect(),
        };
        if !section.has("default") && able.next().is_some() {
            section.problem(
                "default",
                "several providers serve this channel: list them in the order to try them in",
            );
        }
        for name in &order {
            if providers.get(name).is_none_or(|provider| provider.channel() != channel) {
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
