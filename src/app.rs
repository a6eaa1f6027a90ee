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
use crate::config::{Config, Otp, PepperSource, UpstreamConfig, secret_file};
use crate::delivery::{self, Callbacks, Courier, Messages, Provider, Receipts};
use crate::domain::ids::MessageId;
use crate::domain::pepper::{CodeHasher, PepperError, Peppers};
use crate::domain::receipt::PathKeys;
use crate::http::{Gateway, Health, Listener, PublicUrl, Serving, TrustedProxies};
use crate::keys::{AccessTokens, KeyFileError};
use crate::login::{Login, Pace, Realm};
use crate::session::Sessions;
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;
use crate::upstream::{self, Surroundings, Upstream};
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
    /// A way out for codes.
    #[error("a provider cannot be used")]
    Provider(#[from] delivery::BuildError),
    /// A chat backend.
    #[error("an upstream cannot be used")]
    Upstream(#[from] upstream::BuildError),
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

/// While requests in flight are waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

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
    jobs: [tokio::task::JoinHandle<()>; 3],
}

impl App {
    /// Builds and starts everything.
    ///
    /// # Errors
    /// [`StartError`], with the fix.
    pub fn start(config: Config, world: World) -> Result<Self, StartError> {
        let World { clock, entropy, providers, upstreams, look_every } = world;
        // Sockets first: two processes on one port should fail before either touches the database.
        let public_socket = bind(config.server.listen, "server.listen")?;
        let admin_socket = bind(config.server.admin_listen, "server.admin_listen")?;
        let peppers = read_pepper(&config.otp, &*entropy)?;
        let callbacks = Arc::new(Callbacks::new(config.public_url.clone(), PathKeys::new(&peppers)));
        let hasher = Arc::new(CodeHasher::new(peppers, config.otp.cost));
        let store = Arc::new(Store::open(&config.database)?);
        let metrics = Arc::new(Metrics::default());
        let in_flight = Arc::new(Semaphore::new(usize::try_from(config.server.max_in_flight).unwrap_or(1)));
        let workers = workers(config.server.workers);
        let apps = Arc::new(config.apps);
        let issuer = config.public_url.as_str().trim_end_matches('/').to_owned();
        let tokens = AccessTokens::open(&config.session, issuer, Arc::clone(&apps), Arc::clone(&entropy))?;
        let tokens = Arc::new(tokens);
        let messages = Messages::new(config.messages, Arc::clone(&apps));
        messages.warn_of_long(config.otp.length, config.otp.lifetime);

        let surroundings = Surroundings {
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            metrics: Arc::clone(&metrics),
        };
        let realms = build_realms(&config.upstreams, upstreams, &surroundings)?;
        let sessions = Arc::new(Sessions {
            store: Arc::clone(&store),
            realms: realms.clone(),
            tokens: Arc::clone(&tokens),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            lifetimes: config.session.lifetimes,
            chat_tokens: config.session.chat_tokens,
            metrics: Arc::clone(&metrics),
        });
        let backends = realms.iter().map(|(name, realm)| (name.clone(), Arc::clone(&realm.upstream)));
        let health = Arc::new(Health::new(Arc::clone(&store), backends.collect()));
        let providers =
            providers.map_or_else(|| delivery::build(&config.providers, &clock, Some(&callbacks)), Ok)?;
        let receipts = Receipts::new(&config.providers, callbacks)?;
        let login = Arc::new(Login {
            store: Arc::clone(&store),
            courier: Courier::new(providers, config.routes),
            messages,
            realms,
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
            pace: Pace::default(),
            receipts,
            tokens: Arc::clone(&tokens),
            lifetimes: config.session.lifetimes,
        });
        let gateway = web::Data::new(Gateway {
            login: Arc::clone(&login),
            sessions,
            tokens: Arc::clone(&tokens),
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
                http::configure(routes, &gateway.apps);
            };
            listen(public_socket, "server.listen", &config.server, workers, configure)?
        };
        let counted = web::Data::new(metrics);
        let configure = move |routes: &mut web::ServiceConfig| {
            routes.app_data(probes.clone()).app_data(counted.clone());
            admin::configure(routes);
        };
        let admin = listen(admin_socket, "server.admin_listen", &config.server, 1, configure)?;
        let jobs = start_jobs(&store, clock, tokens, &login, look_every);
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
            jobs,
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
        let Self { public, admin, store, health, in_flight, max_in_flight, shutdown_timeout, jobs, .. } =
            self;
        let servers = [tokio::spawn(public.server), tokio::spawn(admin.server)];
        stop.await;
        tracing::info!("stopping");
        health.stop();
        public.door.close().await;
        let max_in_flight = usize::try_from(max_in_flight).unwrap_or(usize::MAX);
        // One deadline for all of it: the work, then the writing of its answers. Permits are looked at, not taken:
        // whoever has begun to send a request gets one still.
        let finish = async {
            while in_flight.available_permits() < max_in_flight {
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
        store.close().await;
        tracing::info!("stopped");
    }
}

/// Every backend, ready to be called; those that are given take the place of the configured ones.
fn build_realms(
    configured: &BTreeMap<String, UpstreamConfig>,
    given: BTreeMap<String, Arc<dyn Upstream>>,
    surroundings: &Surroundings,
) -> Result<BTreeMap<String, Realm>, upstream::BuildError> {
    let mut built = upstream::build(configured, surroundings)?;
    built.extend(given);
    let realm = |(name, config): (&String, &UpstreamConfig)| {
        let upstream = Arc::clone(built.get(name)?);
        Some((name.clone(), Realm { upstream, deadline: config.deadline() }))
    };
    Ok(configured.iter().filter_map(realm).collect())
}

/// What happens without anybody asking.
fn start_jobs(
    store: &Arc<Store>,
    clock: Arc<dyn Clock>,
    tokens: Arc<AccessTokens>,
    login: &Arc<Login>,
    look_every: Duration,
) -> [tokio::task::JoinHandle<()>; 3] {
    [
        tokio::spawn(jobs::purge_forever(Arc::clone(store), clock)),
        tokio::spawn(jobs::follow_keys_forever(tokens)),
        tokio::spawn(jobs::resend_forever(Arc::clone(login), look_every)),
    ]
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

/// The pepper; in development it is made where there is none.
pub(crate) fn read_pepper(otp: &Otp, entropy: &dyn Entropy) -> Result<Peppers, StartError> {
    match &otp.pepper {
        PepperSource::Given(text) => Ok(Peppers::parse(text.expose_secret())?),
        PepperSource::Generated(path) => {
            let unique = MessageId::generate(entropy);
            let file = secret_file::read_or_create(path, &Peppers::generate(entropy), unique.as_str());
            let file = file.map_err(|error| StartError::PepperFile { path: path.clone(), error })?;
            if file.created {
                tracing::warn!(path = %path.display(), "made a pepper for development: keep the file, codes are hashed under it");
            }
            Ok(Peppers::parse(&file.text)?)
        }
    }
}
