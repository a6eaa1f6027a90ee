//! What backends want, as data that comes with us: the table behind `preset = "…"`.
//!
//! Guarantees: a preset names every setting that it needs, which ids its backend takes and how long tokens may live;
//! what it puts into a token or a call is `upstream`'s to interpret. A table that does not parse fails the tests.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::super::reader::Section;
use super::super::recipes::Declared;
use super::super::setting::{Raw, Setting};
use super::jwt::JwtAlgorithm;

static JWT: LazyLock<BTreeMap<String, JwtPreset>> =
    LazyLock::new(|| toml::from_str(include_str!("jwt_presets.toml")).unwrap_or_default());

/// What one backend wants its tokens to say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtPreset {
    /// What people call it.
    pub label: String,
    /// Where its own documentation says so.
    pub docs: String,
    /// What it verifies; the first is the default.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Of its key.
    pub key: KeyRule,
    /// How long a token lives where nothing else is configured.
    #[serde(deserialize_with = "time")]
    pub lifetime: Duration,
    /// The longest that the vendor allows.
    #[serde(default, deserialize_with = "some_time")]
    pub max_lifetime: Option<Duration>,
    /// What an operator sets.
    #[serde(default)]
    pub settings: BTreeMap<String, Declared>,
    /// Further members of the header, as templates.
    #[serde(default)]
    pub header: Map<String, Value>,
    /// All of the claims, as templates.
    pub claims: Map<String, Value>,
    /// Where among the claims the user's id is: a JSON pointer.
    pub user_claim: String,
    /// Which ids it takes.
    #[serde(default)]
    pub user_id: IdRule,
    /// How its SDK spells the id, as a template, where it differs.
    pub known_as: Option<String>,
}

/// What a key is like.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRule {
    /// What the vendor calls it.
    pub label: String,
    /// The fewest bytes of a shared secret.
    pub min_bytes: usize,
    /// A regular expression that the whole of a shared secret must match; empty admits any.
    #[serde(default)]
    pub pattern: String,
}

/// Which ids a backend takes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdRule {
    /// A regular expression that the whole id must match; empty admits any.
    pub pattern: String,
    /// The same for people.
    pub says: String,
    /// Whether it knows no capitals, so that our own ids are written without any.
    pub lower_case: bool,
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    Duration::read(&Raw::Toml(text.into())).ok_or_else(|| D::Error::custom(Duration::wanted()))
}

fn some_time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    time(from).map(Some)
}

/// The preset that `preset = "…"` names. The section has that key.
pub(super) fn jwt(section: &Section<'_>) -> Option<(&'static str, &'static JwtPreset)> {
    named(&JWT, section)
}

/// One of a table. Where there is none of the name, what it would declare nobody knows, and none of the section's keys
/// is called unknown.
pub(super) fn named<T>(
    table: &'static BTreeMap<String, T>,
    section: &Section<'_>,
) -> Option<(&'static str, &'static T)> {
    let name = section.optional::<String>("preset");
    let found = name.and_then(|name| table.get_key_value(&name));
    if found.is_none() {
        let known: Vec<&str> = table.keys().map(String::as_str).collect();
        section.problem("preset", &format!("there is no such preset; known are {}", known.join(", ")));
        section.pass_over();
    }
    found.map(|(name, preset)| (name.as_str(), preset))
}

/// All presets of `kind = "jwt"`.
pub fn jwt_presets() -> impl Iterator<Item = (&'static str, &'static JwtPreset)> {
    JWT.iter().map(|(name, preset)| (name.as_str(), preset))
}
