//! AWS Signature Version 4
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).

use percent_encoding::{AsciiSet, utf8_percent_encode};

use super::{Canonical, Proof, body_of, headers_of, hex, hmac_sha256, host, sha256_hex};
use crate::domain::date::Utc;
use crate::domain::time::Timestamp;
use crate::outbound::request::Request;
use crate::outbound::template::RESERVED;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// All services but S3 escape the path a second time.
const IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// What a request to one service of one region is signed with.
#[derive(Clone, Copy)]
pub(in super::super) struct Key<'a> {
    pub(in super::super) service: &'a str,
    pub(in super::super) region: &'a str,
    pub(in super::super) id: &'a str,
    pub(in super::super) secret: &'a str,
    /// Of temporary credentials; empty otherwise.
    pub(in super::super) session_token: &'a str,
}

/// Signs the host, the type of the body, everything of AWS's own, and the body.
pub(in super::super) fn sign(key: &Key<'_>, request: &Request, now: Timestamp) -> Proof {
    let utc = Utc::of(now);
    let (date_time, date) = (utc.basic(), utc.date().replace('-', ""));
    let mut ours = vec![("x-amz-date".to_owned(), date_time.clone())];
    if !key.session_token.is_empty() {
        ours.push(("x-amz-security-token".to_owned(), key.session_token.to_owned()));
    }
    let mut headers = headers_of(request, |name| name == "content-type" || name.starts_with("x-amz-"));
    headers.push(("host".to_owned(), host(&request.url)));
    headers.extend(ours.iter().cloned());
    let path = utf8_percent_encode(request.url.path(), IN_PATH).to_string();
    let Canonical { hash, signed } = Canonical::new(request, &path, headers, &sha256_hex(body_of(request)));

    let scope = format!("{date}/{}/{}/aws4_request", key.region, key.service);
    let first = format!("AWS4{}", key.secret).into_bytes();
    let steps = [date.as_str(), key.region, key.service, "aws4_request"];
    let signing = steps.iter().fold(first, |secret, step| hmac_sha256(&secret, step.as_bytes()));
    let text = format!("{ALGORITHM}\n{date_time}\n{scope}\n{hash}");
    let signature = hex(&hmac_sha256(&signing, text.as_bytes()));
    let id = key.id;
    let value = format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}");
    ours.push(("Authorization".to_owned(), value));
    ours
}
