//! Our own access tokens, and the file of their keys.
//!
//! Guarantees: every token is signed with the current key of the file and verified with any of its keys. The file is
//! replaced as a whole or not at all. A process that runs follows the file; one that is broken is told of once, and
//! the keys that were read before stay in force.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::ambient::Entropy;
use crate::config::secret_file;
use crate::config::{Apps, Session, SessionKeys};
use crate::domain::channel::Channel;
use crate::domain::claims::{Claims, TokenError};
use crate::domain::ed25519::NotSigned;
use crate::domain::ids::{AccessTokenId, SessionId, UserId};
use crate::domain::keyring::{KeyRing, KeyRingError, Rotation, TokenType};
use crate::domain::time::Timestamp;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system.
    #[error(
        "session.key_file: {} cannot be read or written ({error}); fix: check the folder and its permissions, or \
         name another file",
        path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Its content.
    #[error("session.key_file: {}: {error}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: KeyRingError,
    },
}

/// Whom an access token is for.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// The app that they logged in to.
    pub app_id: String,
    /// Who.
    pub user: UserId,
    /// Since when, and from which device.
    pub session: SessionId,
    /// How the code travelled; none where that is not known.
    pub channel: Option<Channel>,
}

/// A signed token. No `Debug`.
pub struct AccessToken {
    /// What the client sends.
    pub text: Zeroizing<String>,
    /// How long it is valid for.
    pub expires_in: Duration,
}

/// Signs and verifies access tokens.
pub struct AccessTokens {
    ring: RwLock<Arc<KeyRing>>,
    path: PathBuf,
    /// The file as it was when it was last looked at.
    seen: Mutex<Look>,
    issuer: String,
    lifetime: Duration,
    apps: ArcSwap<Apps>,
    entropy: Arc<dyn Entropy>,
}

/// What tells one state of a file from the next; or why it cannot be looked at.
type Look = Result<(u64, u64, i64, i64), io::ErrorKind>;

/// What looking at the file again brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Reload {
    /// It is the same as before.
    Unchanged,
    /// Its keys are in force.
    Read,
    /// It is broken since it changed: the old keys stay in force.
    Kept,
}

impl AccessTokens {
    /// Reads the keys; makes the file where development may.
    ///
    /// # Errors
    /// [`KeyFileError`], with the fix.
    pub fn open(
        config: &Session,
        issuer: String,
        apps: Arc<Apps>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, KeyFileError> {
        let path = config.keys.path().to_owned();
        if let SessionKeys::Generated(path) = &config.keys {
            make(path, &*entropy)?;
        }
        let seen = look(&path);
        let ring = RwLock::new(Arc::new(read(&path)?));
        let lifetime = config.access_lifetime;
        Ok(Self { ring, path, seen: Mutex::new(seen), issuer, lifetime, apps: ArcSwap::new(apps), entropy })
    }

    /// A fresh token.
    ///
    /// # Errors
    /// [`NotSigned`].
    pub fn issue(&self, bearer: &Bearer, now: Timestamp) -> Result<AccessToken, NotSigned> {
        let Bearer { app_id, user, session, channel } = bearer.clone();
        let issued_at = Timestamp::from_millis(now.as_secs() * 1000);
        let expires_at = issued_at.plus(self.lifetime);
        let (issuer, id) = (self.issuer.clone(), AccessTokenId::generate(&*self.entropy));
        let claims = Claims { issuer, app_id, user, session, id, issued_at, expires_at, channel };
        Ok(AccessToken { text: self.sign(&claims)?, expires_in: self.lifetime })
    }

    /// Signs claims as they are.
    ///
    /// # Errors
    /// [`NotSigned`].
    pub fn sign(&self, claims: &Claims) -> Result<Zeroizing<String>, NotSigned> {
        self.ring().sign(TokenType::Access, &claims.to_json())
    }

    /// What a token says, if it is one of ours, for an app that is served, and valid now. Whether its session still
    /// lives is for the store to say.
    ///
    /// # Errors
    /// [`TokenError`]: all of them are 401 to a client.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let payload = self.ring().open(TokenType::Access, token)?;
        let claims = Claims::parse(&payload, &self.issuer, now)?;
        if self.apps.load().find(&claims.app_id).is_none() {
            return Err(TokenError::Audience);
        }
        Ok(claims)
    }

    /// From now on these are the apps that are served.
    pub fn serve(&self, apps: Arc<Apps>) {
        self.apps.store(apps);
    }

    /// The public keys, for those who verify our tokens themselves (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.ring().jwks()
    }

    /// Takes in the file where it has changed. Reads files: not for the serving threads.
    pub fn reload(&self) -> Reload {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = look(&self.path);
        if *seen == found {
            return Reload::Unchanged;
        }
        *seen = found;
        match read(&self.path) {
            Ok(ring) => {
                let ring = Arc::new(ring);
                *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&ring);
                tracing::info!(current = ring.current_id(), "the keys of access tokens were read again");
                Reload::Read
            }
            Err(error) => {
                tracing::error!("{error}; the keys that were read before stay in force");
                Reload::Kept
            }
        }
    }

    fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Gives the file another current key.
///
/// # Errors
/// [`KeyFileError`]; the file is as it was.
pub fn rotate(keys: &SessionKeys, entropy: &dyn Entropy) -> Result<(Rotation, KeyRing), KeyFileError> {
    if let SessionKeys::Generated(path) = keys {
        make(path, entropy)?;
    }
    let path = keys.path();
    let (rotation, text) = read(path)?.rotated(entropy);
    let ring = KeyRing::parse(&text).map_err(|error| KeyFileError::Keys { path: path.to_owned(), error })?;
    let replaced = secret_file::replace(path, &text, &secret_file::draft_name(entropy));
    replaced.map_err(|error| KeyFileError::File { path: path.to_owned(), error })?;
    Ok((rotation, ring))
}

fn make(path: &Path, entropy: &dyn Entropy) -> Result<(), KeyFileError> {
    let file =
        secret_file::read_or_create(path, &KeyRing::generate(entropy), &secret_file::draft_name(entropy));
    let file = file.map_err(|error| KeyFileError::File { path: path.to_owned(), error })?;
    if file.created {
        tracing::warn!(path = %path.display(), "made keys for development, which sign access tokens: keep them, and out of git");
    }
    Ok(())
}

fn read(path: &Path) -> Result<KeyRing, KeyFileError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| KeyFileError::File { path: path.to_owned(), error })?;
    KeyRing::parse(&text).map_err(|error| KeyFileError::Keys { path: path.to_owned(), error })
}

/// A change of the content or of the permissions shows in the time of the last change.
fn look(path: &Path) -> Look {
    let file = path.metadata().map_err(|error| error.kind())?;
    Ok((file.ino(), file.size(), file.ctime(), file.ctime_nsec()))
}

#[cfg(test)]
mod tests;
