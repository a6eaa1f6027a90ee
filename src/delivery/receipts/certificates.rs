//! The certificates that Amazon SNS signs with, and its question whether we subscribe.
//!
//! Guarantees: only Amazon's hosts are called, which the caller has checked; a certificate is fetched once a day at
//! most, and a fetch that fails once a minute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};

use crate::config::CallLimits;
use crate::delivery::recipe::dlr::Certificate;
use crate::domain::time::Timestamp;
use crate::outbound::{self, Client};

/// Amazon has one for each region, and changes it once a year.
const MAX_KEPT: usize = 16;
/// How long one is kept.
const KEPT_FOR: Duration = Duration::from_hours(24);
/// How long after a failure none is asked for.
const REST: Duration = Duration::from_mins(1);
/// A certificate is two.
const MAX_BYTES: usize = 16 * 1024;
/// Amazon waits 15 s for our answer.
const LIMITS: CallLimits =
    CallLimits { connect_timeout: Duration::from_secs(3), timeout: Duration::from_secs(8) };

/// Fetched, or not to be had, at a time.
type Kept = (Option<Arc<Certificate>>, Timestamp);

#[derive(Default)]
pub(super) struct Certificates {
    client: OnceCell<Client>,
    kept: Mutex<BTreeMap<String, Kept>>,
}

impl Certificates {
    /// The one at this URL, whose host is Amazon's.
    pub(super) async fn get(&self, url: &str, now: Timestamp) -> Option<Arc<Certificate>> {
        // Held over the call: whoever comes meanwhile wants the same one.
        let mut kept = self.kept.lock().await;
        if let Some((certificate, at)) = kept.get(url) {
            let good_for = if certificate.is_some() { KEPT_FOR } else { REST };
            if at.plus(good_for) > now {
                return certificate.clone();
            }
        }
        if kept.len() >= MAX_KEPT && !kept.contains_key(url) {
            kept.clear();
        }
        let pem = self.call(url).await;
        let certificate = pem.as_deref().and_then(Certificate::from_pem).map(Arc::new);
        kept.insert(url.to_owned(), (certificate.clone(), now));
        certificate
    }

    /// Says yes to Amazon.
    pub(super) async fn subscribe(&self, url: &str) {
        if self.call(url).await.is_some() {
            tracing::info!("Amazon SNS will report to us: its subscription is confirmed");
        }
    }

    async fn call(&self, url: &str) -> Option<String> {
        let client = self.client.get_or_try_init(|| std::future::ready(outbound::client(LIMITS))).await;
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(error = %error, "Amazon SNS cannot be called");
                return None;
            }
        };
        let answer = async {
            let response = client.get(url).send().await.map_err(|error| outbound::classify(&error))?;
            let status = response.status();
            Ok::<_, outbound::Fault>((status, outbound::read_capped(response, MAX_BYTES).await?))
        };
        match answer.await {
            Ok((status, body)) if status.is_success() => String::from_utf8(body.to_vec()).ok(),
            Ok((status, _)) => {
                tracing::warn!(status = status.as_u16(), "Amazon SNS did not answer as it should");
                None
            }
            Err(fault) => {
                tracing::warn!(?fault, "Amazon SNS did not answer");
                None
            }
        }
    }
}
