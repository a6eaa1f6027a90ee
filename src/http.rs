//! The public listener: parses and renders; decides nothing.
//!
//! Guarantees: no request can cause a panic or a 5xx by what it holds. A body is at most 16 KiB (of a gateway 64) and comes
//! within its deadline; work in flight is bounded, and what is too much is told to come back. A use case runs as a
//! task of its own, so that a client's reset never stops it half way.

mod bearer;
mod body;
mod client;
mod connection;
mod cors;
mod jwks;
mod language;
mod mesibo;
mod ops;
mod problem;
mod receipts;
mod server;
mod v1;

use std::collections::BTreeMap;
use std::future::{Future, Ready, ready};
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::ErrorInternalServerError;
use actix_web::http::header::ACCEPT_LANGUAGE;
use actix_web::{FromRequest, HttpRequest, Resource, web};
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;
use zeroize::Zeroizing;

pub use self::client::TrustedProxies;
pub use self::ops::configure_for_operators as configure_probes;
pub use self::problem::PublicUrl;
pub use self::server::{Door, Listener, Serving, serve};
use crate::ambient::Clock;
use crate::config::{Apps, ClientTexts};
use crate::domain::breaker::Circuit;
use crate::domain::network::ClientIp;
use crate::keys::AccessTokens;
use crate::login::Login;
use crate::session::Sessions;
use crate::store::Store;
use crate::telemetry::{InFlight, Metrics, chain};
use crate::upstream::Upstream;

/// What handlers share.
pub struct Gateway {
    /// The use cases.
    pub login: Arc<Login>,
    /// What comes after a login.
    pub sessions: Arc<Sessions>,
    /// Our own access tokens.
    pub tokens: Arc<AccessTokens>,
    /// The apps we serve.
    pub apps: Arc<Apps>,
    /// What the mesibo dialect adds to its answers.
    pub texts: ClientTexts,
    /// Whose word on a client's address counts.
    pub proxies: Arc<TrustedProxies>,
    /// One permit for each request that is worked on.
    pub in_flight: Arc<Semaphore>,
    /// For a request's body.
    pub body_timeout: Duration,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether we are up.
    pub health: Arc<Health>,
}

/// What handlers share now: it is taken once for a request, which sees one configuration from beginning to end.
#[derive(Clone)]
pub struct Current(Arc<Gateway>);

impl Deref for Current {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.0
    }
}

impl FromRequest for Current {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let shared = request.app_data::<web::Data<ArcSwap<Gateway>>>();
        // It is there: whoever configures the routes puts it there.
        ready(
            shared
                .map(|shared| Self(shared.load_full()))
                .ok_or_else(|| ErrorInternalServerError("no gateway")),
        )
    }
}

/// Whether this process should be sent requests.
pub struct Health {
    store: Arc<Store>,
    backends: ArcSwap<Backends>,
    stopping: AtomicBool,
}

/// The chat backends, by name.
pub type Backends = BTreeMap<String, Arc<dyn Upstream>>;

/// Who sent a request, as far as it tells.
struct Asker {
    client: ClientIp,
    /// Best first.
    languages: Vec<String>,
    /// The access token, as it was sent.
    bearer: Option<Zeroizing<String>>,
}

/// The right to work on a request.
struct Turn {
    _permit: OwnedSemaphorePermit,
    _counted: InFlight,
}

impl Gateway {
    fn asker(&self, request: &HttpRequest) -> Asker {
        let lines = request.headers().get_all(ACCEPT_LANGUAGE).filter_map(|value| value.to_str().ok());
        let languages = language::preferences(lines);
        Asker { client: self.proxies.client(request), languages, bearer: bearer::of(request) }
    }

    /// A turn, if there is one now.
    fn turn(&self) -> Option<Turn> {
        if let Ok(permit) = Arc::clone(&self.in_flight).try_acquire_owned() {
            Some(Turn { _permit: permit, _counted: self.metrics.track_in_flight() })
        } else {
            self.metrics.count_shed();
            None
        }
    }
}

impl Health {
    /// Up.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, backends: ArcSwap::default(), stopping: AtomicBool::new(false) }
    }

    /// From now on these are the backends.
    pub fn show(&self, backends: Backends) {
        self.backends.store(Arc::new(backends));
    }

    /// Whether each backend is called, by name; those that are no network away are left out.
    fn circuits(&self) -> Vec<(String, Circuit)> {
        let backends = self.backends.load();
        backends.iter().filter_map(|(name, backend)| Some((name.clone(), backend.circuit()?))).collect()
    }

    /// From now on the answer is no.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    async fn is_ready(&self) -> Result<(), String> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err("stopping".to_owned());
        }
        self.store.ping().await.map_err(|error| {
            tracing::warn!(error = chain(&error), "the database does not answer");
            error.to_string()
        })
    }
}

/// Does work as a task of its own, so that a client that goes away stops nothing. None: it panicked.
async fn on_its_own<T: 'static>(work: impl Future<Output = T> + 'static) -> Option<T> {
    let caught = AssertUnwindSafe(work.in_current_span()).catch_unwind();
    let done = actix_web::rt::spawn(caught).await.ok().and_then(Result::ok);
    if done.is_none() {
        tracing::error!("a request made us panic; the process goes on");
    }
    done
}

/// An address that is read and nothing else.
fn document(path: &str) -> Resource {
    let other = |request: HttpRequest| async move { problem::method_not_allowed(&request, "GET") };
    web::resource(path).default_service(web::to(other))
}

/// The public routes; some are named by the apps.
pub fn configure(config: &mut web::ServiceConfig, apps: &Apps) {
    mesibo::configure(config);
    v1::configure(config, apps);
    receipts::configure(config);
    ops::configure(config);
    jwks::configure(config);
    config.service(document("/problems").route(web::get().to(problem::page)));
    config.default_service(web::to(problem::not_found));
}
