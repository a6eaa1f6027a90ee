//! Logging in: start, resend, verify, complete; changing what one logs in with; and what gateways report of messages.
//!
//! Guarantees: each use case reads from top to bottom as the story it tells, and is safe to stop between any two of
//! its steps. A guess is counted and committed before it is compared; a message is written down and committed before
//! it is sent; nothing is held while a provider or a backend is called. The answer to a start never depends on
//! whether the user exists, nor does its time on whether the address is closed.

mod accept;
mod account;
mod birth;
mod dispatch;
mod draft;
mod guess;
mod mint;
mod note;
mod pace;
mod receipt;
mod recycled;
mod start;
mod verify;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use self::account::{AccountError, Confirm, Confirmed, Kind, NewAddress, Unlinked};
pub use self::birth::Tokens;
pub use self::guess::Unproved;
pub use self::mint::{MintFailed, Minted};
pub use self::pace::Pace;
pub use self::receipt::{Filed, Resent};
pub use self::start::{Others, Resend, Sent, Start, Started};
pub use self::verify::{Complete, Verified, Verify};
use crate::ambient::{Clock, Entropy};
use crate::config::{Apps, Email, Limits, Otp, Policy};
use crate::delivery::{Courier, Messages, Receipts};
use crate::domain::account::AccountRules;
use crate::domain::code::{Code, CodeHash};
use crate::domain::ed25519::NotSigned;
use crate::domain::guard::{Guard, Opening};
use crate::domain::pepper::{Binding, CodeHasher, Salt, Unhashed, UnknownKey};
use crate::domain::session::Lifetimes;
use crate::domain::time::Timestamp;
use crate::keys::AccessTokens;
use crate::store::batch::Batch;
use crate::store::deliveries::Note;
use crate::store::gathering::Gathering;
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;
use crate::upstream::{ChatToken, Subject, Upstream, UpstreamError};

/// A provider that has not answered by then is not waited for.
const SEND_DEADLINE: Duration = Duration::from_secs(15);

/// A lease outlives the backend's deadline by this much: the time to write down what became of the mint.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// A backend that said no will not say yes at once.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A chat backend, and how long it may take.
#[derive(Clone)]
pub struct Realm {
    /// Mints the tokens.
    pub upstream: Arc<dyn Upstream>,
    /// After this the mint is given up as unknown.
    pub deadline: Duration,
}

impl Realm {
    /// Mints, and gives up when `left` or the backend's own deadline is over.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn mint(&self, subject: &Subject, left: Duration) -> Result<ChatToken, UpstreamError> {
        let deadline = self.deadline.min(left);
        match tokio::time::timeout(deadline, self.upstream.mint(subject)).await {
            Ok(minted) => minted,
            Err(_elapsed) if deadline.is_zero() => {
                Err(UpstreamError::Unavailable("no time was left to ask it".to_owned()))
            }
            Err(_elapsed) => Err(UpstreamError::Unknown("no answer within the deadline".to_owned())),
        }
    }
}

/// Everything that logging in needs.
pub struct Login {
    /// Where state lives.
    pub store: Arc<Store>,
    /// The ways out.
    pub courier: Courier,
    /// What messages say.
    pub messages: Messages,
    /// The backends, by realm.
    pub realms: BTreeMap<String, Realm>,
    /// The keys and the cost of hashing.
    pub hasher: Arc<CodeHasher>,
    /// Bounds hashing that is too slow to do inline.
    pub hashing: Arc<Semaphore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Codes.
    pub otp: Otp,
    /// The apps we serve.
    pub apps: Arc<Apps>,
    /// Whom to send to.
    pub policy: Policy,
    /// Whether people log in by e-mail.
    pub email: Email,
    /// How much to send.
    pub limits: Limits,
    /// What came of it all.
    pub metrics: Arc<Metrics>,
    /// How long sending takes.
    pub pace: Arc<Pace>,
    /// What became of messages, and is not written down yet.
    pub notes: Gathering<Note>,
    /// What is to be written down, and waits to be made with others.
    pub batches: Batches,
    /// Where gateways report to.
    pub receipts: Receipts,
    /// The tokens of sessions.
    pub tokens: Arc<AccessTokens>,
    /// How long sessions last.
    pub lifetimes: Lifetimes,
    /// What becomes of accounts whose number changes hands.
    pub accounts: AccountRules,
}

/// The writes of logins, by kind.
#[derive(Default)]
pub struct Batches {
    looks: Batch<start::Looking>,
    starts: Batch<draft::Posting>,
    guesses: Batch<guess::Counting>,
    acceptances: Batch<accept::Plainly>,
    mints: Batch<mint::FirstSession>,
}

/// Why there is no answer. Nothing was accepted, and what was counted stays counted.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The database.
    #[error("the store did not answer")]
    Store(#[from] StoreError),
    /// The pepper file lost a key that is in use.
    #[error("a code cannot be checked")]
    Key(#[from] UnknownKey),
    /// The configuration has no such realm; it had when the challenge was made.
    #[error("no upstream serves the realm `{0}` any more")]
    Realm(String),
    /// An access token cannot be signed. The grant can be turned into another one later.
    #[error("an access token cannot be made")]
    Tokens(#[from] NotSigned),
    /// Hashing was interrupted: the process is stopping.
    #[error("the process is stopping")]
    Stopping,
}

/// How long somebody has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// This long; then it works.
    For(Duration),
    /// Until an operator does something.
    ForOperator,
}

impl Wait {
    fn until(at: Timestamp, now: Timestamp) -> Self {
        if at == Timestamp::NEVER { Self::ForOperator } else { Self::For(at.wait_from(now)) }
    }

    /// What the guard says; nothing where it lets a guess through.
    fn of_guard(guard: Option<&Guard>, now: Timestamp) -> Option<Self> {
        match guard?.opening(now) {
            Opening::Open => None,
            Opening::At(at) => Some(Self::until(at, now)),
            Opening::Closed => Some(Self::ForOperator),
        }
    }
}

impl Login {
    fn realm(&self, name: &str) -> Result<Realm, LoginError> {
        self.realms.get(name).cloned().ok_or_else(|| LoginError::Realm(name.to_owned()))
    }

    /// Hashes inline where that is quicker than handing it over.
    async fn hash(
        &self,
        key_id: &str,
        binding: &Binding<'_>,
        salt: &Salt,
        code: &Code,
    ) -> Result<CodeHash, LoginError> {
        if self.hasher.is_quick() {
            return Ok(self.hasher.hash(key_id, binding, salt, code)?);
        }
        let _turn = self.hashing.acquire().await.or(Err(LoginError::Stopping))?;
        let unhashed = Unhashed::new(key_id, binding, salt, code);
        let hasher = Arc::clone(&self.hasher);
        let done = tokio::task::spawn_blocking(move || hasher.finish(&unhashed)).await;
        Ok(done.or(Err(LoginError::Stopping))??)
    }
}
