//! The bodies that our own API takes.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::problem::{Kind, Problem};
use crate::domain::account::Owner;
use crate::domain::address::Address;
use crate::domain::email::Email;
use crate::domain::phone::{Phone, PhoneError};
use crate::domain::session::DeviceLabel;
use crate::session::Scope;

/// Longer names of fields are not repeated in an answer.
const MAX_SHOWN_BYTES: usize = 32;

/// Longer answers of captchas are none.
const MAX_CAPTCHA_CHARS: usize = 4096;

/// A body.
pub(super) trait Input: DeserializeOwned {
    /// The app that it names.
    fn app_id(&self) -> Option<&str> {
        None
    }
}

/// `POST /v1/login`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    pub(super) app_id: String,
    pub(super) phone: Option<String>,
    pub(super) email: Option<String>,
    pub(super) channel: Option<String>,
    pub(super) locale: Option<String>,
    /// What a challenge on the client's page gave. Nothing verifies it here.
    captcha: Option<String>,
}

/// `POST /v1/login/resend`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resend {
    pub(super) challenge: String,
    pub(super) secret: String,
    pub(super) channel: Option<String>,
    pub(super) locale: Option<String>,
}

/// `POST /v1/login/verify`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    pub(super) challenge: String,
    pub(super) secret: String,
    pub(super) code: String,
    pub(super) device: Option<String>,
}

/// `POST /v1/login/complete`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Complete {
    pub(super) grant: String,
    pub(super) device: Option<String>,
    pub(super) account: Option<String>,
}

/// `POST /v1/phone/change`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangePhone {
    pub(super) phone: String,
    pub(super) channel: Option<String>,
    pub(super) locale: Option<String>,
}

/// `POST /v1/email/link`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkEmail {
    pub(super) email: String,
    pub(super) locale: Option<String>,
}

/// `POST /v1/phone/change/verify` and `POST /v1/email/link/verify`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmAddress {
    pub(super) challenge: String,
    pub(super) secret: String,
    pub(super) code: String,
}

/// `POST /v1/session/refresh`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    pub(super) refresh_token: String,
}

/// `POST /v1/logout`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Logout {
    scope: String,
}

impl Input for Login {
    fn app_id(&self) -> Option<&str> {
        Some(&self.app_id)
    }
}
impl Input for Resend {}
impl Input for Verify {}
impl Input for Complete {}
impl Input for ChangePhone {}
impl Input for LinkEmail {}
impl Input for ConfirmAddress {}
impl Input for Refresh {}
impl Input for Logout {}

impl Logout {
    /// What to end.
    pub(super) fn scope(&self) -> Result<Scope, Problem> {
        let scopes = [("local", Scope::Local), ("others", Scope::Others), ("all", Scope::All)];
        let found = scopes.iter().find(|(name, _)| *name == self.scope).map(|(_, scope)| *scope);
        found.ok_or_else(|| Problem::from(Kind::InvalidRequest).detail("scope must be local, others or all"))
    }
}

/// Whose the account is.
pub(super) fn owner(text: Option<&str>) -> Result<Option<Owner>, Problem> {
    let owners = [("keep", Owner::Keep), ("fresh", Owner::Fresh)];
    let parse = |text| owners.iter().find(|(name, _)| *name == text).map(|(_, owner)| *owner);
    let fix = "account must be keep or fresh";
    text.map(|text| parse(text).ok_or_else(|| Problem::from(Kind::InvalidRequest).detail(fix))).transpose()
}

/// What a device calls itself.
pub(super) fn device(text: Option<&str>) -> Result<Option<DeviceLabel>, Problem> {
    let fix = "device must be 1 to 64 characters, none of them a control character";
    let parse =
        |text| DeviceLabel::parse(text).ok_or_else(|| Problem::from(Kind::InvalidRequest).detail(fix));
    text.map(parse).transpose()
}

impl Login {
    /// Nobody's answer is longer.
    pub(super) fn check_captcha(&self) -> Result<(), Problem> {
        let fits = self.captcha.as_ref().is_none_or(|text| text.chars().count() <= MAX_CAPTCHA_CHARS);
        let fix = "captcha must be at most 4096 characters";
        fits.then_some(()).ok_or_else(|| Problem::from(Kind::InvalidRequest).detail(fix))
    }

    /// The one address that it names.
    pub(super) fn address(&self) -> Result<Address, Problem> {
        match (&self.phone, &self.email) {
            (Some(number), None) => phone(number),
            (None, Some(mailbox)) => email(mailbox),
            (Some(_), Some(_)) | (None, None) => {
                Err(Problem::from(Kind::InvalidRequest).detail("send either phone or email"))
            }
        }
    }
}

/// A number as the client sent it.
pub(super) fn phone(text: &str) -> Result<Address, Problem> {
    Ok(Address::Phone(Phone::parse(text).map_err(to_problem)?))
}

/// A mailbox as the client sent it.
pub(super) fn email(text: &str) -> Result<Address, Problem> {
    Ok(Address::Email(Email::parse(text).or(Err(Kind::InvalidEmail))?))
}

fn to_problem(error: PhoneError) -> Problem {
    match error {
        PhoneError::NotCanonical { suggestion } => {
            Problem::from(Kind::PhoneNotCanonical).with("suggestion", suggestion)
        }
        PhoneError::Characters | PhoneError::Impossible => {
            Problem::from(Kind::InvalidPhone).detail(error.to_string())
        }
    }
}

/// Reads a body: one JSON object, its fields and no others, each once.
pub(super) fn parse<I: Input>(body: &[u8]) -> Result<I, Problem> {
    // serde also reads an object's fields from a list, in their order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::from(Kind::InvalidRequest).detail("must be a JSON object, not a list"));
    }
    serde_json::from_slice(body).map_err(|error| Problem::from(Kind::InvalidRequest).detail(explain(&error)))
}

/// serde's own words may quote what was sent: only the kind of error and the name of a field are passed on.
fn explain(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    if !error.is_data() {
        return format!("not JSON at line {line}, column {column}");
    }
    let text = error.to_string();
    let field = text.split('`').nth(1).filter(|name| {
        name.len() <= MAX_SHOWN_BYTES && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    });
    let kinds = [
        ("unknown field", "unknown field"),
        ("missing field", "missing field"),
        ("duplicate field", "repeated field"),
    ];
    let kind = kinds.iter().find(|(start, _)| text.starts_with(start)).map(|(_, kind)| *kind);
    match (kind, field) {
        (Some(kind), Some(field)) => format!("{kind} {field}"),
        (Some(kind), None) => format!("{kind} at line {line}, column {column}"),
        (None, _) => format!("a value of the wrong type at line {line}, column {column}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(body: &str) -> String {
        let error = serde_json::from_str::<Verify>(body).err().expect("wrong");
        explain(&error)
    }

    #[test]
    fn what_is_wrong_is_named_and_nothing_is_quoted_j5() {
        let good = r#""challenge":"ch_1","secret":"s","code":"123456""#;
        assert!(parse::<Verify>(format!("{{{good}}}").as_bytes()).is_ok());
        assert_eq!(wrong(&format!(r#"{{{good},"more":1}}"#)), "unknown field more");
        assert_eq!(wrong(r#"{"challenge":"ch_1","secret":"s"}"#), "missing field code");
        assert_eq!(wrong(&format!(r#"{{{good},"code":"1"}}"#)), "repeated field code");
        for bad in ["null", "true", "0", "123456", "[]", "{}", "1.5"] {
            let body = format!(r#"{{"challenge":"ch_1","secret":"s","code":{bad}}}"#);
            assert!(wrong(&body).starts_with("a value of the wrong type at line 1, column "), "{bad}");
        }
        for list in [r#"["ch_1","s","123456",null]"#, " \r\n\t[]"] {
            assert!(parse::<Verify>(list.as_bytes()).is_err(), "{list}");
        }
        assert!(wrong(&format!("{{{good}}} x")).starts_with("not JSON at line 1"));
        let hostile = format!(r#"{{{good},"<script>{}":1}}"#, "x".repeat(100));
        assert!(wrong(&hostile).starts_with("unknown field at line 1"));
    }
}
