//! The document behind the configuration: one tree out of the file and the environment.
//!
//! Guarantees: a key that nothing reads is a problem; a value of the wrong kind is a problem; all problems are found
//! in one run, each with its key, where the value came from, and what to write instead. Values of secrets are never
//! quoted.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use secrecy::SecretString;

use super::setting::{Raw, Setting};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The full key, such as `otp.length`.
    pub key: String,
    /// Where its value came from: the file, a variable, or nowhere.
    pub source: String,
    /// What is wrong and what to do.
    pub text: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.source, self.text)
    }
}

/// A branch or a leaf.
#[derive(Debug, Clone)]
enum Node {
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    Leaf(Raw, String),
}

/// The tree, and what reading it brought to light.
pub(super) struct Document {
    root: Node,
    problems: RefCell<Vec<Problem>>,
    /// Every key that was asked for, with its default; the reference is tested against this.
    asked: RefCell<BTreeMap<String, Option<String>>>,
}

const NOT_SET: &str = "not set";

impl Document {
    /// Lays the variables over the file. Variables without `__` that are not top-level keys were left out before.
    pub(super) fn new(file: toml::Table, file_name: &str, variables: &BTreeMap<String, String>) -> Self {
        let mut root = Node::from_toml(toml::Value::Table(file), file_name);
        let mut problems = Vec::new();
        for (name, value) in variables {
            let path = name.trim_start_matches("LATCHKEY_").to_ascii_lowercase().replace("__", ".");
            if !root.set(&path, Node::Leaf(Raw::Env(value.clone()), name.clone())) {
                let text =
                    "the variable names something that is not a single value; set it in the file".to_owned();
                problems.push(Problem { key: path, source: name.clone(), text });
            }
        }
        Self { root, problems: RefCell::new(problems), asked: RefCell::default() }
    }

    /// The whole.
    pub(super) fn root(&self) -> Section<'_> {
        Section { document: self, path: String::new(), node: Some(&self.root), read: RefCell::default() }
    }

    /// What is wrong, and which keys were asked for.
    pub(super) fn into_findings(self) -> (Vec<Problem>, BTreeMap<String, Option<String>>) {
        (self.problems.into_inner(), self.asked.into_inner())
    }
}

impl Node {
    fn from_toml(value: toml::Value, source: &str) -> Self {
        match value {
            toml::Value::Table(table) => Self::Table(
                table.into_iter().map(|(key, value)| (key, Self::from_toml(value, source))).collect(),
            ),
            toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                Self::List(items.into_iter().map(|item| Self::from_toml(item, source)).collect())
            }
            leaf => Self::Leaf(Raw::Toml(leaf), source.to_owned()),
        }
    }

    /// Sets a leaf, making the branches on its way; false when a list or another leaf stands in the way.
    fn set(&mut self, path: &str, leaf: Self) -> bool {
        let Self::Table(table) = self else { return false };
        match path.split_once('.') {
            Some((first, rest)) => {
                table.entry(first.to_owned()).or_insert_with(|| Self::Table(BTreeMap::new())).set(rest, leaf)
            }
            None => {
                let free = !matches!(table.get(path), Some(Self::Table(_) | Self::List(_)));
                if free {
                    table.insert(path.to_owned(), leaf);
                }
                free
            }
        }
    }
}

/// A branch of the document.
pub(super) struct Section<'a> {
    document: &'a Document,
    path: String,
    node: Option<&'a Node>,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Section<'a> {
    /// The value of `key`, or `default`.
    pub(super) fn get<T: Setting>(&self, key: &str, default: T) -> T {
        self.ask(key, Some(default.show()));
        self.value(key).unwrap_or(default)
    }

    /// The value of `key`, if it is set.
    pub(super) fn optional<T: Setting>(&self, key: &str) -> Option<T> {
        self.ask(key, None);
        self.value(key)
    }

    /// The value of `key`; a problem that says `fix` when it is not set.
    pub(super) fn required<T: Setting>(&self, key: &str, fix: &str) -> Option<T> {
        self.ask(key, None);
        if self.child(key).is_none() {
            self.problem(key, fix);
        }
        self.value(key)
    }

    /// A number within a range.
    pub(super) fn ranged(
        &self,
        key: &str,
        default: u32,
        range: std::ops::RangeInclusive<u32>,
        why: &str,
    ) -> u32 {
        let value = self.get(key, default);
        if range.contains(&value) {
            return value;
        }
        self.problem(key, &format!("must be {} to {}: {why}", range.start(), range.end()));
        default
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, default: &str, words: &[(&str, T)]) -> Option<T> {
        let word = self.get(key, default.to_owned());
        let found = words.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
            self.problem(key, &format!("must be one of {}", names.join(", ")));
        }
        found
    }

    /// A secret: `key` itself, or the content of the file that `<key>_file` names, less one line end.
    pub(super) fn secret(&self, key: &str) -> Option<SecretString> {
        let file_key = format!("{key}_file");
        let inline = self.optional::<String>(key);
        let path = self.optional::<PathBuf>(&file_key);
        match (inline, path) {
            (Some(_), Some(_)) => {
                self.problem(key, &format!("both it and {file_key} are set; keep one"));
                None
            }
            (Some(text), None) => Some(text.into()),
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => {
                    let text = text.strip_suffix('\n').unwrap_or(&text);
                    Some(text.strip_suffix('\r').unwrap_or(text).into())
                }
                Err(error) => {
                    self.problem(&file_key, &format!("cannot read {}: {error}", path.display()));
                    None
                }
            },
            (None, None) => None,
        }
    }

    /// The branch under `key`, empty when there is none.
    pub(super) fn section(&self, key: &str) -> Section<'a> {
        self.read.borrow_mut().insert(key.to_owned());
        let node = self.child(key);
        if matches!(node, Some(Node::Leaf(..) | Node::List(_))) {
            self.problem(key, &format!("must be a table: write [{}]", self.full(key)));
        }
        let node = node.filter(|node| matches!(node, Node::Table(_)));
        Section { document: self.document, path: self.full(key), node, read: RefCell::default() }
    }

    /// The branches under `key` by name, as `[providers.NAME]`.
    pub(super) fn named(&self, key: &str) -> Vec<(String, Section<'a>)> {
        let outer = self.section(key);
        let Some(Node::Table(table)) = outer.node else { return Vec::new() };
        table.keys().map(|name| (name.clone(), outer.section(name))).collect()
    }

    /// The branches of a list, as `[[apps]]`.
    pub(super) fn list(&self, key: &str) -> Vec<Section<'a>> {
        self.read.borrow_mut().insert(key.to_owned());
        match self.child(key) {
            None => Vec::new(),
            Some(Node::List(items)) => {
                let section = |(index, item): (usize, &'a Node)| {
                    let node = Some(item).filter(|item| matches!(item, Node::Table(_)));
                    let path = format!("{}[{index}]", self.full(key));
                    Section { document: self.document, path, node, read: RefCell::default() }
                };
                items.iter().enumerate().map(section).collect()
            }
            Some(Node::Table(_) | Node::Leaf(..)) => {
                self.problem(key, &format!("must be a list of tables: write [[{}]]", self.full(key)));
                Vec::new()
            }
        }
    }

    /// Keys of this branch that hold plain values, for tables whose keys the operator chooses.
    pub(super) fn keys(&self) -> Vec<String> {
        match self.node {
            Some(Node::Table(table)) => table.keys().cloned().collect(),
            Some(Node::List(_) | Node::Leaf(..)) | None => Vec::new(),
        }
    }

    /// Whether `key` is set.
    pub(super) fn has(&self, key: &str) -> bool {
        self.child(key).is_some()
    }

    /// Notes that `key` is wrong, and why.
    pub(super) fn problem(&self, key: &str, text: &str) {
        let source = match self.child(key) {
            Some(Node::Leaf(_, source)) => source.clone(),
            Some(Node::Table(_) | Node::List(_)) | None => NOT_SET.to_owned(),
        };
        let problem = Problem { key: self.full(key), source, text: text.to_owned() };
        self.document.problems.borrow_mut().push(problem);
    }

    /// Notes every key that was not asked for. `known` names what this branch understands, for the message.
    pub(super) fn finish(self) {
        let Some(Node::Table(table)) = self.node else { return };
        let read = self.read.borrow();
        let mut known: Vec<&str> = read.iter().map(String::as_str).collect();
        known.sort_unstable();
        for key in table.keys().filter(|key| !read.contains(*key)) {
            self.problem(key, &format!("there is no such key; this table knows {}", known.join(", ")));
        }
    }

    fn ask(&self, key: &str, default: Option<String>) {
        self.read.borrow_mut().insert(key.to_owned());
        self.document.asked.borrow_mut().insert(self.full(key), default);
    }

    fn value<T: Setting>(&self, key: &str) -> Option<T> {
        let value = match self.child(key)? {
            Node::Leaf(raw, _) => T::read(raw),
            Node::Table(_) | Node::List(_) => None,
        };
        if value.is_none() {
            self.problem(key, &format!("must be {}", T::WANTED));
        }
        value
    }

    fn child(&self, key: &str) -> Option<&'a Node> {
        match self.node? {
            Node::Table(table) => table.get(key),
            Node::List(_) | Node::Leaf(..) => None,
        }
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}
