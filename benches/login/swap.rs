//! A route is swapped under load: 200 logins a second for 30 seconds, and half way the operator writes another gateway
//! into the file and sends SIGHUP. No login may fail, and the switch must show at the gateways within a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::ends::{self, Connection, Ends};
use crate::server::Server;
use crate::{driver, instant};

pub const PER_SECOND: u64 = 200;
pub const SECONDS: u64 = 30;
/// Messengers, each with a connection of its own; a login may take as long as they all have for one.
const MESSENGERS: u64 = 50;
/// Between two logins of one of them.
const TURN: Duration = Duration::from_millis(1000 * MESSENGERS / PER_SECOND);
/// Between a swap and the last message that goes the old way.
const PATIENCE: Duration = Duration::from_secs(1);

pub async fn bench(name: &str, database: &str) {
    let ends = ends::start().await;
    let server = Server::start(database, &ends).await;
    let (begun, failed) = (instant(), Arc::new(AtomicU64::new(0)));
    let messengers: Vec<_> = (0..MESSENGERS)
        .map(|nth| tokio::spawn(messenger(nth, server.address, ends.clone(), Arc::clone(&failed))))
        .collect();
    tokio::time::sleep(Duration::from_secs(SECONDS / 2)).await;
    let swapped = instant();
    server.swap_route();
    for messenger in messengers {
        messenger.await.expect("no panic");
    }
    let (took, failed) = (begun.elapsed(), failed.load(Ordering::Relaxed));
    let [old, new] = ends.gateways.each_ref().map(ends::Gateway::taken);
    let since =
        |at: Option<&Instant>| at.expect("messages went both ways").saturating_duration_since(swapped);
    let (last_old, first_new) = (since(old.last()), since(new.first()));
    println!(
        "{name}: {} logins in {:.1} s, {failed} failed; {} messages the old way, {} the new; after SIGHUP the first \
         new one came after {} ms, the last old one after {} ms",
        PER_SECOND * SECONDS,
        took.as_secs_f64(),
        old.len(),
        new.len(),
        first_new.as_millis(),
        last_old.as_millis(),
    );
    assert_eq!(failed, 0, "a login failed");
    assert!(first_new < PATIENCE && last_old < PATIENCE, "the switch was too slow");
}

/// Logs somebody in at its turn, again and again.
async fn messenger(nth: u64, server: std::net::SocketAddr, ends: Ends, failed: Arc<AtomicU64>) {
    let mut connection = Connection::new(TcpStream::connect(server).await.expect("the server listens"));
    tokio::time::sleep(Duration::from_millis(nth * 1000 / PER_SECOND)).await;
    let mut turns = tokio::time::interval(TURN);
    for round in 0..PER_SECOND * SECONDS / MESSENGERS {
        turns.tick().await;
        if driver::log_in(&mut connection, &ends, round * MESSENGERS + nth).await.is_none() {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
