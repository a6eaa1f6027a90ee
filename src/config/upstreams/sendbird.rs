//! `kind = "sendbird"`.

use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::super::reader::Section;
use super::{CallLimits, read_call_limits, read_required_url};

/// `kind = "sendbird"`.
#[derive(Debug, Clone)]
pub struct SendbirdUpstream {
    /// The application's API, such as `https://api-APPID.sendbird.com`.
    pub url: Url,
    /// The API token that user tokens are asked for with; a secondary one, since the master token cannot be changed.
    pub api_token: SecretString,
    /// How long user tokens live.
    pub token_lifetime: Duration,
    /// The picture of users that are new; empty is none.
    pub profile_url: String,
    /// Deadlines.
    pub call: CallLimits,
}

/// Sendbird's own default.
const TOKEN_LIFETIME: Duration = Duration::from_hours(7 * 24);
const TOKEN_LIFETIMES: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(3650 * 24);

/// Sendbird takes no longer one.
const MAX_PROFILE_URL_CHARS: usize = 2048;

pub(super) fn read(section: &Section<'_>) -> Option<SendbirdUpstream> {
    let url = read_required_url(section, "https://api-APPID.sendbird.com");
    let api_token = section.required_secret(
        "api_token",
        "name the file that holds a secondary API token of Sendbird's dashboard (Settings, Application, General), \
         or set api_token",
    );
    let token_lifetime =
        section.ranged("token_lifetime", TOKEN_LIFETIME, TOKEN_LIFETIMES, "the life of a user's token");
    let profile_url = section.get("profile_url", String::new());
    if !profile_url.is_empty() && !is_picture(&profile_url) {
        section.problem("profile_url", "must be the http(s) URL of a picture, of at most 2048 characters");
    }
    let call = read_call_limits(section);
    Some(SendbirdUpstream { url: url?, api_token: api_token?, token_lifetime, profile_url, call })
}

fn is_picture(url: &str) -> bool {
    let is_web = Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    is_web && url.chars().count() <= MAX_PROFILE_URL_CHARS
}
