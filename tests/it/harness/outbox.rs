//! A provider that keeps what it is given.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use latchkey::delivery::{OutgoingCode, Provider, Receipt, SendError};
use latchkey::domain::channel::Channel;
use latchkey::domain::code::Code;

/// A message that was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Sent {
    pub id: String,
    pub to: String,
    /// Empty: a notice.
    pub code: String,
    pub locale: String,
    pub text: String,
}

/// Where codes land. The next sends can be told to fail.
#[derive(Default)]
pub struct Outbox {
    sent: Mutex<Vec<Sent>>,
    failures: Mutex<VecDeque<SendError>>,
}

impl Outbox {
    /// The next send fails like this, and nothing lands.
    pub fn fail_next(&self, error: SendError) {
        self.failures.lock().unwrap().push_back(error);
    }

    /// Everything that landed, oldest first.
    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// How many landed.
    pub fn count(&self) -> usize {
        self.sent.lock().unwrap().len()
    }

    /// The code that landed last.
    pub fn last_code(&self) -> String {
        let mut codes = self.sent().into_iter().map(|sent| sent.code).filter(|code| !code.is_empty());
        codes.next_back().expect("a code was sent")
    }

    /// A code of the same form that was never sent.
    pub fn wrong_code(&self) -> String {
        let sent = self.sent();
        let free = (0..=u32::try_from(sent.len()).unwrap()).map(|n| format!("{n:06}"));
        free.into_iter()
            .find(|code| sent.iter().all(|message| message.code != *code))
            .expect("one of n+1 is free")
    }
}

/// The outbox as a provider of a channel.
pub struct Recorder(pub Arc<Outbox>, pub Channel);

impl Provider for Recorder {
    fn name(&self) -> &'static str {
        if self.1 == Channel::Email { "mail" } else { "console" }
    }

    fn channel(&self) -> Channel {
        self.1
    }

    fn send<'a>(&'a self, message: &'a OutgoingCode) -> BoxFuture<'a, Result<Receipt, SendError>> {
        let failure = self.0.failures.lock().unwrap().pop_front();
        let result = if let Some(error) = failure {
            Err(error)
        } else {
            let (id, to) = (message.id.to_string(), message.to.as_str().to_owned());
            let code = message.code.as_ref().map_or("", Code::reveal).to_owned();
            let (locale, text) = (message.text.locale.clone(), message.text.body.to_string());
            self.0.sent.lock().unwrap().push(Sent { id, to, code, locale, text });
            Ok(Receipt { provider_id: None })
        };
        std::future::ready(result).boxed()
    }
}
