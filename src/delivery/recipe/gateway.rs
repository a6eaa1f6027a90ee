//! A provider that a recipe describes.
//!
//! Guarantees: one call, within the recipe's deadline, to one address, with no redirect followed. What may have been
//! sent is unknown, never temporary. No error and no log holds a URL, a secret or the code.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use minijinja::value::Value;

use super::Recipe;
use super::answer::{Answer, Outcome, Verdict};
use super::context::{Standing, Subject, unix_secs};
use crate::ambient::Clock;
use crate::config::{RecipeProvider, SettingValue};
use crate::delivery::{Callbacks, OutgoingCode, Provider, Receipt, SendError};
use crate::domain::channel::Channel;
use crate::outbound::redact::Redactor;
use crate::outbound::request::Request;
use crate::outbound::template::LoadError;
use crate::outbound::{self, Client, ClientError, Fault};

/// There is one purpose yet.
const PURPOSE: &str = "login";

/// One configured gateway.
pub(crate) struct Gateway {
    name: String,
    recipe: Recipe,
    channel: Channel,
    standing: Standing,
    shown: Standing,
    redactor: Redactor,
    client: Client,
    clock: Arc<dyn Clock>,
    /// Where it reports, where it does and can.
    callbacks: Option<Arc<Callbacks>>,
}

/// A gateway that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    #[error("recipe: {0}")]
    Recipe(#[from] LoadError),
    #[error("{0}")]
    Client(#[from] ClientError),
}

/// How one message went, for people. It holds no secret.
pub(crate) struct Trial {
    /// The request, where one could be made.
    pub(crate) request: String,
    /// The answer, where one came.
    pub(crate) answer: Option<String>,
    /// The rule that decided, from 1, and what it said.
    pub(crate) rule: Option<usize>,
    /// What routing was told.
    pub(crate) result: Result<Receipt, SendError>,
}

struct Attempt {
    /// With the rule that matched, and what is not to be shown of it.
    answer: Option<(Answer, Option<usize>, Redactor)>,
    result: Result<Receipt, SendError>,
}

impl Attempt {
    fn failed(error: SendError) -> Self {
        Self { answer: None, result: Err(error) }
    }
}

impl From<Fault> for SendError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotSent(text) => Self::Temporary(text),
            Fault::Unknown(text) => Self::Unknown(text),
        }
    }
}

impl Gateway {
    /// Under this name; where it can, it reports to a URL of `callbacks`.
    pub(crate) fn new(
        name: &str,
        config: &RecipeProvider,
        clock: Arc<dyn Clock>,
        callbacks: Option<&Arc<Callbacks>>,
    ) -> Result<Self, GatewayError> {
        let recipe = Recipe::load(&config.recipe)?;
        let callbacks = callbacks.filter(|callbacks| callbacks.reach(config)).cloned();
        let secrets = config.settings.values().filter(|value| value.is_secret());
        Ok(Self {
            name: name.to_owned(),
            channel: config.recipe.channel,
            standing: Standing::new(&config.settings, &config.vars),
            shown: Standing::redacted(&config.settings, &config.vars),
            redactor: Redactor::new(secrets.map(SettingValue::reveal)),
            client: outbound::client(recipe.call)?,
            clock,
            callbacks,
            recipe,
        })
    }

    /// Sends a message, and says how it went.
    pub(crate) async fn try_out(&self, message: &OutgoingCode) -> Trial {
        let context = self.context(message, &self.shown);
        let shown = match self.recipe.sender.request.make(&self.recipe.templates, &context) {
            Ok(request) => show(&request, &self.recipe.sender.auth.names()),
            Err(text) => text,
        };
        let Attempt { answer, result } = self.attempt(message).await;
        let rule = answer.as_ref().and_then(|(_, rule, _)| *rule);
        let answer = answer.map(|(answer, _, redactor)| {
            let body = String::from_utf8_lossy(&answer.body);
            redactor.hide(&format!("HTTP {}\n{body}", answer.status))
        });
        Trial { request: shown, answer, rule, result }
    }

    fn context(&self, message: &OutgoingCode, standing: &Standing) -> Value {
        let receipt_url =
            self.callbacks.as_ref().map(|callbacks| callbacks.url(&self.name, Some(&message.id)));
        let subject = Subject {
            id: message.id.as_str(),
            to: &message.to,
            channel: self.channel.as_str(),
            text: &message.text.body,
            code: message.code.reveal(),
            ttl_s: message.lifetime.as_secs(),
            purpose: PURPOSE,
            locale: &message.text.locale,
            app_name: &message.app_name,
            receipt_url: receipt_url.as_deref().unwrap_or_default(),
        };
        standing.context(&subject, self.clock.now())
    }

    fn make(&self, message: &OutgoingCode) -> Result<Request, String> {
        let context = self.context(message, &self.standing);
        let mut request = self.recipe.sender.request.make(&self.recipe.templates, &context)?;
        let now = unix_secs(self.clock.now());
        self.recipe.sender.prove(&self.recipe.templates, &context, message.id.as_str(), now, &mut request)?;
        Ok(request)
    }

    async fn attempt(&self, message: &OutgoingCode) -> Attempt {
        let country = message.to.country().map(|country| country.to_string());
        if let Some(country) = country
            && !self.recipe.countries.is_empty()
            && !self.recipe.countries.contains(&country)
        {
            return Attempt::failed(SendError::Unroutable(format!("the recipe does not serve {country}")));
        }
        let request = match self.make(message) {
            Ok(request) => request,
            Err(text) => {
                return Attempt::failed(SendError::Rejected(format!("recipe {}: {text}", self.recipe.id)));
            }
        };
        let redactor = self.redactor.and(&request.proof);
        match self.call(request).await {
            Ok(answer) => self.judge(message, answer, redactor),
            Err(fault) => Attempt::failed(fault.into()),
        }
    }

    async fn call(&self, request: Request) -> Result<Answer, Fault> {
        let Request { method, url, headers, proof, body } = request;
        let mut call = self.client.request(method, url).headers(headers).headers(proof);
        if let Some(body) = body {
            call = call.body(body);
        }
        let response = call.send().await.map_err(|error| outbound::classify(&error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = outbound::read_capped(response, self.recipe.max_response).await?;
        Ok(Answer { status, headers, body: body.to_vec() })
    }

    fn judge(&self, message: &OutgoingCode, answer: Answer, redactor: Redactor) -> Attempt {
        let verdict = self.recipe.rules.judge(&answer);
        if verdict.rule.is_none() && (200..300).contains(&answer.status) {
            tracing::error!(
                provider = self.name, recipe = self.recipe.id, message_id = %message.id, status = answer.status,
                "a gateway answers as its recipe does not know; whether the message leaves is unknown"
            );
        }
        let text = self.describe(message, &answer, &verdict, &redactor);
        let result = match verdict.outcome {
            Outcome::Accepted => Ok(Receipt { provider_id: verdict.id }),
            Outcome::BadNumber => Err(SendError::BadNumber(text)),
            Outcome::Blocked => Err(SendError::Blocked(text)),
            Outcome::Unroutable => Err(SendError::Unroutable(text)),
            Outcome::Rejected => Err(SendError::Rejected(text)),
            Outcome::Auth => Err(SendError::Auth(text)),
            Outcome::NoFunds => Err(SendError::NoFunds(text)),
            Outcome::Throttled => Err(SendError::Throttled(text)),
            Outcome::Temporary => Err(SendError::Temporary(text)),
            Outcome::Uncertain => Err(SendError::Unknown(text)),
        };
        Attempt { answer: Some((answer, verdict.rule, redactor)), result }
    }

    /// For the log.
    fn describe(
        &self,
        message: &OutgoingCode,
        answer: &Answer,
        verdict: &Verdict,
        redactor: &Redactor,
    ) -> String {
        let quote = |text: &str| redactor.quote(text, Some(message.code.reveal()));
        let mut text = format!("HTTP status {}", answer.status);
        if verdict.rule.is_none() && (300..400).contains(&answer.status) {
            let fix = format!(
                ", and codes are not sent on; fix: write the final address as providers.{}.base_url",
                self.name
            );
            text.push_str(&fix);
        }
        if let Some(code) = &verdict.code {
            text.push_str(", code ");
            text.push_str(&quote(code));
        }
        if let Some(words) = &verdict.text {
            text.push_str(": ");
            text.push_str(&quote(words));
        }
        if let Some(secs) = verdict.retry_after {
            text.push_str("; it asks to wait ");
            text.push_str(&secs.to_string());
            text.push_str(" s");
        }
        text
    }
}

/// A request as people read it. It was made without secrets, and without what proves who we are.
fn show(request: &Request, proof: &[&str]) -> String {
    let mut lines = vec![format!("{} {}", request.method, request.url)];
    let headers = request.headers.iter();
    lines.extend(
        headers.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))),
    );
    lines.extend(proof.iter().map(|name| format!("{name}: (not shown)")));
    if let Some(body) = &request.body {
        lines.push(String::new());
        lines.push(String::from_utf8_lossy(body).into_owned());
    }
    lines.join("\n")
}

impl Provider for Gateway {
    fn name(&self) -> &str {
        &self.name
    }

    fn channel(&self) -> Channel {
        self.channel
    }

    fn send<'a>(&'a self, message: &'a OutgoingCode) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move { self.attempt(message).await.result })
    }
}
