//! What stays for as long as the process runs, and what a configuration makes of it.
//!
//! Guarantees: a [`Gateway`] is built whole or not at all, and building one changes nothing of those before it, but for
//! files that development makes where they are missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::sync::Semaphore;

use super::{StartError, World};
use crate::ambient::{Clock, Entropy};
use crate::config::{Config, Otp, PepperSource, UpstreamConfig, secret_file};
use crate::delivery::{self, Board, Callbacks, Courier, Messages, Provider, Receipts, Rules};
use crate::domain::account::{AccountRules, Recycled};
use crate::domain::address::Address;
use crate::domain::ids::MessageId;
use crate::domain::pepper::{CodeHasher, Peppers};
use crate::domain::receipt::PathKeys;
use crate::http::{Backends, Gateway, Health, TrustedProxies};
use crate::keys::AccessTokens;
use crate::login::{Batches, Login, Pace, Realm};
use crate::session::Sessions;
use crate::store::Store;
use crate::store::gathering::Gathering;
use crate::telemetry::Metrics;
use crate::upstream::{self, Surroundings, Upstream};

/// What no change of the configuration replaces.
pub(super) struct Parts {
    pub(super) store: Arc<Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tokens: Arc<AccessTokens>,
    pub(super) health: Arc<Health>,
    pub(super) board: Arc<Board>,
    pub(super) in_flight: Arc<Semaphore>,
    entropy: Arc<dyn Entropy>,
    hashing: Arc<Semaphore>,
    pace: Arc<Pace>,
    proxies: Arc<TrustedProxies>,
    body_timeout: Duration,
    providers: Option<Vec<Arc<dyn Provider>>>,
    upstreams: BTreeMap<String, Arc<dyn Upstream>>,
}

impl Parts {
    /// Opens the store and the keys.
    pub(super) fn open(config: &Config, world: World, workers: usize) -> Result<Self, StartError> {
        let World { clock, entropy, providers, upstreams, source: _, look_every: _ } = world;
        // Before the store: what is wrong in a file should not first migrate a database.
        read_pepper(&config.otp, &*entropy)?;
        let store = Arc::new(Store::open(&config.database)?);
        let issuer = config.public_url.as_str().trim_end_matches('/').to_owned();
        let apps = Arc::new(config.apps.clone());
        let tokens = AccessTokens::open(&config.session, issuer, apps, Arc::clone(&entropy))?;
        Ok(Self {
            health: Arc::new(Health::new(Arc::clone(&store))),
            store,
            clock,
            metrics: Arc::new(Metrics::default()),
            tokens: Arc::new(tokens),
            board: Arc::default(),
            in_flight: Arc::new(Semaphore::new(usize::try_from(config.server.max_in_flight).unwrap_or(1))),
            entropy,
            hashing: Arc::new(Semaphore::new(workers)),
            pace: Arc::default(),
            proxies: Arc::new(TrustedProxies::new(config.server.trusted_proxies.clone())),
            body_timeout: config.server.body_timeout,
            providers,
            upstreams,
        })
    }

    /// Builds what serves under a configuration, and has the keys and the probes follow it.
    pub(super) fn build(&self, config: &Config) -> Result<Gateway, StartError> {
        let peppers = read_pepper(&config.otp, &*self.entropy)?;
        let callbacks = Arc::new(Callbacks::new(config.public_url.clone(), PathKeys::new(&peppers)));
        let hasher = Arc::new(CodeHasher::new(peppers, config.otp.cost));
        let apps = Arc::new(config.apps.clone());
        let messages = Messages::new(config.messages.clone(), Arc::clone(&apps));
        let courier = self.build_courier(config, &callbacks);
        let (courier, realms) = StartError::unless_usable(courier, self.build_realms(config))?;
        warn_of_shared_numbers(&realms, config.session.accounts);
        let receipts = Receipts::new(&config.providers, callbacks, Arc::clone(&self.board));
        let receipts = receipts.map_err(|error| StartError::Unusable(vec![error.to_string()]))?;
        messages.warn_of_long(config.otp.length, config.otp.lifetime);
        let backends = realms.iter().map(|(name, realm)| (name.clone(), Arc::clone(&realm.upstream)));
        self.health.show(backends.collect::<Backends>());
        self.tokens.serve(Arc::clone(&apps));
        let sessions = Arc::new(Sessions {
            store: Arc::clone(&self.store),
            realms: realms.clone(),
            tokens: Arc::clone(&self.tokens),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            lifetimes: config.session.lifetimes,
            chat_tokens: config.session.chat_tokens,
            metrics: Arc::clone(&self.metrics),
        });
        let login = Arc::new(Login {
            store: Arc::clone(&self.store),
            courier,
            messages,
            realms,
            hasher,
            hashing: Arc::clone(&self.hashing),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            otp: config.otp.clone(),
            apps: Arc::clone(&apps),
            policy: config.policy.clone(),
            email: config.email,
            limits: config.limits.clone(),
            metrics: Arc::clone(&self.metrics),
            pace: Arc::clone(&self.pace),
            notes: Gathering::default(),
            batches: Batches::default(),
            receipts,
            tokens: Arc::clone(&self.tokens),
            lifetimes: config.session.lifetimes,
            accounts: config.session.accounts,
        });
        Ok(Gateway {
            login,
            sessions,
            tokens: Arc::clone(&self.tokens),
            apps,
            texts: config.mesibo.clone(),
            proxies: Arc::clone(&self.proxies),
            in_flight: Arc::clone(&self.in_flight),
            body_timeout: self.body_timeout,
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            health: Arc::clone(&self.health),
        })
    }

    /// Every backend, ready to be called; those that are given take the place of the configured ones.
    fn build_realms(&self, config: &Config) -> Result<BTreeMap<String, Realm>, Vec<upstream::BuildError>> {
        let surroundings = Surroundings {
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            metrics: Arc::clone(&self.metrics),
        };
        let mut built = upstream::build(&config.upstreams, &surroundings)?;
        built.extend(self.upstreams.iter().map(|(name, upstream)| (name.clone(), Arc::clone(upstream))));
        let realm = |(name, config): (&String, &UpstreamConfig)| {
            let upstream = Arc::clone(built.get(name)?);
            Some((name.clone(), Realm { upstream, deadline: config.deadline() }))
        };
        Ok(config.upstreams.iter().filter_map(realm).collect())
    }

    fn build_courier(
        &self,
        config: &Config,
        callbacks: &Arc<Callbacks>,
    ) -> Result<Courier, Vec<delivery::BuildError>> {
        let providers = match &self.providers {
            Some(given) => given.clone(),
            None => delivery::build(&config.providers, &self.clock, Some(callbacks))?,
        };
        let rules = Rules {
            routes: config.routes.clone(),
            terms: config.terms.clone(),
            prices: config.prices.clone(),
        };
        let around = delivery::Surroundings {
            board: Arc::clone(&self.board),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            metrics: Arc::clone(&self.metrics),
        };
        Ok(Courier::new(providers, rules, around))
    }
}

/// Where a backend knows users by their numbers, a new user of an old number is the old one there.
fn warn_of_shared_numbers(realms: &BTreeMap<String, Realm>, rules: AccountRules) {
    let Ok(sample) = Address::parse("+12015550123") else { return };
    let by_number = realms.iter().filter(|(_, realm)| realm.upstream.id_by_address(&sample).is_some());
    for (name, _) in by_number.filter(|_| rules.recycled != Recycled::Keep) {
        tracing::warn!(
            upstream = name,
            "session.recycled does not separate users at this backend: it knows them by their numbers, so that whoever \
             gets an old number gets its chats; set \"keep\", or know this"
        );
    }
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
