//! What happens without anybody asking.

use std::sync::Arc;
use std::time::Duration;

use crate::ambient::Clock;
use crate::delivery::{Board, hour_of};
use crate::keys::AccessTokens;
use crate::login::Login;
use crate::store::purge::{self, BATCH, Chore};
use crate::store::{Abort, AnyConnection, Store, StoreError, providers};
use crate::telemetry::chain;

/// Between two purges.
const PURGE_EVERY: Duration = Duration::from_mins(1);

/// Between two looks at the file of the keys.
const LOOK_AT_KEYS_EVERY: Duration = Duration::from_secs(10);

/// Between two looks for messages that did not arrive.
pub const LOOK_FOR_LOST_EVERY: Duration = Duration::from_secs(1);

/// Sends the codes of messages again that did not arrive, until it is dropped.
///
/// `current` is asked each time: a reload puts another in its place.
pub async fn resend_forever(current: impl Fn() -> Arc<Login>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if let Err(error) = current().resend_overdue().await {
            tracing::warn!(
                error = chain(&error),
                "nobody looked for messages that did not arrive; it is tried again"
            );
        }
    }
}

/// Takes in the keys of access tokens where their file has changed, until it is dropped.
pub async fn follow_keys_forever(tokens: Arc<AccessTokens>) {
    loop {
        tokio::time::sleep(LOOK_AT_KEYS_EVERY).await;
        let tokens = Arc::clone(&tokens);
        // It panics nowhere, and is cancelled only where the process stops.
        let _ = tokio::task::spawn_blocking(move || tokens.reload()).await;
    }
}

/// Between two looks at what other nodes and operators wrote of providers, and two writes of our own.
const BOARD_EVERY: Duration = Duration::from_secs(3);

/// How far back what became of messages counts.
const OUTCOMES_WINDOW_HOURS: i64 = 24;

/// Reads what operators and other nodes wrote of providers, until it is dropped. Nothing that is written holds it up: an
/// operator who turns a provider off waits for it.
pub async fn follow_board_forever(store: Arc<Store>, board: Arc<Board>, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(BOARD_EVERY).await;
        read_board(&store, &board, &*clock).await;
    }
}

/// Reads it once.
pub async fn read_board(store: &Store, board: &Board, clock: &dyn Clock) {
    let since = hour_of(clock.now()) - OUTCOMES_WINDOW_HOURS;
    let read = move |db: &mut AnyConnection| Ok((providers::rulings(db)?, providers::tallies(db, since)?));
    match store.read(read).await {
        Ok((rulings, tallies)) => board.update(rulings, tallies),
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                "what is known of providers was not read; it is tried again"
            );
        }
    }
}

/// Writes down what became of messages, until it is dropped.
pub async fn write_outcomes_forever(store: Arc<Store>, board: Arc<Board>) {
    loop {
        tokio::time::sleep(BOARD_EVERY).await;
        write_outcomes(&store, &board).await;
    }
}

/// Writes down what became of messages since the last time.
pub async fn write_outcomes(store: &Store, board: &Board) {
    let fresh = Arc::new(board.take_fresh());
    if fresh.is_empty() {
        return;
    }
    let counts = Arc::clone(&fresh);
    let write = move |db: &mut AnyConnection| {
        let mut all = counts.iter();
        all.try_for_each(|(((provider, country), hour), tally)| {
            providers::add(db, provider, *country, *hour, *tally)
        })
        .map_err(Abort::<std::convert::Infallible>::Failed)
    };
    if let Err(error) = store.write(write).await {
        tracing::warn!(
            error = chain(&error),
            "what became of messages was not written down; it is tried again"
        );
        board.give_back(Arc::unwrap_or_clone(fresh));
    }
}

/// Purges from time to time, until it is dropped.
pub async fn purge_forever(store: Arc<Store>, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(PURGE_EVERY).await;
        if let Err(error) = purge(&store, &*clock).await {
            tracing::warn!(error = chain(&error), "the purge failed; it is tried again");
        }
    }
}

/// Forgets what is due, batch by batch, so that logins come between. The number of rows by chore.
///
/// # Errors
/// [`StoreError`]; what was forgotten before it stays forgotten.
pub async fn purge(store: &Store, clock: &dyn Clock) -> Result<Vec<(Chore, usize)>, StoreError> {
    let mut done = Vec::new();
    for chore in Chore::ALL {
        let mut rows = 0;
        loop {
            let now = clock.now();
            let batch = move |db: &mut AnyConnection| {
                purge::run(db, chore, now).map_err(Abort::<std::convert::Infallible>::Failed)
            };
            let Ok(changed) = store.write(batch).await?;
            rows += changed;
            if changed < BATCH {
                break;
            }
        }
        done.push((chore, rows));
    }
    Ok(done)
}
