//! What each client sends, byte for byte, and what it does with an answer, as its source says.

use reqwest::header::{CONTENT_TYPE, ORIGIN};
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};

use crate::harness::TestApp;
use crate::harness::app::{APP, Answer};

/// Where in the journey a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Phone,
    Code,
    Logout,
}

/// What a person sees of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    AsksForTheCode,
    /// In, with this token.
    Enters(String),
    IsOut,
    SaysNo,
    /// No message, or one about the network.
    SaysNothing,
    HangsInItsDialog,
    Crashes(Crash),
}

/// Why an app ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    NoObject,
    NoOp,
    NoResult,
    /// Android before 2021.
    NoError,
    NotAString,
    AuthFail,
    /// Android's menu item "Invite".
    NoShare,
}

/// A client of the API.
pub struct Client {
    pub name: &'static str,
    /// None: left out.
    content_type: Option<&'static str>,
    /// Browsers say where a page came from.
    origin: Option<&'static str>,
    /// Keys in their order; `otp` and `device` only with a code unless the client sends them always.
    keys: &'static [&'static str],
    /// A number, or a text.
    dt: Dt,
    /// Sent in step 1.
    blank_otp: bool,
    /// One number as its users type it, in step 1 and in step 2.
    pub spellings: [&'static str; 2],
    /// That number.
    pub number: &'static str,
    logs_out: bool,
    pub rule: fn(&str, Step) -> Seen,
}

#[derive(Clone, Copy)]
enum Dt {
    Text,
    Number,
}

pub const OBJECTIVE_C_CRASHES_ON_TRUE: [&str; 2] = ["ios", "conf iOS"];

const JSON: Option<&str> = Some("application/json");
/// The default of `MesiboHttp`.
const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

pub const PUBLISHED: &[Client] = &[
    Client {
        name: "android",
        content_type: JSON,
        origin: None,
        keys: &["op", "appid", "phone", "dt", "otp", "device"],
        dt: Dt::Text,
        blank_otp: false,
        spellings: ["1(800) 555-1234", "18005551234"],
        number: "+18005551234",
        logs_out: true,
        rule: android,
    },
    Client {
        name: "kotlin",
        content_type: JSON,
        origin: None,
        keys: &["op", "appid", "phone", "dt", "otp"],
        dt: Dt::Text,
        blank_otp: false,
        spellings: ["4407911 123456", "447911 123456"],
        number: "+447911123456",
        logs_out: true,
        rule: android,
    },
    Client {
        name: "ios",
        content_type: JSON,
        origin: None,
        keys: &["op", "appid", "phone", "dt", "otp", "device"],
        dt: Dt::Text,
        blank_otp: false,
        spellings: ["49 0151 12345678", "4915112345678"],
        number: "+4915112345678",
        logs_out: true,
        rule: ios,
    },
    Client {
        name: "swift",
        content_type: FORM,
        origin: None,
        keys: &["op", "phone", "appid", "dt", "otp"],
        dt: Dt::Text,
        blank_otp: false,
        spellings: ["390612345678", "39 06 1234 5678"],
        number: "+390612345678",
        logs_out: true,
        rule: swift,
    },
    Client {
        name: "web",
        // The SDK that chooses is closed: this is what a page may send without asking first.
        content_type: Some("text/plain;charset=UTF-8"),
        origin: Some("https://messenger.example"),
        keys: &["op", "appid", "phone", "otp"],
        dt: Dt::Text,
        blank_otp: false,
        spellings: ["1 888 555 1111", "18885551111"],
        number: "+18885551111",
        logs_out: false,
        rule: web,
    },
    Client {
        name: "conf Android",
        content_type: JSON,
        origin: None,
        keys: &["op", "appid", "name", "phone", "dt", "otp"],
        dt: Dt::Text,
        blank_otp: false,
        spellings: [" +1-888-555-1112", "0018885551112"],
        number: "+18885551112",
        logs_out: false,
        rule: conf_android,
    },
    Client {
        name: "conf iOS",
        content_type: JSON,
        origin: None,
        keys: &["op", "name", "phone", "otp", "appid", "dt"],
        dt: Dt::Text,
        blank_otp: true,
        spellings: ["+1 888 555 1113", "+18885551113"],
        number: "+18885551113",
        logs_out: true,
        rule: conf_ios,
    },
    Client {
        name: "conf web",
        content_type: None,
        origin: Some("https://conf.example"),
        keys: &["op", "appid", "name", "phone", "dt", "otp"],
        dt: Dt::Number,
        blank_otp: false,
        spellings: ["1.888.555.1114", "18885551114"],
        number: "+18885551114",
        logs_out: false,
        rule: conf_web,
    },
];

impl Client {
    /// Step 1, or step 2 with a code.
    pub fn login(&self, app: &TestApp, phone: &str, otp: Option<&str>) -> RequestBuilder {
        let mut body = Map::new();
        for key in self.keys {
            let value = match *key {
                "op" => json!("login"),
                "appid" => json!(APP),
                "phone" => json!(phone),
                "name" => json!("Ann \"A\" Lee"),
                "dt" => self.dt(),
                "otp" => match otp {
                    Some(otp) => json!(otp),
                    None if self.blank_otp => json!(""),
                    None => continue,
                },
                "device" if otp.is_some() => json!("7c9e6679-7425-40de-944b-e07fc1f90ae7"),
                "device" => continue,
                key => panic!("{key} is no key of theirs"),
            };
            body.insert((*key).to_owned(), value);
        }
        self.request(app, &Value::Object(body))
    }

    /// Where the client has it.
    pub fn logout(&self, app: &TestApp, token: &str) -> Option<RequestBuilder> {
        let body = json!({"op": "logout", "token": token, "dt": self.dt()});
        self.logs_out.then(|| self.request(app, &body))
    }

    /// What its user sees.
    pub fn sees(&self, answer: &Answer, step: Step) -> Seen {
        assert_eq!(answer.status, 200, "{answer:?}");
        (self.rule)(&answer.text, step)
    }

    fn dt(&self) -> Value {
        match self.dt {
            Dt::Text => json!("1"),
            Dt::Number => json!(5),
        }
    }

    fn request(&self, app: &TestApp, body: &Value) -> RequestBuilder {
        let mut request = app.request(Method::POST, "/").body(body.to_string());
        if let Some(content_type) = self.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some(origin) = self.origin {
            request = request.header(ORIGIN, origin);
        }
        request
    }
}

fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str::<Value>(text).ok()?.as_object().cloned()
}

/// Gson fills a text field from a text, number or boolean, and lets null be absent. Anything else discards the whole.
fn gson_text(body: &Map<String, Value>, key: &str) -> Result<Option<String>, ()> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(scalar @ (Value::Bool(_) | Value::Number(_))) => Ok(Some(scalar.to_string())),
        Some(Value::Array(_) | Value::Object(_)) => Err(()),
    }
}

/// The class `Response` of Android: the texts that are used, if all of it has the types that the class declares.
struct Gson {
    op: Option<String>,
    result: Option<String>,
    error: Option<String>,
    errmsg: Option<String>,
    token: Option<String>,
    phone: Option<String>,
    share: bool,
}

fn gson(text: &str) -> Result<Gson, ()> {
    let body = object(text).ok_or(())?;
    for key in ["errtitle", "title", "message", "cc", "name", "status", "photo", "tn", "members"] {
        gson_text(&body, key)?;
    }
    for key in ["ts", "delay", "gid", "type", "profile"] {
        if body.get(key).is_some_and(|value| !value.is_i64() && !value.is_null()) {
            return Err(());
        }
    }
    for (key, inner) in [("urls", ["upload", "download", "upload"]), ("share", ["text", "subject", "title"])]
    {
        if let Some(value) = body.get(key) {
            let value = value.as_object().ok_or(())?;
            for key in inner {
                gson_text(value, key)?;
            }
        }
    }
    if body.get("contacts").is_some_and(|value| !value.is_array()) {
        return Err(());
    }
    let text = |key| gson_text(&body, key);
    Ok(Gson {
        op: text("op")?,
        result: text("result")?,
        error: text("error")?,
        errmsg: text("errmsg")?,
        token: text("token")?,
        phone: text("phone")?,
        share: body.get("share").is_some_and(|share| share["subject"].is_string()),
    })
}

/// `SampleAPI.java`, `MesiboListeners.java`; Kotlin's repository has the same.
fn android(text: &str, step: Step) -> Seen {
    let Ok(body) = gson(text) else { return Seen::SaysNothing };
    let Some(result) = body.result else { return Seen::Crashes(Crash::NoResult) };
    let stored = result.eq_ignore_ascii_case("OK");
    if !stored && result == "FAIL" && body.error.is_none() {
        return Seen::Crashes(Crash::NoError);
    }
    if !stored && body.error.as_deref() == Some("AUTHFAIL") && step != Step::Logout {
        return Seen::Crashes(Crash::AuthFail);
    }
    let Some(op) = body.op else { return Seen::Crashes(Crash::NoOp) };
    match step {
        Step::Logout if op == "logout" && stored => Seen::IsOut,
        Step::Phone | Step::Code if op != "login" => Seen::SaysNothing,
        Step::Code if body.errmsg.is_some() => Seen::HangsInItsDialog,
        Step::Phone | Step::Code | Step::Logout if result != "OK" => Seen::SaysNo,
        Step::Phone => Seen::AsksForTheCode,
        Step::Code => match body.token.filter(|token| !token.is_empty()) {
            Some(_) if !body.share => Seen::Crashes(Crash::NoShare),
            Some(token) if body.phone.is_some() => Seen::Enters(token),
            Some(_) | None => Seen::SaysNothing,
        },
        Step::Logout => Seen::SaysNothing,
    }
}

/// The conference app's own class has no `share`; it takes any case of `OK`.
fn conf_android(text: &str, step: Step) -> Seen {
    let Ok(body) = gson(text) else { return Seen::Crashes(Crash::NoObject) };
    let Some(result) = body.result else { return Seen::Crashes(Crash::NoResult) };
    let Some(op) = body.op else { return Seen::Crashes(Crash::NoOp) };
    if op != "login" {
        return Seen::SaysNothing;
    }
    if !result.eq_ignore_ascii_case("OK") {
        return Seen::SaysNo;
    }
    match (step, body.token) {
        (Step::Phone, None) => Seen::AsksForTheCode,
        (_, Some(token)) if !token.is_empty() => Seen::Enters(token),
        _ => Seen::SaysNothing,
    }
}

/// A message to an object that is no `NSString`, or to no object.
fn objective_c_equals(value: Option<&Value>, text: &str) -> Result<bool, Crash> {
    match value {
        None | Some(Value::Null) => Ok(false),
        Some(Value::String(value)) => Ok(value == text),
        Some(_) => Err(Crash::NotAString),
    }
}

/// `SampleAPI.m`, `AppDelegate.m`.
fn ios(text: &str, step: Step) -> Seen {
    let Some(body) = object(text) else { return Seen::SaysNothing };
    if step == Step::Logout {
        // "even if token value is wrong, logout will happen"
        return Seen::IsOut;
    }
    let ok = match objective_c_equals(body.get("result"), "OK") {
        Ok(ok) => ok,
        Err(crash) => return Seen::Crashes(crash),
    };
    if !ok && body.get("error").is_some_and(|error| error == "AUTHFAIL") {
        return Seen::HangsInItsDialog;
    }
    let is_text_or_absent = |key: &str| body.get(key).is_none_or(Value::is_string);
    let is_object_or_absent = |key: &str| body.get(key).is_none_or(Value::is_object);
    let texts = ["invite", "phone", "token", "errmsg", "errtitle"];
    if !texts.iter().all(|key| is_text_or_absent(key))
        || !["urls", "notice"].iter().all(|key| is_object_or_absent(key))
    {
        return Seen::Crashes(Crash::NotAString);
    }
    if body.get("op").is_none_or(|op| op != "login") {
        return Seen::SaysNothing;
    }
    enter(ok, step, body.get("token"), 1)
}

/// `SampleAPI.swift`, `AppDelegate.swift`.
fn swift(text: &str, step: Step) -> Seen {
    let Some(body) = object(text) else { return Seen::Crashes(Crash::NoObject) };
    let ok = body.get("result").is_some_and(|result| result == "OK");
    if step == Step::Logout {
        return if ok { Seen::IsOut } else { Seen::SaysNothing };
    }
    if body.get("error").is_some_and(|error| error == "AUTHFAIL") {
        return Seen::Crashes(Crash::AuthFail);
    }
    if body.get("op").is_none_or(|op| op != "login") {
        return Seen::SaysNothing;
    }
    enter(ok, step, body.get("token"), 1)
}

/// `login/login.js`: a token of 16 characters or fewer is ignored without a word.
fn web(text: &str, step: Step) -> Seen {
    let Some(body) = object(text) else { return Seen::SaysNothing };
    enter(body.get("result").is_some_and(|result| result == "OK"), step, body.get("token"), 17)
}

/// The same, and `message` goes into the page as HTML.
fn conf_web(text: &str, step: Step) -> Seen {
    let message = object(text).and_then(|body| body.get("message").cloned());
    assert!(
        message.is_none_or(|message| !message.to_string().contains("Ann")),
        "what a person typed, as HTML"
    );
    web(text, step)
}

/// `MessengerDemoAPI.m`, `LoginViewController.m`: any token at all enters the room.
fn conf_ios(text: &str, step: Step) -> Seen {
    let Some(body) = object(text) else { return Seen::SaysNo };
    if step == Step::Logout {
        return Seen::IsOut;
    }
    match objective_c_equals(body.get("result"), "OK") {
        Err(crash) => Seen::Crashes(crash),
        Ok(false) => Seen::SaysNo,
        Ok(true) => match body.get("token") {
            Some(Value::String(token)) => Seen::Enters(token.clone()),
            Some(_) => Seen::Crashes(Crash::NotAString),
            None if step == Step::Phone => Seen::AsksForTheCode,
            None => Seen::SaysNothing,
        },
    }
}

fn enter(ok: bool, step: Step, token: Option<&Value>, least: usize) -> Seen {
    let token = token.and_then(Value::as_str).filter(|token| token.len() >= least);
    match (ok, step, token) {
        (false, ..) => Seen::SaysNo,
        (true, _, Some(token)) => Seen::Enters(token.to_owned()),
        (true, Step::Phone, None) => Seen::AsksForTheCode,
        (true, Step::Code | Step::Logout, None) => Seen::SaysNothing,
    }
}
