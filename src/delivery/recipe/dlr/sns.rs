//! Messages that Amazon SNS signs.
//!
//! <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>. Guarantees: a certificate is taken
//! from Amazon's own hosts alone, and only for one topic. Signatures over SHA-1 (`SignatureVersion` 1) are not taken: set
//! the topic's attribute to 2.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use url::Url;

/// What is signed of a notification, in this order.
const NOTIFICATION: [&str; 6] = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"];
/// And of the question whether to subscribe.
const CONFIRMATION: [&str; 7] =
    ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];
/// The tag of a DER sequence.
const SEQUENCE: u8 = 0x30;
/// The tag of the version that all certificates but the first kind begin with.
const VERSION: u8 = 0xa0;

/// A public key out of a certificate, as `SubjectPublicKeyInfo`.
pub(crate) struct Certificate(Vec<u8>);

impl Certificate {
    /// Out of the first certificate of a PEM file. Who signed it is not looked at: it came over TLS from Amazon.
    pub(crate) fn from_pem(pem: &str) -> Option<Self> {
        let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
        let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
        let der = STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()?;
        let (_, certificate, _) = element(&der)?;
        let (_, mut rest, _) = element(certificate)?;
        // RFC 5280 §4.1: version, serial number, algorithm, issuer, validity, subject; then the key.
        if rest.first() == Some(&VERSION) {
            (_, _, rest) = element(rest)?;
        }
        for _ in 0..5 {
            (_, _, rest) = element(rest)?;
        }
        let (whole, _, _) = element(rest)?;
        (whole.first() == Some(&SEQUENCE)).then(|| Self(whole.to_vec()))
    }
}

/// The first DER element: all of it, its content, and what is behind it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (head, rest) = der.split_at_checked(2)?;
    let [_, length] = head else { return None };
    let (length_bytes, length) = match *length {
        short @ 0..0x80 => (0, usize::from(short)),
        long => {
            let count = usize::from(long & 0x7f);
            let bytes = rest.get(..count).filter(|bytes| (1..=3).contains(&bytes.len()))?;
            (count, bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
        }
    };
    let (whole, behind) = der.split_at_checked(2 + length_bytes + length)?;
    Some((whole, whole.get(2 + length_bytes..)?, behind))
}

fn fields(body: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(body).ok()
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name)?.as_str()
}

/// Whether a URL leads to Amazon SNS: `sns.REGION.amazonaws.com`, and its twin in China.
fn is_amazons(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_suffix(".cn").unwrap_or(host);
    let region = host.strip_prefix("sns.").and_then(|host| host.strip_suffix(".amazonaws.com"));
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let named = region.is_some_and(|region| region.len() > 3 && region.bytes().all(plain));
    let bare = url.port().is_none() && url.username().is_empty() && url.password().is_none();
    url.scheme() == "https" && named && bare
}

/// Where the body says that its certificate is; none where that is not Amazon's.
pub(super) fn certificate_url(body: &[u8]) -> Option<String> {
    let fields = fields(body)?;
    let url = Url::parse(text(&fields, "SigningCertURL")?).ok().filter(is_amazons)?;
    let file = url.path().strip_prefix("/SimpleNotificationService-")?.strip_suffix(".pem")?;
    let plain = file.len() <= 64 && file.bytes().all(|b| b.is_ascii_alphanumeric());
    (plain && url.query().is_none() && url.fragment().is_none()).then(|| url.to_string())
}

/// Where to say yes, when a message that was proved asks whether we subscribe.
pub(crate) fn subscription(body: &[u8]) -> Option<String> {
    let fields = fields(body)?;
    let asks = text(&fields, "Type")? == "SubscriptionConfirmation";
    let url = Url::parse(text(&fields, "SubscribeURL")?).ok().filter(is_amazons)?;
    asks.then(|| url.to_string())
}

/// What a message says, where it is of this topic and signed.
pub(super) fn message(body: &[u8], topic: &str, certificate: Option<&Certificate>) -> Option<Vec<u8>> {
    let fields = fields(body)?;
    if text(&fields, "TopicArn")? != topic || text(&fields, "SignatureVersion")? != "2" {
        return None;
    }
    let signed: &[&str] = match text(&fields, "Type")? {
        "Notification" => &NOTIFICATION,
        "SubscriptionConfirmation" | "UnsubscribeConfirmation" => &CONFIRMATION,
        _ => return None,
    };
    let mut payload = String::new();
    for name in signed {
        match text(&fields, name) {
            Some(value) => payload.extend([name, "\n", value, "\n"]),
            None if *name == "Subject" => {}
            None => return None,
        }
    }
    let signature = STANDARD.decode(text(&fields, "Signature")?).ok()?;
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &certificate?.0);
    key.verify(payload.as_bytes(), &signature).ok()?;
    Some(text(&fields, "Message")?.as_bytes().to_vec())
}
