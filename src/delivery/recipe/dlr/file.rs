//! `[dlr]` as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Said;
use crate::delivery::receipts::{CallIn, Method, Reply};
use crate::delivery::recipe::answer::Outcome;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::delivery::recipe) struct Dlr {
    #[serde(default = "post")]
    pub(super) methods: Vec<Method>,
    pub(super) format: Format,
    pub(super) each: Option<String>,
    pub(super) id: Option<String>,
    #[serde(rename = "ref")]
    pub(super) reference: Option<String>,
    pub(super) status: Places,
    #[serde(default)]
    pub(super) error: Places,
    pub(super) map: BTreeMap<String, Said>,
    #[serde(default)]
    pub(super) errors: BTreeMap<String, Outcome>,
    #[serde(default)]
    pub(super) ack: Ack,
    #[serde(default)]
    pub(super) handshake: Handshake,
    pub(super) verify: Verify,
}

fn post() -> Vec<Method> {
    vec![Method::Post]
}

/// One pointer, or several of which the first counts that leads to a word we know.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Places {
    One(String),
    Several(Vec<String>),
}

impl Default for Places {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Places {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(place) => std::slice::from_ref(place),
            Self::Several(places) => places,
        }
    }
}

/// Where the values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    Json,
    Form,
    Query,
    /// A setting of the gateway decides: the query of a GET, otherwise JSON or a form, as the body says.
    Auto,
}

impl Format {
    pub(super) fn of(self, call: &CallIn) -> Self {
        match self {
            Self::Json | Self::Form | Self::Query => self,
            Self::Auto if call.method == Method::Get => Self::Query,
            Self::Auto if call.body.trim_ascii_start().starts_with(b"{") => Self::Json,
            Self::Auto => Self::Form,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ack {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) content_type: String,
}

impl Default for Ack {
    fn default() -> Self {
        Self { status: 200, body: String::new(), content_type: "text/plain".to_owned() }
    }
}

impl Ack {
    pub(super) fn reply(&self) -> Reply {
        let Self { status, body, content_type } = self;
        Reply { status: *status, body: body.clone(), content_type: content_type.clone() }
    }
}

#[derive(Default, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Handshake {
    #[default]
    None,
    Hub {
        word: String,
    },
    EventGrid,
}

/// How a call proves to be the gateway's. Secrets are named, by their settings.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Verify {
    /// By its path alone.
    Path,
    Basic {
        user: String,
        secret: String,
    },
    Header {
        name: String,
        secret: String,
    },
    Query {
        name: String,
        secret: String,
    },
    Hmac {
        alg: Alg,
        secret: String,
        #[serde(default)]
        key: KeyForm,
        signature: Signature,
    },
    Ed25519 {
        public_key: String,
        signature: Signature,
    },
    Jwt {
        secret: String,
        header: String,
        issuer: Option<String>,
        url_hash: Option<String>,
        payload_hash: Option<String>,
        #[serde(default)]
        claims_are_payload: bool,
    },
    VonageSms {
        secret: String,
        alg: Alg,
    },
    AwsSns {
        topic: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Alg {
    Sha1,
    Sha256,
    Sha512,
}

/// How a secret becomes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeyForm {
    #[default]
    Text,
    Base64,
    /// Its SHA-256.
    Sha256,
    /// `whsec_` and base64.
    Whsec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signature {
    /// Where it is.
    pub(super) header: String,
    pub(super) encoding: Encoding,
    /// What stands before it.
    #[serde(default)]
    pub(super) prefix: String,
    /// What stands between several.
    #[serde(default)]
    pub(super) separator: String,
    /// What it covers.
    pub(super) payload: Vec<String>,
    /// The header that says when it was made.
    pub(super) timestamp: Option<String>,
    /// How old it may be; what is older was seen before.
    #[serde(default = "five_minutes")]
    pub(super) max_age_s: u32,
}

fn five_minutes() -> u32 {
    300
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    Base64,
    Hex,
}

/// `[[receipt]]`: a call, and what it says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::delivery::recipe) struct Example {
    pub(super) name: String,
    #[serde(default = "post_method")]
    pub(super) method: Method,
    #[serde(default)]
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) body: String,
    #[serde(default)]
    pub(super) json: Option<Value>,
    /// Unix seconds.
    #[serde(default)]
    pub(super) now: Option<i64>,
    #[serde(default)]
    pub(super) cfg: BTreeMap<String, String>,
    /// That Amazon would serve, in PEM.
    #[serde(default)]
    pub(super) certificate: Option<String>,
    #[serde(default)]
    pub(super) expect: Vec<Expected>,
    #[serde(default)]
    pub(super) reply: Option<ExpectedReply>,
}

fn post_method() -> Method {
    Method::Post
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    pub(super) id: Option<String>,
    #[serde(rename = "ref")]
    pub(super) reference: Option<String>,
    pub(super) status: Said,
    pub(super) error: Option<Outcome>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedReply {
    pub(super) status: u16,
    #[serde(default)]
    pub(super) body: String,
}
