//! The operator's listener: probes, metrics, and the bell for a new configuration.

use std::sync::Arc;

use actix_web::http::header::ORIGIN;
use actix_web::{HttpRequest, HttpResponse, web};
use tokio::sync::{mpsc, oneshot};

use crate::http;
use crate::telemetry::Metrics;

/// Its routes; they need `Arc<Metrics>`, `Arc<http::Health>` and [`Reloads`] as shared state.
pub fn configure(config: &mut web::ServiceConfig) {
    http::configure_probes(config);
    config.route("/metrics", web::get().to(metrics));
    config.route(RELOAD_PATH, web::post().to(reload));
}

/// Where `latchkey reload` posts to.
pub const RELOAD_PATH: &str = "/reload";

/// Somebody waits for the configuration to be read again: whether it is in force, or all that is wrong with it.
pub type Asked = oneshot::Sender<Result<(), String>>;

/// Asks for the configuration to be read again.
#[derive(Clone)]
pub struct Reloads(mpsc::Sender<Asked>);

impl Reloads {
    /// With the end that hears it.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    /// Asks, and waits.
    ///
    /// # Errors
    /// With all that is wrong: the old configuration stays in force.
    pub async fn ask(&self) -> Result<(), String> {
        let (asked, answer) = oneshot::channel();
        let stopping = || "the process is stopping".to_owned();
        self.0.send(asked).await.map_err(|_closed| stopping())?;
        answer.await.unwrap_or_else(|_gone| Err(stopping()))
    }
}

async fn metrics(metrics: web::Data<Arc<Metrics>>) -> HttpResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    HttpResponse::Ok().content_type(content_type).body(metrics.render())
}

async fn reload(request: HttpRequest, reloads: web::Data<Reloads>) -> HttpResponse {
    // No web page has a say here.
    if request.headers().contains_key(ORIGIN) {
        return HttpResponse::Forbidden().content_type("text/plain").body("not for web pages\n");
    }
    match reloads.ask().await {
        Ok(()) => HttpResponse::Ok().content_type("text/plain").body("the new configuration is in force\n"),
        Err(why) => HttpResponse::UnprocessableEntity()
            .content_type("text/plain; charset=utf-8")
            .body(format!("{why}\n")),
    }
}
