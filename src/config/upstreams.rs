//! `[upstreams.NAME]`.

mod chatsdk;
mod http;
mod jwt;
mod kustomer;
mod mesibo;
mod presets;
mod sendbird;

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

pub use self::chatsdk::ChatSdkUpstream;
pub use self::http::{
    ExpiryUnit, HttpCall, HttpCalls, HttpFormat, HttpUpstream, Matcher, MintCall, http_presets,
};
pub use self::jwt::{JwtAlgorithm, JwtForm, JwtKey, JwtUpstream};
pub use self::kustomer::{IdentifyBy, KustomerSecret, KustomerUpstream};
pub use self::mesibo::MesiboUpstream;
pub use self::presets::{IdRule, JwtPreset, KeyRule, jwt_presets};
pub use self::sendbird::SendbirdUpstream;
use super::Mode;
use super::reader::Section;

/// The upstream that development signs with when none is configured.
pub(super) const LOCAL: &str = "local";

/// Signing takes no time to speak of.
const LOCAL_DEADLINE: Duration = Duration::from_secs(1);

/// A chat backend.
#[derive(Debug, Clone)]
pub enum UpstreamConfig {
    /// ChatSDK's token endpoint.
    ChatSdk(ChatSdkUpstream),
    /// Calls described as data.
    Http(Box<HttpUpstream>),
    /// We sign a JWT ourselves.
    Jwt(JwtUpstream),
    /// Kustomer: a JWT of its own kind, signed here.
    Kustomer(KustomerUpstream),
    /// mesibo's backend API.
    Mesibo(MesiboUpstream),
    /// Sendbird's Platform API.
    Sendbird(SendbirdUpstream),
}

impl UpstreamConfig {
    /// As the key `kind` says it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ChatSdk(_) => "chatsdk",
            Self::Http(_) => "http",
            Self::Jwt(_) => "jwt",
            Self::Kustomer(_) => "kustomer",
            Self::Mesibo(_) => "mesibo",
            Self::Sendbird(_) => "sendbird",
        }
    }

    /// How long a mint may take at most. The lease on a grant outlives it.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        match self {
            Self::ChatSdk(chatsdk) => chatsdk.call.timeout,
            Self::Http(http) => http.call.timeout,
            Self::Jwt(_) => LOCAL_DEADLINE,
            Self::Kustomer(kustomer) => match &kustomer.secret {
                KustomerSecret::Given(_) => LOCAL_DEADLINE,
                KustomerSecret::Fetched { call, .. } => call.timeout + LOCAL_DEADLINE,
            },
            Self::Mesibo(mesibo) => mesibo.call.timeout,
            Self::Sendbird(sendbird) => sendbird.call.timeout,
        }
    }
}

/// Deadlines of a call to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// For the connection, TLS included.
    pub connect_timeout: Duration,
    /// For all of it.
    pub timeout: Duration,
}

/// `None` is one that is configured, but wrongly: the problem is noted, and apps may still name it.
pub(super) fn read(
    root: &Section<'_>,
    mode: Mode,
    public_url: &Url,
) -> BTreeMap<String, Option<UpstreamConfig>> {
    let mut upstreams = BTreeMap::new();
    let sections = root.named("upstreams");
    let none = sections.is_empty();
    for (name, section) in sections {
        let config = match section.optional::<String>("kind").as_deref() {
            Some("chatsdk") => chatsdk::read(&section).map(UpstreamConfig::ChatSdk),
            Some("http") => http::read(&section).map(Box::new).map(UpstreamConfig::Http),
            Some("jwt") => jwt::read(&section, mode, &name, public_url).map(UpstreamConfig::Jwt),
            Some("kustomer") => kustomer::read(&section).map(UpstreamConfig::Kustomer),
            Some("mesibo") => mesibo::read(&section).map(UpstreamConfig::Mesibo),
            Some("sendbird") => sendbird::read(&section).map(UpstreamConfig::Sendbird),
            Some(_) | None => {
                section.problem("kind", "must be one of chatsdk, http, jwt, kustomer, mesibo, sendbird");
                upstreams.insert(name, None);
                continue;
            }
        };
        section.finish();
        upstreams.insert(name, config);
    }
    if none && mode == Mode::Production {
        root.problem(
            "upstreams",
            "production needs the chat backend: write [upstreams.chat] with its kind, such as \"mesibo\"",
        );
    }
    if none && mode == Mode::Development {
        upstreams.insert(LOCAL.to_owned(), Some(UpstreamConfig::Jwt(jwt::local(public_url))));
    }
    upstreams
}

fn read_call_limits(section: &Section<'_>) -> CallLimits {
    let range = Duration::from_millis(1)..=Duration::from_mins(1);
    let time = |key: &str, default: u64| {
        section.ranged(key, Duration::from_secs(default), range.clone(), "somebody waits for the answer")
    };
    CallLimits { connect_timeout: time("connect_timeout", 3), timeout: time("timeout", 10) }
}

/// Where a backend is called, from `url`, where all call the same.
fn read_url(section: &Section<'_>, default: Url) -> Url {
    let example = default.to_string();
    let url = section.get("url", default);
    check_url(section, Some(&url), &example);
    url
}

/// Where a backend is called, from `url`, where everybody has their own. Paths are put behind it.
fn read_required_url(section: &Section<'_>, example: &str) -> Option<Url> {
    let url = section.required::<Url>("url", &format!("set where the backend is, such as {example}"));
    check_url(section, url.as_ref(), example);
    let bare = |url: &Url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if url.as_ref().is_some_and(|url| !bare(url)) {
        section.problem(
            "url",
            &format!("paths are put behind it: leave out ? and #, and users, such as {example}"),
        );
    }
    url
}

/// What is sent there is secret, so that plain http is refused but to this host, a private network, or with
/// `allow_http`.
fn check_url(section: &Section<'_>, url: Option<&Url>, example: &str) {
    let allow_http = section.get("allow_http", false);
    let Some(url) = url else { return };
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        section.problem("url", &format!("must start with https://, such as {example}"));
    }
    if url.scheme() == "http" && !is_private(url) && !allow_http {
        section.problem("url", "our secret would travel in clear: use https, or set allow_http = true");
    }
}

/// Whether a URL leads to this host or a private network.
pub(super) fn is_private(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback() || ip.is_private(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        None => false,
    }
}
