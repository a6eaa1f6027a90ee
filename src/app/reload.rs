//! The configuration is read again while the process runs.
//!
//! Guarantees: a new configuration is checked whole and takes the place of the old one in one step, or is refused with
//! all that is wrong, and the old one stays. Requests that are worked on end under the one that they began with.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::StartError;
use super::parts::Parts;
use crate::admin::Asked;
use crate::config::{Config, ConfigError, Source};
use crate::http::Gateway;
use crate::telemetry::chain;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why the old configuration stays.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{} cannot change while the process runs; fix: restart it, or take the change back", .0.join(", "))]
    Fixed(Vec<&'static str>),
    #[error("this process does not know where its configuration came from")]
    NoSource,
    #[error("it was not read to its end")]
    Interrupted,
}

/// A key that only a restart changes, and whether two configurations say the same of it.
type Fixed = (&'static str, fn(&Config, &Config) -> bool);

macro_rules! same {
    ($($field:ident).+) => {
        |one: &Config, other: &Config| one.$($field).+ == other.$($field).+
    };
}

/// Listeners, the database, the log, and what tokens out there were made with.
const FIXED: [Fixed; 21] = [
    ("mode", same!(mode)),
    ("public_url", same!(public_url)),
    ("server.listen", same!(server.listen)),
    ("server.admin_listen", same!(server.admin_listen)),
    ("server.trusted_proxies", same!(server.trusted_proxies)),
    ("server.workers", same!(server.workers)),
    ("server.max_in_flight", same!(server.max_in_flight)),
    ("server.max_connections", same!(server.max_connections)),
    ("server.max_connections_per_ip", same!(server.max_connections_per_ip)),
    ("server.head_timeout", same!(server.head_timeout)),
    ("server.body_timeout", same!(server.body_timeout)),
    ("server.idle_timeout", same!(server.idle_timeout)),
    ("server.shutdown_timeout", same!(server.shutdown_timeout)),
    ("database.url", |one, other| one.database.url.is(&other.database.url)),
    ("database.connections", same!(database.connections)),
    ("database.queue", same!(database.queue)),
    ("database.deadline", same!(database.deadline)),
    // What a first start made is found by the next look.
    ("session.key_file", |one, other| one.session.keys.path() == other.session.keys.path()),
    ("session.access_lifetime", same!(session.access_lifetime)),
    ("log", same!(log)),
    // An address, and addresses are made at the start.
    ("apps.chat_token_path", |one, other| chat_token_paths(one) == chat_token_paths(other)),
];

fn chat_token_paths(config: &Config) -> BTreeSet<&str> {
    config.apps.iter().filter_map(|(_, app)| app.chat_token_path.as_deref()).collect()
}

/// A file's state; why it cannot be looked at where it cannot.
type Look = Result<(u64, u64, i64, i64), io::ErrorKind>;

fn look(path: &Path) -> Look {
    let file = path.metadata().map_err(|error| error.kind())?;
    Ok((file.ino(), file.size(), file.ctime(), file.ctime_nsec()))
}

/// Puts another configuration in the place of the one in force.
pub(super) struct Reloader {
    parts: Arc<Parts>,
    current: Arc<ArcSwap<Gateway>>,
    source: Option<Source>,
    /// The one in force.
    running: Mutex<Config>,
    /// The files of one that was refused since.
    refused: Mutex<BTreeSet<PathBuf>>,
}

impl Reloader {
    pub(super) fn new(
        parts: Arc<Parts>,
        current: Arc<ArcSwap<Gateway>>,
        running: Config,
        source: Option<Source>,
    ) -> Self {
        Self { parts, current, source, running: Mutex::new(running), refused: Mutex::default() }
    }

    /// Reads the configuration again when somebody asks, and when one of its files has changed.
    pub(super) async fn follow_forever(self, mut asked: mpsc::Receiver<Asked>) {
        let this = Arc::new(self);
        let mut seen = this.look_at_all(&BTreeMap::new());
        loop {
            let bell = tokio::select! {
                Some(bell) = asked.recv() => Some(bell),
                () = tokio::time::sleep(LOOK_EVERY) => None,
            };
            // Before it is read: what changes while it is read is seen next time.
            let found = this.look_at_all(&BTreeMap::new());
            if bell.is_none() && (this.source.is_none() || found == seen) {
                continue;
            }
            let reloader = Arc::clone(&this);
            let done = tokio::task::spawn_blocking(move || reloader.reload()).await;
            seen = this.look_at_all(&found);
            let done = done.unwrap_or(Err(Refused::Interrupted)).map_err(|refused| chain(&refused));
            this.parts.metrics.count_reload(if done.is_ok() { "done" } else { "refused" });
            match &done {
                Ok(()) => tracing::info!("the configuration was read again and is in force"),
                Err(why) => tracing::error!(
                    alarm = true,
                    why,
                    "the configuration was read again and is refused: the one before it stays in force"
                ),
            }
            if let Some(bell) = bell {
                // An error: whoever asked does not wait any more.
                let _ = bell.send(done);
            }
        }
    }

    /// Every file of the configuration in force, and of one that is refused: what that lacks may come. Of those that
    /// are in `seen`, what that says.
    fn look_at_all(&self, seen: &BTreeMap<PathBuf, Look>) -> BTreeMap<PathBuf, Look> {
        let mut files = self.running.lock().unwrap_or_else(PoisonError::into_inner).files.clone();
        files.extend(self.refused().iter().cloned());
        let look = |path: PathBuf| {
            let state = seen.get(&path).copied().unwrap_or_else(|| look(&path));
            (path, state)
        };
        files.into_iter().map(look).collect()
    }

    fn refused(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads files: not for the serving threads.
    fn reload(&self) -> Result<(), Refused> {
        let source = self.source.as_ref().ok_or(Refused::NoSource)?;
        let config = source.load().inspect_err(|error| *self.refused() = error.files())?;
        self.refused().clone_from(&config.files);
        self.put_in_force(config)?;
        self.refused().clear();
        Ok(())
    }

    fn put_in_force(&self, config: Config) -> Result<(), Refused> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let differs = |(key, says_the_same): &Fixed| (!says_the_same(&running, &config)).then_some(*key);
        let changed: Vec<&str> = FIXED.iter().filter_map(differs).collect();
        if !changed.is_empty() {
            return Err(Refused::Fixed(changed));
        }
        let gateway = self.parts.build(&config)?;
        self.current.store(Arc::new(gateway));
        *running = config;
        Ok(())
    }
}
