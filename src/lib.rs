//! Latchkey: the login server in front of a chat backend.

pub mod ambient;
pub mod config;
pub mod delivery;
pub mod domain;
pub mod http;
pub mod login;
pub mod store;
pub mod telemetry;
pub mod upstream;
