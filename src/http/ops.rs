//! Probes: whether the process lives, and whether it should be sent requests.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

use super::Health;
use super::problem::{Kind, Problem};

/// `/livez` and `/readyz`; they need an `Arc<Health>` as shared state.
pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.route("/livez", web::get().to(live)).route("/readyz", web::get().to(ready));
}

/// The same for the operator's listener, where readiness has detail.
pub fn configure_for_operators(config: &mut web::ServiceConfig) {
    config.route("/livez", web::get().to(live)).route("/readyz", web::get().to(ready_in_detail));
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("ok\n")
}

async fn ready(request: HttpRequest, health: web::Data<Arc<Health>>) -> HttpResponse {
    match health.is_ready().await {
        Ok(()) => HttpResponse::Ok().content_type("text/plain").body("ok\n"),
        Err(_) => Problem::from(Kind::NotReady).respond(&request),
    }
}

/// A backend that is down makes no node unready: on another node it is as far down.
async fn ready_in_detail(request: HttpRequest, health: web::Data<Arc<Health>>) -> HttpResponse {
    let circuits = health.circuits().into_iter();
    let circuits: Map<String, Value> =
        circuits.map(|(name, circuit)| (name, circuit.as_str().into())).collect();
    match health.is_ready().await {
        Ok(()) => HttpResponse::Ok().json(json!({"status": "ok", "upstreams": circuits})),
        Err(_) => Problem::from(Kind::NotReady).with("upstreams", circuits).respond(&request),
    }
}
