//! The body of a request, or any other structure whose texts are templates.
//!
//! Guarantees: what is filled in cannot change the structure. A leaf that comes out empty is left out, and so is a
//! table or a list of which nothing is left.

use minijinja::value::Value as Filled;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::template::{LoadError, Template, Templates};

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// `a=1&b=2` in the body.
    Form,
    /// JSON in the body.
    Json,
    /// `a=1&b=2` in the URL.
    Query,
    /// There is none.
    None,
}

/// What is laid over a body where a condition holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Overlay {
    pub(crate) when: String,
    pub(crate) body: Map<String, Value>,
}

/// Compiled, with what is laid over it.
pub(crate) struct Body {
    root: Vec<(String, Node)>,
    overlays: Vec<(Template, Vec<(String, Node)>)>,
}

enum Node {
    Leaf(Template),
    Constant(Value),
    Table(Vec<(String, Node)>),
    List(Vec<Node>),
}

impl Body {
    /// `key` is where the description of the call stands, such as `send`.
    pub(crate) fn compile(
        templates: &mut Templates,
        key: &str,
        body: &Map<String, Value>,
        overlays: &[Overlay],
        format: Format,
    ) -> Result<Self, LoadError> {
        let flat = matches!(format, Format::Form | Format::Query);
        if format == Format::None && !(body.is_empty() && overlays.is_empty()) {
            let fix = "format = \"none\" sends no body: remove it";
            return Err(LoadError::new(&format!("{key}.body"), fix));
        }
        let root = compile_table(templates, &format!("{key}.body"), body, flat)?;
        let mut compiled = Vec::new();
        for (index, overlay) in overlays.iter().enumerate() {
            let key = format!("{key}.overlay[{index}]");
            let when = templates.compile_condition(&format!("{key}.when"), &overlay.when)?;
            let body = compile_table(templates, &format!("{key}.body"), &overlay.body, flat)?;
            compiled.push((when, body));
        }
        Ok(Self { root, overlays: compiled })
    }

    /// Fills it in.
    pub(crate) fn render(
        &self,
        templates: &Templates,
        context: &Filled,
    ) -> Result<Map<String, Value>, String> {
        let mut body = render_table(templates, &self.root, context)?;
        for (when, overlay) in &self.overlays {
            if templates.value(when, context)?.is_true() {
                merge(&mut body, render_table(templates, overlay, context)?);
            }
        }
        Ok(body)
    }

    /// The settings that it names anywhere.
    pub(crate) fn settings(&self) -> Vec<&str> {
        let mut names = Vec::new();
        collect_table(&self.root, &mut names);
        for (_, overlay) in &self.overlays {
            collect_table(overlay, &mut names);
        }
        names
    }
}

fn compile_table(
    templates: &mut Templates,
    key: &str,
    table: &Map<String, Value>,
    flat: bool,
) -> Result<Vec<(String, Node)>, LoadError> {
    let compile = |(name, value): (&String, &Value)| {
        Ok((name.clone(), compile_node(templates, &format!("{key}.{name}"), value, flat)?))
    };
    table.iter().map(compile).collect()
}

fn compile_node(templates: &mut Templates, key: &str, value: &Value, flat: bool) -> Result<Node, LoadError> {
    match value {
        Value::String(text) => Ok(Node::Leaf(templates.compile(key, text)?)),
        Value::Object(_) | Value::Array(_) if flat => {
            Err(LoadError::new(key, "a form is flat: only format = \"json\" takes tables and lists"))
        }
        Value::Object(table) => Ok(Node::Table(compile_table(templates, key, table, flat)?)),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let items =
                items.map(|(index, item)| compile_node(templates, &format!("{key}[{index}]"), item, flat));
            Ok(Node::List(items.collect::<Result<_, _>>()?))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(Node::Constant(value.clone())),
    }
}

fn render_table(
    templates: &Templates,
    table: &[(String, Node)],
    context: &Filled,
) -> Result<Map<String, Value>, String> {
    let mut rendered = Map::new();
    for (name, node) in table {
        if let Some(value) = render_node(templates, node, context)? {
            rendered.insert(name.clone(), value);
        }
    }
    Ok(rendered)
}

fn render_node(templates: &Templates, node: &Node, context: &Filled) -> Result<Option<Value>, String> {
    match node {
        Node::Leaf(template) => {
            let value = templates.value(template, context)?;
            if value.is_none() || value.as_str() == Some("") {
                return Ok(None);
            }
            serde_json::to_value(&value).map(Some).or(Err("a value is no JSON".to_owned()))
        }
        Node::Constant(value) => Ok(Some(value.clone())),
        Node::Table(table) => {
            let rendered = render_table(templates, table, context)?;
            Ok((!rendered.is_empty()).then_some(Value::Object(rendered)))
        }
        Node::List(items) => {
            let items = items.iter().filter_map(|item| render_node(templates, item, context).transpose());
            let items: Vec<Value> = items.collect::<Result<_, _>>()?;
            Ok((!items.is_empty()).then_some(Value::Array(items)))
        }
    }
}

/// Tables are merged, anything else is replaced.
fn merge(base: &mut Map<String, Value>, over: Map<String, Value>) {
    for (name, value) in over {
        match (base.get_mut(&name), value) {
            (Some(Value::Object(base)), Value::Object(over)) => merge(base, over),
            (_, value) => {
                base.insert(name, value);
            }
        }
    }
}

fn collect_table<'a>(table: &'a [(String, Node)], names: &mut Vec<&'a str>) {
    for (_, node) in table {
        collect_node(node, names);
    }
}

fn collect_node<'a>(node: &'a Node, names: &mut Vec<&'a str>) {
    match node {
        Node::Leaf(template) => names.extend(template.settings.iter().map(String::as_str)),
        Node::Constant(_) => {}
        Node::Table(table) => collect_table(table, names),
        Node::List(items) => items.iter().for_each(|item| collect_node(item, names)),
    }
}
