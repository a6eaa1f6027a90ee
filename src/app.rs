//! The process: builds every dependency once, runs until it is stopped.
//!
//! Guarantees: a start either succeeds whole or says what to change. A stop turns readiness off, takes no new
//! connections, finishes what is in flight within its deadline, and leaves the store with everything written.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;

use crate::ambient::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::{Config, Otp, PepperSource, secret_file};
use crate::delivery::{self, Courier, Messages, Provider};
use crate::domain::ids::MessageId;
use crate::domain::pepper::{CodeHasher, PepperError, Peppers};
use crate::http::{Gateway, Health, Listener, PublicUrl, Serving, TrustedProxies};
use crate::login::{Login, Realm};
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;
use crate::upstream::{self, Upstream};
use crate::{admin, http, jobs};

/// What the process takes from outside. Tests put their own in.
pub struct World {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Providers in place of the configured ones.
    pub providers: Option<Vec<Arc<dyn Provider>>>,
    /// Backends in place of the configured ones, by name.
    pub upstreams: BTreeMap<String, Arc<dyn Upstream>>,
}

impl World {
    /// The real one.
    #[must_use]
    pub fn real() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            providers: None,
            upstreams: BTreeMap::new(),
        }
    }
}

/// Why the process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    /// The pepper file.
    #[error("the pepper file {path} cannot be read or made")]
    PepperFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its content.
    #[error("the pepper is not usable")]
    Pepper(#[from] PepperError),
    /// A chat backend.
    #[error("an upstream cannot be used")]
    Upstream(#[from] upstream::BuildError),
    /// A gateway.
    #[error("a provider cannot be used")]
    Provider(#[from] delivery::BuildError),
    /// A listener.
    #[error("cannot listen on {address}; fix: stop what listens there, or change {key}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Its setting.
        key: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// A running process.
pub struct App {
    public: Serving,
    admin: Serving,
    store: Arc<Store>,
    login: Arc<Login>,
    health: Arc<Health>,
    in_flight: Arc<Semaphore>,
    max_in_flight: u32,
    shutdown_timeout: Duration,
    purge: tokio::task::JoinHandle<()>,
}

impl App {
    /// Builds and starts everything.
    ///
    /// # Errors
    /// [`StartError`], with the fix.
    pub fn start(config: Config, world: World) -> Result<Self, StartError> {
        let World { clock, entropy, providers, upstreams } = world;
        // Sockets first: two processes on one port should fail before either touches the database.
        let public_socket = bind(config.server.listen, "server.listen")?;
        let admin_socket = bind(config.server.admin_listen, "server.admin_listen")?;
        let hasher = Arc::new(CodeHasher::new(read_pepper(&config.otp, &*entropy)?, config.otp.cost));
        let store = Arc::new(Store::open(&config.database)?);
        let metrics = Arc::new(Metrics::default());
        let health = Arc::new(Health::new(Arc::clone(&store)));
        let in_flight = Arc::new(Semaphore::new(usize::try_from(config.server.max_in_flight).unwrap_or(1)));
        let workers = workers(config.server.workers);
        let apps = Arc::new(config.apps);

        let mut built = upstream::build(&config.upstreams, &clock, &entropy)?;
        built.extend(upstreams);
        let deadlines = config.upstreams.iter().map(|(name, upstream)| (name, upstream.deadline()));
        let realms = deadlines.filter_map(|(name, deadline)| {
            let upstream = Arc::clone(built.get(name)?);
            Some((name.clone(), Realm { upstream, deadline }))
        });
        let providers = match providers {
            Some(providers) => providers,
            None => delivery::build(&config.providers, &clock)?,
        };
        let login = Arc::new(Login {
            store: Arc::clone(&store),
            courier: Courier::new(providers, config.routes),
            messages: Messages,
            realms: realms.collect(),
            hasher,
            hashing: Arc::new(Semaphore::new(workers)),
            clock: Arc::clone(&clock),
            entropy,
            otp: config.otp,
            apps: Arc::clone(&apps),
            policy: config.policy,
            email: config.email,
            limits: config.limits,
            metrics: Arc::clone(&metrics),
        });
        let gateway = web::Data::new(Gateway {
            login: Arc::clone(&login),
            apps,
            texts: config.mesibo,
            proxies: TrustedProxies::new(config.server.trusted_proxies.clone()),
            in_flight: Arc::clone(&in_flight),
            body_timeout: config.server.body_timeout,
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
        });

        let probes = web::Data::new(Arc::clone(&health));
        let public_url = web::Data::new(PublicUrl(config.public_url));
        let public = {
            let probes = probes.clone();
            let configure = move |routes: &mut web::ServiceConfig| {
                routes.app_data(gateway.clone()).app_data(probes.clone()).app_data(public_url.clone());
                http::configure(routes);
            };
            listen(public_socket, &config.server, workers, configure)?
        };
        let counted = web::Data::new(metrics);
        let configure = move |routes: &mut web::ServiceConfig| {
            routes.app_data(probes.clone()).app_data(counted.clone());
            admin::configure(routes);
        };
        let admin = listen(admin_socket, &config.server, 1, configure)?;
        let purge = tokio::spawn(jobs::purge_forever(Arc::clone(&store), clock));
        tracing::info!(public = %public.address, admin = %admin.address, "latchkey is up");
        Ok(Self {
            public,
            admin,
            store,
            login,
            health,
            in_flight,
            max_in_flight: config.server.max_in_flight,
            shutdown_timeout: config.server.shutdown_timeout,
            purge,
        })
    }

    /// Where apps connect.
    #[must_use]
    pub fn public_address(&self) -> SocketAddr {
        self.public.address
    }

    /// Where the operator connects.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address
    }

    /// The store, for those who look behind the answers.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The use cases, for those who call them without HTTP.
    #[must_use]
    pub fn login(&self) -> &Arc<Login> {
        &self.login
    }

    /// Serves until `stop` is over, then finishes what is in flight.
    pub async fn run_until(self, stop: impl Future<Output = ()>) {
        let Self { public, admin, store, health, in_flight, max_in_flight, shutdown_timeout, purge, .. } =
            self;
        let servers = [tokio::spawn(public.server), tokio::spawn(admin.server)];
        stop.await;
        tracing::info!("stopping");
        health.stop();
        public.handle.pause().await;
        let all_back = tokio::time::timeout(shutdown_timeout, in_flight.acquire_many(max_in_flight)).await;
        if all_back.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        public.handle.stop(true).await;
        admin.handle.stop(true).await;
        for server in servers {
            // It ended because we stopped it.
            let _ = server.await;
        }
        purge.abort();
        store.close().await;
        tracing::info!("stopped");
    }
}

fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|source| StartError::Listen { address, key, source })
}

fn listen<F>(
    socket: TcpListener,
    limits: &crate::config::Server,
    workers: usize,
    configure: F,
) -> Result<Serving, StartError>
where
    F: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
{
    let address = limits.listen;
    let listener = Listener { socket, limits: limits.clone(), workers, configure };
    http::serve(listener).map_err(|source| StartError::Listen { address, key: "server.listen", source })
}

fn workers(configured: u32) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    usize::try_from(configured).ok().filter(|workers| *workers > 0).unwrap_or_else(cores)
}

fn read_pepper(otp: &Otp, entropy: &dyn Entropy) -> Result<Peppers, StartError> {
    match &otp.pepper {
        PepperSource::Given(text) => Ok(Peppers::parse(text.expose_secret())?),
        PepperSource::Generated(path) => {
            let unique = MessageId::generate(entropy);
            let file = secret_file::read_or_create(path, &Peppers::generate(entropy), unique.as_str());
            let file = file.map_err(|source| StartError::PepperFile { path: path.clone(), source })?;
            if file.created {
                tracing::warn!(path = %path.display(), "made a pepper for development: keep the file, codes are hashed under it");
            }
            Ok(Peppers::parse(&file.text)?)
        }
    }
}
