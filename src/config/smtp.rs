//! `[providers.NAME] kind = "smtp"`.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::reader::Section;
use crate::domain::email::Email;
use crate::domain::message::is_inert;

/// `kind = "smtp"`: a mail server.
#[derive(Debug, Clone)]
pub struct SmtpProvider {
    /// Its name or address, as its certificate has it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// When TLS begins.
    pub security: SmtpSecurity,
    /// User and password.
    pub login: Option<(String, SecretString)>,
    /// What the sender is called.
    pub from_name: Option<String>,
    /// Whom mails are from.
    pub from: Email,
    /// Connections that are kept.
    pub connections: usize,
    /// For a connection, TLS and login included.
    pub connect_timeout: Duration,
    /// For a whole mail.
    pub timeout: Duration,
    /// Certificates to trust beside those of the system, PEM.
    pub ca: Option<String>,
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// With the first byte (RFC 8314 §3.3).
    Implicit,
    /// With STARTTLS, and nothing is said before.
    StartTls,
    /// Never: to this host unless its certificate's issuer is named, or where the operator allows it.
    Plain,
}

/// The use case gives a message up after 15 s; a provider that gives up sooner can say more.
const TIMES: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(14);
const MAX_SENDER_CHARS: usize = 64;
/// RFC 7468 §5.1.
const BEGIN_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
const WANTED: &str = "must be smtps://USER@HOST, or smtp://USER@HOST for STARTTLS";

pub(super) fn read(section: &Section<'_>) -> Option<SmtpProvider> {
    let text =
        section.required::<String>("url", "set the mail server, such as \"smtps://user@mail.example.com\"");
    let url = text.and_then(|text| {
        let url = Url::parse(&text).ok();
        if url.is_none() {
            section.problem("url", WANTED);
        }
        url
    });
    let from = section
        .required::<String>("from", "set whom mails are from, such as \"Messenger <login@example.com>\"");
    let allow_plain = section.get("allow_plain", false);
    let ca = read_ca(section);
    let server = url.as_ref().and_then(|url| read_server(section, url, allow_plain, ca.is_some()));
    if ca.is_some() && server.as_ref().is_some_and(|(_, _, security)| *security == SmtpSecurity::Plain) {
        section.problem("ca_file", "is for TLS, which allow_plain turns off: remove one of them");
    }
    let user = url.as_ref().and_then(|url| read_user(section, url));
    let password = if user.is_some() {
        let fix = "name the file that holds the user's password, or set password";
        section.required_secret("password", fix)
    } else {
        section.secret("password")
    };
    if user.is_none() && password.is_some() && server.is_some() {
        section.problem("url", "must name the user that the password belongs to: smtps://USER@HOST");
    }
    if password.as_ref().is_some_and(|password| password.expose_secret().contains(['\r', '\n', '\0'])) {
        section.secret_problem("password", "must be one line");
    }
    let sender = from.as_deref().and_then(|from| {
        let sender = read_sender(from);
        if sender.is_none() {
            section
                .problem("from", "must be \"name@example.com\" or \"Name <name@example.com>\", on one line");
        }
        sender
    });
    let connections = section.ranged("connections", 4, 1..=100, "mail servers refuse more");
    let time = |key: &str, secs| {
        section.ranged(key, Duration::from_secs(secs), TIMES, "somebody waits for the answer")
    };
    let (connect_timeout, timeout) = (time("connect_timeout", 5), time("timeout", 10));
    let ((host, port, security), (from_name, from)) = (server?, sender?);
    Some(SmtpProvider {
        host,
        port,
        security,
        login: user.zip(password),
        from_name,
        from,
        connections: usize::try_from(connections).ok()?,
        connect_timeout,
        timeout,
        ca,
    })
}

fn read_ca(section: &Section<'_>) -> Option<String> {
    let path = section.optional::<PathBuf>("ca_file")?;
    let problem = match std::fs::read_to_string(&path) {
        Ok(text) if text.contains(BEGIN_CERTIFICATE) => return Some(text),
        Ok(_) => format!("{} holds no certificates in PEM", path.display()),
        Err(error) => format!("cannot read {}: {error}", path.display()),
    };
    section.problem("ca_file", &problem);
    None
}

fn read_server(
    section: &Section<'_>,
    url: &Url,
    allow_plain: bool,
    has_ca: bool,
) -> Option<(String, u16, SmtpSecurity)> {
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let host = url.host().filter(|_| bare && matches!(url.scheme(), "smtp" | "smtps"));
    let host = host.map(|host| match host {
        Host::Domain(name) => name.to_ascii_lowercase(),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    });
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        section.problem("url", WANTED);
        return None;
    };
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let (port, security) = match url.scheme() {
        "smtps" => (465, SmtpSecurity::Implicit),
        _ if (is_here && !has_ca) || allow_plain => (587, SmtpSecurity::Plain),
        _ => (587, SmtpSecurity::StartTls),
    };
    Some((host, url.port().unwrap_or(port), security))
}

fn read_user(section: &Section<'_>, url: &Url) -> Option<String> {
    if url.password().is_some() {
        section.problem("url", "must not hold the password, which logs would show: set password_file");
    }
    let user = percent_decode_str(url.username()).decode_utf8().ok();
    if user.as_deref().is_none_or(|user| !is_inert(user)) {
        section.problem("url", "must name a user of one line");
    }
    user.map(std::borrow::Cow::into_owned).filter(|user| !user.is_empty())
}

/// `Name <name@example.com>` or the address alone.
fn read_sender(text: &str) -> Option<(Option<String>, Email)> {
    let (name, address) = match text.strip_suffix('>') {
        Some(text) => text.rsplit_once('<')?,
        None => ("", text),
    };
    let name = name.trim().trim_matches('"');
    let plain =
        is_inert(name) && !name.contains(['<', '>', '"', '@']) && name.chars().count() <= MAX_SENDER_CHARS;
    let address = Email::parse(address).ok().filter(|_| plain)?;
    Some(((!name.is_empty()).then(|| name.to_owned()), address))
}
