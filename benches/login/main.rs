//! Whole logins per second: a messenger asks for a code over HTTP, a fake gateway takes it, the messenger posts it, a
//! fake backend mints, the messenger has its token. The server is the release build in a process of its own, durable
//! and with every limit on; numbers of 30 countries are mixed, every login comes from an address of its own.
//!
//! `cargo bench --bench login`. PostgreSQL is `LATCHKEY_BENCH_POSTGRES_URL` (an empty database), without that a
//! throw-away cluster from the installed binaries, which syncs nothing to disk.
//! The load goes to loopback only and ends by itself. Gateway, backend and driver share the machine with the server.

#![expect(unreachable_pub, reason = "a program exports nothing")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark fails loudly and prints"
)]

mod driver;
mod ends;
#[path = "../../tests/it/harness/postgres.rs"]
mod postgres;
mod server;

use std::time::Duration;

const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(8);
/// Messengers at once.
const CONNECTIONS: usize = 64;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("{CONNECTIONS} messengers, {} s, {} cores", MEASURED.as_secs(), cores());
    println!(
        "| database | logins/s | step 1 p50 / p99 ms | step 2 p50 / p99 ms | CPU ms/login | peak RSS MiB |"
    );
    println!("|---|---|---|---|---|---|");
    runtime.block_on(async {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        bench("SQLite, durable", &format!("sqlite://{}", folder.path().join("bench.db").display())).await;
        match given_postgres() {
            Some(url) => bench("PostgreSQL", &url).await,
            None if postgres::is_here() => bench("PostgreSQL, fsync off", &postgres::fresh_database()).await,
            None => println!("| PostgreSQL | none is installed | | | | |"),
        }
    });
}

async fn bench(name: &str, database: &str) {
    let ends = ends::start().await;
    let server = server::Server::start(database, &ends).await;
    let load = driver::run(server.address, &ends, WARM_UP, MEASURED, CONNECTIONS, || server.cpu()).await;
    let (first, second) = (load.first, load.second);
    println!(
        "| {name} | {:.0} | {:.1} / {:.1} | {:.1} / {:.1} | {:.2} | {:.0} |",
        load.logins_per_second,
        first.p50,
        first.p99,
        second.p50,
        second.p99,
        load.cpu_ms_per_login,
        server.peak_rss_mib(),
    );
    assert_eq!(load.failures, 0, "some logins failed: the figures mean nothing");
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark is configured by its environment")]
fn given_postgres() -> Option<String> {
    std::env::var("LATCHKEY_BENCH_POSTGRES_URL").ok()
}
