//! The templates in a description of a call.
//!
//! Guarantees: a template is compiled when its description is loaded; a name, a filter or a test that nothing has is
//! refused then, and never an empty text or a failure later. There are expressions only, no statements; each has fuel. In a URL whatever is filled in
//! is escaped, but for the base URL. Nothing that is filled in is read as a template.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::calls::{self, Call};

/// Instructions: a hundred times what a leaf needs, and over in a moment.
const FUEL: u64 = 10_000;
/// What the template of a typed leaf leaves its value in.
const RESULT: &str = "result";
/// What [`engine`] knows.
const FILTERS: [&str; 8] = ["digits", "int", "trunc", "path", "b64", "hex", "ucs2hex", "json"];
const TESTS: [&str; 2] = ["startingwith", "endingwith"];
/// RFC 3986 §2.3: all that is not unreserved is escaped.
pub(crate) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What the templates of one description may name.
pub(crate) struct Names {
    /// Names that stand for one value each.
    pub(crate) known: &'static [&'static str],
    /// Settings, by their names in `table`.
    pub(crate) settings: BTreeSet<String>,
    /// The table that settings are in, such as `cfg`.
    pub(crate) table: &'static str,
    /// Where people write them, such as `[settings]`.
    pub(crate) written_in: &'static str,
    /// The operator's words, by their names in `vars`; they are declared under `[vars]`.
    pub(crate) vars: BTreeSet<String>,
}

/// The table that the operator's words are in.
const VARS: &str = "vars";

/// What is wrong with a description, by the key that it is at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {text}")]
pub struct LoadError {
    key: String,
    text: String,
}

impl LoadError {
    pub(crate) fn new(key: &str, text: impl Into<String>) -> Self {
        Self { key: key.to_owned(), text: text.into() }
    }
}

/// All templates of a description.
pub(crate) struct Templates {
    text: Environment<'static>,
    url: Environment<'static>,
    names: Names,
    used: BTreeSet<String>,
    known: BTreeSet<String>,
    used_vars: BTreeSet<String>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Template {
    /// Where it stands in the description, such as `send.body.To`.
    key: String,
    kind: Kind,
    /// Where it is a name and nothing else, its parts: looking it up takes a hundredth of the engine's time.
    name: Option<Vec<String>>,
    /// The settings that it names.
    pub(crate) settings: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// One expression, whose value keeps its type.
    Typed,
    Url,
}

impl Templates {
    /// For a description that has these names.
    pub(crate) fn new(names: Names) -> Self {
        let mut url = engine();
        url.set_formatter(|out, _state, value| {
            let text = value.to_string();
            let written = if value.is_safe() {
                out.write_str(&text)
            } else {
                out.write_str(&utf8_percent_encode(&text, RESERVED).to_string())
            };
            written.map_err(Error::from)
        });
        Self {
            text: engine(),
            url,
            names,
            used: BTreeSet::new(),
            known: BTreeSet::new(),
            used_vars: BTreeSet::new(),
        }
    }

    /// A text; where it is one expression and nothing else, that value.
    pub(crate) fn compile(&mut self, key: &str, source: &str) -> Result<Template, LoadError> {
        let expression =
            sole_expression(source).filter(|inner| self.text.compile_expression_owned(*inner).is_ok());
        check_calls(key, &calls::in_text(source))?;
        if let Some(inner) = expression {
            let source = format!("{{% set {RESULT} = ({inner}) %}}");
            let typed = self.add(key, &source, Kind::Typed)?;
            return Ok(Template { name: sole_name(inner.trim()), ..typed });
        }
        check_statements(key, source)?;
        self.add(key, source, Kind::Text)
    }

    /// What `{{ … }}` would hold, alone.
    pub(crate) fn compile_condition(&mut self, key: &str, source: &str) -> Result<Template, LoadError> {
        check_statements(key, source)?;
        check_calls(key, &calls::in_expression(source))?;
        self.add(key, &format!("{{% set {RESULT} = ({source}) %}}"), Kind::Typed)
    }

    /// A text whose values are escaped for a URL.
    pub(crate) fn compile_url(&mut self, key: &str, source: &str) -> Result<Template, LoadError> {
        check_statements(key, source)?;
        check_calls(key, &calls::in_text(source))?;
        self.add(key, source, Kind::Url)
    }

    fn add(&mut self, key: &str, source: &str, kind: Kind) -> Result<Template, LoadError> {
        let engine = if kind == Kind::Url { &mut self.url } else { &mut self.text };
        let fault = |error: Error| LoadError::new(key, error.to_string());
        engine.add_template_owned(key.to_owned(), source.to_owned()).map_err(fault)?;
        let named = engine.get_template(key).map_err(fault)?.undeclared_variables(true);
        let mut settings = BTreeSet::new();
        for name in named {
            let Names { known, settings: declared, table, written_in, vars } = &self.names;
            match name.split_once('.') {
                Some((within, setting)) if within == *table && declared.contains(setting) => {
                    settings.insert(setting.to_owned());
                }
                Some((within, setting)) if within == *table => {
                    let fix = format!("there is no setting {setting:?}: declare it under {written_in}");
                    return Err(LoadError::new(key, fix));
                }
                Some((VARS, word)) if vars.contains(word) => {
                    self.used_vars.insert(word.to_owned());
                }
                Some((VARS, word)) => {
                    let fix = format!("there is no word {word:?}: declare it under [vars]");
                    return Err(LoadError::new(key, fix));
                }
                _ if known.contains(&name.as_str()) => {
                    self.known.insert(name);
                }
                _ => {
                    let known = known.join(", ");
                    let words = if vars.is_empty() { "" } else { " and vars.NAME" };
                    let fix = format!("there is no {name:?}; known are {known}, {table}.NAME{words}");
                    return Err(LoadError::new(key, fix));
                }
            }
        }
        self.used.extend(settings.iter().cloned());
        Ok(Template { key: key.to_owned(), kind, name: None, settings })
    }

    /// Whether any template has this name.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// The settings that any template names.
    pub(crate) fn used(&self) -> &BTreeSet<String> {
        &self.used
    }

    /// The operator's words that any template names.
    pub(crate) fn used_vars(&self) -> &BTreeSet<String> {
        &self.used_vars
    }

    /// The value of a template; the error names its place, never a value.
    pub(crate) fn value(&self, template: &Template, context: &Value) -> Result<Value, String> {
        let engine = if template.kind == Kind::Url { &self.url } else { &self.text };
        let fault = |error: &Error| format!("{}: {}", template.key, describe(error));
        if let Some(name) = &template.name {
            let found = name.iter().try_fold(context.clone(), |within, part| within.get_attr(part));
            return found.map_err(|error| fault(&error)).and_then(|value| defined(template, value));
        }
        let compiled = engine.get_template(&template.key).map_err(|error| fault(&error))?;
        let done = compiled.render_captured(context.clone()).map_err(|error| fault(&error))?;
        if template.kind != Kind::Typed {
            return Ok(Value::from(done.into_output()));
        }
        defined(template, done.state().lookup(RESULT).unwrap_or_default())
    }

    /// The same as text.
    pub(crate) fn render(&self, template: &Template, context: &Value) -> Result<String, String> {
        let value = self.value(template, context)?;
        Ok(if value.is_none() { String::new() } else { value.to_string() })
    }
}

fn defined(template: &Template, value: Value) -> Result<Value, String> {
    if value.is_undefined() {
        return Err(format!("{}: it has no value; write `else ''` behind an `if`", template.key));
    }
    Ok(value)
}

/// The kind and the place alone: the details may quote a value.
fn describe(error: &Error) -> String {
    error.kind().to_string()
}

fn check_calls(key: &str, calls: &[Call<'_>]) -> Result<(), LoadError> {
    let fix = |call: &Call<'_>| match call {
        Call::Filter(name) if !FILTERS.contains(name) => {
            Some(format!("there is no filter {name:?}; known are {}", FILTERS.join(", ")))
        }
        Call::Test(name) if !TESTS.contains(name) => {
            Some(format!("there is no test {name:?}; known are {}", TESTS.join(", ")))
        }
        Call::Method(name) => Some(format!("values have no methods, such as {name:?}: use a filter")),
        Call::Filter(_) | Call::Test(_) => None,
    };
    calls.iter().find_map(fix).map_or(Ok(()), |fix| Err(LoadError::new(key, fix)))
}

fn check_statements(key: &str, source: &str) -> Result<(), LoadError> {
    if source.contains("{%") {
        return Err(LoadError::new(key, "only expressions are known: write {{ … }}, and no {% … %}"));
    }
    Ok(())
}

/// What is between the braces, where the text may be one expression and nothing else.
fn sole_expression(text: &str) -> Option<&str> {
    text.strip_prefix("{{")?.strip_suffix("}}").filter(|inner| !inner.contains("{%"))
}

/// The parts of `to` or `app.name`.
fn sole_name(expression: &str) -> Option<Vec<String>> {
    let is_name = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let literal = ["true", "false", "none", "True", "False", "None", "loop", "self"].contains(&expression);
    let parts: Vec<&str> = expression.split('.').collect();
    (!literal && parts.iter().all(|part| is_name(part)))
        .then(|| parts.into_iter().map(str::to_owned).collect())
}

/// Knows no more than what is added here.
fn engine() -> Environment<'static> {
    let mut engine = Environment::empty();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.add_test("startingwith", |text: &str, start: &str| text.starts_with(start));
    engine.add_test("endingwith", |text: &str, end: &str| text.ends_with(end));
    engine.add_filter("digits", |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>());
    engine.add_filter("int", |text: &str| {
        text.parse::<i64>().map_err(|_bad| Error::new(ErrorKind::InvalidOperation, "no number"))
    });
    engine.add_filter("trunc", |text: &str, chars: usize| text.chars().take(chars).collect::<String>());
    engine.add_filter("path", |text: &str| utf8_percent_encode(text, RESERVED).to_string());
    engine.add_filter("b64", |text: &str| STANDARD.encode(text));
    engine.add_filter("hex", |text: &str| hex_upper(text.bytes()));
    engine.add_filter("ucs2hex", |text: &str| hex_upper(text.encode_utf16().flat_map(u16::to_be_bytes)));
    engine.add_filter("json", |value: Value| {
        let written = serde_json::to_string(&value);
        written.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
    });
    engine
}

/// `0A1B`.
pub(crate) fn hex_upper(bytes: impl Iterator<Item = u8>) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default().to_ascii_uppercase();
    bytes.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    fn render(url: bool, source: &str) -> Result<String, String> {
        let settings = ["base_url".to_owned(), "sid".to_owned()].into();
        let known = &["to", "code", "ttl_s"];
        let mut templates = Templates::new(Names {
            known,
            settings,
            table: "cfg",
            written_in: "[settings]",
            vars: BTreeSet::new(),
        });
        let compiled =
            if url { templates.compile_url("key", source) } else { templates.compile("key", source) };
        let base = Value::from_safe_string("https://a.b/c".to_owned());
        let context = context! {
            to => "+1/../é?#{{ code }}",
            code => "123456",
            ttl_s => 300,
            cfg => context! { base_url => base, sid => "" },
        };
        templates.render(&compiled.map_err(|error| error.to_string())?, &context)
    }

    #[test]
    fn what_is_filled_into_a_url_is_escaped_but_for_the_base_url() {
        let url = render(true, "{{ cfg.base_url }}/{{ to }}/{{ cfg.sid }}{{ ttl_s }}");
        assert_eq!(url.as_deref(), Ok("https://a.b/c/%2B1%2F..%2F%C3%A9%3F%23%7B%7B%20code%20%7D%7D/300"));
    }

    #[test]
    fn a_sole_name_is_what_the_engine_makes_of_it() {
        for source in ["{{ ttl_s }}", "{{cfg.sid}}", "{{ cfg.base_url }}", "{{ to }}", "{{ true }}"] {
            let alone = render(false, source).expect(source);
            assert_eq!(render(false, &format!("{source}|")), Ok(format!("{alone}|")), "{source}");
        }
    }

    #[test]
    fn what_is_filled_in_is_never_a_template_d5() {
        assert_eq!(render(false, "{{ to }}").as_deref(), Ok("+1/../é?#{{ code }}"));
    }

    #[test]
    fn a_template_that_does_not_end_soon_ends_by_force() {
        let error = render(false, &"{{ to }}".repeat(20_000)).expect_err("no fuel is left");
        assert_eq!(error, "key: engine ran out of fuel");
    }

    #[test]
    fn a_value_that_is_missing_is_an_error_that_quotes_nothing() {
        assert!(render(false, "{{ 'x' if to == '' }}").expect_err("no else").contains("write `else ''`"));
        let error = render(false, "{{ to|trunc(to) }}").expect_err("no number");
        assert!(error.starts_with("key: ") && !error.contains("+1"), "{error}");
    }

    #[test]
    fn what_nothing_knows_is_refused_when_it_is_loaded_behind_any_condition() {
        for (source, said) in [
            ("{{ to|shout if to == 'x' else to }}", "key: there is no filter \"shout\"; known are digits, "),
            ("+{{ to|digits|shout }}", "key: there is no filter \"shout\"; known are digits, "),
            ("{{ 1 if to is odd else 2 }}", "key: there is no test \"odd\"; known are startingwith, "),
            ("{{ to.upper() if to == 'x' else to }}", "key: values have no methods, such as \"upper\""),
        ] {
            for url in [false, true] {
                let error = render(url, source).expect_err(source);
                assert!(error.starts_with(said), "{source}: {error}");
            }
        }
    }

    #[test]
    fn what_is_said_to_be_known_the_engine_knows() {
        let engine = engine();
        let mut state = engine.empty_state();
        for name in FILTERS {
            let error = state.apply_filter(name, &[]).expect_err("nothing to work on");
            assert_ne!(error.kind(), ErrorKind::UnknownFilter, "{name}");
        }
        for name in TESTS {
            let error = state.perform_test(name, &[]).expect_err("nothing to look at");
            assert_ne!(error.kind(), ErrorKind::UnknownTest, "{name}");
        }
    }

    #[test]
    fn filters_write_what_gateways_ask_for() {
        let filtered = |filter: &str| render(false, &format!("{{{{ to|{filter} }}}}")).expect("a text");
        assert_eq!(filtered("digits"), "1");
        assert_eq!(filtered("digits|int"), "1");
        assert!(render(false, "{{ to|int }}").is_err());
        assert_eq!(filtered("trunc(3)"), "+1/");
        assert_eq!(filtered("trunc(7)|hex"), "2B312F2E2E2FC3A9");
        assert_eq!(filtered("trunc(2)|ucs2hex"), "002B0031");
        assert_eq!(filtered("trunc(2)|b64"), "KzE=");
        assert_eq!(filtered("trunc(2)|json"), "\"+1\"");
        assert_eq!(filtered("path|trunc(6)"), "%2B1%2");
    }
}
