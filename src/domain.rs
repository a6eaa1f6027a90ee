//! The rules of logging in, with no I/O at all.
//!
//! Guarantees: everything here is a value or a pure function of its arguments. What is constructed is valid, what
//! is secret has no `Debug`, and each decision (is this code right? may this address guess, or be sent to?) is made
//! in exactly one function.

pub mod account;
pub mod address;
pub mod breaker;
pub mod challenge;
pub mod channel;
pub mod claims;
pub mod code;
pub mod date;
pub mod ed25519;
pub mod email;
pub mod guard;
pub mod ids;
pub mod keyring;
pub mod limits;
pub mod locale;
pub mod message;
pub mod money;
pub mod network;
pub mod pepper;
pub mod phone;
pub mod purpose;
pub mod receipt;
pub mod refresh;
pub mod segments;
pub mod selection;
pub mod session;
pub mod template;
pub mod time;
