//! Recipes: gateways described as data, and the settings that each one declares.
//!
//! Guarantees: a recipe in [`Recipes`] has an id, a channel and settings that can be asked for; what it sends and how
//! it reads the answer is `delivery`'s. A provider's settings are all there, match their patterns, and its base URL is
//! `https`, or `http` to a private host where that was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use regex_lite::Regex;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::reader::Section;
use super::upstreams::is_private;
use super::vars::{self, CONDITIONS, DeclaredVar, Vars};
use super::{Mode, countries};
use crate::domain::channel::Channel;
use crate::domain::phone::Country;

/// The recipes that come with us: every file of `providers/`, as `build.rs` finds them.
const EMBEDDED: &[&str] = &include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// The setting that every recipe has: where the gateway is.
pub const BASE_URL: &str = "base_url";

/// Keys of `[providers.NAME]` that are ours, so that no recipe may declare them.
const RESERVED: [&str; 8] =
    ["recipe", "kind", "vars", "vars_for", "allow_http", "countries", "charset", "per_second"];

/// What the names of settings that are addresses end with.
const ADDRESS: &str = "_url";

/// What the head of a recipe says.
#[derive(Clone)]
pub struct Recipe {
    /// Its name in `recipe = "…"`; that of its file.
    pub id: String,
    /// The gateway's name, for people.
    pub name: String,
    /// How its messages travel.
    pub channel: Channel,
    /// When somebody last ran it against the live gateway; empty is never.
    pub verified: String,
    /// What an operator sets.
    pub settings: BTreeMap<String, Declared>,
    /// The words that an operator sets for messages.
    pub vars: BTreeMap<String, DeclaredVar>,
    /// Where the gateway works; everywhere when empty.
    pub countries: BTreeSet<Country>,
    /// Messages that it takes in a second; any number when 0.
    pub per_second: u32,
    /// What it can send.
    pub charset: Charset,
    /// All of it, for the interpreter.
    pub text: String,
    /// Where it was read, unless it comes with us.
    pub file: Option<PathBuf>,
}

impl std::fmt::Debug for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Recipe").field(&self.id).finish()
    }
}

/// What characters a gateway can send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charset {
    /// Any.
    #[default]
    Any,
    /// Those of the GSM default alphabet alone.
    Gsm7,
}

/// A setting as its recipe declares it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Declared {
    /// What the gateway calls it.
    pub label: String,
    /// Whether there is nothing without it.
    pub required: bool,
    /// Whether it is shown to nobody.
    pub secret: bool,
    /// What it is when it is not set.
    pub default: String,
    /// A regular expression that the whole of it must match.
    pub pattern: String,
}

impl Declared {
    /// What to say where a value has not the declared form.
    pub(crate) fn wanted(&self) -> String {
        let label = Some(&self.label).filter(|label| !label.is_empty());
        let label = label.map(|label| format!(" ({label})")).unwrap_or_default();
        format!("must match {}{label}", self.pattern)
    }

    /// Whether a value has the declared form.
    #[must_use]
    pub fn admits(&self, value: &str) -> bool {
        // A pattern that does not compile was refused when the recipe was read.
        self.pattern.is_empty() || whole(&self.pattern).is_ok_and(|pattern| pattern.is_match(value))
    }
}

/// A pattern that all of a text must match.
pub(crate) fn whole(pattern: &str) -> Result<Regex, regex_lite::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}

impl Recipe {
    /// Reads the head of a recipe.
    ///
    /// # Errors
    /// With the key that is wrong, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Limits {
            countries: Vec<String>,
            per_second: u32,
            charset: Charset,
        }
        #[derive(Deserialize)]
        struct Head {
            id: String,
            name: String,
            channel: String,
            #[serde(default)]
            verified: String,
            #[serde(default)]
            settings: BTreeMap<String, Declared>,
            #[serde(default)]
            vars: BTreeMap<String, DeclaredVar>,
            #[serde(default)]
            limits: Limits,
        }
        let head: Head = toml::from_str(text).map_err(|error| error.to_string())?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(plain);
        if !is_name(&head.id) {
            return Err("id: must be of a-z, 0-9 and _, as the file's name".to_owned());
        }
        let Some(channel) = Channel::parse(&head.channel) else {
            let known = Channel::ALL.map(Channel::as_str).join(", ");
            return Err(format!("channel: must be one of {known}"));
        };
        for (key, declared) in &head.settings {
            let fault = |text: &str| Err(format!("settings.{key}: {text}"));
            if !is_name(key) || key.contains("__") {
                return fault("a setting's name must be of a-z, 0-9 and single _");
            }
            if RESERVED.contains(&key.as_str()) || key.ends_with("_file") {
                return fault("this name is taken by the configuration; choose another");
            }
            if let Err(error) = whole(&declared.pattern) {
                return fault(&format!("its pattern is no regular expression: {error}"));
            }
            if declared.secret && !declared.default.is_empty() {
                return fault("a secret has no default; remove it");
            }
            if declared.required && !declared.default.is_empty() {
                return fault("what is required needs no default; keep one");
            }
            if !declared.default.is_empty() && !declared.admits(&declared.default) {
                return fault("its default does not match its pattern");
            }
        }
        let countries =
            countries::parse(&head.limits.countries).map_err(|fix| format!("limits.countries: {fix}"))?;
        for (key, declared) in &head.vars {
            let fault = |text: &str| Err(format!("vars.{key}: {text}"));
            if !is_name(key) || CONDITIONS.contains(&key.as_str()) {
                return fault(&format!("must be of a-z, 0-9 and _, and none of {}", CONDITIONS.join(", ")));
            }
            if declared.required && !declared.required_in.is_empty() {
                return fault("is required everywhere: remove required_in");
            }
            if let Err(fix) = countries::parse(&declared.required_in) {
                return fault(&format!("required_in: {fix}"));
            }
        }
        let base = head.settings.get(BASE_URL);
        if base.is_none_or(|base| base.secret || (!base.required && base.default.is_empty())) {
            let fix = "declare it with a default, or required: it says where the gateway is, also for tests";
            return Err(format!("settings.{BASE_URL}: {fix}"));
        }
        Ok(Self {
            id: head.id,
            name: head.name,
            channel,
            verified: head.verified,
            settings: head.settings,
            vars: head.vars,
            countries,
            per_second: head.limits.per_second,
            charset: head.limits.charset,
            text: text.to_owned(),
            file: None,
        })
    }

    /// Reads the head of the recipe in a file, which is named as its id.
    ///
    /// # Errors
    /// With what is wrong, and what to write.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read it: {error}"))?;
        let recipe = Self::parse(&text)?;
        if file.file_stem().is_none_or(|stem| *stem != *recipe.id) {
            return Err(format!("must be named {}.toml, as its id", recipe.id));
        }
        Ok(Self { file: Some(file.to_owned()), ..recipe })
    }

    /// What to call it where something is wrong with it: its file, where it has one.
    #[must_use]
    pub fn place(&self) -> String {
        self.file.as_ref().map_or_else(|| format!("recipe {}", self.id), |file| file.display().to_string())
    }
}

/// The recipes that providers may name.
#[derive(Debug, Clone, Default)]
pub struct Recipes {
    by_id: BTreeMap<String, Arc<Recipe>>,
    /// Names of files that were found, and hold none that can be read.
    broken: BTreeSet<String>,
}

impl Recipes {
    /// Those that come with us.
    #[must_use]
    pub fn embedded() -> Self {
        static PARSED: LazyLock<Recipes> = LazyLock::new(|| {
            // A shipped recipe that does not parse fails the tests.
            let recipes = EMBEDDED.iter().filter_map(|text| Recipe::parse(text).ok());
            let by_id = recipes.map(|recipe| (recipe.id.clone(), Arc::new(recipe))).collect();
            Recipes { by_id, broken: BTreeSet::new() }
        });
        PARSED.clone()
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Recipe>> {
        self.by_id.values()
    }

    /// The one of this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Recipe>> {
        self.by_id.get(id)
    }

    /// Adds the recipes of a folder, which go before those of the same id; says what is wrong with each that is.
    fn add_folder(&mut self, folder: &Path) -> Vec<String> {
        let mut faults = Vec::new();
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return vec![format!("cannot read {}: {error}", folder.display())],
        };
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
        files.sort();
        for file in files {
            let fault = match Recipe::read(&file) {
                Ok(recipe) => {
                    self.by_id.insert(recipe.id.clone(), Arc::new(recipe));
                    continue;
                }
                Err(fault) => fault,
            };
            faults.push(format!("{}: {fault}", file.display()));
            self.broken.extend(file.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
        faults
    }
}

/// Reads `providers_dir`.
pub(super) fn read(root: &Section<'_>) -> Recipes {
    let mut recipes = Recipes::embedded();
    if let Some(folder) = root.optional::<PathBuf>("providers_dir") {
        root.reads(&folder);
        let entries = std::fs::read_dir(&folder).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).for_each(|file| root.reads(&file));
        for fault in recipes.add_folder(&folder) {
            root.problem("providers_dir", &fault);
        }
    }
    recipes
}

/// A value of a setting.
#[derive(Debug, Clone)]
pub enum SettingValue {
    /// That anybody may see.
    Plain(String),
    /// That nobody may.
    Secret(SecretString),
}

impl SettingValue {
    /// The value itself, for the request.
    #[must_use]
    pub fn reveal(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.expose_secret(),
        }
    }

    /// Whether nobody may see it.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secret(_))
    }
}

/// `[providers.NAME]` with `recipe = "…"`.
#[derive(Debug, Clone)]
pub struct RecipeProvider {
    /// What to do.
    pub recipe: Arc<Recipe>,
    /// A value for every declared setting; empty where it is neither set nor required.
    pub settings: BTreeMap<String, SettingValue>,
    /// The operator's words for messages, such as the ids under which texts are registered.
    pub vars: Vars,
}

/// `None` when a problem was noted that leaves nothing to go on with.
pub(super) fn read_provider(section: &Section<'_>, mode: Mode, recipes: &Recipes) -> Option<RecipeProvider> {
    let Some(id) = section.optional::<String>("recipe") else {
        section.pass_over();
        return None;
    };
    // What it would declare nobody knows: none of its keys is called unknown.
    if recipes.broken.contains(&id) {
        section.pass_over();
        return None;
    }
    let Some(recipe) = recipes.get(&id) else {
        section.pass_over();
        let known: Vec<&str> = recipes.iter().map(|recipe| recipe.id.as_str()).collect();
        let fix = format!("there is no such recipe; known are {}", known.join(", "));
        section.problem("recipe", &format!("{fix}, and what providers_dir holds"));
        return None;
    };
    let settings = read_settings(section, &recipe.settings);
    let allow_http = section.get("allow_http", false);
    for (key, value) in settings.iter().flatten().filter(|(key, _)| key.ends_with(ADDRESS)) {
        if key == BASE_URL || !value.reveal().is_empty() {
            check_address(section, key, value.reveal(), mode, allow_http);
        }
    }
    let vars = vars::read(section, &recipe.vars);
    Some(RecipeProvider { recipe: Arc::clone(recipe), settings: settings?, vars })
}

/// Reads every declared setting; `None` when one is missing, or wrong in its kind.
pub(super) fn read_settings(
    section: &Section<'_>,
    declared: &BTreeMap<String, Declared>,
) -> Option<BTreeMap<String, SettingValue>> {
    let settings = declared.iter().map(|(key, declared)| {
        let value = if declared.secret {
            read_secret(section, key, declared).map(SettingValue::Secret)
        } else {
            read_plain(section, key, declared).map(SettingValue::Plain)
        };
        Some((key.clone(), value?))
    });
    // Collected before the `Option`: every setting is asked for, whichever is wrong.
    settings.collect::<Vec<_>>().into_iter().collect()
}

fn read_plain(section: &Section<'_>, key: &str, declared: &Declared) -> Option<String> {
    let value = if declared.required {
        section.required::<String>(key, &format!("set it: {}", declared.label))?
    } else if declared.default.is_empty() {
        section.optional::<String>(key).unwrap_or_default()
    } else {
        section.get(key, declared.default.clone())
    };
    if !value.is_empty() && !declared.admits(&value) {
        section.problem(key, &declared.wanted());
    }
    if value.is_empty() && declared.required {
        section.problem(key, &format!("is empty: set it: {}", declared.label));
    }
    Some(value)
}

fn read_secret(section: &Section<'_>, key: &str, declared: &Declared) -> Option<SecretString> {
    let secret = if declared.required {
        let fix = format!("name the file that holds it ({}), or set {key}", declared.label);
        section.required_secret(key, &fix)?
    } else if section.has_secret(key) {
        section.secret(key)?
    } else {
        SecretString::default()
    };
    let secret = trimmed(&secret);
    if !secret.expose_secret().is_empty() && !declared.admits(secret.expose_secret()) {
        section.secret_problem(key, &declared.wanted());
    }
    Some(secret)
}

/// Consoles are copied from with a space too many.
pub(super) fn trimmed(secret: &SecretString) -> SecretString {
    secret.expose_secret().trim().into()
}

fn check_address(section: &Section<'_>, key: &str, text: &str, mode: Mode, allow_http: bool) {
    let problem = |text: &str| section.problem(key, text);
    let Some(url) = Url::parse(text).ok().filter(Url::has_host) else {
        problem("must be a URL such as https://gateway.example.com");
        return;
    };
    if !url.username().is_empty() || url.password().is_some() {
        problem("holds a user or a password: set them as settings of their own");
    }
    if url.query().is_some() || url.fragment().is_some() {
        problem("must end with its path: the recipe appends to it");
    }
    let in_reach = is_near(&url);
    let development = mode == Mode::Development && is_loopback(&url);
    match url.scheme() {
        "https" => {}
        "http" if in_reach && (allow_http || development) => {}
        "http" if in_reach => {
            problem("codes would travel in clear: use https, or set allow_http = true");
        }
        _ => problem(
            "codes would travel in clear: use https; http is for private hosts with allow_http = true",
        ),
    }
}

/// Whether a URL leads to this host or a network around it.
pub(crate) fn is_near(url: &Url) -> bool {
    is_private(url) || is_bare_name(url)
}

/// A name without a dot is known to the local network alone.
fn is_bare_name(url: &Url) -> bool {
    matches!(url.host(), Some(url::Host::Domain(name)) if !name.contains('.'))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
