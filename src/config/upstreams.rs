//! `[upstreams.NAME]`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Mode;
use super::reader::Section;

/// The upstream that development signs with when none is configured.
pub(super) const LOCAL: &str = "local";

/// A chat backend.
#[derive(Debug, Clone)]
pub enum UpstreamConfig {
    /// We sign a JWT ourselves.
    Jwt(JwtUpstream),
    /// mesibo's backend API.
    Mesibo(MesiboUpstream),
}

impl UpstreamConfig {
    /// How long a mint may take at most. The lease on a grant outlives it.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        match self {
            Self::Jwt(_) => Duration::from_secs(1),
            Self::Mesibo(mesibo) => mesibo.call.timeout,
        }
    }
}

/// `kind = "jwt"`.
#[derive(Debug, Clone)]
pub struct JwtUpstream {
    /// What to sign with.
    pub key: JwtKey,
    /// `iss`.
    pub issuer: String,
    /// `aud`; the app's id when empty.
    pub audience: String,
    /// `exp` after `iat`.
    pub lifetime: Duration,
    /// Further claims, or others in place of the standard ones: minijinja expressions in text.
    pub claims: BTreeMap<String, String>,
}

/// What a JWT is signed with.
#[derive(Debug, Clone)]
pub enum JwtKey {
    /// A shared secret of at least 32 bytes.
    Hs256(SecretString),
    /// An Ed25519 private key, PKCS#8 PEM.
    EdDsa(SecretString),
    /// Development: an Ed25519 key in this file, made at the first start where it is missing.
    GeneratedEdDsa(PathBuf),
}

/// `kind = "mesibo"`.
#[derive(Debug, Clone)]
pub struct MesiboUpstream {
    /// `https://api.mesibo.com/backend/`, or one's own server's.
    pub url: Url,
    /// The app token: mesibo's password for the whole app.
    pub app_token: SecretString,
    /// How long user tokens live, minutes; 0 is for ever.
    pub token_minutes: u32,
    /// Whether to ask for tokens of the second format.
    pub token_v2: bool,
    /// Deadlines.
    pub call: CallLimits,
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
            Some("jwt") => read_jwt(&section, mode, &name, public_url).map(UpstreamConfig::Jwt),
            Some("mesibo") => read_mesibo(&section).map(UpstreamConfig::Mesibo),
            Some(_) | None => {
                section.problem("kind", "must be \"mesibo\" or \"jwt\"");
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
            "production needs the chat backend: write [upstreams.chat] with kind = \"mesibo\" or \"jwt\"",
        );
    }
    if none && mode == Mode::Development {
        let jwt = JwtUpstream {
            key: JwtKey::GeneratedEdDsa(generated_key(LOCAL)),
            issuer: issuer(public_url),
            audience: String::new(),
            lifetime: DEFAULT_LIFETIME,
            claims: BTreeMap::new(),
        };
        upstreams.insert(LOCAL.to_owned(), Some(UpstreamConfig::Jwt(jwt)));
    }
    upstreams
}

const DEFAULT_LIFETIME: Duration = Duration::from_hours(24);
const LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(3650 * 24);

fn generated_key(name: &str) -> PathBuf {
    format!("latchkey-{name}.pem").into()
}

fn issuer(public_url: &Url) -> String {
    public_url.as_str().trim_end_matches('/').to_owned()
}

/// RFC 7518 §3.2: a key of the hash's size or larger.
const MIN_HS256_BYTES: usize = 32;

fn read_jwt(section: &Section<'_>, mode: Mode, name: &str, public_url: &Url) -> Option<JwtUpstream> {
    #[derive(Clone, Copy)]
    enum Algorithm {
        EdDsa,
        Hs256,
    }
    let algorithm =
        section.choice("algorithm", "EdDSA", &[("EdDSA", Algorithm::EdDsa), ("HS256", Algorithm::Hs256)]);
    let issuer = section.get("issuer", issuer(public_url));
    let audience = section.get("audience", String::new());
    let lifetime = section.ranged("lifetime", DEFAULT_LIFETIME, LIFETIMES, "the life of a user's token");
    let table = section.section("claims");
    let claims =
        table.keys().into_iter().filter_map(|key| Some((key.clone(), table.optional(&key)?))).collect();
    let key = match algorithm {
        Some(Algorithm::EdDsa) if mode == Mode::Development && !section.has_secret("key") => {
            Some(JwtKey::GeneratedEdDsa(generated_key(name)))
        }
        Some(Algorithm::EdDsa) => {
            let fix =
                "name the file of the private key: run `openssl genpkey -algorithm ed25519 -out key.pem`";
            section.required_secret("key", fix).map(JwtKey::EdDsa)
        }
        Some(Algorithm::Hs256) => {
            let secret = section.required_secret(
                "key",
                "name the file of the shared secret: run `openssl rand -hex 32 > key`",
            );
            if secret.as_ref().is_some_and(|secret| secret.expose_secret().len() < MIN_HS256_BYTES) {
                section.secret_problem("key", "must be at least 32 bytes: run `openssl rand -hex 32`");
            }
            secret.map(JwtKey::Hs256)
        }
        // Read all the same: an unknown algorithm does not make it an unknown key.
        None => section.secret("key").and(None),
    };
    Some(JwtUpstream { key: key?, issuer, audience, lifetime, claims })
}

/// PHP's default: a year.
const TOKEN_MINUTES: u32 = 525_600;

fn read_mesibo(section: &Section<'_>) -> Option<MesiboUpstream> {
    let default = Url::parse("https://api.mesibo.com/backend/").ok()?;
    let url = section.get("url", default);
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        section.problem("url", "must start with https://, such as https://api.mesibo.com/backend/");
    }
    let allow_http = section.get("allow_http", false);
    if url.scheme() == "http" && !is_private(&url) && !allow_http {
        section.problem("url", "the app token would travel in clear: use https, or set allow_http = true");
    }
    let app_token = section.required_secret(
        "app_token",
        "name the file that holds the app token of mesibo's console (App settings), or set app_token",
    );
    let token_minutes = section.get("token_minutes", TOKEN_MINUTES);
    let token_v2 = section.get("token_v2", false);
    let call = read_call_limits(section);
    Some(MesiboUpstream { url, app_token: app_token?, token_minutes, token_v2, call })
}

fn read_call_limits(section: &Section<'_>) -> CallLimits {
    let range = Duration::from_millis(1)..=Duration::from_mins(1);
    let time = |key: &str, default: u64| {
        section.ranged(key, Duration::from_secs(default), range.clone(), "somebody waits for the answer")
    };
    CallLimits { connect_timeout: time("connect_timeout", 3), timeout: time("timeout", 10) }
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
