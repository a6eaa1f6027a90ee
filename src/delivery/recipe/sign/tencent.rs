//! Tencent Cloud's signature v3 (<https://cloud.tencent.com/document/api/213/30654>).

use super::{Canonical, Proof, body_of, headers_of, hex, hmac_sha256, host, sha256_hex};
use crate::domain::date::Utc;
use crate::domain::time::Timestamp;
use crate::outbound::request::Request;

const ALGORITHM: &str = "TC3-HMAC-SHA256";
const ACTION: &str = "x-tc-action";

/// What a request to one service is signed with.
#[derive(Clone, Copy)]
pub(in super::super) struct Key<'a> {
    pub(in super::super) service: &'a str,
    pub(in super::super) id: &'a str,
    pub(in super::super) secret: &'a str,
}

/// Signs the host, the type of the body, the action, and the body.
pub(in super::super) fn sign(key: &Key<'_>, request: &Request, now: Timestamp) -> Proof {
    let date = Utc::of(now).date();
    let mut headers = headers_of(request, |name| name == "content-type" || name == ACTION);
    for (_, value) in headers.iter_mut().filter(|(name, _)| name == ACTION) {
        value.make_ascii_lowercase();
    }
    headers.push(("host".to_owned(), host(&request.url)));
    let Canonical { hash, signed } =
        Canonical::new(request, request.url.path(), headers, &sha256_hex(body_of(request)));

    let scope = format!("{date}/{}/tc3_request", key.service);
    let first = format!("TC3{}", key.secret).into_bytes();
    let steps = [date.as_str(), key.service, "tc3_request"];
    let signing = steps.iter().fold(first, |secret, step| hmac_sha256(&secret, step.as_bytes()));
    let seconds = now.as_secs();
    let text = format!("{ALGORITHM}\n{seconds}\n{scope}\n{hash}");
    let signature = hex(&hmac_sha256(&signing, text.as_bytes()));
    let id = key.id;
    let value = format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}");
    vec![("X-TC-Timestamp".to_owned(), seconds.to_string()), ("Authorization".to_owned(), value)]
}
