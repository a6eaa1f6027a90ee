//! The integration suite: the real server on a free port, on SQLite and on PostgreSQL.
//!
//! Time stands still unless a test moves it, randomness is seeded, codes land in an outbox. Each test written with
//! `on_both!` runs once on each database.

#![expect(unreachable_pub, reason = "a test crate exports nothing")]
#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod harness;

mod guard;
mod journey;
mod kannel;
mod mint;
mod start;
mod usecase;
mod v1;
