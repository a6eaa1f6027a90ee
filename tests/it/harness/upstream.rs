//! A chat backend inside the test: it can fail, hang and panic.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use latchkey::upstream::{ChatToken, Subject, Upstream, UpstreamError};
use serde_json::Map;
use tokio::sync::Notify;
use zeroize::Zeroizing;

/// What the next mint does.
#[derive(Clone)]
pub enum Mint {
    /// Answers like this.
    Fails(UpstreamError),
    /// Waits until it is let go, then mints.
    Hangs(Arc<Notify>),
    /// Panics.
    Panics,
}

/// Counts what it mints. Without instructions it mints.
#[derive(Default)]
pub struct FakeUpstream {
    next: Mutex<VecDeque<Mint>>,
    subjects: Mutex<Vec<Subject>>,
    minted: Mutex<Vec<String>>,
    revoked: Mutex<Vec<Subject>>,
    revoke: Mutex<Option<UpstreamError>>,
    called: Notify,
}

impl FakeUpstream {
    /// A new one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What the next mint does; call it again for the one after.
    pub fn next(&self, mint: Mint) {
        self.next.lock().unwrap().push_back(mint);
    }

    /// Whom it was called for, in order.
    pub fn subjects(&self) -> Vec<Subject> {
        self.subjects.lock().unwrap().clone()
    }

    /// The tokens that it gave out, in order.
    pub fn minted(&self) -> Vec<String> {
        self.minted.lock().unwrap().clone()
    }

    /// From now on nothing is revoked.
    pub fn revokes_nothing(&self, error: UpstreamError) {
        *self.revoke.lock().unwrap() = Some(error);
    }

    /// Whose tokens it was asked to revoke, in order.
    pub fn revoked(&self) -> Vec<String> {
        self.revoked.lock().unwrap().iter().map(|subject| subject.address.as_str().to_owned()).collect()
    }

    /// Waits until it was called this many times.
    pub async fn called(&self, times: usize) {
        loop {
            let notified = self.called.notified();
            if self.subjects.lock().unwrap().len() >= times {
                return;
            }
            notified.await;
        }
    }

    fn token(&self, subject: &Subject) -> ChatToken {
        let mut minted = self.minted.lock().unwrap();
        let token = format!("token-{:032}-{}", minted.len() + 1, subject.app_id);
        minted.push(token.clone());
        ChatToken {
            provider: "fake",
            token: Zeroizing::new(token),
            user_id: subject.user.to_string(),
            extra: Map::new(),
        }
    }
}

impl Upstream for FakeUpstream {
    fn mint<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<ChatToken, UpstreamError>> {
        self.subjects.lock().unwrap().push(subject.clone());
        self.called.notify_waiters();
        let next = self.next.lock().unwrap().pop_front();
        async move {
            match next {
                None => {}
                Some(Mint::Fails(error)) => return Err(error),
                Some(Mint::Hangs(until)) => until.notified().await,
                Some(Mint::Panics) => panic!("a backend client has a bug"),
            }
            Ok(self.token(subject))
        }
        .boxed()
    }

    fn revoke<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<(), UpstreamError>> {
        self.revoked.lock().unwrap().push(subject.clone());
        let error = self.revoke.lock().unwrap().clone();
        std::future::ready(error.map_or(Ok(()), Err)).boxed()
    }
}
