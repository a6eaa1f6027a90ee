//! The operator's words for a recipe's templates, such as the id under which a text is registered.
//!
//! Guarantees: a word that a recipe cannot do without is there for every purpose, language and country whose messages
//! may go through the provider. One that lacks is a problem at the start, never a login that fails.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::reader::Section;
use super::{Apps, Policy, ProviderConfig, RecipeProvider, Routes, Terms, Texts, countries, messages};
use crate::domain::channel::Channel;
use crate::domain::phone::Country;
use crate::domain::purpose::Purpose;

/// Keys of `[[providers.NAME.vars_for]]` that are ours, so that no word may be called so.
pub(super) const CONDITIONS: [&str; 3] = ["purposes", "locales", "countries"];

/// A word as its recipe declares it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeclaredVar {
    /// What the gateway calls it.
    pub label: String,
    /// Whether nothing can be sent without it.
    pub required: bool,
    /// The countries to which nothing should be sent without it, such as `["IN"]`. There it may be set to nothing.
    pub required_in: Vec<String>,
}

/// Words for all messages of a provider, and for some.
#[derive(Debug, Clone, Default)]
pub struct Vars {
    all: BTreeMap<String, String>,
    some: Vec<VarsFor>,
}

/// Words for some messages. A condition that is empty fits all.
#[derive(Debug, Clone)]
struct VarsFor {
    purposes: Vec<String>,
    locales: Vec<String>,
    countries: BTreeSet<Country>,
    words: BTreeMap<String, String>,
}

/// The messages that a word is for.
#[derive(Debug, Clone, Copy)]
pub struct Kind<'a> {
    /// One of [`Purpose::KINDS`].
    pub purpose: &'a str,
    /// The language of the text, as a BCP 47 tag.
    pub locale: &'a str,
    /// Where the number belongs; none for mail.
    pub country: Option<Country>,
}

impl VarsFor {
    /// A language fits its regions and scripts, too: `pt` fits `pt-BR`.
    fn fits(&self, kind: Kind<'_>) -> bool {
        let locale_fits = |ours: &String| {
            kind.locale
                .strip_prefix(ours.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        (self.purposes.is_empty() || self.purposes.iter().any(|purpose| purpose == kind.purpose))
            && (self.locales.is_empty() || self.locales.iter().any(locale_fits))
            && (self.countries.is_empty()
                || kind.country.is_some_and(|country| self.countries.contains(&country)))
    }
}

impl Vars {
    /// The same words for all messages.
    pub(crate) fn for_all(words: BTreeMap<String, String>) -> Self {
        Self { all: words, some: Vec::new() }
    }

    /// The word for these messages: the first that is set for some of them, or the one for all. Where there is neither,
    /// that of a login, whose text is theirs, too.
    #[must_use]
    pub fn get(&self, name: &str, kind: Kind<'_>) -> Option<&str> {
        let particular = |kind: Kind<'_>| {
            self.some.iter().filter(|some| some.fits(kind)).find_map(|some| some.words.get(name))
        };
        let login = || particular(Kind { purpose: Purpose::LOGIN, ..kind });
        particular(kind).or_else(|| self.all.get(name)).or_else(login).map(String::as_str)
    }
}

/// Reads `[providers.NAME.vars]` and `[[providers.NAME.vars_for]]`.
pub(super) fn read(section: &Section<'_>, declared: &BTreeMap<String, DeclaredVar>) -> Vars {
    let words = |table: &Section<'_>| {
        let word = |name: &String| Some((name.clone(), table.optional::<String>(name)?));
        declared.keys().filter_map(word).collect::<BTreeMap<_, _>>()
    };
    let table = section.section("vars");
    let all = words(&table);
    table.finish();
    let some = section.list("vars_for").into_iter().map(|row| {
        let list = |key: &str| row.optional::<Vec<String>>(key).unwrap_or_default();
        let (purposes, locales) = (list("purposes"), list("locales"));
        if let Some(unknown) = purposes.iter().find(|purpose| !Purpose::KINDS.contains(&purpose.as_str())) {
            row.problem(
                "purposes",
                &format!("there is no purpose {unknown:?}; known are {}", Purpose::KINDS.join(", ")),
            );
        }
        messages::check_tags(&row, &locales);
        let read = VarsFor { purposes, locales, countries: countries::read(&row), words: words(&row) };
        row.finish();
        read
    });
    Vars { all, some: some.collect() }
}

/// What decides which messages a provider may get.
pub(super) struct Reach<'a> {
    pub(super) apps: &'a Apps,
    pub(super) texts: &'a Texts,
    pub(super) policy: &'a Policy,
    pub(super) terms: &'a BTreeMap<String, Terms>,
    pub(super) routes: &'a Routes,
}

impl Reach<'_> {
    /// The countries whose messages a route leads here; `None` stands for any, where no country is ruled out, and for
    /// none, which is where mail goes.
    fn countries(&self, name: &str, provider: &RecipeProvider) -> Vec<Option<Country>> {
        let recipe = &provider.recipe;
        if recipe.channel == Channel::Email {
            return vec![None];
        }
        let own = self.terms.get(name).map(|terms| &terms.countries);
        let lists = [Some(&self.policy.countries), Some(&recipe.countries), own].into_iter().flatten();
        // An empty list rules nobody out.
        let served = lists.filter(|list| !list.is_empty()).cloned();
        let served = served.reduce(|served, list| served.intersection(&list).copied().collect());
        let all = served.map_or_else(|| vec![None], |served| served.into_iter().map(Some).collect());
        let leads_here = |country: &Option<Country>| self.routes.may_take(recipe.channel, *country, name);
        all.into_iter().filter(leads_here).collect()
    }

    /// The languages in which anybody may be written to.
    fn locales(&self) -> BTreeSet<String> {
        let apps = self.apps.iter().flat_map(|(_, app)| app.messages.locales(self.texts));
        apps.chain(self.texts.locales()).map(ToString::to_string).collect()
    }
}

/// Notes every word that a message may need and nobody has set, once for each word.
pub(super) fn check(
    root: &Section<'_>,
    providers: &BTreeMap<String, Option<ProviderConfig>>,
    reach: &Reach<'_>,
) {
    let locales = reach.locales();
    for (name, provider) in providers {
        let Some(ProviderConfig::Recipe(provider)) = provider else { continue };
        let countries = reach.countries(name, provider);
        let kinds = || {
            let locale = |country: Option<Country>| {
                let kind = move |locale| Purpose::KINDS.map(|purpose| Kind { purpose, locale, country });
                locales.iter().map(String::as_str).flat_map(kind)
            };
            countries.iter().copied().flat_map(locale)
        };
        for (word, declared) in &provider.recipe.vars {
            let lacks = |kind: &Kind<'_>| declared.lacks(provider.vars.get(word, *kind), kind.country);
            let Some(kind) = kinds().find(lacks) else { continue };
            let country = kind.country.map_or_else(String::new, |country| format!(" to {country}"));
            let fix = if declared.required {
                "set it"
            } else {
                "set it, or to \"\" where your route asks for none"
            };
            let text = format!(
                "a message ({}, {}){country} needs it: {fix}, for all here or for some under \
                 [[providers.{name}.vars_for]]: {}",
                kind.purpose, kind.locale, declared.label
            );
            root.section("providers").section(name).section("vars").problem(word, &text);
        }
    }
}

impl DeclaredVar {
    /// Whether a message to this country cannot do with this word.
    fn lacks(&self, word: Option<&str>, country: Option<Country>) -> bool {
        if self.required {
            return word.is_none_or(str::is_empty);
        }
        let asked = country.is_some_and(|country| self.required_in.contains(&country.to_string()));
        asked && word.is_none()
    }
}
