//! Probes: whether the process lives, and whether it should be sent requests.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};

use super::Health;
use super::problem::{Kind, Problem};

/// `/livez` and `/readyz`; they need an `Arc<Health>` as shared state.
pub fn configure(config: &mut web::ServiceConfig) {
    config.route("/livez", web::get().to(live)).route("/readyz", web::get().to(ready));
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
