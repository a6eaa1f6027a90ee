//! `kind = "kustomer"`.

use secrecy::SecretString;
use url::Url;

use super::super::reader::Section;
use super::super::recipes::trimmed;
use super::{CallLimits, read_call_limits, read_url};

/// `kind = "kustomer"`.
#[derive(Debug, Clone)]
pub struct KustomerUpstream {
    /// What to sign with.
    pub secret: KustomerSecret,
    /// What customers are known by.
    pub identify_by: IdentifyBy,
}

/// Where the secret comes from.
#[derive(Debug, Clone)]
pub enum KustomerSecret {
    /// It is configured.
    Given(SecretString),
    /// Kustomer is asked for it, once.
    Fetched {
        /// The settings endpoint: `https://ORG.api.kustomerapp.com/v1/auth/customer/settings`.
        url: Url,
        /// An API key with the roles org.admin and org.user.
        api_key: SecretString,
        /// Deadlines of that call.
        call: CallLimits,
    },
}

/// What Kustomer finds a customer by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentifyBy {
    /// `externalId`: our user id, or the imported one.
    ExternalId,
    /// `email`: the mailbox that they proved to hold.
    Email,
}

pub(super) fn read(section: &Section<'_>) -> Option<KustomerUpstream> {
    let words = [("external_id", IdentifyBy::ExternalId), ("email", IdentifyBy::Email)];
    let identify_by = section.choice("identify_by", "external_id", &words);
    let asks = ["org", "url", "api_key", "api_key_file"].iter().any(|key| section.has(key));
    let secret = if asks { read_fetched(section) } else { read_given(section) };
    Some(KustomerUpstream { secret: secret?, identify_by: identify_by? })
}

fn read_given(section: &Section<'_>) -> Option<KustomerSecret> {
    let secret = section.required_secret(
        "secret",
        "name the file that holds the secret of Kustomer's chat settings, or set org and api_key_file to have it fetched",
    )?;
    Some(KustomerSecret::Given(trimmed(&secret)))
}

fn read_fetched(section: &Section<'_>) -> Option<KustomerSecret> {
    for key in ["secret", "secret_file"].into_iter().filter(|key| section.has(key)) {
        section.problem(key, "org, url or api_key has the secret fetched; keep one of the two ways");
        section.pass_over();
    }
    let org = section.optional::<String>("org");
    let plain = |org: &String| !org.is_empty() && org.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if org.as_ref().is_some_and(|org| !plain(org)) {
        section.problem("org", "must be the first part of the address of your Kustomer, such as \"acme\"");
    }
    if org.is_none() && !section.has("url") {
        section.problem("org", "set it: the first part of the address of your Kustomer, such as \"acme\"");
    }
    let host = org.filter(plain).unwrap_or_else(|| "org".to_owned());
    let settings =
        Url::parse(&format!("https://{host}.api.kustomerapp.com/v1/auth/customer/settings")).ok()?;
    let url = read_url(section, settings);
    let api_key = section.required_secret(
        "api_key",
        "name the file that holds an API key with the roles org.admin and org.user, or set api_key",
    );
    let call = read_call_limits(section);
    Some(KustomerSecret::Fetched { url, api_key: trimmed(&api_key?), call })
}
