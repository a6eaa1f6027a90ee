//! `kind = "http"`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::super::reader::{Document, Section};
use super::super::recipes::{Declared, SettingValue, read_settings, trimmed};
use super::presets::{self, IdRule};
use super::{CallLimits, read_call_limits, read_required_url};

/// `kind = "http"`: calls described as data.
#[derive(Debug, Clone)]
pub struct HttpUpstream {
    /// The preset's name, or "http".
    pub provider: &'static str,
    /// What every path is appended to.
    pub url: Url,
    /// What templates know as `cfg.NAME` where there is a preset, else as `secrets.NAME`.
    pub settings: BTreeMap<String, SettingValue>,
    /// Which of the two.
    pub settings_table: &'static str,
    /// Which user ids the backend takes.
    pub ids: IdRule,
    /// What to call.
    pub calls: HttpCalls,
    /// Deadlines; `timeout` is for all calls of one mint.
    pub call: CallLimits,
}

/// What to call for a token.
#[derive(Debug, Clone)]
pub struct HttpCalls {
    /// Headers of every call, as templates.
    pub headers: BTreeMap<String, String>,
    /// Where a refusal says why: JSON pointers.
    pub errors: Vec<String>,
    /// Makes a token.
    pub mint: MintCall,
    /// Makes a user whom the backend does not know.
    pub create: Option<HttpCall>,
    /// Ends a user's tokens.
    pub revoke: Option<HttpCall>,
}

/// One call, as templates.
#[derive(Debug, Clone)]
pub struct HttpCall {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// Appended to the URL; begins with `/`.
    pub path: String,
    /// How the body is written.
    pub format: HttpFormat,
    /// What is in it.
    pub body: Map<String, Value>,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFormat {
    /// As a JSON object.
    Json,
    /// As `a=1&b=2`.
    Form,
    /// As `a=1&b=2` in the URL.
    Query,
    /// There is none.
    None,
}

/// The call that makes a token, and how to read its answer. Places are JSON pointers.
#[derive(Debug, Clone)]
pub struct MintCall {
    /// The call.
    pub call: HttpCall,
    /// Where the token is.
    pub token: String,
    /// Where it says when the token ends, and in which unit.
    pub expires: Option<(String, ExpiryUnit)>,
    /// Where the id is that the backend knows the user by, if not the one that was sent.
    pub user: Option<String>,
    /// What says that there is no such user.
    pub missing: Option<Matcher>,
    /// What says that this user may not log in.
    pub refused: Option<Matcher>,
}

/// How an answer counts the end of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryUnit {
    /// Unix milliseconds.
    Millis,
    /// Unix seconds.
    Secs,
    /// Seconds from now.
    RelativeSecs,
}

/// What an answer is recognised by; all of what is set must hold.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The HTTP status.
    pub status: Option<u16>,
    /// A JSON pointer, and the values there, one of which it is.
    pub value: Option<(String, Vec<String>)>,
}

/// What comes with us.
#[derive(Debug)]
pub(super) struct HttpPreset {
    head: Head,
    calls: HttpCalls,
}

#[derive(Debug, Deserialize)]
struct Head {
    /// What to write as `url`.
    url: String,
    #[serde(default)]
    settings: BTreeMap<String, Declared>,
    #[serde(default)]
    user_id: IdRule,
}

static PRESETS: LazyLock<BTreeMap<String, HttpPreset>> = LazyLock::new(|| {
    let all: toml::Table = include_str!("http_presets.toml").parse().unwrap_or_default();
    // One that is wrong is left out, which the tests do not let happen.
    all.into_iter().filter_map(|(name, preset)| Some((name, preset_of(preset)?))).collect()
});

fn preset_of(preset: toml::Value) -> Option<HttpPreset> {
    let head: Head = preset.clone().try_into().ok()?;
    let toml::Value::Table(table) = preset else { return None };
    let document = Document::new(table, "a preset", &BTreeMap::new());
    let calls = read_calls(&document.root());
    let (problems, _) = document.into_findings();
    Some(HttpPreset { head, calls: calls.filter(|_| problems.is_empty())? })
}

/// The names of all presets of `kind = "http"`.
pub fn http_presets() -> impl Iterator<Item = &'static str> {
    PRESETS.keys().map(String::as_str)
}

pub(super) fn read(section: &Section<'_>) -> Option<HttpUpstream> {
    if section.has("preset") {
        let (name, HttpPreset { head, calls }) = presets::named(&PRESETS, section)?;
        let url = read_required_url(section, &head.url);
        let settings = read_settings(section, &head.settings);
        let call = read_call_limits(section);
        let (ids, calls) = (head.user_id.clone(), calls.clone());
        let (settings, settings_table) = (settings?, "cfg");
        return Some(HttpUpstream { provider: name, url: url?, settings, settings_table, ids, calls, call });
    }
    let url = read_required_url(section, "https://chat.example.com/api");
    let settings = read_secrets(section);
    let ids = IdRule { lower_case: section.get("lower_case_ids", false), ..IdRule::default() };
    let call = read_call_limits(section);
    let (calls, settings_table) = (read_calls(section)?, "secrets");
    Some(HttpUpstream { provider: "http", url: url?, settings, settings_table, ids, calls, call })
}

/// Secrets under names of the operator's choice, each also from a file.
fn read_secrets(section: &Section<'_>) -> BTreeMap<String, SettingValue> {
    let table = section.section("secrets");
    let keys = table.keys();
    let names: BTreeSet<&str> = keys.iter().map(|key| key.strip_suffix("_file").unwrap_or(key)).collect();
    let secret = |name: &str| {
        let secret = table.required_secret(name, "name the file that holds it")?;
        Some((name.to_owned(), SettingValue::Secret(trimmed(&secret))))
    };
    names.into_iter().filter_map(secret).collect()
}

fn read_calls(section: &Section<'_>) -> Option<HttpCalls> {
    let headers = section.section("headers");
    let headers = headers.keys().into_iter().filter_map(|key| Some((key.clone(), headers.optional(&key)?)));
    let headers = headers.collect();
    let errors: Vec<String> = section.optional("errors").unwrap_or_default();
    for pointer in &errors {
        check_pointer(section, "errors", pointer);
    }
    let mint = read_mint(section.section("mint"));
    let other = |key: &str, usual: &str| {
        section.has(key).then(|| {
            let section = section.section(key);
            let call = read_call(&section, usual);
            section.finish();
            call
        })
    };
    let (create, revoke) = (other("create", "POST"), other("revoke", "DELETE"));
    let mint = mint?;
    if create.is_some() != mint.missing.is_some() {
        section.problem(
            "create",
            "a user is made where the mint's answer says that there is none: write both [….create] and \
             [….mint.missing], or neither",
        );
    }
    let (create, revoke) = (
        create.map_or(Some(None), |call| call.map(Some))?,
        revoke.map_or(Some(None), |call| call.map(Some))?,
    );
    Some(HttpCalls { headers, errors, mint, create, revoke })
}

fn read_mint(section: Section<'_>) -> Option<MintCall> {
    let call = read_call(&section, "POST");
    let token = section.required::<String>(
        "token",
        "say where the token is in the answer: a JSON pointer such as \"/data/token\"",
    );
    let expires = section.optional::<String>("expires");
    let user = section.optional::<String>("user");
    for (key, pointer) in [("token", &token), ("expires", &expires), ("user", &user)] {
        if let Some(pointer) = pointer {
            check_pointer(&section, key, pointer);
        }
    }
    let units =
        [("ms", ExpiryUnit::Millis), ("s", ExpiryUnit::Secs), ("relative_s", ExpiryUnit::RelativeSecs)];
    let expires = match expires {
        Some(pointer) => section.choice("expires_unit", "s", &units).map(|unit| Some((pointer, unit))),
        None => Some(None),
    };
    let matcher = |key: &str| section.has(key).then(|| read_matcher(section.section(key)));
    let (missing, refused) = (matcher("missing"), matcher("refused"));
    section.finish();
    Some(MintCall { call: call?, token: token?, expires: expires?, user, missing, refused })
}

fn read_call(section: &Section<'_>, usual: &str) -> Option<HttpCall> {
    let methods = ["POST", "GET", "PUT", "PATCH", "DELETE"].map(|method| (method, method));
    let method = section.choice("method", usual, &methods);
    let path =
        section.required::<String>("path", "say what to call, such as \"/users/{{ user_id }}/tokens\"");
    if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        section.problem("path", "must begin with /: it is appended to url");
    }
    let formats = [
        ("json", HttpFormat::Json),
        ("form", HttpFormat::Form),
        ("query", HttpFormat::Query),
        ("none", HttpFormat::None),
    ];
    let default = if matches!(method, Some("GET" | "DELETE")) { "none" } else { "json" };
    let format = section.choice("format", default, &formats);
    let body = section.tree("body");
    Some(HttpCall { method: method?, path: path?, format: format?, body })
}

fn read_matcher(section: Section<'_>) -> Matcher {
    let status = section.optional::<u32>("status").map(|status| u16::try_from(status).unwrap_or(0));
    if status.is_some_and(|status| !(100..600).contains(&status)) {
        section.problem("status", "must be an HTTP status, such as 404");
    }
    let at = section.optional::<String>("at");
    let is = section.optional::<Vec<String>>("is");
    if let Some(pointer) = &at {
        check_pointer(&section, "at", pointer);
    }
    if at.is_some() != is.as_ref().is_some_and(|values| !values.is_empty()) {
        section.problem("at", "needs is, and is needs at: where to look, and what is there");
    }
    if status.is_none() && at.is_none() {
        section.problem("status", "set status, or at and is: this would match every answer");
    }
    section.finish();
    Matcher { status, value: at.zip(is) }
}

fn check_pointer(section: &Section<'_>, key: &str, pointer: &str) {
    if !pointer.starts_with('/') {
        section.problem(key, "must be a JSON pointer such as \"/data/token\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_in_the_table_reads_and_explains_its_ids() {
        let all: toml::Table = include_str!("http_presets.toml").parse().expect("TOML");
        assert_eq!(PRESETS.keys().collect::<Vec<_>>(), all.keys().collect::<Vec<_>>());
        for (name, HttpPreset { head, .. }) in &*PRESETS {
            let known = [
                "label", "docs", "url", "user_id", "errors", "settings", "headers", "mint", "create",
                "revoke",
            ];
            let keys = all[name].as_table().expect("a table").keys();
            keys.for_each(|key| assert!(known.contains(&key.as_str()), "{name}.{key}"));
            assert!(head.url.starts_with("https://"), "{name}");
            assert_eq!(head.user_id.pattern.is_empty(), head.user_id.says.is_empty(), "{name}");
            for pattern in
                head.settings.values().map(|declared| &declared.pattern).chain([&head.user_id.pattern])
            {
                crate::config::whole(pattern).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }
}
