//! What is fetched once for all who need it, such as a token.
//!
//! Guarantees: however many need it at once, one asks, and all of them get what became of that. A fetch that failed is
//! made again by the next who needs it; one that was dropped half way is made by the next in line.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// The last one that was fetched.
pub(crate) struct Shared<T, E> {
    /// Fetches that have ended.
    ended: AtomicU64,
    last: Mutex<Option<Result<T, E>>>,
}

impl<T: Clone, E: Clone> Shared<T, E> {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { ended: AtomicU64::new(0), last: Mutex::new(None) }
    }

    /// The last one while it is `good`, or a new one. `fetch` runs only where it is needed.
    pub(crate) async fn get(
        &self,
        good: impl Fn(&T) -> bool,
        fetch: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let seen = self.ended.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        match &*last {
            Some(Ok(value)) if good(value) => return Ok(value.clone()),
            // It was under way when this one came.
            Some(Err(error)) if self.ended.load(Ordering::Acquire) != seen => return Err(error.clone()),
            Some(_) | None => {}
        }
        let fetched = fetch.await;
        self.ended.fetch_add(1, Ordering::Release);
        *last = Some(fetched.clone());
        fetched
    }

    /// Forgets the last one where it is `bad`: somebody may have fetched another since.
    pub(crate) async fn forget(&self, bad: impl Fn(&T) -> bool) {
        let mut last = self.last.lock().await;
        last.take_if(|last| last.as_ref().is_ok_and(&bad));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn what_is_good_is_fetched_once_and_what_is_forgotten_again() {
        let (shared, fetched) = (Shared::<u32, ()>::new(), Cell::new(0));
        let fetch = || async {
            fetched.set(fetched.get() + 1);
            Ok(fetched.get())
        };
        assert_eq!(shared.get(|_| true, fetch()).await, Ok(1));
        assert_eq!(shared.get(|_| true, fetch()).await, Ok(1));
        assert_eq!(shared.get(|value| *value != 1, fetch()).await, Ok(2));
        shared.forget(|value| *value == 1).await;
        assert_eq!(shared.get(|_| true, fetch()).await, Ok(2), "another one was meant");
        shared.forget(|value| *value == 2).await;
        assert_eq!(shared.get(|_| true, fetch()).await, Ok(3));
    }

    #[tokio::test]
    async fn those_who_wait_share_a_failure_and_the_next_one_tries_again() {
        let (shared, fetched) = (Shared::<u32, u32>::new(), Cell::new(0));
        let fetch = || async {
            fetched.set(fetched.get() + 1);
            tokio::task::yield_now().await;
            Err(fetched.get())
        };
        let (one, two) = tokio::join!(shared.get(|_| true, fetch()), shared.get(|_| true, fetch()));
        assert_eq!((one, two), (Err(1), Err(1)));
        assert_eq!(shared.get(|_| true, fetch()).await, Err(2));
    }
}
