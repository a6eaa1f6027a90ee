//! Recipes that are shipped, recipes that are refused, and gateways that misbehave.

mod load;
mod shipped;
mod token;
mod used;
mod wire;

use std::sync::{Arc, LazyLock};

use super::*;
use crate::config::{RecipeProvider, Recipes, SettingValue};

/// A recipe of one rule; each test changes what it is about.
pub(super) const MINIMAL: &str = r#"
schema = 1
id = "test"
name = "Test"
channel = "sms"
[settings]
base_url = { required = true }
token = { secret = true, required = true }
[limits]
timeout_ms = 400
connect_ms = 300
[send]
method = "POST"
url = "{{ cfg.base_url }}/send"
format = "json"
auth = { kind = "bearer", token = "{{ cfg.token }}" }
[send.body]
to = "{{ to }}"
text = "{{ msg.text }}"
[response]
rules = [
  { status = "200", at = "/status", in = ["ok"], outcome = "accepted", id = "/id" },
  { status = "400", outcome = "bad_number" },
]
error = { text = "/message" }
"#;

pub(super) fn load(text: &str) -> Result<Recipe, String> {
    let head = config::Recipe::parse(text)?;
    Recipe::load(&head).map_err(|error| error.to_string())
}

/// Those that come with us, compiled once.
pub(super) fn shipped() -> &'static [(String, Recipe)] {
    static SHIPPED: LazyLock<Vec<(String, Recipe)>> = LazyLock::new(|| {
        let recipes = Recipes::embedded();
        let load = |head: &Arc<config::Recipe>| {
            let recipe = Recipe::load(head).unwrap_or_else(|error| panic!("{}: {error}", head.id));
            (head.id.clone(), recipe)
        };
        recipes.iter().map(load).collect()
    });
    &SHIPPED
}

/// The minimal recipe, with this `[dlr]`, which may read a setting `secret`.
pub(super) fn with_dlr(dlr: &str) -> Result<Recipe, String> {
    let text = MINIMAL.replace("[limits]", "secret = { secret = true }\n[limits]");
    let text = text.replace("auth = { kind", "headers = { X-Secret = \"{{ cfg.secret }}\" }\nauth = { kind");
    load(&format!("{text}\n[dlr]\n{dlr}"))
}

/// A provider's configuration as the reader would make it.
fn configured(text: &str, settings: &[(&str, &str)]) -> RecipeProvider {
    let recipe = Arc::new(config::Recipe::parse(text).expect("a recipe"));
    let value = |(key, declared): (&String, &Declared)| {
        let given = settings.iter().find(|(name, _)| name == key).map(|(_, value)| *value);
        let text = given.unwrap_or(&declared.default);
        let value = if declared.secret {
            SettingValue::Secret(text.into())
        } else {
            SettingValue::Plain(text.to_owned())
        };
        (key.clone(), value)
    };
    let settings = recipe.settings.iter().map(value).collect();
    RecipeProvider { recipe, settings, vars: config::Vars::default() }
}
