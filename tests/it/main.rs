//! The integration suite: the real server on a free port, on SQLite and on PostgreSQL.
//!
//! Time stands still unless a test moves it, randomness is seeded, codes land in an outbox. Each test written with
//! `on_both!` runs once on each database.

#![expect(unreachable_pub, reason = "a test crate exports nothing")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

mod harness;

mod accounts;
mod alike;
mod backends;
mod batches;
mod budgets;
mod campaign;
mod cli;
mod clients;
mod crashes;
mod edge;
mod email;
mod faults;
mod guard;
mod journey;
mod kannel;
mod keys;
mod leak;
mod malformed;
mod messages;
mod mint;
mod operator;
mod purge;
mod races;
mod receipts;
mod resends;
mod resilience;
mod routing;
mod schema;
mod sessions;
mod smtp;
mod start;
mod stopping;
mod store;
mod usecase;
mod v1;
mod whole;
