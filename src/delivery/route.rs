//! The way through the providers of a channel.
//!
//! Guarantees: a [`Plan`] is made before anything is written down, so that the record says what was decided. A
//! message goes to one provider after the other until one may have taken it; who is left alone for now is asked only
//! when nobody else took it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::board::Board;
use super::lane::{Lane, Urgency};
use super::{OutgoingCode, Provider, Receipt, SendError, UsedCode};
use crate::ambient::{Clock, Entropy, uniform};
use crate::config::{Charset, PriceBook, Routes, Terms, Trip, Watch};
use crate::domain::channel::Channel;
use crate::domain::money::Money;
use crate::domain::phone::Country;
use crate::domain::segments::{Alphabet, segments};
use crate::domain::selection::{self, Candidate, Says, Strategy};
use crate::telemetry::Metrics;

/// What the configuration says about sending.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Who serves which channel.
    pub routes: Routes,
    /// What each provider may be given, by its name.
    pub terms: BTreeMap<String, Terms>,
    /// What each takes for it.
    pub prices: PriceBook,
}

/// What a courier stands in.
#[derive(Clone)]
pub struct Surroundings {
    /// What is known of providers.
    pub board: Arc<Board>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Who is to be tried for a message, in which order, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Providers and what each takes for this message, first to last.
    pub providers: Vec<(String, Money)>,
    strategy: Option<Strategy>,
    rule: Option<usize>,
    max_tries: usize,
}

impl Plan {
    /// What the message may cost: the dearest of them may be the one that takes it.
    #[must_use]
    pub fn dearest(&self) -> Money {
        self.providers.iter().map(|(_, price)| *price).max().unwrap_or_default()
    }

    /// Leaves providers out, whoever else is left.
    pub fn leave_out(&mut self, without: &[String]) {
        self.providers.retain(|(name, _)| !without.contains(name));
    }

    /// What one of them takes for it.
    #[must_use]
    pub fn price(&self, provider: &str) -> Money {
        let found = self.providers.iter().find(|(name, _)| name == provider);
        found.map(|(_, price)| *price).unwrap_or_default()
    }
}

/// For the record: `via twilio, vonage (adaptive, rule 2)`.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.providers.iter().map(|(name, _)| name.as_str()).collect();
        let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        write!(f, "via {names}")?;
        match (self.strategy, self.rule) {
            (Some(strategy), Some(rule)) => write!(f, " ({}, rule {rule})", strategy.as_str()),
            (Some(strategy), None) => write!(f, " ({})", strategy.as_str()),
            (None, _) => Ok(()),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The provider that took it, or the last one that was tried.
    pub provider: Option<String>,
    /// How it ended.
    pub result: Result<Receipt, SendError>,
    /// Those that did not take it, in their order, and the kind of each failure.
    pub failed: Vec<(String, &'static str)>,
}

/// Offers messages to providers.
pub struct Courier {
    lanes: BTreeMap<String, Lane>,
    rules: Rules,
    around: Surroundings,
    /// Bounds how many are told at once: what is more is not told.
    telling: Arc<Semaphore>,
}

/// Calls to tell that a code was used, at once.
const MAX_TELLING: usize = 64;
/// For each of them.
const TELL_DEADLINE: Duration = Duration::from_secs(10);

impl Courier {
    /// With these providers by name.
    #[must_use]
    pub fn new(providers: Vec<Arc<dyn Provider>>, rules: Rules, around: Surroundings) -> Self {
        let lane = |provider: Arc<dyn Provider>| {
            let name = provider.name().to_owned();
            let terms = rules.terms.get(&name).cloned().unwrap_or_default();
            let (clock, metrics) = (Arc::clone(&around.clock), Arc::clone(&around.metrics));
            (name, Lane::new(provider, terms, clock, metrics))
        };
        let lanes = providers.into_iter().map(lane).collect();
        Self { lanes, rules, around, telling: Arc::new(Semaphore::new(MAX_TELLING)) }
    }

    /// Whether a channel leads anywhere.
    #[must_use]
    pub fn offers(&self, channel: Channel) -> bool {
        self.rules.routes.offers(channel)
    }

    /// Whether a message would have anybody to take it now. `is_plain`: whether its text keeps to the GSM alphabet, which
    /// is asked only where that decides.
    #[must_use]
    pub fn leads(&self, trip: &Trip<'_>, is_plain: impl FnOnce() -> bool) -> bool {
        let Some(way) = self.rules.routes.way(trip) else { return false };
        let now = self.around.clock.now();
        let country = trip.to.country().unwrap_or(Country::UNKNOWN);
        let able = |(name, _): &&(String, u32)| {
            let serves = self.lanes.get(name).is_some_and(|lane| lane.terms.serve(country));
            serves && self.around.board.ruling(name, now) != Some(Says::Disabled)
        };
        let writes_all = |(name, _): &(String, u32)| {
            self.lanes.get(name).is_some_and(|lane| lane.terms.charset == Charset::Any)
        };
        let mut able = way.line.providers.iter().filter(able).peekable();
        if able.peek().is_none() {
            return false;
        }
        trip.channel != Channel::Sms || able.any(writes_all) || is_plain()
    }

    /// What is done about messages of a channel that do not arrive.
    #[must_use]
    pub fn watch(&self, channel: Channel) -> Watch {
        self.rules.routes.watch(channel)
    }

    /// What is known of providers.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.around.board
    }

    /// What the prices are in.
    #[must_use]
    pub fn currency(&self) -> &str {
        &self.rules.prices.currency
    }

    /// Tells a provider that its code came back, where it asks for that. Nobody waits for it.
    pub fn tell_used(&self, provider: &str, used: UsedCode) {
        let Some(lane) = self.lanes.get(provider) else { return };
        let Ok(turn) = Arc::clone(&self.telling).try_acquire_owned() else { return };
        let provider = Arc::clone(&lane.provider);
        tokio::spawn(async move {
            let _turn = turn;
            let Some(telling) = provider.feedback(&used) else { return };
            let told = tokio::time::timeout(TELL_DEADLINE, telling).await;
            let why = match told {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_elapsed) => "no answer within the deadline".to_owned(),
            };
            tracing::warn!(provider = provider.name(), message_id = %used.id, error = why, "a provider was not told that its code was used");
        });
    }

    /// Plans the way of a message. Providers that are to be avoided come last, if at all: where nobody else is left,
    /// one of them may yet take it.
    #[must_use]
    pub fn plan(&self, channel: Channel, message: &OutgoingCode, avoid: &[String]) -> Plan {
        let trip = Trip { channel, to: &message.to, app_id: &message.app_id, locale: &message.text.locale };
        let Some(way) = self.rules.routes.way(&trip) else { return Plan::default() };
        let now = self.around.clock.now();
        let country = message.to.country().unwrap_or(Country::UNKNOWN);
        let (alphabet, parts) = match channel {
            Channel::Sms => {
                let (alphabet, _, parts) = segments(&message.text.body);
                (alphabet, parts)
            }
            Channel::Voice | Channel::Whatsapp | Channel::Telegram | Channel::Email => (Alphabet::Gsm7, 1),
        };
        let serves = |terms: &Terms| {
            terms.serve(country) && (terms.charset == Charset::Any || alphabet == Alphabet::Gsm7)
        };
        let (mut names, mut candidates) = (Vec::new(), Vec::new());
        for (name, weight) in &way.line.providers {
            let ruling = self.around.board.ruling(name, now);
            let able = self.lanes.get(name).is_some_and(|lane| serves(&lane.terms));
            if !able || ruling == Some(Says::Disabled) {
                continue;
            }
            let tally = match way.line.strategy {
                Strategy::Adaptive => self.around.board.tally(name, country),
                Strategy::Ordered | Strategy::Weighted => selection::Tally::default(),
            };
            let price = self.rules.prices.price(name, &message.to).times(parts);
            names.push((name, price, ruling));
            candidates.push(Candidate { weight: *weight, tally, price });
        }
        let mut random = || uniform(&*self.around.entropy);
        let order =
            selection::order(&candidates, way.line.strategy, self.rules.prices.login_worth, &mut random);
        let mut chosen: Vec<_> = order.into_iter().filter_map(|index| names.get(index)).collect();
        // Both sorts are stable: what the strategy decided stands among equals.
        chosen.sort_by_key(|(_, _, ruling)| *ruling != Some(Says::Promoted));
        chosen.sort_by_key(|(name, _, _)| avoid.contains(name));
        let spared = chosen.iter().filter(|(name, _, _)| !avoid.contains(name)).count();
        let left = if spared == 0 { chosen.len() } else { spared };
        Plan {
            providers: chosen
                .into_iter()
                .take(left)
                .map(|(name, price, _)| ((*name).clone(), *price))
                .collect(),
            strategy: Some(way.line.strategy),
            rule: way.rule,
            max_tries: way.max_tries,
        }
    }

    /// Offers the message along the plan, until a provider may have taken it or all of them certainly did not.
    pub async fn deliver(&self, plan: &Plan, message: &OutgoingCode, deadline: Duration) -> Report {
        let mut report = Report { provider: None, result: Err(nobody(message)), failed: Vec::new() };
        let attempt = self.try_each(plan, message, &mut report);
        if tokio::time::timeout(deadline, attempt).await.is_err() {
            let error = SendError::Unknown("no answer within the deadline".to_owned());
            report.failed.extend(report.provider.clone().map(|name| (name, error.kind())));
            report.result = Err(error);
        }
        report
    }

    async fn try_each(&self, plan: &Plan, message: &OutgoingCode, report: &mut Report) {
        let mut left = plan.max_tries;
        let all = plan.providers.iter().map(|(name, _)| (name, Urgency::Spare));
        let mut queue: VecDeque<(&String, Urgency)> = all.collect();
        while left > 0
            && let Some((name, urgency)) = queue.pop_front()
        {
            let Some(lane) = self.lanes.get(name) else { continue };
            let before = report.provider.replace(name.clone());
            let Some(result) = lane.send(message, urgency).await else {
                report.provider = before;
                if urgency == Urgency::Spare {
                    queue.push_back((name, Urgency::LastResort));
                }
                continue;
            };
            left -= 1;
            let another = result.as_ref().err().is_some_and(SendError::allows_another);
            if let Err(error) = &result {
                report.failed.push((name.clone(), error.kind()));
                complain(name, message, error);
            }
            report.result = result;
            if !another {
                return;
            }
        }
    }
}

fn nobody(message: &OutgoingCode) -> SendError {
    let country = message.to.country().map(|country| format!(" to {country}")).unwrap_or_default();
    SendError::Unroutable(format!("no provider takes such a message{country} now"))
}

/// Tells of a failure; where an operator can mend it, how.
fn complain(provider: &str, message: &OutgoingCode, error: &SendError) {
    let fix = match error {
        SendError::Auth(_) => "check its credentials",
        SendError::NoFunds(_) => "top its account up",
        SendError::Rejected(_) => "check its address, its sender and its templates",
        SendError::Unknown(_) => {
            tracing::warn!(provider, message_id = %message.id, error = %error, "a provider may have taken a message");
            return;
        }
        SendError::BadNumber(_)
        | SendError::Blocked(_)
        | SendError::Unroutable(_)
        | SendError::Throttled { .. }
        | SendError::Temporary(_) => {
            tracing::warn!(provider, message_id = %message.id, error = %error, "a provider did not take a message");
            return;
        }
    };
    tracing::error!(
        alarm = true, provider, message_id = %message.id, error = %error,
        "a provider does not take our messages; fix: {fix} (providers.{provider}), then `latchkey reload`"
    );
}

#[cfg(test)]
mod tests;
