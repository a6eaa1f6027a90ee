//! ChatSDK's `POST /tokens`, of both generations, as its own source answers.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::backend::Vendor;
use super::http::{Asked, Manner};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Up to June 2026: no limits, tokens for a day.
    First,
    /// Since then: limits, tokens for a quarter of an hour, a refresh token.
    Second {
        /// `CHATSDK_ENABLE_LEGACY_TOKENS`, without which it answers 404 in production.
        legacy_tokens: bool,
    },
}

/// One application.
pub struct ChatSdk {
    pub api_key: String,
    pub generation: Generation,
    /// What it holds of each user, by their id.
    pub users: BTreeMap<String, Map<String, Value>>,
    minted: u32,
}

/// Too many calls, to be asked again after so many seconds.
pub fn limited(retry_after: u32) -> Manner {
    let body = json!({"error": {"code": "RATE_LIMITED", "message": "Rate limit exceeded", "retryAfter": retry_after}});
    let kind = format!("application/json\r\nX-RateLimit-Remaining: 0\r\nRetry-After: {retry_after}");
    Manner::typed("429 Too Many Requests", &kind, &body.to_string())
}

fn says(status: &str, message: &str) -> Manner {
    Manner::json(status, &json!({"error": {"message": message}}).to_string())
}

/// What zod finds fault with in a request: a field is missing, empty or null, or no mail address or URL.
fn issue(body: &Value) -> Option<(&'static str, &'static str)> {
    let optional = |key: &str, is_right: fn(&str) -> bool| {
        body.get(key).is_none_or(|value| value.as_str().is_some_and(is_right))
    };
    let checks = [
        (body["userId"].as_str().is_some_and(|id| !id.is_empty()), ("userId", "Required")),
        (optional("name", |_| true), ("name", "Expected string")),
        (optional("email", |text| text.contains('@')), ("email", "Invalid email")),
        (optional("image", |text| text.contains("://")), ("image", "Invalid url")),
    ];
    checks.into_iter().find_map(|(is_right, issue)| (!is_right).then_some(issue))
}

impl ChatSdk {
    /// One that knows nobody.
    pub fn new(api_key: &str, generation: Generation) -> Self {
        Self { api_key: api_key.to_owned(), generation, users: BTreeMap::new(), minted: 0 }
    }

    fn jwt(&mut self, claims: &Value) -> String {
        self.minted += 1;
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln{:06}", part(&json!({"alg": "HS256"})), part(claims), self.minted)
    }

    fn tokens(&mut self, body: &Value) -> Manner {
        let id = body["userId"].as_str().expect("checked").to_owned();
        let user = self.users.entry(id.clone()).or_default();
        user.insert("id".to_owned(), id.as_str().into());
        let given = ["name", "email", "image"].into_iter().filter_map(|key| Some((key, body.get(key)?)));
        user.extend(given.map(|(key, value)| (key.to_owned(), value.clone())));
        let user = user.clone();
        let token = self.jwt(&json!({"user_id": id, "app_id": "app"}));
        let ws_token = self.jwt(&json!({"sub": id, "app_id": "app"}));
        let mut answer = json!({"token": token, "wsToken": ws_token, "user": user, "expiresIn": 86_400});
        if self.generation != Generation::First {
            answer["refreshToken"] = json!(self.jwt(&json!({"sub": id, "typ": "refresh"})));
            answer["expiresIn"] = json!(900);
        }
        Manner::json("200 OK", &answer.to_string())
    }
}

impl Vendor for ChatSdk {
    fn step(&self, _asked: &Asked) -> &'static str {
        "tokens"
    }

    fn answer(&mut self, asked: &Asked) -> Manner {
        if (asked.method.as_str(), asked.path.as_str()) != ("POST", "/tokens") {
            return Manner::typed("404 Not Found", "text/plain", "404 Not Found");
        }
        if self.generation == (Generation::Second { legacy_tokens: false }) {
            return says("404 Not Found", "Legacy token endpoint is disabled");
        }
        // Hono takes a body of another type for none.
        let is_json = asked.header("content-type") == "application/json";
        let body = if is_json { asked.json() } else { json!({}) };
        if let Some((field, message)) = issue(&body) {
            let error = json!({"issues": [{"message": message, "path": [field]}], "name": "ZodError"});
            return Manner::json("400 Bad Request", &json!({"success": false, "error": error}).to_string());
        }
        match asked.header("x-api-key") {
            "" => says("401 Unauthorized", "Missing API key"),
            key if key != self.api_key => says("401 Unauthorized", "Invalid API key"),
            _ => self.tokens(&body),
        }
    }
}
