//! Latchkey: the login server in front of a chat backend.

pub mod admin;
pub mod ambient;
pub mod app;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod domain;
pub mod http;
pub mod jobs;
pub mod login;
pub mod store;
pub mod telemetry;
pub mod upstream;
