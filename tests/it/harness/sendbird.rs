//! Sendbird's Platform API, as far as logins need it: users, session tokens, refusals in its own words.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::backend::Vendor;
use super::http::{Asked, Manner};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub nickname: String,
    pub profile_url: String,
    pub is_active: bool,
    /// Session tokens, oldest first.
    pub tokens: Vec<String>,
}

/// One application.
pub struct Sendbird {
    pub api_token: String,
    pub users: BTreeMap<String, User>,
    /// Somebody else creates each user a moment before they are created.
    pub races: bool,
    minted: u32,
}

/// What a path is about.
enum Place {
    Users,
    TokenOf(String),
    Nothing,
}

impl Place {
    fn of(asked: &Asked) -> Self {
        let path = asked.path.strip_prefix("/v3/users").unwrap_or("?");
        let id = path.strip_prefix('/').and_then(|rest| rest.strip_suffix("/token"));
        match id.filter(|id| !id.contains('/')) {
            Some(id) => Self::TokenOf(percent_decode_str(id).decode_utf8().expect("UTF-8").into_owned()),
            None if path.is_empty() => Self::Users,
            None => Self::Nothing,
        }
    }
}

fn refusal(code: u64, message: &str) -> Manner {
    let body = json!({"message": message, "code": code, "error": true});
    Manner::json("400 Bad Request", &body.to_string())
}

/// Too many calls, to be asked again after so many seconds.
pub fn limited(retry_after: &str) -> Manner {
    let message =
        format!("Too many requests (scope: app, limit: 10;w=1, remaining: 0, retry_after: {retry_after}s)");
    let body = json!({"message": message, "code": 500_910, "error": true});
    let kind =
        format!("application/json\r\nX-RateLimit-Limit: 10;w=1\r\nX-RateLimit-RetryAfter: {retry_after}");
    Manner::typed("429 Too Many Requests", &kind, &body.to_string())
}

impl Sendbird {
    /// One that knows nobody.
    pub fn new(api_token: &str) -> Self {
        Self { api_token: api_token.to_owned(), users: BTreeMap::new(), races: false, minted: 0 }
    }

    /// Somebody who was here before Latchkey.
    pub fn add(&mut self, id: &str, nickname: &str, profile_url: &str) {
        let (nickname, profile_url) = (nickname.to_owned(), profile_url.to_owned());
        self.users.insert(id.to_owned(), User { nickname, profile_url, is_active: true, tokens: Vec::new() });
    }

    fn create(&mut self, body: &Value) -> Manner {
        let text = |key: &str| body[key].as_str().map(str::to_owned);
        let (Some(id), Some(nickname), Some(profile_url)) =
            (text("user_id"), text("nickname"), text("profile_url"))
        else {
            return refusal(400_105, "Missing required parameters.");
        };
        if id.is_empty() || id.chars().count() > 80 || nickname.chars().count() > 80 {
            return refusal(400_110, "\"user_id\" is too long.");
        }
        if self.races {
            self.add(&id, "first", "");
        }
        if self.users.contains_key(&id) {
            return refusal(400_202, "\"user_id\" violates unique constraint.");
        }
        self.add(&id, &nickname, &profile_url);
        let user = json!({
            "user_id": id, "nickname": nickname, "profile_url": profile_url, "access_token": "", "metadata": {},
            "require_auth_for_profile_image": false, "is_online": false, "is_active": true, "last_seen_at": -1,
            "discovery_keys": [], "preferred_languages": [], "has_ever_logged_in": false, "created_at": 1_598_046_000,
            "session_tokens": [], "locale": "", "is_created": true, "phone_number": "",
        });
        Manner::json("200 OK", &user.to_string())
    }

    fn token(&mut self, id: &str, method: &str, body: &Value) -> Manner {
        let Some(user) = self.users.get_mut(id) else { return refusal(400_201, "\"User\" not found.") };
        if !user.is_active {
            return refusal(400_300, "Deactivated user not accessible.");
        }
        if method == "DELETE" {
            user.tokens.clear();
            return Manner::json("200 OK", "{}");
        }
        let Some(expires_at) = body["expires_at"].as_i64() else {
            return refusal(400_101, "\"expires_at\" should be a number.");
        };
        self.minted += 1;
        let token = format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.sendbird-session-{:08}", self.minted);
        user.tokens.push(token.clone());
        Manner::json("200 OK", &json!({"token": token, "expires_at": expires_at}).to_string())
    }
}

impl Vendor for Sendbird {
    fn step(&self, asked: &Asked) -> &'static str {
        match Place::of(asked) {
            Place::Users => "create",
            Place::TokenOf(id) if self.users.contains_key(&id) => "again",
            Place::TokenOf(_) => "token",
            Place::Nothing => "nothing",
        }
    }

    fn answer(&mut self, asked: &Asked) -> Manner {
        if asked.header("api-token") != self.api_token {
            return refusal(400_401, "Invalid \"Api-Token\".");
        }
        if !asked.header("content-type").starts_with("application/json") {
            return refusal(400_403, "Invalid JSON request body.");
        }
        match (Place::of(asked), asked.method.as_str()) {
            (Place::Users, "POST") => self.create(&asked.json()),
            (Place::TokenOf(id), method @ ("POST" | "DELETE")) => self.token(&id, method, &asked.json()),
            _ => refusal(400_930, "Invalid endpoint."),
        }
    }
}
