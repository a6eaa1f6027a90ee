//! `[upstreams.NAME]`.

use std::collections::BTreeMap;
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

pub(super) fn read(root: &Section<'_>, mode: Mode, public_url: &Url) -> BTreeMap<String, UpstreamConfig> {
    let mut upstreams = BTreeMap::new();
    let sections = root.named("upstreams");
    let none = sections.is_empty();
    for (name, section) in sections {
        check_name(&section, &name);
        let config = match section.optional::<String>("kind").as_deref() {
            Some("jwt") => read_jwt(&section, mode, &name, public_url).map(UpstreamConfig::Jwt),
            Some("mesibo") => read_mesibo(&section).map(UpstreamConfig::Mesibo),
            Some(_) | None => {
                section.problem("kind", "must be \"mesibo\" or \"jwt\"");
                continue;
            }
        };
        section.finish();
        upstreams.extend(config.map(|config| (name, config)));
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
        upstreams.insert(LOCAL.to_owned(), UpstreamConfig::Jwt(jwt));
    }
    upstreams
}

/// Names are realms in the database and parts of variables.
pub(super) fn check_name(section: &Section<'_>, name: &str) {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if !plain || name.is_empty() || name.len() > 32 || name.contains("__") {
        section.problem("kind", "the table's name must be 1 to 32 of a-z, 0-9, - and single _");
    }
}

const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 3600);

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
    let lifetime = section.get("lifetime", DEFAULT_LIFETIME);
    if lifetime < Duration::from_secs(1) {
        section.problem("lifetime", "must be at least 1s");
    }
    let table = section.section("claims");
    let claims =
        table.keys().into_iter().filter_map(|key| Some((key.clone(), table.optional(&key)?))).collect();
    let given = section.has("key") || section.has("key_file");
    let key = match (algorithm?, section.secret("key")) {
        (Algorithm::Hs256, Some(secret)) if secret.expose_secret().len() < MIN_HS256_BYTES => {
            section.problem("key", "must be at least 32 bytes: run `openssl rand -hex 32`");
            None
        }
        (Algorithm::Hs256, Some(secret)) => Some(JwtKey::Hs256(secret)),
        (Algorithm::EdDsa, Some(pem)) => Some(JwtKey::EdDsa(pem)),
        (Algorithm::EdDsa, None) if mode == Mode::Development && !given => {
            Some(JwtKey::GeneratedEdDsa(generated_key(name)))
        }
        (Algorithm::EdDsa, None) if !given => {
            section.problem(
                "key_file",
                "the private key: run `openssl genpkey -algorithm ed25519 -out key.pem`",
            );
            None
        }
        (Algorithm::Hs256, None) if !given => {
            section.problem("key_file", "the shared secret: run `openssl rand -hex 32 > key`");
            None
        }
        // The file could not be read, which is noted.
        (Algorithm::EdDsa | Algorithm::Hs256, None) => None,
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
    if url.scheme() == "http" && !is_private(&url) && !section.get("allow_http", false) {
        section.problem("url", "the app token would travel in clear: use https, or set allow_http = true");
    } else {
        section.get("allow_http", false);
    }
    let app_token = section.secret("app_token");
    if app_token.as_ref().is_none_or(|token| token.expose_secret().trim().is_empty()) {
        section.problem(
            "app_token_file",
            "the app token of mesibo's console (App settings), in a file or app_token",
        );
    }
    let token_minutes = section.get("token_minutes", TOKEN_MINUTES);
    let token_v2 = section.get("token_v2", false);
    let call = read_call_limits(section);
    Some(MesiboUpstream { url, app_token: app_token?, token_minutes, token_v2, call })
}

fn read_call_limits(section: &Section<'_>) -> CallLimits {
    let call = CallLimits {
        connect_timeout: section.get("connect_timeout", Duration::from_secs(3)),
        timeout: section.get("timeout", Duration::from_secs(10)),
    };
    if call.timeout > Duration::from_secs(60) || call.timeout.is_zero() {
        section.problem("timeout", "must be more than 0 and at most 60s: somebody waits for the answer");
    }
    call
}

fn is_private(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback() || ip.is_private(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        None => false,
    }
}
