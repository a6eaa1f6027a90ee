//! Azure Communication Services' HMAC
//! (<https://learn.microsoft.com/rest/api/communication/authentication#access-key-authentication>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::{Proof, body_of, hmac_sha256, host};
use crate::domain::date::Utc;
use crate::domain::time::Timestamp;
use crate::outbound::request::Request;

/// Signs the method, the path, the query, the second, the host and the body; `None` where the key is not base64.
pub(in super::super) fn sign(key: &str, request: &Request, now: Timestamp) -> Option<Proof> {
    let key = STANDARD.decode(key).ok().filter(|key| !key.is_empty())?;
    let (date, host, url) = (Utc::of(now).http(), host(&request.url), &request.url);
    let body = STANDARD.encode(Sha256::digest(body_of(request)));
    let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
    let text = format!("{}\n{}{query}\n{date};{host};{body}", request.method, url.path());
    let signature = STANDARD.encode(hmac_sha256(&key, text.as_bytes()));
    let value = format!("HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}");
    let proof = [("x-ms-date", date), ("x-ms-content-sha256", body), ("Authorization", value)];
    Some(proof.map(|(name, value)| (name.to_owned(), value)).into())
}
