//! Codes by mail.
//!
//! Guarantees: a mail goes to exactly one recipient, whose address is an [`Email`](crate::domain::email::Email) and
//! so holds no line end; what else is in its head comes from the configuration. A failure before the content was
//! handed over is told apart from one after it: only then may the mail be on its way. A connection whose dialogue was
//! not brought to its end is closed, never used again. No text of an error holds an address, a secret or the server's
//! own words.

mod link;
mod mail;
mod sort;
mod wire;

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};

use self::link::Links;
use self::mail::Letter;
use self::sort::{Step, sort};
use super::{BuildError, OutgoingCode, Provider, Receipt, SendError};
use crate::config::SmtpProvider;
use crate::domain::channel::Channel;

/// Hands mails to one server.
pub(crate) struct Smtp {
    name: String,
    config: SmtpProvider,
    links: Links,
    timeout: Duration,
}

impl Smtp {
    /// Under this name.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(crate) fn new(name: &str, config: &SmtpProvider) -> Result<Self, BuildError> {
        let links = Links::new(config).map_err(|reason| BuildError { name: name.to_owned(), reason })?;
        Ok(Self { name: name.to_owned(), config: config.clone(), links, timeout: config.timeout })
    }

    async fn send_in_time(&self, message: &OutgoingCode) -> Result<Receipt, SendError> {
        let letter = mail::write(&self.config, message)?;
        let mut handed_over = false;
        let work = self.hand_over(letter, &mut handed_over);
        match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_elapsed) if handed_over => {
                Err(SendError::Unknown("the mail server did not confirm the mail in time".to_owned()))
            }
            Err(_elapsed) => {
                Err(SendError::Temporary("the mail server did not take the mail in time".to_owned()))
            }
        }
    }

    async fn hand_over(&self, letter: Letter, handed_over: &mut bool) -> Result<Receipt, SendError> {
        let mut link = self.links.get().await?;
        let Letter { from, to, content } = letter;
        let sender = Mail::new(Some(from), Vec::new());
        link.command(sender).await.map_err(|error| sort(&error, Step::Sender))?;
        link.command(Rcpt::new(to, Vec::new())).await.map_err(|error| sort(&error, Step::Recipient))?;
        link.command(Data).await.map_err(|error| sort(&error, Step::Data))?;
        *handed_over = true;
        link.message(&content).await.map_err(|error| sort(&error, Step::Content))?;
        self.links.put_back(link);
        Ok(Receipt { provider_id: None })
    }
}

impl Provider for Smtp {
    fn name(&self) -> &str {
        &self.name
    }

    fn channel(&self) -> Channel {
        Channel::Email
    }

    fn send<'a>(&'a self, message: &'a OutgoingCode) -> BoxFuture<'a, Result<Receipt, SendError>> {
        self.send_in_time(message).boxed()
    }
}
