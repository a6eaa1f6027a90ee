//! Alibaba Cloud's signature v3, ACS3-HMAC-SHA256 (<https://help.aliyun.com/document_detail/2618308.html>).

use super::{Canonical, Proof, body_of, headers_of, hex, hmac_sha256, host, sha256_hex};
use crate::domain::date::Utc;
use crate::domain::time::Timestamp;
use crate::outbound::request::Request;

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// What a request is signed with.
#[derive(Clone, Copy)]
pub(in super::super) struct Key<'a> {
    pub(in super::super) id: &'a str,
    pub(in super::super) secret: &'a str,
    /// Alibaba refuses a second request with the same one.
    pub(in super::super) nonce: &'a str,
}

/// Signs the host, the type of the body, everything of Alibaba's own, and the body.
pub(in super::super) fn sign(key: &Key<'_>, request: &Request, now: Timestamp) -> Proof {
    let body = sha256_hex(body_of(request));
    let mut ours: Proof = [
        ("x-acs-content-sha256", body.as_str()),
        ("x-acs-date", &Utc::of(now).extended()),
        ("x-acs-signature-nonce", key.nonce),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let mut headers = headers_of(request, |name| name == "content-type" || name.starts_with("x-acs-"));
    headers.push(("host".to_owned(), host(&request.url)));
    headers.extend(ours.iter().cloned());
    let Canonical { hash, signed } = Canonical::new(request, request.url.path(), headers, &body);

    let signature = hex(&hmac_sha256(key.secret.as_bytes(), format!("{ALGORITHM}\n{hash}").as_bytes()));
    let id = key.id;
    let value = format!("{ALGORITHM} Credential={id},SignedHeaders={signed},Signature={signature}");
    ours.push(("Authorization".to_owned(), value));
    ours
}
