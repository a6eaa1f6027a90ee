//! The way through the providers of a channel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{OutgoingCode, Provider, Receipt, SendError};
use crate::config::{Routes, Watch};
use crate::domain::channel::Channel;
use crate::domain::phone::Country;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The provider that took it, or the last one that was tried.
    pub provider: Option<String>,
    /// How it ended.
    pub result: Result<Receipt, SendError>,
}

/// Offers messages to providers.
pub struct Courier {
    providers: BTreeMap<String, Arc<dyn Provider>>,
    routes: Routes,
}

impl Courier {
    /// With these providers by name, tried in the order of these routes.
    #[must_use]
    pub fn new(providers: Vec<Arc<dyn Provider>>, routes: Routes) -> Self {
        let providers =
            providers.into_iter().map(|provider| (provider.name().to_owned(), provider)).collect();
        Self { providers, routes }
    }

    /// Whether a channel leads anywhere.
    #[must_use]
    pub fn offers(&self, channel: Channel) -> bool {
        self.routes.offers(channel)
    }

    /// Whether a channel leads to somebody by any other than these providers.
    #[must_use]
    pub fn offers_without(
        &self,
        channel: Channel,
        country: Option<Country>,
        app_id: &str,
        without: &[String],
    ) -> bool {
        let order = self.routes.order(channel, country, app_id);
        order.iter().any(|name| self.providers.contains_key(name) && !without.contains(name))
    }

    /// What is done about messages of a channel that do not arrive.
    #[must_use]
    pub fn watch(&self, channel: Channel) -> Watch {
        self.routes.watch(channel)
    }

    /// Offers the message along the route, but to none of `without`, until a provider may have taken it or all of them certainly did not.
    pub async fn deliver(
        &self,
        channel: Channel,
        message: &OutgoingCode,
        deadline: Duration,
        without: &[String],
    ) -> Report {
        let mut provider = None;
        let attempt = self.try_each(channel, message, without, &mut provider);
        let result = match tokio::time::timeout(deadline, attempt).await {
            Ok(result) => result,
            Err(_elapsed) => Err(SendError::Unknown("no answer within the deadline".to_owned())),
        };
        Report { provider, result }
    }

    async fn try_each(
        &self,
        channel: Channel,
        message: &OutgoingCode,
        without: &[String],
        tried: &mut Option<String>,
    ) -> Result<Receipt, SendError> {
        let mut last = SendError::Unroutable(format!("no provider serves {}", channel.as_str()));
        let order = self.routes.order(channel, message.to.country(), &message.app_id);
        for name in order.iter().filter(|name| !without.contains(name)) {
            let Some(provider) = self.providers.get(name) else { continue };
            *tried = Some(name.clone());
            match provider.send(message).await {
                Err(error) if error.allows_another() => {
                    tracing::warn!(provider = name, message_id = %message.id, error = %error, "a provider did not take a message");
                    last = error;
                }
                done => return done,
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;
    use zeroize::Zeroizing;

    use super::super::Text;
    use crate::ambient::SeededEntropy;
    use crate::config::Config;
    use crate::domain::address::Address;
    use crate::domain::code::{Code, CodeLength};
    use crate::domain::ids::MessageId;

    struct Scripted {
        name: &'static str,
        answer: Result<Receipt, SendError>,
        hangs: bool,
        log: Arc<Mutex<Vec<String>>>,
    }

    impl Provider for Scripted {
        fn name(&self) -> &str {
            self.name
        }

        fn channel(&self) -> Channel {
            Channel::Sms
        }

        fn send<'a>(&'a self, message: &'a OutgoingCode) -> BoxFuture<'a, Result<Receipt, SendError>> {
            self.log.lock().unwrap().push(format!("{} {} {}", self.name, message.id, message.code.reveal()));
            if self.hangs {
                return std::future::pending().boxed();
            }
            std::future::ready(self.answer.clone()).boxed()
        }
    }

    /// Sends one message over `first`, then `second`; the report, and who was offered it.
    async fn send(first: Result<Receipt, SendError>, hangs: bool) -> (Report, Vec<String>) {
        let log = Arc::new(Mutex::new(Vec::new()));
        let provider = |name, answer, hangs| -> Arc<dyn Provider> {
            Arc::new(Scripted { name, answer, hangs, log: Arc::clone(&log) })
        };
        let second = Ok(Receipt { provider_id: Some("two".to_owned()) });
        let table = "[providers.first]\nkind = \"console\"\n[providers.second]\nkind = \"console\"\n\
                     [routes.sms]\ndefault = [\"first\", \"second\"]";
        let config =
            Config::parse(table.parse().unwrap(), "a test", &BTreeMap::new()).expect("a configuration");
        let courier = Courier::new(
            vec![provider("first", first, hangs), provider("second", second, false)],
            config.routes,
        );
        let message = OutgoingCode {
            id: MessageId::generate(&SeededEntropy::new(1)),
            to: Address::parse("+18005551234").unwrap(),
            code: Code::parse("123456", CodeLength::SIX).unwrap(),
            app_id: "com.messenger.appid".to_owned(),
            app_name: "Messenger".to_owned(),
            lifetime: Duration::from_mins(5),
            text: Text {
                locale: "en".to_owned(),
                subject: "Messenger".to_owned(),
                body: Zeroizing::new("123456".to_owned()),
            },
        };
        let report = courier.deliver(Channel::Sms, &message, Duration::from_millis(20), &[]).await;
        let log = log.lock().unwrap().clone();
        (report, log)
    }

    #[tokio::test]
    async fn a_definite_no_goes_to_the_next_provider_with_the_same_message_and_code_c10() {
        let text = || "why".to_owned();
        let refusals = [
            SendError::Unroutable(text()),
            SendError::Rejected(text()),
            SendError::Auth(text()),
            SendError::NoFunds(text()),
            SendError::Throttled(text()),
            SendError::Temporary(text()),
        ];
        for refusal in refusals {
            let (report, log) = send(Err(refusal.clone()), false).await;
            assert_eq!(report.provider.as_deref(), Some("second"), "{refusal}");
            assert!(report.result.is_ok());
            assert_eq!(log.len(), 2);
            assert_eq!(log[0].strip_prefix("first"), log[1].strip_prefix("second"));
        }
    }

    #[tokio::test]
    async fn what_another_provider_cannot_better_or_must_not_repeat_ends_the_route_c11() {
        let text = || "why".to_owned();
        for end in [SendError::BadNumber(text()), SendError::Blocked(text()), SendError::Unknown(text())] {
            let (report, log) = send(Err(end.clone()), false).await;
            assert_eq!((report.result, log.len()), (Err(end), 1));
        }
    }

    #[tokio::test]
    async fn a_provider_that_hangs_is_unknown_and_nobody_sends_again_c11() {
        let (report, log) = send(Ok(Receipt { provider_id: None }), true).await;
        assert!(matches!(report.result, Err(SendError::Unknown(_))), "{report:?}");
        assert_eq!((report.provider.as_deref(), log.len()), (Some("first"), 1));
    }
}
