//! Tokens of OAuth 2.0 client credentials (RFC 6749 §4.4).
//!
//! Guarantees: a token is asked for once, however many messages wait for it, and again a while before it expires.
//! Asking sends nothing to a person: where it fails, the next provider is tried.

use std::sync::Arc;
use std::time::Duration;

use minijinja::value::Value;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use url::{Url, form_urlencoded};

use super::file;
use crate::delivery::SendError;
use crate::domain::time::Timestamp;
use crate::outbound::pointer::Pointer;
use crate::outbound::shared::Shared;
use crate::outbound::template::{LoadError, Template, Templates};
use crate::outbound::{self, Client, MAX_ANSWER_BYTES};

/// Where the answer does not say how long its token is valid (RFC 6749 §5.1 only recommends it).
const UNSAID: Duration = Duration::from_mins(5);
/// Nobody knows a token's end to the second.
const MARGIN: Duration = Duration::from_mins(1);

/// How to ask for a token, and the last one that was given.
pub(super) struct Grant {
    token_url: Template,
    id: Template,
    secret: Template,
    scope: Template,
    last: Shared<Arc<Token>, SendError>,
}

/// A token. No `Debug`.
pub(super) struct Token {
    text: SecretString,
    good_until: Timestamp,
}

impl Token {
    pub(super) fn reveal(&self) -> &str {
        self.text.expose_secret()
    }
}

impl Grant {
    pub(super) fn compile(templates: &mut Templates, grant: &file::Oauth2Cc) -> Result<Self, LoadError> {
        let setting = grant.token_url.strip_prefix("{{ cfg.").and_then(|rest| rest.strip_suffix("_url }}"));
        let is_name =
            |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if setting.is_none_or(|name| !is_name(name)) {
            let fix = "must be a setting whose name ends with _url, such as {{ cfg.token_url }}: its address is \
                       checked as that of the gateway";
            return Err(LoadError::new("send.auth.token_url", fix));
        }
        let mut compile = |key: &str, text: &str| templates.compile(&format!("send.auth.{key}"), text);
        Ok(Self {
            token_url: compile("token_url", &grant.token_url)?,
            id: compile("id", &grant.id)?,
            secret: compile("secret", &grant.secret)?,
            scope: compile("scope", &grant.scope)?,
            last: Shared::new(),
        })
    }

    /// A token that is good now.
    pub(super) async fn token(
        &self,
        client: &Client,
        templates: &Templates,
        context: &Value,
        now: Timestamp,
    ) -> Result<Arc<Token>, SendError> {
        let good = |token: &Arc<Token>| now < token.good_until;
        self.last.get(good, self.ask(client, templates, context, now)).await
    }

    /// Forgets a token that the gateway does not take.
    pub(super) async fn forget(&self, refused: &Arc<Token>) {
        self.last.forget(|last| Arc::ptr_eq(last, refused)).await;
    }

    async fn ask(
        &self,
        client: &Client,
        templates: &Templates,
        context: &Value,
        now: Timestamp,
    ) -> Result<Arc<Token>, SendError> {
        let render = |template: &Template| templates.render(template, context).map_err(SendError::Rejected);
        let url: Url = render(&self.token_url)?
            .parse()
            .or(Err(SendError::Rejected("send.auth.token_url: what comes out is no URL".to_owned())))?;
        let body = body(&render(&self.scope)?);
        // RFC 6749 §2.3.1: each is written as in a form first.
        let [id, secret] = [render(&self.id)?, render(&self.secret)?]
            .map(|text| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>());
        let call = client.post(url).basic_auth(id, Some(secret));
        let call = call.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        let response = call.send().await.map_err(|error| unanswered(outbound::classify(&error)))?;
        let (status, after) = (response.status(), outbound::retry_after(response.headers()));
        let body = outbound::read_capped(response, MAX_ANSWER_BYTES).await.map_err(unanswered)?;
        read(status, after, &body, now)
    }
}

fn body(scope: &str) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !scope.is_empty() {
        form.append_pair("scope", scope);
    }
    form.finish()
}

/// No message was in it, so that nothing was sent, whatever became of the call.
fn unanswered(fault: outbound::Fault) -> SendError {
    let (outbound::Fault::NotSent(text) | outbound::Fault::Unknown(text)) = fault;
    SendError::Temporary(format!("no token: {text}"))
}

fn read(
    status: StatusCode,
    after: Option<Duration>,
    body: &[u8],
    now: Timestamp,
) -> Result<Arc<Token>, SendError> {
    let find = |name: &str| Pointer::parse(name).and_then(|at| at.find(body).into_iter().flatten().next());
    let said = format!("no token: HTTP status {}", status.as_u16());
    match status {
        _ if status.is_success() => {}
        StatusCode::TOO_MANY_REQUESTS => return Err(SendError::Throttled { said, after }),
        _ if status.is_client_error() => return Err(SendError::Auth(said)),
        _ => return Err(SendError::Temporary(said)),
    }
    let text = find("/access_token").filter(|text| !text.is_empty());
    let text = text.ok_or(SendError::Temporary("no token: the answer holds none".to_owned()))?;
    let lifetime = find("/expires_in").and_then(|secs| secs.parse().ok()).map_or(UNSAID, Duration::from_secs);
    let good_for = lifetime.saturating_sub(MARGIN.min(lifetime / 10));
    Ok(Arc::new(Token { text: text.into(), good_until: now.plus(good_for) }))
}
