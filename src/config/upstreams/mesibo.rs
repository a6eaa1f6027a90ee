//! `kind = "mesibo"`.

use secrecy::SecretString;
use url::Url;

use super::super::reader::Section;
use super::{CallLimits, read_call_limits, read_url};

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

/// PHP's default: a year.
const TOKEN_MINUTES: u32 = 525_600;

pub(super) fn read(section: &Section<'_>) -> Option<MesiboUpstream> {
    let default = Url::parse("https://api.mesibo.com/backend/").ok()?;
    let url = read_url(section, default);
    let app_token = section.required_secret(
        "app_token",
        "name the file that holds the app token of mesibo's console (App settings), or set app_token",
    );
    let token_minutes = section.get("token_minutes", TOKEN_MINUTES);
    let token_v2 = section.get("token_v2", false);
    let call = read_call_limits(section);
    Some(MesiboUpstream { url, app_token: app_token?, token_minutes, token_v2, call })
}
