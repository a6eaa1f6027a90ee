//! A recipe as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::answer::Outcome;
use crate::config::Charset;
use crate::outbound::body::{Format, Overlay};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) schema: u32,
    // The head is `config`'s; here they are known, no more.
    #[serde(rename = "id")]
    _id: String,
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "channel")]
    _channel: String,
    #[serde(default, rename = "docs")]
    _docs: String,
    #[serde(default, rename = "verified")]
    _verified: String,
    #[serde(default, rename = "settings")]
    _settings: toml::Table,
    #[serde(default, rename = "vars")]
    _vars: toml::Table,
    #[serde(default)]
    pub(super) limits: Limits,
    pub(super) send: Send,
    pub(super) response: Response,
    pub(super) feedback: Option<Feedback>,
    pub(super) dlr: Option<super::dlr::file::Dlr>,
    #[serde(default)]
    pub(super) example: Vec<Example>,
    #[serde(default)]
    pub(super) receipt: Vec<super::dlr::file::Example>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) timeout_ms: u64,
    pub(super) connect_ms: u64,
    pub(super) max_response: usize,
    #[serde(rename = "countries")]
    _countries: Vec<String>,
    #[serde(rename = "per_second")]
    _per_second: u32,
    #[serde(rename = "charset")]
    _charset: Charset,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout_ms: 8000,
            connect_ms: 3000,
            max_response: 65536,
            _countries: Vec::new(),
            _per_second: 0,
            _charset: Charset::default(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Send {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) format: Format,
    #[serde(default)]
    pub(super) auth: Auth,
    #[serde(default)]
    pub(super) secret_in_url: bool,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) body: Map<String, Value>,
    #[serde(default)]
    pub(super) overlay: Vec<Overlay>,
}

/// What tells the gateway that a code came back. It is sent as we are known by `send.auth`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Feedback {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) format: Format,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) body: Map<String, Value>,
    pub(super) example: FeedbackExample,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedbackExample {
    #[serde(default)]
    pub(super) given: Given,
    pub(super) request: ExpectedRequest,
}

#[derive(Default, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Auth {
    #[default]
    None,
    Basic {
        user: String,
        pass: String,
    },
    Bearer {
        token: String,
    },
    Header {
        name: String,
        value: String,
    },
    Query {
        name: String,
        value: String,
    },
    StandardWebhooks {
        secret: String,
    },
    Oauth2Cc(Oauth2Cc),
    AwsSigv4 {
        service: String,
        region: String,
        id: String,
        secret: String,
        #[serde(default)]
        session_token: String,
    },
    TencentTc3 {
        service: String,
        id: String,
        secret: String,
    },
    AliyunAcs3 {
        id: String,
        secret: String,
    },
    AzureHmac {
        key: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Oauth2Cc {
    pub(super) token_url: String,
    pub(super) id: String,
    pub(super) secret: String,
    #[serde(default)]
    pub(super) scope: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Response {
    #[serde(default)]
    pub(super) allow_status_only: bool,
    pub(super) rules: Vec<Rule>,
    #[serde(default)]
    pub(super) error: ErrorParts,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ErrorParts {
    pub(super) code: Option<String>,
    pub(super) text: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) status: Option<String>,
    pub(super) at: Option<String>,
    pub(super) r#in: Option<Vec<Value>>,
    pub(super) not_in: Option<Vec<Value>>,
    pub(super) re: Option<String>,
    pub(super) exists: Option<bool>,
    pub(super) outcome: Outcome,
    pub(super) id: Option<String>,
    pub(super) retry_after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Example {
    pub(super) name: String,
    #[serde(default)]
    pub(super) given: Given,
    pub(super) request: Option<ExpectedRequest>,
    pub(super) response: GivenResponse,
    pub(super) outcome: Outcome,
    pub(super) id: Option<String>,
    pub(super) retry_after: Option<u64>,
}

/// The message of an example. What is left out is the same in all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Given {
    pub(super) to: String,
    pub(super) id: String,
    pub(super) text: String,
    pub(super) subject: String,
    pub(super) code: String,
    /// Of the gateway, for feedback.
    pub(super) provider_id: String,
    /// That was granted to us, where `auth` asks for one.
    pub(super) token: String,
    pub(super) ttl_s: u64,
    pub(super) purpose: String,
    pub(super) locale: String,
    pub(super) app: String,
    /// Unix seconds.
    pub(super) now: i64,
    pub(super) cfg: BTreeMap<String, String>,
    pub(super) vars: BTreeMap<String, String>,
    /// Empty: none is asked for.
    pub(super) receipt_url: String,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            to: "+14155552671".to_owned(),
            id: "msg_0123456789abcdefghijkl".to_owned(),
            text: "Your code is 123456".to_owned(),
            subject: "Messenger".to_owned(),
            code: "123456".to_owned(),
            provider_id: "provider-id".to_owned(),
            token: "token".to_owned(),
            ttl_s: 300,
            purpose: "login".to_owned(),
            locale: "en".to_owned(),
            app: "Messenger".to_owned(),
            now: 1_767_225_600,
            cfg: BTreeMap::new(),
            vars: BTreeMap::new(),
            receipt_url: String::new(),
        }
    }
}

/// What must leave; what is not named is not looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedRequest {
    pub(super) method: Option<String>,
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenResponse {
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) json: Option<Value>,
    pub(super) text: Option<String>,
}
