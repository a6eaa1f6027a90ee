//! Our own API: `/v1/login`, `/resend`, `/verify`, `/complete`.
//!
//! Guarantees: bodies are read strictly (unknown and repeated fields, other media types and trailing data are
//! refused); seconds in `next` and `Retry-After` are exactly true; a web page may read an answer only when the app
//! lists its origin.

mod answer;
mod input;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, Resource, web};
use serde_json::Value;

use self::input::{Complete, Input, Login, Resend, Verify};
use super::body::{self, BodyError};
use super::problem::{Kind, Problem, post_only};
use super::{Asker, Current, Gateway, cors, language};
use crate::domain::challenge::Dialect;
use crate::domain::channel::Channel;
use crate::domain::code;
use crate::domain::ids::{ChallengeId, ClientSecret, GrantToken};
use crate::login;
use crate::store::challenges::Key;

const OPENAPI: &str = include_str!("openapi.json");

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(endpoint("/v1/login").route(web::post().to(login)))
        .service(endpoint("/v1/login/resend").route(web::post().to(resend)))
        .service(endpoint("/v1/login/verify").route(web::post().to(verify)))
        .service(endpoint("/v1/login/complete").route(web::post().to(complete)))
        .route("/openapi.json", web::get().to(openapi));
}

fn endpoint(path: &str) -> Resource {
    web::resource(path)
        .route(web::method(Method::OPTIONS).to(cors::preflight))
        .default_service(web::to(post_only))
}

async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(OPENAPI)
}

async fn login(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, client, input| async move { gateway.v1_login(client, input).await };
    respond(request, payload, gateway, work).await
}

async fn resend(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, client, input| async move { gateway.v1_resend(client, input).await };
    respond(request, payload, gateway, work).await
}

async fn verify(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, client, input| async move { gateway.v1_verify(client, input).await };
    respond(request, payload, gateway, work).await
}

async fn complete(request: HttpRequest, payload: web::Payload, gateway: Current) -> HttpResponse {
    let work = |gateway: Current, _, input: Complete| async move { gateway.v1_complete(&input).await };
    respond(request, payload, gateway, work).await
}

/// A status and its body.
type Reply = (StatusCode, Value);

/// Reads the body strictly, then works on it as a task of its own: a client that goes away stops nothing.
async fn respond<I, F, W>(
    request: HttpRequest,
    payload: web::Payload,
    gateway: Current,
    work: W,
) -> HttpResponse
where
    I: Input + 'static,
    F: Future<Output = Result<Reply, Problem>> + 'static,
    W: FnOnce(Current, Asker, I) -> F + 'static,
{
    let asker = gateway.asker(&request);
    let input = match read::<I>(&request, payload, &gateway).await {
        Ok(input) => input,
        Err(problem) => return cors::allow(&request, &gateway.apps, None, problem.respond(&request)),
    };
    let app_id = input.app_id().map(str::to_owned);
    let done = match gateway.turn() {
        None => Err(Problem::from(Kind::Overloaded).retry_after(1)),
        Some(turn) => {
            let work = work(gateway.clone(), asker, input);
            let work = async move {
                let _turn = turn;
                work.await
            };
            super::on_its_own(work).await.unwrap_or_else(|| Err(Problem::from(Kind::Internal)))
        }
    };
    let response = match done {
        Ok((status, body)) => {
            HttpResponse::build(status).content_type("application/json").body(body.to_string())
        }
        Err(problem) => problem.respond(&request),
    };
    cors::allow(&request, &gateway.apps, app_id.as_deref(), response)
}

async fn read<I: Input>(
    request: &HttpRequest,
    payload: web::Payload,
    gateway: &Gateway,
) -> Result<I, Problem> {
    let body = body::read(payload, gateway.body_timeout).await.map_err(|error| {
        Problem::from(match error {
            BodyError::TooLarge => Kind::BodyTooLarge,
            BodyError::TooSlow => Kind::BodyTooSlow,
            BodyError::Broken => Kind::InvalidRequest,
        })
    })?;
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Kind::UnsupportedMediaType.into());
    }
    input::parse(&body)
}

impl Gateway {
    async fn v1_login(&self, asker: Asker, input: Login) -> Result<Reply, Problem> {
        let address = input.address()?;
        let channel = parse_channel(input.channel.as_deref())?;
        let (app_id, client) = (input.app_id, asker.client);
        let languages = languages(input.locale, asker.languages)?;
        let start = login::Start { dialect: Dialect::V1, app_id, address, channel, languages, client };
        let started = self.login.start(start).await.map_err(|error| answer::failed(&error))?;
        answer::started(started, self.login.otp.length)
    }

    async fn v1_resend(&self, asker: Asker, input: Resend) -> Result<Reply, Problem> {
        let secret = ClientSecret::parse(&input.secret).ok_or(Kind::ChallengeGone)?;
        let channel = parse_channel(input.channel.as_deref())?;
        let id = ChallengeId::parse(&input.challenge).ok_or(Kind::ChallengeGone)?;
        let languages = languages(input.locale, asker.languages)?;
        let resend = login::Resend { id, secret, channel, languages, client: asker.client };
        let started = self.login.resend(resend).await.map_err(|error| answer::failed(&error))?;
        answer::started(started, self.login.otp.length)
    }

    async fn v1_verify(&self, asker: Asker, input: Verify) -> Result<Reply, Problem> {
        let code = code::Code::parse(&input.code, self.login.otp.length).ok_or(Kind::InvalidCode)?;
        let secret = ClientSecret::parse(&input.secret).ok_or(Kind::ChallengeGone)?;
        let id = ChallengeId::parse(&input.challenge).ok_or(Kind::ChallengeGone)?;
        let key = Key::V1 { id, secret: secret.hash() };
        let verify = login::Verify { key, secret: Some(secret), code, name: None, client: asker.client };
        let verified = self.login.verify(verify).await.map_err(|error| answer::failed(&error))?;
        answer::verified(verified, Kind::ChallengeGone)
    }

    async fn v1_complete(&self, input: &Complete) -> Result<Reply, Problem> {
        let grant = GrantToken::parse(&input.grant).ok_or(Kind::GrantGone)?;
        let verified = self.login.complete(&grant).await.map_err(|error| answer::failed(&error))?;
        answer::verified(verified, Kind::GrantGone)
    }
}

/// The body's own wish comes before the header's.
fn languages(locale: Option<String>, accepted: Vec<String>) -> Result<Vec<String>, Problem> {
    match locale {
        Some(tag) if language::is_tag(&tag) => Ok(std::iter::once(tag).chain(accepted).collect()),
        Some(_) => {
            Err(Problem::from(Kind::InvalidRequest).detail("locale must be a language tag such as pt-BR"))
        }
        None => Ok(accepted),
    }
}

fn parse_channel(name: Option<&str>) -> Result<Option<Channel>, Problem> {
    let parse = |name| Channel::parse(name).ok_or(Problem::from(Kind::ChannelNotOffered));
    name.map(parse).transpose()
}
