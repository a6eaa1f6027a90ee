//! The edge: connections, deadlines, limits, and what stands before a handler.

mod load;
mod proxies;
mod routes;
mod slow;
mod smuggling;

use crate::harness::app::Builder;
use crate::harness::{Database, TestApp};

/// A server whose backend may take a minute, so that a mint that hangs is let go by the test alone.
fn patient(database: &Database) -> Builder<'_> {
    TestApp::builder(database)
        .config("[upstreams.local]\nkind = \"mesibo\"\napp_token = \"t\"\ntimeout = \"1m\"")
}

/// A whole step 2 as it goes over the wire.
fn verify_bytes(phone: &str, otp: &str) -> String {
    let app = crate::harness::app::APP;
    let body =
        format!("{{\"op\":\"login\",\"appid\":{app:?},\"phone\":{phone:?},\"dt\":\"1\",\"otp\":{otp:?}}}");
    format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
