//! The process: builds every dependency once, runs until it is stopped.
//!
//! Guarantees: a start either succeeds whole or says what to change. A stop turns readiness off, takes no new
//! connections, finishes what is in flight within its deadline, and leaves the store with everything written.

mod parts;
mod reload;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use arc_swap::ArcSwap;

use crate::admin::Reloads;
use crate::ambient::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::{Config, Source};
use crate::delivery::{self, Provider};
use crate::domain::pepper::PepperError;
use crate::http::{Gateway, Listener, PublicUrl, Serving};
use crate::keys::KeyFileError;
use crate::login::Login;
use crate::store::{Store, StoreError};
use crate::upstream::{self, Upstream};
use crate::{admin, http, jobs};
use parts::Parts;
pub(crate) use parts::read_pepper;
use reload::Reloader;

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
    /// Where the configuration came from, to read it again; without it, it never changes.
    pub source: Option<Source>,
    /// Between two looks for messages that did not arrive.
    pub look_every: Duration,
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
            source: None,
            look_every: jobs::LOOK_FOR_LOST_EVERY,
        }
    }
}

/// Why the process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error("database.url does not work")]
    Store(#[from] StoreError),
    /// The pepper file.
    #[error(
        "otp.pepper_file: {} cannot be read or made ({error}); fix: check the folder and its permissions, or name \
         another file",
        path.display()
    )]
    PepperFile {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Its content.
    #[error("otp.pepper_file: the pepper is not usable")]
    Pepper(#[from] PepperError),
    /// The keys of access tokens.
    #[error(transparent)]
    SessionKeys(#[from] KeyFileError),
    /// Each way out for codes, and each chat backend, that cannot be had.
    #[error("the configuration has {} problem(s):\n  {}", .0.len(), .0.join("\n  "))]
    Unusable(Vec<String>),
    /// A listener.
    #[error("{key}: cannot listen on {address} ({error}); fix: stop what listens there, or choose another")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Its setting.
        key: &'static str,
        /// Why.
        error: std::io::Error,
    },
}

impl StartError {
    /// Both, or all that is wrong with either.
    pub(crate) fn unless_usable<P, U>(
        providers: Result<P, Vec<delivery::BuildError>>,
        upstreams: Result<U, Vec<upstream::BuildError>>,
    ) -> Result<(P, U), Self> {
        let (providers, upstreams) = match (providers, upstreams) {
            (Ok(providers), Ok(upstreams)) => return Ok((providers, upstreams)),
            (providers, upstreams) => (providers.err(), upstreams.err()),
        };
        let providers = providers.iter().flatten().map(ToString::to_string);
        let upstreams = upstreams.iter().flatten().map(ToString::to_string);
        Err(Self::Unusable(providers.chain(upstreams).collect()))
    }
}

/// While requests in flight are waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running process.
pub struct App {
    public: Serving,
    admin: Serving,
    parts: Arc<Parts>,
    current: Arc<ArcSwap<Gateway>>,
    reloads: Reloads,
    max_in_flight: u32,
    shutdown_timeout: Duration,
    jobs: Vec<tokio::task::JoinHandle<()>>,
}

impl App {
    /// Builds and starts everything.
    ///
    /// # Errors
    /// [`StartError`], with the fix.
    pub fn start(config: Config, world: World) -> Result<Self, StartError> {
        // Sockets first: two processes on one port should fail before either touches the database.
        let public_socket = bind(config.server.listen, "server.listen")?;
        let admin_socket = bind(config.server.admin_listen, "server.admin_listen")?;
        let workers = workers(config.server.workers);
        let (source, look_every) = (world.source.clone(), world.look_every);
        let parts = Arc::new(Parts::open(&config, world, workers)?);
        let current = Arc::new(ArcSwap::from_pointee(parts.build(&config)?));
        let (reloads, asked) = Reloads::new();

        let probes = web::Data::new(Arc::clone(&parts.health));
        let public_url = web::Data::new(PublicUrl(config.public_url.clone()));
        let public = {
            let (probes, gateway) = (probes.clone(), web::Data::from(Arc::clone(&current)));
            let apps = config.apps.clone();
            let configure = move |routes: &mut web::ServiceConfig| {
                routes.app_data(gateway.clone()).app_data(probes.clone()).app_data(public_url.clone());
                http::configure(routes, &apps);
            };
            listen(public_socket, "server.listen", &config.server, workers, configure)?
        };
        let counted = web::Data::new(Arc::clone(&parts.metrics));
        let bell = web::Data::new(reloads.clone());
        let configure = move |routes: &mut web::ServiceConfig| {
            routes.app_data(probes.clone()).app_data(counted.clone()).app_data(bell.clone());
            admin::configure(routes);
        };
        let admin = listen(admin_socket, "server.admin_listen", &config.server, 1, configure)?;
        let (store, clock) = (Arc::clone(&parts.store), Arc::clone(&parts.clock));
        let (max_in_flight, shutdown_timeout) = (config.server.max_in_flight, config.server.shutdown_timeout);
        let login = {
            let current = Arc::clone(&current);
            move || Arc::clone(&current.load().login)
        };
        let reloader = Reloader::new(Arc::clone(&parts), Arc::clone(&current), config, source);
        let jobs = vec![
            tokio::spawn(jobs::purge_forever(Arc::clone(&store), Arc::clone(&clock))),
            tokio::spawn(jobs::follow_keys_forever(Arc::clone(&parts.tokens))),
            tokio::spawn(jobs::write_outcomes_forever(Arc::clone(&store), Arc::clone(&parts.board))),
            tokio::spawn(jobs::follow_board_forever(store, Arc::clone(&parts.board), clock)),
            tokio::spawn(reloader.follow_forever(asked)),
            tokio::spawn(jobs::resend_forever(login, look_every)),
        ];
        tracing::info!(public = %public.address, admin = %admin.address, "latchkey is up");
        Ok(Self { public, admin, parts, current, reloads, max_in_flight, shutdown_timeout, jobs })
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
        &self.parts.store
    }

    /// The use cases as they are now, for those who call them without HTTP.
    #[must_use]
    pub fn login(&self) -> Arc<Login> {
        Arc::clone(&self.current.load().login)
    }

    /// To have the configuration read again.
    #[must_use]
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Serves until `stop` is over, then finishes what is in flight.
    pub async fn run_until(self, stop: impl Future<Output = ()>) {
        let Self { public, admin, parts, max_in_flight, shutdown_timeout, jobs, .. } = self;
        // Nobody is served, and nothing is sent through a provider that is turned off, before that is known.
        jobs::read_board(&parts.store, &parts.board, &*parts.clock).await;
        let servers = [tokio::spawn(public.server), tokio::spawn(admin.server)];
        stop.await;
        tracing::info!("stopping");
        parts.health.stop();
        public.door.close().await;
        let max_in_flight = usize::try_from(max_in_flight).unwrap_or(usize::MAX);
        // One deadline for all of it: the work, then the writing of its answers. Permits are looked at, not taken:
        // whoever has begun to send a request gets one still.
        let finish = async {
            while parts.in_flight.available_permits() < max_in_flight {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            public.door.stop().await;
            admin.door.close().await;
            admin.door.stop().await;
        };
        if tokio::time::timeout(shutdown_timeout, finish).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        for server in servers {
            // Dropping a server that has not ended cuts off what is left.
            server.abort();
            let _ = server.await;
        }
        for job in jobs {
            job.abort();
        }
        jobs::write_outcomes(&parts.store, &parts.board).await;
        parts.store.close().await;
        tracing::info!("stopped");
    }
}

fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| StartError::Listen { address, key, error })
}

fn listen<F>(
    socket: TcpListener,
    key: &'static str,
    limits: &crate::config::Server,
    workers: usize,
    configure: F,
) -> Result<Serving, StartError>
where
    F: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
{
    let address = socket.local_addr().unwrap_or(limits.listen);
    let listener = Listener { socket, limits: limits.clone(), workers, configure };
    http::serve(listener).map_err(|error| StartError::Listen { address, key, error })
}

fn workers(configured: u32) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    usize::try_from(configured).ok().filter(|workers| *workers > 0).unwrap_or_else(cores)
}
