//! The document behind the configuration: one tree out of the file and the environment.
//!
//! Guarantees: a key that nothing reads is a problem; a value of the wrong kind is a problem; all problems are found
//! in one run, each with its key, where the value came from, and what to write instead. Values of secrets are never
//! quoted.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

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
    file_name: String,
    problems: RefCell<Vec<Problem>>,
    /// Every key that was asked for, with its default; the reference is tested against this.
    asked: RefCell<BTreeMap<String, Option<String>>>,
    /// Every file that was read.
    files: RefCell<BTreeSet<PathBuf>>,
}

const NOT_SET: &str = "not set";

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "LATCHKEY_";

impl Document {
    /// Lays the variables over the file. Only variables that name a key are passed in.
    pub(super) fn new(file: toml::Table, file_name: &str, variables: &BTreeMap<String, String>) -> Self {
        let mut root = Node::from_toml(toml::Value::Table(file), file_name);
        let mut problems = Vec::new();
        for (name, value) in variables {
            let path = name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase().replace("__", ".");
            if !root.set(&path, Node::Leaf(Raw::Env(value.clone()), name.clone())) {
                let text =
                    "the variable names something that is not a single value; set it in the file".to_owned();
                problems.push(Problem { key: path, source: name.clone(), text });
            }
        }
        let file_name = file_name.to_owned();
        Self {
            root,
            file_name,
            problems: RefCell::new(problems),
            asked: RefCell::default(),
            files: RefCell::default(),
        }
    }

    /// The whole.
    pub(super) fn root(&self) -> Section<'_> {
        Section { document: self, path: String::new(), node: Some(&self.root), read: RefCell::default() }
    }

    /// The files that were read so far.
    pub(super) fn files(&self) -> BTreeSet<PathBuf> {
        self.files.borrow().clone()
    }

    /// What is wrong, and which keys were asked for.
    pub(super) fn into_findings(self) -> (Vec<Problem>, BTreeMap<String, Option<String>>) {
        (self.problems.into_inner(), self.asked.into_inner())
    }
}

impl Node {
    fn from_toml(value: toml::Value, source: &str) -> Self {
        use toml::Value::{Array, Boolean, Datetime, Float, Integer, String, Table};
        match value {
            Table(table) => {
                let node = |(key, value)| (key, Self::from_toml(value, source));
                Self::Table(table.into_iter().map(node).collect())
            }
            Array(items) if items.iter().any(toml::Value::is_table) => {
                Self::List(items.into_iter().map(|item| Self::from_toml(item, source)).collect())
            }
            leaf @ (Array(_) | Boolean(_) | Datetime(_) | Float(_) | Integer(_) | String(_)) => {
                Self::Leaf(Raw::Toml(leaf), source.to_owned())
            }
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Table(table) => table.iter().map(|(name, node)| (name.clone(), node.to_json())).collect(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Leaf(raw, _) => raw.to_json(),
        }
    }

    /// Where its first value came from.
    fn source(&self) -> Option<&str> {
        match self {
            Self::Table(table) => table.values().find_map(Self::source),
            Self::List(items) => items.iter().find_map(Self::source),
            Self::Leaf(_, source) => Some(source),
        }
    }

    /// Sets a leaf, making the branches on its way; false when a list or another leaf stands in the way.
    fn set(&mut self, path: &str, leaf: Self) -> bool {
        let Self::Table(table) = self else { return false };
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let spelled = |key: &&String| spelled_in_variables(key) == spelled_in_variables(first);
        let written = table.keys().find(spelled).filter(|_| !table.contains_key(first));
        let key = written.cloned().unwrap_or_else(|| first.to_owned());
        if let Some(rest) = rest {
            return table.entry(key).or_insert_with(|| Self::Table(BTreeMap::new())).set(rest, leaf);
        }
        let free = !matches!(table.get(&key), Some(Self::Table(_) | Self::List(_)));
        if free {
            table.insert(key, leaf);
        }
        free
    }
}

/// Variables have neither dashes nor small letters: `pt-BR` is `PT_BR` there.
fn spelled_in_variables(key: &str) -> String {
    key.to_ascii_lowercase().replace('-', "_")
}

/// The key that names the file of a secret.
fn file_key(key: &str) -> String {
    format!("{key}_file")
}

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(plain) && !name.contains("__")
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

    /// A number or a time within a range.
    pub(super) fn ranged<T: Setting + PartialOrd + Copy>(
        &self,
        key: &str,
        default: T,
        range: RangeInclusive<T>,
        why: &str,
    ) -> T {
        let value = self.get(key, default);
        if range.contains(&value) {
            return value;
        }
        self.problem(key, &format!("must be {} to {}: {why}", range.start().show(), range.end().show()));
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

    /// A secret, as [`Section::secret`]; a problem that says `fix` when it is not set or is blank.
    pub(super) fn required_secret(&self, key: &str, fix: &str) -> Option<SecretString> {
        let secret = self.secret(key);
        if !self.has_secret(key) {
            self.problem(&file_key(key), fix);
        }
        let blank = secret.as_ref().is_some_and(|secret| secret.expose_secret().trim().is_empty());
        if blank {
            self.secret_problem(key, &format!("is empty: {fix}"));
        }
        secret.filter(|_| !blank)
    }

    /// A secret: `key` itself, or the content of the file that `<key>_file` names, less one line end.
    pub(super) fn secret(&self, key: &str) -> Option<SecretString> {
        self.ask(key, None);
        self.read_secret(key)
    }

    /// A secret with a default that is none.
    pub(super) fn secret_or(&self, key: &str, default: &str) -> Option<SecretString> {
        self.ask(key, Some(default.to_owned().show()));
        let secret = self.read_secret(key);
        if self.has_secret(key) { secret } else { Some(default.into()) }
    }

    /// Whether a secret is set, in either of its two ways. This is asking for both, also where nobody reads it then.
    pub(super) fn has_secret(&self, key: &str) -> bool {
        let file_key = file_key(key);
        self.ask(key, None);
        self.ask(&file_key, None);
        self.has(key) || self.has(&file_key)
    }

    /// A file or a folder is read for this branch: whoever follows the configuration follows it, too.
    pub(super) fn reads(&self, path: &Path) {
        self.document.files.borrow_mut().insert(path.to_owned());
    }

    /// Notes that a secret is wrong, at the key that it came by.
    pub(super) fn secret_problem(&self, key: &str, text: &str) {
        let file_key = file_key(key);
        self.problem(if self.has(&file_key) { &file_key } else { key }, text);
    }

    fn read_secret(&self, key: &str) -> Option<SecretString> {
        let file_key = file_key(key);
        let inline = self.value::<String>(key);
        let path = self.optional::<PathBuf>(&file_key);
        if let Some(path) = &path {
            self.reads(path);
        }
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

    /// The branches under `key` by name, as `[providers.NAME]`. Names are realms in the database and parts of
    /// variables, so not every text is one.
    pub(super) fn named(&self, key: &str) -> Vec<(String, Section<'a>)> {
        let outer = self.section(key);
        let names = outer.keys();
        for name in names.iter().filter(|name| !is_name(name)) {
            outer.problem(name, "the table's name must be 1 to 32 of a-z, 0-9, - and single _");
        }
        names.into_iter().map(|name| (name.clone(), outer.section(&name))).collect()
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

    /// The keys of this branch, for tables whose keys the operator chooses.
    pub(super) fn keys(&self) -> Vec<String> {
        match self.node {
            Some(Node::Table(table)) => table.keys().cloned().collect(),
            Some(Node::List(_) | Node::Leaf(..)) | None => Vec::new(),
        }
    }

    /// Takes all keys for read, where what would read them is not known.
    pub(super) fn pass_over(&self) {
        self.read.borrow_mut().extend(self.keys());
    }

    /// Whether `key` is set.
    pub(super) fn has(&self, key: &str) -> bool {
        self.child(key).is_some()
    }

    /// Notes that `key` is wrong, and why; once, however often it is read.
    pub(super) fn problem(&self, key: &str, text: &str) {
        // A branch that holds no value came from the file: a variable always brings a value.
        let source =
            self.child(key).map_or(NOT_SET, |node| node.source().unwrap_or(&self.document.file_name));
        let problem = Problem { key: self.full(key), source: source.to_owned(), text: text.to_owned() };
        let mut problems = self.document.problems.borrow_mut();
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    /// The branch under `key` as it is written, for structure that the operator chooses.
    pub(super) fn tree(&self, key: &str) -> Map<String, Value> {
        let section = self.section(key);
        let Some(Node::Table(table)) = section.node else { return Map::new() };
        let branch = |(name, node): (&String, &Node)| match node {
            Node::Table(_) => (name.clone(), Value::Object(section.tree(name))),
            Node::List(_) | Node::Leaf(..) => {
                section.ask(name, None);
                (name.clone(), node.to_json())
            }
        };
        table.iter().map(branch).collect()
    }

    /// Notes every key that was not asked for, with those that this branch knows.
    pub(super) fn finish(self) {
        let Some(Node::Table(table)) = self.node else { return };
        let read = self.read.borrow();
        let known: Vec<&str> = read.iter().map(String::as_str).collect();
        for key in table.keys().filter(|key| !read.contains(*key)) {
            self.problem(key, &format!("there is no such key; this table knows {}", known.join(", ")));
        }
    }

    fn ask(&self, key: &str, default: Option<String>) {
        self.read.borrow_mut().insert(key.to_owned());
        self.document.asked.borrow_mut().entry(self.full(key)).or_insert(default);
    }

    fn value<T: Setting>(&self, key: &str) -> Option<T> {
        let value = match self.child(key)? {
            Node::Leaf(raw, _) => T::read(raw),
            Node::Table(_) | Node::List(_) => None,
        };
        if value.is_none() {
            self.problem(key, &format!("must be {}", T::wanted()));
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
