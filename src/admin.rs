//! The operator's listener: probes and metrics.

use std::sync::Arc;

use actix_web::{HttpResponse, web};

use crate::http;
use crate::telemetry::Metrics;

/// Its routes; they need `Arc<Metrics>` and `Arc<http::Health>` as shared state.
pub fn configure(config: &mut web::ServiceConfig) {
    http::configure_probes(config);
    config.route("/metrics", web::get().to(metrics));
}

async fn metrics(metrics: web::Data<Arc<Metrics>>) -> HttpResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    HttpResponse::Ok().content_type(content_type).body(metrics.render())
}
