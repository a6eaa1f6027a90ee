//! Staying logged in: `/v1/session/refresh`, `/v1/chat-token`, `/v1/logout`, `/v1/sessions`; and the paths that an
//! operator names for chat tokens, because front ends that exist call those.
//!
//! Who calls is said by an access token in `Authorization: Bearer …` (RFC 6750 §2.1), never in a URL or a cookie.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

use super::super::problem::{Kind, Problem};
use super::super::{Asker, Current, Gateway};
use super::input::{Logout, Refresh};
use super::{Reply, answer, endpoint, with_body, without_body};
use crate::config::Apps;
use crate::domain::ids::SessionId;
use crate::domain::refresh::RefreshToken;
use crate::domain::session::Session;
use crate::domain::time::whole_secs;
use crate::session::{Listed, SessionError};

pub(super) fn configure(config: &mut web::ServiceConfig, apps: &Apps) {
    config
        .service(endpoint("/v1/session/refresh", "POST").route(web::post().to(refresh)))
        .service(endpoint("/v1/chat-token", "POST").route(web::post().to(chat_token)))
        .service(endpoint("/v1/logout", "POST").route(web::post().to(logout)))
        .service(endpoint("/v1/sessions", "GET").route(web::get().to(list)))
        .service(endpoint("/v1/sessions/{id}", "DELETE").route(web::delete().to(end)));
    let named: BTreeSet<&str> = apps.iter().filter_map(|(_, app)| app.chat_token_path.as_deref()).collect();
    for path in named {
        let both =
            endpoint(path, "GET, POST").route(web::get().to(chat_token)).route(web::post().to(chat_token));
        config.service(both);
    }
}

async fn refresh(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work =
        |gateway: Current, asker, input: Refresh| async move { gateway.v1_refresh(asker, input).await };
    with_body(request, payload, gateway, work).await
}

async fn chat_token(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, asker| async move { gateway.v1_chat_token(asker).await };
    without_body(request, payload, gateway, work).await
}

async fn logout(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, asker, input: Logout| async move { gateway.v1_logout(asker, input).await };
    with_body(request, payload, gateway, work).await
}

async fn list(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, asker| async move { gateway.v1_sessions(asker).await };
    without_body(request, payload, gateway, work).await
}

async fn end(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let id = request.match_info().get("id").and_then(SessionId::parse);
    let work = |gateway: Current, asker| async move { gateway.v1_end_session(asker, id).await };
    without_body(request, payload, gateway, work).await
}

impl Gateway {
    async fn v1_refresh(&self, asker: Asker, input: Refresh) -> Result<Reply, Problem> {
        let token = RefreshToken::parse(&input.refresh_token).ok_or(Kind::SessionOver)?;
        let tokens = self.sessions.refresh(token, asker.client).await.map_err(|error| problem(&error))?;
        Ok(Reply::new(StatusCode::OK, answer::session(&tokens)))
    }

    async fn v1_chat_token(&self, asker: Asker) -> Result<Reply, Problem> {
        let chat =
            self.sessions.chat_token(bearer(&asker)?, asker.client).await.map_err(|error| problem(&error))?;
        Ok(Reply::new(StatusCode::OK, answer::chat(&chat)))
    }

    async fn v1_logout(&self, asker: Asker, input: Logout) -> Result<Reply, Problem> {
        let (bearer, scope) = (bearer(&asker)?, input.scope()?);
        self.sessions.logout(bearer, scope, asker.client).await.map_err(|error| problem(&error))?;
        Ok(Reply::new(StatusCode::NO_CONTENT, Value::Null))
    }

    async fn v1_sessions(&self, asker: Asker) -> Result<Reply, Problem> {
        let Listed { current, sessions } =
            self.sessions.list(bearer(&asker)?).await.map_err(|error| problem(&error))?;
        let sessions: Vec<Value> = sessions.iter().map(|session| shown(session, &current)).collect();
        Ok(Reply::new(StatusCode::OK, json!({"sessions": sessions})))
    }

    async fn v1_end_session(&self, asker: Asker, id: Option<SessionId>) -> Result<Reply, Problem> {
        let bearer = bearer(&asker)?;
        let id = id.ok_or(Kind::SessionNotFound)?;
        self.sessions.end(bearer, id, asker.client).await.map_err(|error| problem(&error))?;
        Ok(Reply::new(StatusCode::NO_CONTENT, Value::Null))
    }
}

pub(super) fn bearer(asker: &Asker) -> Result<&str, Problem> {
    asker.bearer.as_ref().map(|token| token.as_str()).ok_or(Kind::InvalidToken.into())
}

/// A session as its owner sees it. What is not known is left out.
fn shown(session: &Session, current: &SessionId) -> Value {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| shown.insert(key.to_owned(), value);
    put("id", session.id.as_str().into());
    put("current", (session.id == *current).into());
    put("app_id", session.app_id.as_str().into());
    if let Some(label) = &session.label {
        put("device", label.as_str().into());
    }
    if let Some(channel) = session.channel {
        put("channel", channel.as_str().into());
    }
    put("network", session.network.as_str().into());
    put("created_at", session.created_at.as_secs().into());
    put("last_used_at", session.last_used_at.as_secs().into());
    put("expires_at", session.expires_at.as_secs().into());
    Value::Object(shown)
}

/// No answer. What is ours to mend is logged here, once.
fn problem(error: &SessionError) -> Problem {
    match error {
        SessionError::InvalidToken(_) => Kind::InvalidToken.into(),
        SessionError::Over => Kind::SessionOver.into(),
        SessionError::NotFound => Kind::SessionNotFound.into(),
        SessionError::TooManyChatTokens(wait) => {
            Problem::from(Kind::TooManyChatTokens).retry_after(whole_secs(*wait))
        }
        SessionError::NotMinted { source, retry_after } => answer::no_token(source, *retry_after),
        SessionError::Store(error) => answer::store_failed(error),
        SessionError::Realm(_) | SessionError::Tokens(_) => answer::internal(error),
    }
}
