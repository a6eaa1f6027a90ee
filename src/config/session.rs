//! `[session]`.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Mode;
use super::reader::Section;
use super::secret_file::is_readable_by_others;
use crate::domain::claims::MAX_LIFETIME;
use crate::domain::keyring::KeyRing;
use crate::domain::limits::Rate;
use crate::domain::session::Lifetimes;

/// `[session]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// How long an access token is valid.
    pub access_lifetime: Duration,
    /// What access tokens are signed with.
    pub keys: SessionKeys,
    /// How long sessions last.
    pub lifetimes: Lifetimes,
    /// Chat tokens of one user.
    pub chat_tokens: Rate,
}

/// The file of the keys that access tokens are signed with. It is read again when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionKeys {
    /// It is there, and valid.
    Given(PathBuf),
    /// Development: made at the first start where it is missing.
    Generated(PathBuf),
}

impl SessionKeys {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Given(path) | Self::Generated(path) => path,
        }
    }
}

const ACCESS_LIFETIMES: RangeInclusive<Duration> = Duration::from_mins(1)..=MAX_LIFETIME;
/// A session outlives its access tokens.
const SESSION_LIFETIMES: RangeInclusive<Duration> = MAX_LIFETIME..=Duration::from_hours(3650 * 24);
const GENERATED_KEYS: &str = "latchkey-session.keys";

pub(super) fn read_session(root: &Section<'_>, mode: Mode) -> Option<Session> {
    let section = root.section("session");
    let why = "it outlives a logout by as much (OWASP ASVS 7.4.1)";
    let access_lifetime = section.ranged("access_lifetime", MAX_LIFETIME, ACCESS_LIFETIMES, why);
    let keys = read_keys(&section, mode);
    let day = Duration::from_hours(24);
    let why = "a stolen refresh token works for as long";
    let lifetimes = Lifetimes {
        idle: section.ranged("idle_lifetime", day * 30, SESSION_LIFETIMES, why),
        whole: section.ranged("lifetime", day * 180, SESSION_LIFETIMES, why),
    };
    let chat_tokens = section.get("chat_tokens", Rate::per_minutes(10, 15));
    section.finish();
    Some(Session { access_lifetime, keys: keys?, lifetimes, chat_tokens })
}

fn read_keys(section: &Section<'_>, mode: Mode) -> Option<SessionKeys> {
    let fix = "access tokens need signing keys, which only development makes by itself: run `(umask 077; for key in \
               next current; do openssl genpkey -algorithm ed25519; done > session.keys)` and set session.key_file \
               to that file";
    let path = match mode {
        Mode::Development => section.optional::<PathBuf>("key_file").unwrap_or_else(|| GENERATED_KEYS.into()),
        Mode::Production => section.required::<PathBuf>("key_file", fix)?,
    };
    if mode == Mode::Development && !path.exists() {
        return Some(SessionKeys::Generated(path));
    }
    if mode == Mode::Production && is_readable_by_others(&path) {
        section.problem("key_file", &format!("other users can read it: chmod 600 {}", path.display()));
    }
    let parsed = std::fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {}: {error}; {fix}", path.display()))
        .and_then(|text| KeyRing::parse(&text).map_err(|error| error.to_string()));
    if let Err(problem) = parsed {
        section.problem("key_file", &problem);
    }
    Some(SessionKeys::Given(path))
}
