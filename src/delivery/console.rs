//! The tester's provider: codes go to the log.
//!
//! The line is the one that testers of mesibo's PHP know. Production refuses this provider when it reads its
//! configuration.

use std::io::Write;
use std::path::PathBuf;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{OutgoingCode, Provider, Receipt, SendError};
use crate::config::ConsoleProvider;
use crate::domain::address::Address;
use crate::domain::channel::Channel;

/// Writes each code and notice to the log, and to a file where one is configured.
pub(super) struct Console {
    name: String,
    file: Option<PathBuf>,
}

impl Console {
    /// Under this name.
    #[must_use]
    pub(super) fn new(name: &str, config: &ConsoleProvider) -> Self {
        Self { name: name.to_owned(), file: config.file.clone() }
    }

    fn append(&self, line: &str) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
        // One write call, so that lines of several processes do not mix.
        file.write_all(format!("{line}\n").as_bytes())
    }
}

impl Provider for Console {
    fn name(&self) -> &str {
        &self.name
    }

    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn send<'a>(&'a self, message: &'a OutgoingCode) -> BoxFuture<'a, Result<Receipt, SendError>> {
        let to = match &message.to {
            Address::Phone(phone) => phone.digits(),
            Address::Email(email) => email.as_str(),
        };
        let line = match &message.code {
            Some(code) => format!("otp for {to} is {}", code.reveal()),
            None => format!("notice for {to}: {}", *message.text.body),
        };
        tracing::info!("{line}");
        let written = self.append(&line).map_err(|error| SendError::Temporary(error.to_string()));
        std::future::ready(written.map(|()| Receipt { provider_id: None })).boxed()
    }
}
