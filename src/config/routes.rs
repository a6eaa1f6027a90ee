//! `[routes.CHANNEL]`.

use std::collections::{BTreeMap, BTreeSet};

use super::providers::ProviderConfig;
use super::reader::Section;
use super::watch::{self, Watch};
use super::{Apps, countries, messages};
use crate::domain::address::Address;
use crate::domain::channel::Channel;
use crate::domain::phone::Country;
use crate::domain::selection::Strategy;

/// Which providers a channel uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(BTreeMap<Channel, Route>);

/// The way of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    rules: Vec<Rule>,
    default: Line,
    max_tries: usize,
    watch: Watch,
}

/// Other providers for some messages. What is empty fits all.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    countries: BTreeSet<Country>,
    prefixes: Vec<String>,
    apps: BTreeSet<String>,
    locales: Vec<String>,
    line: Line,
}

/// Providers, and how one of them is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Their names and their shares of the lots, as they are written.
    pub providers: Vec<(String, u32)>,
    /// Who is tried first.
    pub strategy: Strategy,
}

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Trip<'a> {
    /// How the message travels.
    pub channel: Channel,
    /// To whom.
    pub to: &'a Address,
    /// The app as its client names it.
    pub app_id: &'a str,
    /// The language that the message is in.
    pub locale: &'a str,
}

/// The way of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way<'a> {
    /// The rule that decided, from 1; none where the default did.
    pub rule: Option<usize>,
    /// The providers.
    pub line: &'a Line,
    /// How many of them are tried at most.
    pub max_tries: usize,
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

    /// The way of a message: that of the first rule that fits it, or the default one.
    #[must_use]
    pub fn way(&self, trip: &Trip<'_>) -> Option<Way<'_>> {
        let route = self.0.get(&trip.channel)?;
        let found = route.rules.iter().enumerate().find(|(_, rule)| rule.fits(trip));
        let (rule, line) = match found {
            Some((index, rule)) => (Some(index + 1), &rule.line),
            None => (None, &route.default),
        };
        Some(Way { rule, line, max_tries: route.max_tries })
    }

    /// Whether a message to this country may take this provider, whichever app it is of.
    pub(super) fn may_take(&self, channel: Channel, country: Option<Country>, provider: &str) -> bool {
        let Some(route) = self.0.get(&channel) else { return false };
        let lists = |line: &Line| line.providers.iter().any(|(name, _)| name == provider);
        let fits = |rule: &&Rule| {
            rule.countries.is_empty() || country.is_some_and(|country| rule.countries.contains(&country))
        };
        for rule in route.rules.iter().filter(fits) {
            if lists(&rule.line) {
                return true;
            }
            // Nothing gets past a rule that asks for no more than the country.
            if rule.apps.is_empty() && rule.prefixes.is_empty() && rule.locales.is_empty() {
                return false;
            }
        }
        lists(&route.default)
    }
}

impl Rule {
    fn fits(&self, trip: &Trip<'_>) -> bool {
        let of_country = || trip.to.country().is_some_and(|country| self.countries.contains(&country));
        let of_prefix = || self.prefixes.iter().any(|prefix| trip.to.as_str().starts_with(prefix.as_str()));
        let in_locale = || self.locales.iter().any(|locale| covers(locale, trip.locale));
        (self.countries.is_empty() || of_country())
            && (self.prefixes.is_empty() || of_prefix())
            && (self.apps.is_empty() || self.apps.contains(trip.app_id))
            && (self.locales.is_empty() || in_locale())
    }
}

/// Whether a language covers another: `pt` covers `pt-BR`.
fn covers(locale: &str, other: &str) -> bool {
    let rest = other.get(..locale.len()).filter(|start| start.eq_ignore_ascii_case(locale));
    rest.and(other.get(locale.len()..)).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Whether numbers in E.164 can begin like this.
pub(super) fn is_prefix(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
}

/// Providers by name; `None` is one that is configured, but wrongly.
type Providers = BTreeMap<String, Option<ProviderConfig>>;

/// What routes may name.
#[derive(Clone, Copy)]
struct Known<'a> {
    providers: &'a Providers,
    apps: &'a Apps,
}

pub(super) fn read_routes(root: &Section<'_>, providers: &Providers, apps: &Apps) -> Routes {
    let known = Known { providers, apps };
    let outer = root.section("routes");
    let mut routes = BTreeMap::new();
    for channel in Channel::ALL {
        let section = outer.section(channel.as_str());
        let route = read_route(&section, channel, known);
        section.finish();
        if !route.default.providers.is_empty() || !route.rules.is_empty() {
            routes.insert(channel, route);
        }
    }
    outer.finish();
    Routes(routes)
}

fn read_route(section: &Section<'_>, channel: Channel, known: Known<'_>) -> Route {
    let listed = section.optional::<Vec<String>>("default");
    let default = listed.unwrap_or_else(|| {
        let able = known.providers.iter().filter(|(_, provider)| serves(provider.as_ref(), channel));
        able.map(|(name, _)| name.clone()).collect()
    });
    if !section.has("default") && default.len() > 1 {
        let fix = "several providers serve this channel: list them in the order to try them in";
        section.problem("default", fix);
    }
    check_names(section, "default", &default, channel, known.providers);
    let strategies = Strategy::ALL.map(|strategy| (strategy.as_str(), strategy));
    let strategy = section.choice("strategy", Strategy::Ordered.as_str(), &strategies);
    let strategy = strategy.unwrap_or(Strategy::Ordered);
    let default = Line { providers: with_weights(section, "default", default, strategy), strategy };
    let why = "somebody waits for the code while each is tried";
    let max_tries = section.ranged("max_tries", MAX_TRIES, 1..=10, why);
    let rules = section.list("rules").into_iter();
    let rules = rules.map(|rule| read_rule(rule, channel, known, strategy)).collect();
    let watch = watch::read(section);
    Route { rules, default, watch, max_tries: usize::try_from(max_tries).unwrap_or(1) }
}

/// What a rule can ask for.
const CONDITIONS: [&str; 4] = ["countries", "prefixes", "apps", "locales"];

fn read_rule(section: Section<'_>, channel: Channel, known: Known<'_>, usual: Strategy) -> Rule {
    let texts = |key: &str| section.optional::<Vec<String>>(key).unwrap_or_default();
    let countries = countries::read(&section);
    let (prefixes, apps, locales) = (texts("prefixes"), texts("apps"), texts("locales"));
    if !prefixes.iter().all(|prefix| is_prefix(prefix)) {
        section.problem("prefixes", "must hold beginnings of numbers in E.164, such as [\"+4477\"]");
    }
    messages::check_tags(&section, &locales);
    for unknown in apps.iter().filter(|app| !known.apps.names(app)) {
        section.problem("apps", &format!("there is no app {unknown:?} under [[apps]]"));
    }
    if !CONDITIONS.iter().any(|key| section.has(key)) {
        let fix = format!("a rule says which messages it is for: set one of {}", CONDITIONS.join(", "));
        section.problem("countries", &fix);
    }
    let fix = "which providers such messages take, in the order to try them in";
    let order: Vec<String> = section.required("providers", fix).unwrap_or_default();
    check_names(&section, "providers", &order, channel, known.providers);
    let strategy = match section.optional::<String>("strategy") {
        None => Some(usual),
        Some(word) => Strategy::ALL.into_iter().find(|strategy| strategy.as_str() == word),
    };
    let strategy = strategy.unwrap_or_else(|| {
        let words = Strategy::ALL.map(Strategy::as_str).join(", ");
        section.problem("strategy", &format!("must be one of {words}"));
        usual
    });
    let line = Line { providers: with_weights(&section, "providers", order, strategy), strategy };
    section.finish();
    Rule { countries, prefixes, apps: apps.into_iter().collect(), locales, line }
}

/// Reads `weights`, one for each of the names under `key`.
fn with_weights(
    section: &Section<'_>,
    key: &str,
    names: Vec<String>,
    strategy: Strategy,
) -> Vec<(String, u32)> {
    let weights = section.optional::<Vec<u32>>("weights");
    let given = weights.as_ref().map_or(names.len(), Vec::len);
    match &weights {
        None if strategy == Strategy::Weighted => {
            section.problem("weights", &format!("set one for each of `{key}`, such as [70, 30]"));
        }
        Some(weights) if given != names.len() || weights.iter().all(|weight| *weight == 0) => {
            section.problem("weights", &format!("must hold one number for each of `{key}`, not all 0"));
        }
        Some(_) | None => {}
    }
    let weights = weights.unwrap_or_default().into_iter().chain(std::iter::repeat(1));
    names.into_iter().zip(weights).collect()
}

fn check_names(section: &Section<'_>, key: &str, names: &[String], channel: Channel, providers: &Providers) {
    for (index, name) in names.iter().enumerate() {
        let known = providers
            .get(name)
            .is_some_and(|provider| provider.is_none() || serves(provider.as_ref(), channel));
        if !known {
            section.problem(key, &format!("there is no [providers.{name}] for this channel"));
        }
        if names.iter().take(index).any(|before| before == name) {
            section.problem(key, &format!("names {name} twice"));
        }
    }
}

fn serves(provider: Option<&ProviderConfig>, channel: Channel) -> bool {
    provider.is_some_and(|provider| provider.channel() == channel)
}
