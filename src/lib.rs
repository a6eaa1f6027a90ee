//! Latchkey: the login server in front of a chat backend.
//!
//! An app posts a phone number, Latchkey sends a one-time code, and when the code comes back it mints the user's
//! token at the chat backend.
//!
//! # The house
//!
//! Rooms stand above what they import; nothing imports upward.
//!
//! | floor | room | what it is |
//! |---|---|---|
//! | 4 | [`cli`] | the commands |
//! | 4 | [`app`] | builds every dependency once, runs until stopped |
//! | 3 | [`http`] | the public listener: parses and renders, decides nothing |
//! | 3 | [`admin`] | the operator's listener |
//! | 3 | [`jobs`] | what happens without anybody asking |
//! | 2 | [`login`] | the use case: start, resend, verify, complete |
//! | 2 | [`session`] | the use case: refresh, chat token, logout |
//! | 1 | [`store`] | state: SQLite and PostgreSQL behind one set of functions |
//! | 1 | [`delivery`] | the ways out for codes |
//! | 1 | [`upstream`] | the chat backends |
//! | 1 | [`keys`] | our own access tokens, and the file of their keys |
//! | 0 | [`domain`] | the rules, without I/O |
//! | 0 | [`config`] | typed configuration that is already valid |
//! | 0 | [`outbound`] | the one way to make HTTP calls |
//! | 0 | [`ambient`] | time, randomness and the environment, as parameters |
//! | 0 | [`telemetry`] | logs and metrics |
//!
//! `store`, `delivery` and `upstream` never import each other.
//!
//! # The two journeys
//!
//! **Start** ([`login::Login::start`]): read the live challenge of the address; draw a code and hash it; one write
//! that puts the code in its place, writes the message down and spends the budgets; commit; send; note what became of
//! it.
//!
//! **Verify** ([`login::Login::verify`]): one write that counts the guess against the challenge and the guard;
//! commit; hash and compare; where it is right, one write that consumes the challenge and opens the grant; mint with
//! nothing held; one write that spends the grant, and the session is born.
//!
//! A crash between any two steps may count one attempt too many, never one too few.

pub mod admin;
pub mod ambient;
pub mod app;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod domain;
pub mod http;
pub mod jobs;
pub mod keys;
pub mod login;
pub mod outbound;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod upstream;
