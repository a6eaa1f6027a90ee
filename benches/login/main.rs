//! Whole logins per second: a messenger asks for a code over HTTP, a fake gateway takes it, the messenger posts it, a
//! fake backend mints, the messenger has its token. The server is the release build in a process of its own, durable
//! and with every limit on; numbers of 30 countries are mixed, every login comes from an address of its own.
//!
//! `cargo bench --bench login`; with `-- swap`, what a route that is swapped under load does to them. PostgreSQL is
//! `LATCHKEY_BENCH_POSTGRES_URL` (an empty database), without that a throw-away cluster from the installed binaries,
//! which syncs nothing to disk. `LATCHKEY_BENCH_MESSENGERS` is how many log in at once.
//! The first line is of a server that does the least that one can, on the same machine at the same time: what ours is
//! to that is the same on every machine.
//! The load goes to loopback only and ends by itself. Gateway, backend and driver share the machine with the server.

#![expect(unreachable_pub, reason = "a program exports nothing")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark fails loudly and prints"
)]

mod bare;
mod driver;
mod ends;
#[path = "../../tests/it/harness/postgres.rs"]
mod postgres;
mod server;
mod swap;

use std::time::{Duration, Instant};

use crate::ends::Ends;
use crate::server::Server;

const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(8);
/// Messengers at once, where nobody says how many: fewer keep two cores idle for a fifth of the time, while all of them
/// wait for the disk.
const MESSENGERS: usize = 96;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, gateway, backend, file] = arguments.as_slice()
        && word == "bare"
    {
        let address = |text: &String| text.parse().expect("an address");
        return bare::serve(address(gateway), address(backend), std::path::Path::new(file));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let sqlite = format!("sqlite://{}", folder.path().join("bench.db").display());
    let postgres = match given_postgres() {
        Some(url) => Some(("PostgreSQL", url)),
        None => postgres::is_here().then(|| ("PostgreSQL, fsync off", postgres::fresh_database())),
    };
    let databases = [Some(("SQLite, durable", sqlite)), postgres];
    let is_swap = arguments.iter().any(|argument| argument == "swap");
    if is_swap {
        println!(
            "{} logins a second for {} s; the route is swapped half way",
            swap::PER_SECOND,
            swap::SECONDS
        );
    } else {
        println!("{} messengers, {} s, {} cores", messengers(), MEASURED.as_secs(), cores());
        println!(
            "| database | logins/s | step 1 p50 / p99 ms | step 2 p50 / p99 ms | CPU ms/login | peak RSS MiB |"
        );
        println!("|---|---|---|---|---|---|");
        runtime.block_on(async {
            let ends = ends::start().await;
            measure("a bare server on SQLite", &Server::start_bare(&ends).await, &ends).await;
        });
    }
    for (name, database) in databases.into_iter().flatten() {
        if is_swap {
            runtime.block_on(swap::bench(name, &database));
        } else {
            runtime.block_on(bench(name, &database));
        }
    }
}

async fn bench(name: &str, database: &str) {
    let ends = ends::start().await;
    measure(name, &Server::start(database, &ends).await, &ends).await;
}

async fn measure(name: &str, server: &Server, ends: &Ends) {
    let load = driver::run(server.address, ends, WARM_UP, MEASURED, messengers(), || server.cpu()).await;
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

#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
fn instant() -> Instant {
    Instant::now()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn given_postgres() -> Option<String> {
    given("LATCHKEY_BENCH_POSTGRES_URL")
}

fn messengers() -> usize {
    given("LATCHKEY_BENCH_MESSENGERS").map_or(MESSENGERS, |number| number.parse().expect("a number"))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark is configured by its environment")]
fn given(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
