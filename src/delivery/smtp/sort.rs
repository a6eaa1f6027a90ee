//! What a mail server's refusal means.

use std::error::Error as StdError;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::response::Severity;

use super::super::SendError;

/// How far the dialogue had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Connecting: TCP, TLS, greeting.
    Connection,
    /// The login.
    Login,
    /// `MAIL FROM`.
    Sender,
    /// `RCPT TO`.
    Recipient,
    /// `DATA`.
    Data,
    /// The mail itself: from here on it may be on its way.
    Content,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Connection => "connecting",
            Self::Login => "the login",
            Self::Sender => "MAIL",
            Self::Recipient => "RCPT",
            Self::Data => "DATA",
            Self::Content => "the mail",
        }
    }
}

/// "Authentication required" and its kin (RFC 4954 §6), whenever a server thinks of it.
const LOGIN_CODES: [u16; 4] = [530, 534, 535, 538];

/// Sorts a failure by what to do next. The server's own words are left out: they may quote the address.
pub(super) fn sort(error: &Error, step: Step) -> SendError {
    let Some(status) = error.status() else {
        let text = |what: &str| format!("{what} at {}", step.name());
        return match step {
            Step::Content => SendError::Unknown(text("the connection ended")),
            // Without a status, lettre found no way to log in that both sides know.
            Step::Login if error.is_client() => SendError::Auth(text("no common mechanism")),
            Step::Connection if error.is_response() => {
                SendError::Temporary("what is there hangs up, or speaks no SMTP".to_owned())
            }
            Step::Connection => SendError::Temporary(no_connection(error)),
            Step::Login | Step::Sender | Step::Recipient | Step::Data => {
                SendError::Temporary(text("the connection failed"))
            }
        };
    };
    let words = error.source().map(ToString::to_string).unwrap_or_default();
    let reason = Reason::find(&words);
    let number = u16::from(status);
    let shown = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let text = format!("{number}{shown} at {}", step.name());
    if status.severity != Severity::PermanentNegativeCompletion {
        return SendError::Temporary(text);
    }
    // Subjects of RFC 3463: 1 and 2 are about addresses and mailboxes, 7 about policy. 1.7 and 1.8 are our sender's.
    let about_recipient =
        matches!(reason, Some(Reason { subject: 1, detail: 0..=6 | 9.. } | Reason { subject: 2, .. }));
    let about_us = matches!(reason, Some(Reason { subject: 7, .. } | Reason { subject: 1, detail: 7 | 8 }));
    match step {
        _ if LOGIN_CODES.contains(&number) => SendError::Auth(text),
        Step::Login => SendError::Auth(text),
        Step::Recipient if !about_us => SendError::BadNumber(text),
        Step::Data | Step::Content if about_recipient => SendError::BadNumber(text),
        Step::Connection => SendError::Temporary(text),
        Step::Sender | Step::Recipient | Step::Data | Step::Content => SendError::Rejected(text),
    }
}

/// What is said where there is no connection, and what mends it.
const CONNECTION_FIXES: [(&str, &str); 5] = [
    ("expired", "its certificate is over: renew it there"),
    ("not valid yet", "its certificate is of the future: look at the clocks"),
    (
        "certificate",
        "write the host as its certificate names it, or name the certificate's issuer in ca_file",
    ),
    ("InvalidContentType", "it speaks no TLS from the first byte there: write smtp://, for STARTTLS"),
    (
        "STARTTLS",
        "write smtps:// if it speaks TLS from the first byte, or allow_plain = true in your own network",
    ),
];

/// Why there is no connection. No mail was begun, so that these words tell of nobody.
pub(super) fn no_connection(error: &dyn StdError) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    // What follows may be the names in its certificate.
    let cause = cause.to_string();
    let cause = cause.split(';').next().unwrap_or_default();
    let fix = CONNECTION_FIXES.iter().find(|(words, _)| cause.contains(words));
    let fix = fix.map(|(_, fix)| format!("; fix: {fix}")).unwrap_or_default();
    format!("no connection to the mail server: {cause}{fix}")
}

/// The enhanced status code of a reply (RFC 3463), less its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reason {
    subject: u16,
    detail: u16,
}

impl Reason {
    fn find(words: &str) -> Option<Self> {
        let mut parts = words.split_whitespace().next()?.split('.');
        let mut number = || parts.next().filter(|part| part.len() <= 3)?.parse().ok();
        let (_class, subject, detail): (u16, u16, u16) = (number()?, number()?, number()?);
        Some(Self { subject, detail })
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "x.{}.{}", self.subject, self.detail)
    }
}
