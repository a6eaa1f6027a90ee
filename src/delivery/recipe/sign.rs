//! Signatures over a whole request, as clouds want them.
//!
//! Guarantees: what is signed is what leaves: the host, the path and the query are those of the request's URL, whose
//! query is put into its canonical form first. A signature holds for the second that it was made in.

pub(super) mod aliyun;
pub(super) mod aws;
pub(super) mod azure;
pub(super) mod tencent;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::utf8_percent_encode;
use sha2::{Digest, Sha256};
use url::Url;

use crate::outbound::request::Request;
use crate::outbound::template::{RESERVED, hex_upper};

/// Headers that prove who we are.
pub(super) type Proof = Vec<(String, String)>;

/// The form in which AWS, Tencent and Alibaba sign a request.
struct Canonical {
    /// SHA-256 of it, in hex.
    hash: String,
    /// The names of the headers that it covers.
    signed: String,
}

impl Canonical {
    /// With these headers, whose names are in lower case; `body` is the hash of the body, in hex.
    fn new(request: &Request, path: &str, mut headers: Proof, body: &str) -> Self {
        headers.sort();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let signed = names.join(";");
        let line = |(name, value): &(String, String)| {
            [
                name,
                ":",
                value.trim(),
                "
",
            ]
            .concat()
        };
        let lines: String = headers.iter().map(line).collect();
        let query = canonical_query(&request.url);
        let text = format!("{}\n{path}\n{query}\n{lines}\n{signed}\n{body}", request.method);
        Self { hash: sha256_hex(text.as_bytes()), signed }
    }
}

/// Escaped in one way only, and sorted.
pub(super) fn canonical_query(url: &Url) -> String {
    let escape = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let mut pairs: Vec<(String, String)> =
        url.query_pairs().map(|(name, value)| (escape(&name), escape(&value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// As the `Host` header has it.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The request's own headers whose names pass, in lower case.
fn headers_of(request: &Request, wanted: impl Fn(&str) -> bool) -> Proof {
    let headers = request.headers.iter().filter(|(name, _)| wanted(name.as_str()));
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers.map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect()
}

fn body_of(request: &Request) -> &[u8] {
    request.body.as_deref().unwrap_or_default()
}

pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    // It takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    hex_upper(bytes.iter().copied()).to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
