//! Telling the operator.
//!
//! Guarantees: a fault that only the operator can mend is in the log once, as an error and with the fix, until a call
//! has succeeded again. Thousands of logins fail of the same wrong token; one line is read, thousands are not.

use std::sync::atomic::{AtomicBool, Ordering};

use super::UpstreamError;

/// What the operator of one upstream has been told.
pub(super) struct FaultLog {
    /// In the configuration.
    upstream: String,
    told: AtomicBool,
}

impl FaultLog {
    pub(super) fn new(upstream: &str) -> Self {
        Self { upstream: upstream.to_owned(), told: AtomicBool::new(false) }
    }

    /// The upstream's name in the configuration, for the key that a fix names.
    pub(super) fn upstream(&self) -> &str {
        &self.upstream
    }

    /// Takes note of how a call ended.
    pub(super) fn note<T>(&self, ended: &Result<T, UpstreamError>) {
        match ended {
            Ok(_) => self.told.store(false, Ordering::Relaxed),
            Err(UpstreamError::Misconfigured(fault)) => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::error!(upstream = %self.upstream, "no chat tokens: {fault}");
                }
            }
            Err(
                UpstreamError::Refused(_)
                | UpstreamError::Throttled { .. }
                | UpstreamError::Unavailable(_)
                | UpstreamError::Resting { .. }
                | UpstreamError::Unknown(_),
            ) => {}
        }
    }
}
