//! The operator's own claims.
//!
//! Guarantees: a template is compiled once, and has run for a phone user and for an e-mail user before the first
//! login, so that a wrong one is a start-up error. An unknown name is an error, never an empty text. Nothing a user
//! typed is ever read as a template.

use std::collections::BTreeMap;

use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;

/// Instructions: a thousand times what a claim needs, and over in a moment.
const FUEL: u64 = 10_000;
/// What the template of a typed claim leaves its value in.
const RESULT: &str = "result";
const NAMES: [&str; 9] = ["user_id", "phone", "phone_digits", "email", "app_id", "name", "iat", "exp", "jti"];

/// What a template can name. A text is empty where the user has no such thing.
pub(super) struct Context<'a> {
    pub(super) user_id: &'a str,
    pub(super) phone: &'a str,
    pub(super) phone_digits: &'a str,
    pub(super) email: &'a str,
    pub(super) app_id: &'a str,
    pub(super) name: &'a str,
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) jti: &'a str,
}

/// A claim that cannot be: its key under `claims`, and why.
#[derive(Debug, thiserror::Error)]
#[error("claims.{key}: {reason}")]
pub struct ClaimError {
    pub(super) key: String,
    pub(super) reason: String,
}

/// All claims of one upstream, compiled.
pub(super) struct Claims {
    engine: Environment<'static>,
    keys: Vec<Key>,
}

struct Key {
    key: String,
    /// The template is one expression, whose value keeps its type.
    typed: bool,
}

impl Claims {
    pub(super) fn compile(texts: &BTreeMap<String, String>) -> Result<Self, ClaimError> {
        let mut engine = Environment::new();
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        engine.set_fuel(Some(FUEL));
        // By default the template's name decides, and claims may be named like "https://chat.example/role.html".
        engine.set_auto_escape_callback(|_| AutoEscape::None);
        let mut keys = Vec::new();
        for (key, text) in texts {
            let fault = |reason: String| ClaimError { key: key.clone(), reason };
            let expression =
                sole_expression(text).filter(|inner| engine.compile_expression_owned(*inner).is_ok());
            let source = expression.map(|inner| format!("{{% set {RESULT} = ({inner}) %}}"));
            let typed = source.is_some();
            engine
                .add_template_owned(key.clone(), source.unwrap_or_else(|| text.clone()))
                .map_err(|error| fault(error.to_string()))?;
            let named = engine
                .get_template(key)
                .map_err(|error| fault(error.to_string()))?
                .undeclared_variables(false);
            if let Some(unknown) = named.iter().find(|name| !NAMES.contains(&name.as_str())) {
                return Err(fault(format!("there is no {unknown:?}; a claim knows {}", NAMES.join(", "))));
            }
            keys.push(Key { key: key.clone(), typed });
        }
        Ok(Self { engine, keys })
    }

    /// Each claim's value; `None` where it is empty, and the token should not have it.
    pub(super) fn render(&self, context: &Context<'_>) -> Result<Vec<(&str, Option<Value>)>, ClaimError> {
        let &Context { user_id, phone, phone_digits, email, app_id, name, iat, exp, jti } = context;
        let context =
            minijinja::context! { user_id, phone, phone_digits, email, app_id, name, iat, exp, jti };
        let render = |key: &Key| {
            let value = self.render_one(key, context.clone());
            value.map_err(|reason| ClaimError { key: key.key.clone(), reason })
        };
        self.keys.iter().map(|key| Ok((key.key.as_str(), render(key)?))).collect()
    }

    fn render_one(&self, key: &Key, context: minijinja::Value) -> Result<Option<Value>, String> {
        let template = self.engine.get_template(&key.key).map_err(|error| error.to_string())?;
        let rendered = template.render_captured(context).map_err(|error| error.to_string())?;
        if !key.typed {
            let text = rendered.into_output();
            return Ok((!text.is_empty()).then_some(Value::String(text)));
        }
        let value = rendered.state().lookup(RESULT).unwrap_or_default();
        if value.is_undefined() {
            return Err("it has no value".to_owned());
        }
        if value.is_none() || value.as_str() == Some("") {
            return Ok(None);
        }
        serde_json::to_value(&value).map(Some).map_err(|error| error.to_string())
    }
}

/// What is between the braces, where the text may be one expression and nothing else. A sign next to a brace belongs
/// to the brace: it trims space, of which there is none.
fn sole_expression(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(inner.strip_suffix(['-', '+']).unwrap_or(inner))
}
