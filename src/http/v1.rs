//! Our own API: `/v1/login…` in `login`; `/v1/phone…` and `/v1/email…` in `account`; `/v1/session…`, `/v1/chat-token` and `/v1/logout` in `session`.
//!
//! Guarantees: bodies are read strictly (unknown and repeated fields, other media types and trailing data are
//! refused); seconds in `next` and `Retry-After` are exactly true where they are ours to know; a web page may read what
//! an app's login gives only when that app lists its origin, and any other answer only when some app does.

mod account;
mod answer;
mod input;
mod login;
mod session;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, Resource, web};
use serde_json::Value;

use self::input::Input;
use super::body::{self, BodyError};
use super::problem::{Kind, Problem, wrong_method};
use super::{Asker, Current, Gateway, cors, document};
use crate::config::Apps;

const OPENAPI: &str = include_str!("openapi.json");

pub(super) fn configure(config: &mut web::ServiceConfig, apps: &Apps) {
    login::configure(config);
    account::configure(config);
    session::configure(config, apps);
    config.service(document("/openapi.json").route(web::get().to(openapi)));
}

/// An address that takes these methods, such as `"GET, POST"`.
fn endpoint(path: &str, methods: &'static str) -> Resource {
    let preflight = move |request: HttpRequest, gateway: Current| async move {
        cors::preflight(&request, &gateway.apps, methods)
    };
    let other = move |request: HttpRequest| async move { wrong_method(&request, methods) };
    web::resource(path)
        .route(web::method(actix_web::http::Method::OPTIONS).to(preflight))
        .default_service(web::to(other))
}

async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(OPENAPI)
}

/// A good answer.
struct Reply {
    status: StatusCode,
    body: Value,
    /// The app whose pages may read it, where the request did not name it.
    app_id: Option<String>,
}

impl Reply {
    fn new(status: StatusCode, body: Value) -> Self {
        Self { status, body, app_id: None }
    }

    fn of_app(self, app_id: String) -> Self {
        Self { app_id: Some(app_id), ..self }
    }
}

/// Reads the body strictly, then works on it.
async fn with_body<I, F, W>(
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
    let read = match read(payload, &gateway).await {
        Ok(body) => parse::<I>(&request, &body),
        Err(problem) => Err(problem),
    };
    let app_id = read.as_ref().ok().and_then(Input::app_id).map(str::to_owned);
    let asker = gateway.asker(&request);
    let work = read.map(|input| Box::pin(work(gateway.clone(), asker, input)));
    let done = on_a_turn(&gateway, work).await;
    render(&request, &gateway, app_id.as_deref(), done)
}

/// Reads the body, whatever it is, and works without it.
async fn without_body<F, W>(
    request: HttpRequest,
    payload: web::Payload,
    gateway: Current,
    work: W,
) -> HttpResponse
where
    F: Future<Output = Result<Reply, Problem>> + 'static,
    W: FnOnce(Current, Asker) -> F + 'static,
{
    let asker = gateway.asker(&request);
    let work = read(payload, &gateway).await.map(|_| Box::pin(work(gateway.clone(), asker)));
    let done = on_a_turn(&gateway, work).await;
    render(&request, &gateway, None, done)
}

/// Works as a task of its own, when there is a turn: a client that goes away stops nothing.
async fn on_a_turn<F>(gateway: &Gateway, work: Result<F, Problem>) -> Result<Reply, Problem>
where
    F: Future<Output = Result<Reply, Problem>> + 'static,
{
    let work = work?;
    let Some(turn) = gateway.turn() else { return Err(Problem::from(Kind::Overloaded).retry_after(1)) };
    let work = async move {
        let _turn = turn;
        work.await
    };
    super::on_its_own(work).await.unwrap_or_else(|| Err(Problem::from(Kind::Internal)))
}

fn render(
    request: &HttpRequest,
    gateway: &Gateway,
    app_id: Option<&str>,
    done: Result<Reply, Problem>,
) -> HttpResponse {
    let (response, told) = match done {
        Ok(Reply { status: StatusCode::NO_CONTENT, app_id, .. }) => {
            (HttpResponse::NoContent().finish(), app_id)
        }
        Ok(Reply { status, body, app_id }) => {
            (HttpResponse::build(status).content_type("application/json").body(body.to_string()), app_id)
        }
        Err(problem) => (problem.respond(request), None),
    };
    cors::allow(request, &gateway.apps, app_id.or(told.as_deref()), response)
}

async fn read(payload: web::Payload, gateway: &Gateway) -> Result<Bytes, Problem> {
    body::read(payload, gateway.body_timeout).await.map_err(|error| {
        Problem::from(match error {
            BodyError::TooLarge => Kind::BodyTooLarge,
            BodyError::TooSlow => Kind::BodyTooSlow,
            BodyError::Broken => Kind::InvalidRequest,
        })
    })
}

fn parse<I: Input>(request: &HttpRequest, body: &[u8]) -> Result<I, Problem> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Kind::UnsupportedMediaType.into());
    }
    input::parse(body)
}
