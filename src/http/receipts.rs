//! Receipts: gateways report what became of messages.
//!
//! Guarantees: a path whose token is not ours is no address of ours, whatever it names. What comes in behind a right one
//! is answered as the gateway wants it, known or not, and never with a 5xx for what it holds.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use url::Url;

use super::body::{self, BodyError};
use super::problem::{Kind, Problem, PublicUrl, method_not_allowed, not_found};
use super::{Current, on_its_own};
use crate::delivery::{self, CallIn, Reply};
use crate::login::Filed;
use crate::telemetry::chain;

/// Some gateways report hundreds of messages in one call.
const LIMIT: usize = 64 * 1024;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    for path in ["/v1/receipts/{provider}/{token}", "/v1/receipts/{provider}/{token}/{message}"] {
        config.route(path, web::to(receive));
    }
}

async fn receive(
    request: HttpRequest,
    payload: web::Payload,
    gateway: Current,
    public_url: web::Data<PublicUrl>,
) -> HttpResponse {
    let part = |name: &str| request.match_info().get(name).map(str::to_owned);
    let (Some(provider), Some(token)) = (part("provider"), part("token")) else {
        return not_found(request).await;
    };
    let message = part("message");
    let login = &gateway.login;
    // Before the body is read, and from our own key alone: nobody else costs us more.
    let Some(door) = login.receipts.open(&provider, &token, message.as_deref()) else {
        return not_found(request).await;
    };
    let method = match *request.method() {
        Method::GET => Some(delivery::Method::Get),
        Method::POST => Some(delivery::Method::Post),
        _ => None,
    };
    let Some(method) = method.filter(|method| door.takes(*method)) else {
        let allowed =
            [delivery::Method::Get, delivery::Method::Post].into_iter().filter(|one| door.takes(*one));
        let allowed = allowed.map(delivery::Method::as_str).collect::<Vec<_>>().join(", ");
        return method_not_allowed(&request, &allowed);
    };
    let body = match body::read_up_to(LIMIT, payload, gateway.body_timeout).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => return Problem::from(Kind::BodyTooLarge).respond(&request),
        Err(BodyError::TooSlow) => return Problem::from(Kind::BodyTooSlow).respond(&request),
        Err(BodyError::Broken) => return Problem::from(Kind::InvalidRequest).respond(&request),
    };
    let call = call_in(&request, method, &public_url.0, body.to_vec());
    let Some(turn) = gateway.turn() else {
        return Problem::from(Kind::Overloaded).retry_after(1).respond(&request);
    };
    let work = {
        let gateway = Current::clone(&gateway);
        async move {
            let _turn = turn;
            let door = gateway.login.receipts.open(&provider, &token, message.as_deref())?;
            Some(gateway.login.file(&door, &call).await)
        }
    };
    match on_its_own(work).await.flatten() {
        Some(Ok(Filed::Done(reply))) => render(reply),
        Some(Ok(Filed::NotProved)) => Problem::from(Kind::NotProved).respond(&request),
        Some(Err(error)) => {
            tracing::warn!(error = chain(&error), "a receipt was not written down");
            Problem::from(Kind::Overloaded).retry_after(1).respond(&request)
        }
        None => Problem::from(Kind::Internal).respond(&request),
    }
}

fn call_in(request: &HttpRequest, method: delivery::Method, public_url: &Url, body: Vec<u8>) -> CallIn {
    let headers = request.headers().iter();
    let headers =
        headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    let path = request.uri().path_and_query().map_or("", actix_web::http::uri::PathAndQuery::as_str);
    CallIn {
        method,
        url: format!("{}{path}", public_url.as_str().trim_end_matches('/')),
        query: request.query_string().to_owned(),
        headers: headers.collect(),
        body,
    }
}

fn render(reply: Reply) -> HttpResponse {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    if reply.body.is_empty() {
        return response.finish();
    }
    response.insert_header((CONTENT_TYPE, reply.content_type)).body(reply.body)
}
