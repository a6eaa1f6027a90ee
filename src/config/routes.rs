//! `[routes.CHANNEL]`.

use std::collections::{BTreeMap, BTreeSet};

use super::providers::ProviderConfig;
use super::reader::Section;
use super::watch::{self, Watch};
use crate::domain::channel::Channel;
use crate::domain::phone::Country;

/// Which providers a channel uses, first to last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(BTreeMap<Channel, Route>);

/// The way of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    rules: Vec<Rule>,
    default: Vec<String>,
    max_tries: usize,
    watch: Watch,
}

/// Another order for some messages. What is empty fits all.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    countries: BTreeSet<Country>,
    apps: BTreeSet<String>,
    providers: Vec<String>,
}

/// Providers of one message that are tried at most: somebody waits for the code.
const MAX_TRIES: u32 = 3;

impl Routes {
    /// Whether a channel leads anywhere.
    #[must_use]
    pub fn offers(&self, channel: Channel) -> bool {
        self.0.contains_key(&channel)
    }

    /// What is done about messages of a channel that do not arrive.
    #[must_use]
    pub fn watch(&self, channel: Channel) -> Watch {
        self.0.get(&channel).map(|route| route.watch).unwrap_or_default()
    }

    /// The names of the providers to try for a message, in their order: those of the first rule that fits it, or the
    /// default ones, and no more than the route's cap.
    #[must_use]
    pub fn order(&self, channel: Channel, country: Option<Country>, app_id: &str) -> &[String] {
        let Some(route) = self.0.get(&channel) else { return &[] };
        let fits = |rule: &&Rule| {
            let country_fits = country.is_some_and(|country| rule.countries.contains(&country));
            (rule.countries.is_empty() || country_fits)
                && (rule.apps.is_empty() || rule.apps.contains(app_id))
        };
        let order = route.rules.iter().find(fits).map_or(&route.default, |rule| &rule.providers);
        order.get(..route.max_tries).unwrap_or(order)
    }

    /// Whether a message to this country may take this provider, whichever app it is of.
    pub(super) fn may_take(&self, channel: Channel, country: Option<Country>, provider: &str) -> bool {
        let Some(route) = self.0.get(&channel) else { return false };
        let lists = |providers: &[String]| providers.iter().any(|name| name == provider);
        let fits = |rule: &&Rule| {
            rule.countries.is_empty() || country.is_some_and(|country| rule.countries.contains(&country))
        };
        for rule in route.rules.iter().filter(fits) {
            if lists(&rule.providers) {
                return true;
            }
            // Nothing gets past a rule that asks for no more than the country.
            if rule.apps.is_empty() {
                return false;
            }
        }
        lists(&route.default)
    }
}

/// Providers by name; `None` is one that is configured, but wrongly.
type Providers = BTreeMap<String, Option<ProviderConfig>>;

pub(super) fn read_routes(root: &Section<'_>, providers: &Providers) -> Routes {
    let outer = root.section("routes");
    let mut routes = BTreeMap::new();
    for channel in Channel::ALL {
        let section = outer.section(channel.as_str());
        let route = read_route(&section, channel, providers);
        section.finish();
        if !route.default.is_empty() || !route.rules.is_empty() {
            routes.insert(channel, route);
        }
    }
    outer.finish();
    Routes(routes)
}

fn read_route(section: &Section<'_>, channel: Channel, providers: &Providers) -> Route {
    let listed = section.optional::<Vec<String>>("default");
    let default = listed.unwrap_or_else(|| {
        let able = providers.iter().filter(|(_, provider)| serves(provider.as_ref(), channel));
        able.map(|(name, _)| name.clone()).collect()
    });
    if !section.has("default") && default.len() > 1 {
        let fix = "several providers serve this channel: list them in the order to try them in";
        section.problem("default", fix);
    }
    check_names(section, "default", &default, channel, providers);
    let why = "somebody waits for the code while each is tried";
    let max_tries = section.ranged("max_tries", MAX_TRIES, 1..=10, why);
    let rules = section.list("rules").into_iter().map(|rule| read_rule(rule, channel, providers)).collect();
    let watch = watch::read(section);
    Route { rules, default, watch, max_tries: usize::try_from(max_tries).unwrap_or(1) }
}

fn read_rule(section: Section<'_>, channel: Channel, providers: &Providers) -> Rule {
    let names: Vec<String> = section.optional("countries").unwrap_or_default();
    let countries: BTreeSet<Country> = names.iter().map(|name| Country::of(name)).collect();
    if countries.contains(&Country::UNKNOWN) {
        section.problem("countries", "must hold two capital letters each (ISO 3166-1), such as [\"IN\"]");
    }
    let apps: BTreeSet<String> =
        section.optional::<Vec<String>>("apps").unwrap_or_default().into_iter().collect();
    if !section.has("countries") && !section.has("apps") {
        section.problem("countries", "a rule says which messages it is for: set countries, apps, or both");
    }
    let fix = "which providers such messages take, in the order to try them in";
    let order: Vec<String> = section.required("providers", fix).unwrap_or_default();
    check_names(&section, "providers", &order, channel, providers);
    section.finish();
    Rule { countries, apps, providers: order }
}

fn check_names(section: &Section<'_>, key: &str, names: &[String], channel: Channel, providers: &Providers) {
    for name in names {
        let known = providers
            .get(name)
            .is_some_and(|provider| provider.is_none() || serves(provider.as_ref(), channel));
        if !known {
            section.problem(key, &format!("there is no [providers.{name}] for this channel"));
        }
    }
}

fn serves(provider: Option<&ProviderConfig>, channel: Channel) -> bool {
    provider.is_some_and(|provider| provider.channel() == channel)
}
