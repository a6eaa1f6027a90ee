//! `kind = "chatsdk"`.

use secrecy::SecretString;
use url::Url;

use super::super::reader::Section;
use super::{CallLimits, read_call_limits, read_required_url};

/// `kind = "chatsdk"`.
#[derive(Debug, Clone)]
pub struct ChatSdkUpstream {
    /// The base address of its API: `/tokens` is below it.
    pub url: Url,
    /// The API key of the ChatSDK application.
    pub api_key: SecretString,
    /// Deadlines.
    pub call: CallLimits,
}

pub(super) fn read(section: &Section<'_>) -> Option<ChatSdkUpstream> {
    let url = read_required_url(section, "https://chat.example.com");
    let api_key = section.required_secret(
        "api_key",
        "name the file that holds the API key of your ChatSDK application, or set api_key",
    );
    let call = read_call_limits(section);
    Some(ChatSdkUpstream { url: url?, api_key: api_key?, call })
}
