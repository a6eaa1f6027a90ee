//! Configuration, parsed once into types that cannot be wrong.
//!
//! Guarantees: what [`Config`] holds is valid and consistent; nothing further in checks it again. One TOML file, then
//! `LATCHKEY_…` variables over it, every secret also from a file. All problems are reported at once, each with its
//! key, the source of its value and what to do. `config/reference.toml` documents every key and is tested to hold
//! the same keys and defaults as the parser.

mod apps;
mod countries;
mod messages;
mod otp;
mod prices;
mod providers;
mod reader;
mod recipes;
mod routes;
pub mod secret_file;
mod server;
mod session;
mod setting;
mod smtp;
mod upstreams;
mod vars;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use url::Url;

pub use apps::{App, Apps, ClientTexts, ResultSpelling};
pub use messages::{AppMessages, LocaleTexts, Sample, Sms, Texts, minutes};
pub use otp::{Email, Limits, Otp, PepperSource, Policy};
pub use prices::PriceBook;
pub use providers::{ConsoleProvider, ProviderConfig, Terms};
pub use reader::Problem;
pub use recipes::{BASE_URL, Charset, Declared, Recipe, RecipeProvider, Recipes, SettingValue};
pub(crate) use recipes::{is_near, whole};
pub use routes::{Line, Routes, Trip, Way};
pub use server::{Database, DatabaseUrl, Log, LogFormat, Server};
pub use session::{Session, SessionKeys};
pub(crate) use setting::parse_duration as duration;
pub use smtp::{SmtpProvider, SmtpSecurity};
pub use upstreams::{
    CallLimits, ChatSdkUpstream, ExpiryUnit, HttpCall, HttpCalls, HttpFormat, HttpUpstream, IdRule,
    IdentifyBy, JwtAlgorithm, JwtForm, JwtKey, JwtPreset, JwtUpstream, KeyRule, KustomerSecret,
    KustomerUpstream, Matcher, MesiboUpstream, MintCall, SendbirdUpstream, UpstreamConfig, http_presets,
    jwt_presets,
};
pub use vars::{DeclaredVar, Kind, Vars};
pub use watch::Watch;

/// The commented reference: every key, its meaning and its default.
pub const REFERENCE: &str = include_str!("config/reference.toml");

/// The file that is read when none is named and it exists.
pub const DEFAULT_FILE: &str = "latchkey.toml";

/// How strict to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Works with no file at all; refuses to be reached from outside.
    Development,
    /// Refuses whatever is not safe.
    Production,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Config {
    /// How strict to be.
    pub mode: Mode,
    /// Where clients reach us. Links and signatures are made from it, never from a request's headers.
    pub public_url: Url,
    /// Listeners and their limits.
    pub server: Server,
    /// Where state lives.
    pub database: Database,
    /// Codes.
    pub otp: Otp,
    /// Access tokens.
    pub session: Session,
    /// Whom to send to at all.
    pub policy: Policy,
    /// Whether people log in by e-mail.
    pub email: Email,
    /// How much to send.
    pub limits: Limits,
    /// Logs.
    pub log: Log,
    /// The apps we serve.
    pub apps: Apps,
    /// What messages say.
    pub messages: Texts,
    /// What the mesibo dialect adds to its answers.
    pub mesibo: ClientTexts,
    /// The chat backends, by name; a name is a realm.
    pub upstreams: BTreeMap<String, UpstreamConfig>,
    /// The gateways that are known, whether or not a provider uses them.
    pub recipes: Recipes,
    /// The ways out, by name.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// What each of them may be given, by name.
    pub terms: BTreeMap<String, Terms>,
    /// Which provider is tried first, per channel.
    pub routes: Routes,
    /// What messages cost.
    pub prices: PriceBook,
    /// Every file and folder that was read for all this.
    pub files: BTreeSet<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read {path}: {error}\n  fix: name a file that exists with --config or LATCHKEY_CONFIG, or neither"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML. The line itself is not quoted: it may hold a secret.
    #[error("{path}, line {line}, is not TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Why.
        message: String,
    },
    /// The file and the variables say something that cannot be.
    #[error("the configuration has {} problem(s):\n  {}", problems.len(), lines(problems))]
    Problems {
        /// What.
        problems: Vec<Problem>,
        /// Every file and folder that was to be read for it: one that changes, or comes to be, may mend it.
        files: BTreeSet<PathBuf>,
    },
}

impl ConfigError {
    /// What may mend it when it changes.
    #[must_use]
    pub fn files(&self) -> BTreeSet<PathBuf> {
        match self {
            Self::File { path, .. } | Self::Syntax { path, .. } => [path.clone()].into(),
            Self::Problems { files, .. } => files.clone(),
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
}

/// Where a configuration comes from, so that it can be read again.
#[derive(Debug, Clone)]
pub struct Source {
    /// The named file.
    pub file: Option<PathBuf>,
    /// The variables.
    pub variables: BTreeMap<String, String>,
}

impl Source {
    /// Reads it.
    ///
    /// # Errors
    /// With everything that is wrong, not just the first.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.file.as_deref(), &self.variables)
    }
}

impl Config {
    /// Reads the named file (or [`DEFAULT_FILE`] where it exists) and the variables.
    ///
    /// # Errors
    /// With everything that is wrong, not just the first.
    pub fn load(file: Option<&Path>, variables: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let named =
            file.map(Path::to_path_buf).or_else(|| variables.get("LATCHKEY_CONFIG").map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(ConfigError::File { path, error }),
        };
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            ConfigError::Syntax { path: path.clone(), line, message: error.message().to_owned() }
        })?;
        let mut config = Self::parse(table, &path.display().to_string(), variables)?;
        config.files.insert(path);
        Ok(config)
    }

    /// Reads a table that stands for the file `source`, and the variables.
    ///
    /// # Errors
    /// [`ConfigError::Problems`].
    pub fn parse(
        table: toml::Table,
        source: &str,
        variables: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        Self::read(table, source, variables).0
    }

    fn read(
        table: toml::Table,
        source: &str,
        variables: &BTreeMap<String, String>,
    ) -> (Result<Self, ConfigError>, Asked) {
        let is_setting = |name: &str| {
            let key = name.strip_prefix(reader::PREFIX).unwrap_or_default();
            key.contains("__") || ["MODE", "PROVIDERS_DIR", "PUBLIC_URL"].contains(&key)
        };
        let variables = variables.iter().filter(|(name, _)| is_setting(name));
        let variables = variables.map(|(name, value)| (name.clone(), value.clone())).collect();
        let document = reader::Document::new(table, source, &variables);
        let config = Self::from_document(&document);
        let files = document.files();
        let (problems, asked) = document.into_findings();
        match config {
            Some(config) if problems.is_empty() => (Ok(config), asked),
            Some(_) | None => (Err(ConfigError::Problems { problems, files }), asked),
        }
    }

    /// `None` only when a problem was noted.
    fn from_document(document: &reader::Document) -> Option<Self> {
        let root = document.root();
        let modes = [("development", Mode::Development), ("production", Mode::Production)];
        let mode = root.choice("mode", "development", &modes);
        // Where the mode itself is wrong, the stricter reading would only add noise.
        let assumed = mode.unwrap_or(Mode::Development);
        let public_url = server::read_public_url(&root, assumed);
        let remote = root.get("allow_remote_development", false);
        let server = server::read_server(&root, assumed, remote);
        let database = server::read_database(&root);
        let log = server::read_log(&root);
        let (length, otp) = otp::read_otp(&root, assumed);
        let session = session::read_session(&root, assumed);
        let policy = otp::read_policy(&root, assumed);
        let email = otp::read_email(&root);
        let limits = otp::read_limits(&root);
        let upstreams = upstreams::read(&root, assumed, &public_url);
        let lifetime = otp.as_ref().map_or(otp::MAX_LIFETIME, |otp| otp.lifetime);
        let messages = messages::read_texts(&root, lifetime);
        let known = apps::Known { upstreams: &upstreams, texts: &messages, length, lifetime };
        let apps = apps::read_apps(&root, assumed, &known);
        let mesibo = apps::read_client_texts(&root);
        let recipes = recipes::read(&root);
        let (providers, terms) = providers::read_providers(&root, assumed, &recipes);
        let routes = routes::read_routes(&root, &providers, &apps);
        let reach =
            vars::Reach { apps: &apps, texts: &messages, policy: &policy, terms: &terms, routes: &routes };
        vars::check(&root, &providers, &reach);
        let prices = prices::read_prices(&root, providers.keys());
        if limits.spend_per_day.is_some() && prices.providers.is_empty() {
            let fix =
                "limits.spend_per_day counts what messages cost: write [prices.NAME] for your providers";
            root.problem("prices", fix);
        }
        root.finish();
        Some(Self {
            mode: mode?,
            public_url,
            server,
            database: database?,
            otp: otp?,
            session: session?,
            policy,
            email,
            limits,
            log: log?,
            apps,
            messages,
            mesibo,
            upstreams: upstreams.into_iter().map(|(name, one)| Some((name, one?))).collect::<Option<_>>()?,
            recipes,
            providers: providers.into_iter().map(|(name, one)| Some((name, one?))).collect::<Option<_>>()?,
            terms,
            routes,
            prices,
            files: document.files(),
        })
    }
}

/// Every key that the parser asked for, with its default.
type Asked = BTreeMap<String, Option<String>>;

#[cfg(test)]
mod tests;
