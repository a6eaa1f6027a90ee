//! What the database alone costs a login: the five writes of the two journeys, composed as `login` composes them,
//! over distinct numbers and networks, at 64 and at 256 logins at once.
//!
//! `cargo bench --bench store`. SQLite is durable. PostgreSQL is `LATCHKEY_BENCH_POSTGRES_URL` (an empty database);
//! without that a throw-away cluster, which syncs nothing to disk, from the installed binaries.

#![expect(unreachable_pub, reason = "a program exports nothing")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark stops where it goes wrong, and prints what it measured"
)]

mod journey;
#[path = "../../tests/it/harness/postgres.rs"]
mod postgres;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use latchkey::config::{self, DatabaseUrl};
use latchkey::store::Store;

const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);
const AT_ONCE: [usize; 2] = [64, 256];

/// What one login's four awaited writes took, µs.
type Taken = [u64; journey::STEPS.len()];

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for at_once in AT_ONCE {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let url = DatabaseUrl::Sqlite(folder.path().join("bench.db"));
        runtime.block_on(bench("SQLite, synchronous=FULL", url, at_once));
    }
    #[expect(clippy::disallowed_methods, reason = "a benchmark is configured by its environment")]
    let given = std::env::var("LATCHKEY_BENCH_POSTGRES_URL").ok();
    for at_once in AT_ONCE {
        let (what, url) = match &given {
            Some(url) => ("PostgreSQL", url.clone()),
            None if postgres::is_here() => ("PostgreSQL, throw-away, fsync=off", postgres::fresh_database()),
            None => break,
        };
        runtime.block_on(bench(what, DatabaseUrl::Postgres(url.into()), at_once));
    }
}

async fn bench(what: &str, url: DatabaseUrl, at_once: usize) {
    let settings = config::Database { url, connections: 8, queue: 4096, deadline: Duration::from_secs(10) };
    let store = Arc::new(Store::open(&settings).expect("the database"));
    let (next, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let logins: Vec<_> = (0..at_once)
        .map(|_| {
            let (store, next, stop) = (Arc::clone(&store), Arc::clone(&next), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut taken: Vec<(Instant, Taken)> = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let login = journey::Login::new(next.fetch_add(1, Ordering::Relaxed));
                    let times = journey::run(&store, &Arc::new(login), instant).await;
                    taken.push((instant(), times));
                }
                taken
            })
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    let (begun, cpu_before) = (instant(), cpu_ms());
    tokio::time::sleep(MEASURED).await;
    let (ended, cpu_after) = (instant(), cpu_ms());
    stop.store(true, Ordering::Relaxed);
    let mut measured = Vec::new();
    for login in logins {
        let done = login.await.expect("no panic");
        measured
            .extend(done.into_iter().filter(|(at, _)| (begun..ended).contains(at)).map(|(_, taken)| taken));
    }
    store.close().await;

    let (count, seconds) = (measured.len().max(1), (ended - begun).as_secs_f64());
    println!("{what}, {at_once} at once");
    println!(
        "  {:.0} logins/s, {:.3} ms CPU each (this process)",
        per(count, seconds),
        (cpu_after - cpu_before) / per(count, 1.0)
    );
    for (index, step) in journey::STEPS.iter().enumerate() {
        let mut times: Vec<u64> = measured.iter().map(|taken| taken[index]).collect();
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
        println!("  {step:<12} p50 {:>7} µs   p99 {:>7} µs", at(50), at(99));
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn instant() -> Instant {
    Instant::now()
}

fn per(count: usize, seconds: f64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds
}

/// User and system time of this process so far, in ms, where Linux tells.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string(Path::new("/proc/self/stat")).unwrap_or_default();
    // The name, in parentheses, may hold spaces; the times are the 14th and 15th fields, in hundredths of a second.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    f64::from(ticks) * 10.0
}
