//! Reading what a gateway reports of messages: `[dlr]`.
//!
//! Guarantees: nothing is read that the gateway did not prove to be its own, where it can. A status that the recipe
//! does not map says nothing. Whatever comes in, reading it fails in no other way than these.

pub(super) mod example;
pub(super) mod file;
mod jwt;
mod signature;
mod sns;
mod verify;
mod vonage;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

pub(crate) use self::sns::{Certificate, subscription};
use self::verify::{Proof, Verify};
use super::answer::Outcome;
use crate::config::{Declared, SettingValue};
use crate::delivery::receipts::{CallIn, Method, Notice, Reply};
use crate::domain::ids::MessageId;
use crate::domain::time::Timestamp;
use crate::outbound::pointer::Pointer;
use crate::outbound::template::LoadError;

/// Notices of one call that are read: what is within a call's size, and one write.
const MAX_NOTICES: usize = 500;
/// A gateway's id that is longer is none.
const MAX_ID_CHARS: usize = 128;
/// What is echoed in a handshake is a short word.
const MAX_ECHO_CHARS: usize = 256;

/// What a gateway says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// It is on its way.
    Accepted,
    /// It arrived.
    Delivered,
    /// It will not arrive.
    Failed,
}

impl Said {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// Settings by name.
pub(crate) type Settings = BTreeMap<String, SettingValue>;

/// `[dlr]`, compiled.
pub(crate) struct Dlr {
    methods: Vec<Method>,
    format: file::Format,
    each: Option<Pointer>,
    id: Option<Pointer>,
    reference: Option<Pointer>,
    status: Vec<Pointer>,
    error: Vec<Pointer>,
    map: BTreeMap<String, Said>,
    errors: BTreeMap<String, Outcome>,
    ack: Reply,
    handshake: Handshake,
    verify: Verify,
}

enum Handshake {
    None,
    /// WhatsApp: a GET whose `hub.challenge` is echoed to whoever knows the word.
    Hub {
        word: String,
    },
    /// Azure Event Grid: an event whose `validationCode` is echoed.
    EventGrid,
}

/// What a call is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Reports, with what is not known of them counted.
    Notices { notices: Vec<Notice>, unknown: usize },
    /// The gateway looks whether we are here.
    Handshake(Reply),
}

/// Whoever calls did not prove to be the gateway.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotProved;

impl Dlr {
    pub(super) fn compile(
        dlr: &file::Dlr,
        declared: &BTreeMap<String, Declared>,
        in_request: bool,
    ) -> Result<Self, LoadError> {
        let fault = |key: &str, fix: &str| LoadError::new(&format!("dlr.{key}"), fix);
        let pointer = |key: &str, text: &str| {
            Pointer::parse(text).ok_or_else(|| fault(key, "must be a JSON pointer such as /status"))
        };
        let optional =
            |key: &str, text: &Option<String>| text.as_ref().map(|text| pointer(key, text)).transpose();
        let places = |key: &str, places: &file::Places| -> Result<Vec<Pointer>, LoadError> {
            places.as_slice().iter().map(|text| pointer(key, text)).collect()
        };
        let (id, reference) = (optional("id", &dlr.id)?, optional("ref", &dlr.reference)?);
        let (status, error) = (places("status", &dlr.status)?, places("error", &dlr.error)?);
        if status.is_empty() {
            return Err(fault("status", "say where the status is"));
        }
        if !in_request && id.is_none() && reference.is_none() {
            let fix = "nothing says which message is reported: write {{ receipt_url }} into the request, or say where \
                       the gateway's id (id) or ours (ref) is";
            return Err(fault("id", fix));
        }
        for (said, word) in [(Said::Delivered, "delivered"), (Said::Failed, "failed")] {
            if !dlr.map.values().any(|value| *value == said) {
                return Err(fault("map", &format!("no status means {word}: add the gateway's word for it")));
            }
        }
        if dlr.methods.is_empty() {
            return Err(fault("methods", "must hold GET, POST or both"));
        }
        if !(200..300).contains(&dlr.ack.status) {
            return Err(fault("ack.status", "what is taken is answered with a success: write 200 or 204"));
        }
        if dlr.errors.values().any(|outcome| *outcome == Outcome::Accepted) {
            return Err(fault("errors", "an error is no success: map it to another outcome"));
        }
        if error.is_empty() && !dlr.errors.is_empty() {
            return Err(fault("error", "say where the code is that errors maps"));
        }
        let verify = Verify::compile(&dlr.verify)?;
        let handshake = match &dlr.handshake {
            file::Handshake::None => Handshake::None,
            file::Handshake::Hub { word } => Handshake::Hub { word: word.clone() },
            file::Handshake::EventGrid => Handshake::EventGrid,
        };
        let compiled = Self {
            methods: dlr.methods.clone(),
            format: dlr.format,
            each: optional("each", &dlr.each)?,
            id,
            reference,
            status,
            error,
            map: dlr.map.clone(),
            errors: dlr.errors.clone(),
            ack: dlr.ack.reply(),
            handshake,
            verify,
        };
        if let Some(unknown) = compiled.settings().into_iter().find(|name| !declared.contains_key(*name)) {
            let fix = format!("there is no setting {unknown:?}: declare it under [settings]");
            return Err(fault("verify", &fix));
        }
        Ok(compiled)
    }

    /// The settings that it reads.
    pub(super) fn settings(&self) -> Vec<&str> {
        let mut names = self.verify.settings();
        if let Handshake::Hub { word } = &self.handshake {
            names.push(word);
        }
        names
    }

    /// Whether, with these settings, any call can prove to be the gateway's.
    pub(crate) fn can_be_proved(&self, settings: &Settings) -> bool {
        self.verify.can_succeed(settings)
    }

    /// Whether it is called like this.
    pub(crate) fn takes(&self, method: Method) -> bool {
        let greets = matches!(self.handshake, Handshake::Hub { .. }) && method == Method::Get;
        greets || self.methods.contains(&method)
    }

    /// What to answer when all is taken.
    pub(crate) fn ack(&self) -> &Reply {
        &self.ack
    }

    /// Where the certificate is that the caller says it signed with, where this gateway has one.
    pub(crate) fn certificate_url(&self, call: &CallIn) -> Option<String> {
        matches!(self.verify, Verify::AwsSns { .. }).then(|| sns::certificate_url(&call.body)).flatten()
    }

    /// What a call says.
    pub(crate) fn read(
        &self,
        settings: &Settings,
        call: &CallIn,
        certificate: Option<&Certificate>,
        now: Timestamp,
    ) -> Result<Read, NotProved> {
        if let Handshake::Hub { word } = &self.handshake
            && call.method == Method::Get
        {
            return hub(call, reveal(settings, word)).map(Read::Handshake).ok_or(NotProved);
        }
        let document = match self.verify.check(settings, call, certificate, now)? {
            Proof::OfCall => self.document(call),
            Proof::Holding(document) => document,
        };
        if let Handshake::EventGrid = self.handshake
            && let Some(reply) = event_grid(&document)
        {
            return Ok(Read::Handshake(reply));
        }
        Ok(self.notices(&document))
    }

    /// What the pointers point into.
    fn document(&self, call: &CallIn) -> Vec<u8> {
        match self.format.of(call) {
            file::Format::Form => object(&call.body),
            file::Format::Query => object(call.query.as_bytes()),
            file::Format::Json | file::Format::Auto => call.body.clone(),
        }
    }

    fn notices(&self, document: &[u8]) -> Read {
        let parts = match &self.each {
            None => vec![document],
            Some(each) => each.select(document),
        };
        let (mut notices, mut unknown) = (Vec::new(), 0);
        for part in parts.into_iter().take(MAX_NOTICES) {
            match self.notice(part) {
                Some(notice) => notices.push(notice),
                None => unknown += 1,
            }
        }
        Read::Notices { notices, unknown }
    }

    fn notice(&self, part: &[u8]) -> Option<Notice> {
        let optional = |pointer: &Option<Pointer>| pointer.as_ref().and_then(|pointer| word(pointer, part));
        let said = first_known(&self.status, part, &self.map)?;
        let plain = |id: &String| {
            !id.is_empty() && id.chars().count() <= MAX_ID_CHARS && !id.chars().any(char::is_control)
        };
        let error = first_known(&self.error, part, &self.errors);
        Some(Notice {
            id: optional(&self.id).filter(plain),
            reference: optional(&self.reference).and_then(|text| MessageId::parse(&text)),
            said,
            error: error.filter(|_| said == Said::Failed),
        })
    }
}

/// The word that a pointer leads to.
fn word(pointer: &Pointer, part: &[u8]) -> Option<String> {
    pointer.find(part).into_iter().next().flatten()
}

/// What the first word means that means anything.
fn first_known<T: Copy>(places: &[Pointer], part: &[u8], meanings: &BTreeMap<String, T>) -> Option<T> {
    places.iter().find_map(|place| meanings.get(&word(place, part)?).copied())
}

/// A form or a query as JSON: one text for each name, the first one.
fn object(pairs: &[u8]) -> Vec<u8> {
    let mut object = Map::new();
    for (name, value) in url::form_urlencoded::parse(pairs) {
        object.entry(name).or_insert_with(|| Value::String(value.into_owned()));
    }
    Value::Object(object).to_string().into_bytes()
}

fn reveal<'a>(settings: &'a Settings, name: &str) -> &'a str {
    settings.get(name).map_or("", SettingValue::reveal)
}

/// <https://developers.facebook.com/docs/graph-api/webhooks/getting-started>: the verification request.
fn hub(call: &CallIn, word: &str) -> Option<Reply> {
    let get = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(call.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let known = !word.is_empty() && bool::from(get("hub.verify_token")?.as_bytes().ct_eq(word.as_bytes()));
    let challenge = get("hub.challenge").filter(|text| text.len() <= MAX_ECHO_CHARS)?;
    let plain = challenge.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    (known && plain && get("hub.mode")? == "subscribe").then(|| Reply {
        status: 200,
        content_type: "text/plain".to_owned(),
        body: challenge,
    })
}

/// <https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema>.
fn event_grid(document: &[u8]) -> Option<Reply> {
    let one = |pointer: &str| Pointer::parse(pointer)?.find(document).into_iter().next().flatten();
    if one("/0/eventType")? != "Microsoft.EventGrid.SubscriptionValidationEvent" {
        return None;
    }
    let code = one("/0/data/validationCode").filter(|code| code.len() <= MAX_ECHO_CHARS)?;
    let body = serde_json::json!({ "validationResponse": code }).to_string();
    Some(Reply { status: 200, content_type: "application/json".to_owned(), body })
}

#[cfg(test)]
mod tests;
