//! `[[apps]]` and `[mesibo]`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use url::Url;

use super::messages::{self, AppMessages, Texts};
use super::reader::Section;
use super::upstreams::UpstreamConfig;
use super::{Mode, upstreams};
use crate::domain::challenge::Dialect;
use crate::domain::channel::Channel;
use crate::domain::code::CodeLength;
use crate::domain::message::check_app_name;

/// An app id longer than any that a store has published.
const MAX_APP_ID_BYTES: usize = 128;

/// An app that we log people in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// What messages call it.
    pub name: String,
    /// The chat backend that mints its tokens. Its name is the app's realm.
    pub upstream: String,
    /// The wires that it is answered on.
    pub dialects: Vec<Dialect>,
    /// How the mesibo dialect spells `result` to it.
    pub result: ResultSpelling,
    /// Web pages that may call our own API for it, as browsers name their origin.
    pub origins: Vec<String>,
    /// What messages to its users are like.
    pub messages: AppMessages,
    /// How codes may travel, in the order in which they are offered. The first that fits an address is used where a
    /// client names none.
    pub channels: Vec<Channel>,
    /// A further address of chat tokens, for front ends that exist.
    pub chat_token_path: Option<String>,
}

/// How the mesibo dialect spells `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultSpelling {
    /// `true` and `false` to what looks like the tutorial's curl, `"OK"` and `"FAIL"` to everything else.
    Auto,
    /// Always `"OK"` and `"FAIL"`.
    Strings,
    /// Always `true` and `false`.
    Booleans,
}

/// The apps, by the id that they post.
#[derive(Debug, Clone)]
pub struct Apps {
    listed: BTreeMap<String, App>,
    /// Ids of all that are written, also of those that are written wrongly.
    named: BTreeSet<String>,
    /// Development with no app listed: every id is this app.
    any: Option<App>,
}

impl Apps {
    /// Whether a web page of this origin may read an answer for an app; where none is named, for those apps that name
    /// the path, or for any where no app names it.
    #[must_use]
    pub fn allow_origin(&self, app_id: Option<&str>, path: &str, origin: &str) -> bool {
        let lists = |app: &App| app.origins.iter().any(|listed| listed == origin || listed == "*");
        let names = |app: &&App| app.chat_token_path.as_deref() == Some(path);
        let all = || self.listed.values().chain(&self.any);
        match app_id {
            Some(id) => self.find(id).is_some_and(lists),
            None if all().any(|app| names(&app)) => all().filter(names).any(lists),
            None => all().any(lists),
        }
    }

    /// How those that speak mesibo's dialect spell `result`, where they agree.
    #[must_use]
    pub fn agreed_result(&self) -> Option<ResultSpelling> {
        let speak = |app: &&App| app.dialects.contains(&Dialect::Mesibo);
        let mut spelled = self.iter().map(|(_, app)| app).filter(speak).map(|app| app.result);
        let first = spelled.next()?;
        spelled.all(|other| other == first).then_some(first)
    }

    /// Whether there is one of this id in the file, be it as wrong as it may.
    pub(super) fn names(&self, id: &str) -> bool {
        self.any.is_some() || self.named.contains(id)
    }

    /// An id that somebody could try; none when every id is taken.
    #[must_use]
    pub fn example(&self) -> Option<&str> {
        self.listed.keys().next().map(String::as_str)
    }

    /// All of them with their ids; none where every id is taken.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&str>, &App)> {
        let listed = self.listed.iter().map(|(id, app)| (Some(id.as_str()), app));
        listed.chain(self.any.iter().map(|app| (None, app)))
    }

    /// The app behind an id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&App> {
        // PostgreSQL stores no NUL.
        let is_id = (1..=MAX_APP_ID_BYTES).contains(&id.len()) && !id.contains(char::is_control);
        let any = self.any.as_ref().filter(|_| is_id);
        self.listed.get(id).or(any)
    }
}

/// What the rest of the configuration says that matters to apps.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) upstreams: &'a BTreeMap<String, Option<UpstreamConfig>>,
    pub(super) texts: &'a Texts,
    pub(super) length: CodeLength,
    pub(super) lifetime: Duration,
}

pub(super) fn read_apps(root: &Section<'_>, mode: Mode, known: &Known<'_>) -> Apps {
    let sections = root.list("apps");
    if sections.is_empty() {
        if mode == Mode::Production {
            root.problem(
                "apps",
                "production needs the apps it serves: write one [[apps]] with id, name and upstream for each",
            );
        }
        let upstream = known.upstreams.keys().next().cloned().unwrap_or_else(|| upstreams::LOCAL.to_owned());
        let dialects = vec![Dialect::Mesibo, Dialect::V1];
        check_length(root, "apps", &dialects, known.length);
        let any = App {
            name: "Latchkey".to_owned(),
            upstream,
            dialects,
            result: ResultSpelling::Auto,
            origins: any_page(),
            messages: AppMessages::default(),
            channels: CHANNELS.to_vec(),
            chat_token_path: None,
        };
        return Apps { listed: BTreeMap::new(), named: BTreeSet::new(), any: Some(any) };
    }
    let (mut listed, mut named) = (BTreeMap::new(), BTreeSet::new());
    for section in sections {
        let id = section
            .required::<String>("id", "set the id that the app posts, such as \"com.messenger.appid\"");
        named.extend(id.clone());
        let app = read_app(&section, mode, known);
        if let (Some(id), Some(app)) = (id, app) {
            if !(1..=MAX_APP_ID_BYTES).contains(&id.len()) || id.trim() != id {
                section.problem("id", "must be 1 to 128 bytes without blanks around it");
            } else if listed.insert(id, app).is_some() {
                section.problem("id", "another app has the same id");
            }
        }
        section.finish();
    }
    Apps { listed, named, any: None }
}

fn read_app(section: &Section<'_>, mode: Mode, known: &Known<'_>) -> Option<App> {
    let Known { upstreams, texts, length, lifetime } = *known;
    let name = section.required::<String>("name", "set what messages call the app, such as \"Messenger\"");
    if let Some(Err(fix)) = name.as_deref().map(check_app_name) {
        section.problem("name", fix);
    }
    let messages = messages::read_app(section, texts, lifetime);
    let only = (upstreams.len() == 1).then(|| upstreams.keys().next().cloned()).flatten();
    let upstream = section.optional::<String>("upstream").or(only);
    let config = upstream.as_ref().and_then(|upstream| upstreams.get(upstream));
    if upstream.is_none() {
        section.problem("upstream", "name the one of the [upstreams.…] that mints its tokens");
    } else if config.is_none() {
        section.problem("upstream", "there is no [upstreams.…] of that name");
    }
    let spellings = [
        ("auto", ResultSpelling::Auto),
        ("strings", ResultSpelling::Strings),
        ("booleans", ResultSpelling::Booleans),
    ];
    let result = section.choice("result", "auto", &spellings);
    let default: &[Dialect] = match (mode, config.and_then(Option::as_ref)) {
        (Mode::Development, _) => &[Dialect::Mesibo, Dialect::V1],
        (Mode::Production, Some(UpstreamConfig::Mesibo(_))) => &[Dialect::Mesibo],
        (Mode::Production, _) => &[Dialect::V1],
    };
    let words: Option<Vec<String>> = section.optional("dialects");
    let dialects = match words {
        None => Some(default.to_vec()),
        Some(words) => words.iter().map(|word| Dialect::parse(word)).collect(),
    };
    let Some(dialects) = dialects.filter(|dialects| !dialects.is_empty()) else {
        section.problem("dialects", "must be a list of \"mesibo\" and \"v1\"");
        section.pass_over();
        return None;
    };
    check_length(section, "dialects", &dialects, length);
    if let Some(name) = &name {
        let samples = messages.samples(texts, name, length, lifetime);
        let sent = samples.iter().filter(|sample| sample.sms.is_sent_over(&dialects));
        messages::check_length(section, &messages, sent);
    }
    let origins = section
        .optional("origins")
        .unwrap_or_else(|| if mode == Mode::Development { any_page() } else { Vec::new() });
    if !origins.iter().all(|origin| is_origin(origin)) {
        section.problem(
            "origins",
            "must hold origins as browsers write them, such as \"https://app.example.com\", or \"*\"",
        );
    }
    let channels = read_channels(section);
    let chat_token_path = read_chat_token_path(section, &dialects);
    Some(App {
        name: name?,
        upstream: upstream?,
        dialects,
        result: result?,
        origins,
        messages,
        channels,
        chat_token_path,
    })
}

/// From what most people can read to what few like.
const CHANNELS: [Channel; 5] =
    [Channel::Sms, Channel::Whatsapp, Channel::Telegram, Channel::Voice, Channel::Email];

fn read_channels(section: &Section<'_>) -> Vec<Channel> {
    let words: Option<Vec<String>> = section.optional("channels");
    let channels = match words {
        None => Some(CHANNELS.to_vec()),
        Some(words) => words.iter().map(|word| Channel::parse(word)).collect(),
    };
    let is_once = |channels: &Vec<Channel>| {
        let mut seen = channels.clone();
        seen.sort_unstable();
        seen.dedup();
        !channels.is_empty() && seen.len() == channels.len()
    };
    channels.filter(is_once).unwrap_or_else(|| {
        let known = CHANNELS.map(Channel::as_str).join(", ");
        section.problem("channels", &format!("must be a list of {known}, each at most once"));
        CHANNELS.to_vec()
    })
}

fn check_length(section: &Section<'_>, key: &str, dialects: &[Dialect], length: CodeLength) {
    if dialects.contains(&Dialect::Mesibo) && length != CodeLength::SIX {
        let fix = "mesibo's apps take six digits only: set otp.length = 6, or give each of the [[apps]] \
                   dialects = [\"v1\"]";
        section.problem(key, fix);
    }
}

fn read_chat_token_path(section: &Section<'_>, dialects: &[Dialect]) -> Option<String> {
    let path = section.optional::<String>("chat_token_path")?;
    if !is_free_path(&path) {
        let fix = "must be a path of its own, such as \"/api/auth/chat-token\": letters, digits, - . _ ~ between single \
                   slashes, and none of our own addresses";
        section.problem("chat_token_path", fix);
    }
    if !dialects.contains(&Dialect::V1) {
        section.problem(
            "chat_token_path",
            "only the dialect \"v1\" has sessions that get another chat token: add it",
        );
    }
    Some(path)
}

/// Ours: these, and what lies below the second ones.
const OUR_PATHS: [&str; 7] =
    ["index.php", "api.php", "livez", "readyz", "openapi.json", "problems", "metrics"];
const OUR_FOLDERS: [&str; 4] = ["v1", "tools", ".well-known", "admin"];

/// Whether an operator may give a path a meaning.
fn is_free_path(path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let is_segment =
        |segment: &str| !segment.is_empty() && ![".", ".."].contains(&segment) && segment.bytes().all(plain);
    let first = path.split('/').next().unwrap_or_default();
    path.split('/').all(is_segment) && !OUR_PATHS.contains(&path) && !OUR_FOLDERS.contains(&first)
}

fn any_page() -> Vec<String> {
    vec!["*".to_owned()]
}

/// RFC 6454 §6.2: scheme, host and port, nothing behind them.
fn is_origin(text: &str) -> bool {
    text == "*" || Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == text)
}

/// `[mesibo]`: what the mesibo dialect adds to its answers, for mesibo's own apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTexts {
    /// Shown above `message` in step 1. Empty: left out.
    pub title: String,
    /// Shown in step 1 by Android and the conference apps, which put it into a page as HTML. Empty: left out.
    pub message: String,
    /// Where apps upload files to.
    pub upload_url: String,
    /// Where apps fetch files from.
    pub download_url: String,
    /// Android's invitation.
    pub share_subject: String,
    /// Android's invitation.
    pub share_text: String,
    /// Android's invitation.
    pub share_title: String,
    /// The invitation on iOS.
    pub invite: String,
}

pub(super) fn read_client_texts(root: &Section<'_>) -> ClientTexts {
    let section = root.section("mesibo");
    let text = |key: &str, default: &str| section.get(key, default.to_owned());
    let invitation = "Let us chat! Get the app and log in with your phone number.";
    let texts = ClientTexts {
        title: text("title", ""),
        message: text("message", ""),
        upload_url: text("upload_url", ""),
        download_url: text("download_url", ""),
        share_subject: text("share_subject", "Join me"),
        share_text: text("share_text", invitation),
        share_title: text("share_title", "Invite a friend"),
        invite: text("invite", invitation),
    };
    section.finish();
    texts
}
