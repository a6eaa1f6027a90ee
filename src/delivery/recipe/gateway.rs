//! A provider that a recipe describes.
//!
//! Guarantees: one call, within the recipe's deadline, to one address, with no redirect followed. What may have been
//! sent is unknown, never temporary. No error and no log holds a URL, a secret or the code.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use minijinja::value::Value;

use super::Recipe;
use super::answer::{Answer, Outcome, Verdict};
use super::auth::Occasion;
use super::context::{Standing, Subject, Used};
use crate::ambient::Clock;
use crate::config::{Charset, RecipeProvider, SettingValue};
use crate::delivery::{Callbacks, OutgoingCode, Provider, Receipt, SendError, UsedCode};
use crate::domain::channel::Channel;
use crate::domain::code::Code;
use crate::domain::segments::is_gsm7;
use crate::outbound::redact::Redactor;
use crate::outbound::request::Request;
use crate::outbound::template::LoadError;
use crate::outbound::{self, Client, ClientError, Fault};

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
    #[error("{0}: {1}")]
    Recipe(String, LoadError),
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
        let fault = |error| GatewayError::Recipe(config.recipe.place(), error);
        let recipe = Recipe::load(&config.recipe).map_err(fault)?;
        let callbacks = callbacks.filter(|callbacks| callbacks.reach(config)).cloned();
        let vars = Arc::new(config.vars.clone());
        let secrets = config.settings.values().filter(|value| value.is_secret());
        Ok(Self {
            name: name.to_owned(),
            channel: config.recipe.channel,
            standing: Standing::new(&config.settings, Arc::clone(&vars)),
            shown: Standing::redacted(&config.settings, vars),
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
            title: &message.text.subject,
            code: message.code.as_ref().map_or("", Code::reveal),
            ttl_s: message.lifetime.as_secs(),
            purpose: message.purpose,
            locale: &message.text.locale,
            app_name: &message.app_name,
            receipt_url: receipt_url.as_deref().unwrap_or_default(),
        };
        standing.context(&subject, self.clock.now())
    }

    /// Why a message is not even tried here.
    fn refusal(&self, message: &OutgoingCode) -> Option<SendError> {
        if message.code.is_none() && !self.recipe.carries_text {
            return Some(SendError::Unroutable("the recipe sends codes alone, no texts".to_owned()));
        }
        let countries = &self.recipe.countries;
        if let Some(country) = message.to.country()
            && !countries.is_empty()
            && !countries.contains(&country)
        {
            return Some(SendError::Unroutable(format!("the recipe does not serve {country}")));
        }
        let fits = self.recipe.charset == Charset::Any || is_gsm7(&message.text.body);
        let text = "the text has letters beyond the GSM alphabet, and the recipe sends no others";
        (!fits).then(|| SendError::Unroutable(text.to_owned()))
    }

    async fn attempt(&self, message: &OutgoingCode) -> Attempt {
        if let Some(error) = self.refusal(message) {
            return Attempt::failed(error);
        }
        let context = self.context(message, &self.standing);
        let make = || self.recipe.sender.request.make(&self.recipe.templates, &context);
        match self.call(&context, message.id.as_str(), make).await {
            Ok((answer, redactor)) => self.judge(message, answer, redactor),
            Err(error) => Attempt::failed(error),
        }
    }

    /// Calls the gateway; once more with a new token where it does not take the one that it granted: what is answered
    /// with a 401 was not acted on.
    async fn call(
        &self,
        context: &Value,
        id: &str,
        make: impl Fn() -> Result<Request, String>,
    ) -> Result<(Answer, Redactor), SendError> {
        let Some(grant) = self.recipe.sender.auth.grant() else {
            return self.call_once(context, id, "", &make).await;
        };
        let templates = &self.recipe.templates;
        let token = grant.token(&self.client, templates, context, self.clock.now()).await?;
        let (answer, redactor) = self.call_once(context, id, token.reveal(), &make).await?;
        if answer.status != 401 {
            return Ok((answer, redactor));
        }
        grant.forget(&token).await;
        let token = grant.token(&self.client, templates, context, self.clock.now()).await?;
        self.call_once(context, id, token.reveal(), &make).await
    }

    async fn call_once(
        &self,
        context: &Value,
        id: &str,
        token: &str,
        make: &impl Fn() -> Result<Request, String>,
    ) -> Result<(Answer, Redactor), SendError> {
        let occasion = Occasion { id, now: self.clock.now(), token };
        let (templates, sender) = (&self.recipe.templates, &self.recipe.sender);
        let fault = |text: String| SendError::Rejected(format!("recipe {}: {text}", self.recipe.id));
        let mut request = make().map_err(fault)?;
        sender.prove(templates, context, &occasion, &mut request).map_err(fault)?;
        let redactor = self.redactor.and(&request.proof);
        Ok((self.exchange(request).await?, redactor))
    }

    async fn exchange(&self, request: Request) -> Result<Answer, Fault> {
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
        let text = || self.describe(message, &answer, &verdict, &redactor);
        let after = verdict.retry_after.map(Duration::from_secs);
        let result = match verdict.outcome {
            Outcome::Accepted => Ok(Receipt { provider_id: verdict.id.clone() }),
            Outcome::BadNumber => Err(SendError::BadNumber(text())),
            Outcome::Blocked => Err(SendError::Blocked(text())),
            Outcome::Unroutable => Err(SendError::Unroutable(text())),
            Outcome::Rejected => Err(SendError::Rejected(text())),
            Outcome::Auth => Err(SendError::Auth(text())),
            Outcome::NoFunds => Err(SendError::NoFunds(text())),
            Outcome::Throttled => Err(SendError::Throttled {
                said: text(),
                after: after.or_else(|| outbound::retry_after(&answer.headers)),
            }),
            Outcome::Temporary => Err(SendError::Temporary(text())),
            Outcome::Uncertain => Err(SendError::Unknown(text())),
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
        let quote = |text: &str| redactor.quote(text, message.code.as_ref().map(Code::reveal));
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

    fn feedback<'a>(&'a self, used: &'a UsedCode) -> Option<BoxFuture<'a, Result<(), SendError>>> {
        let feedback = self.recipe.feedback.as_ref()?;
        Some(Box::pin(async move {
            let subject = Used {
                id: used.id.as_str(),
                to: &used.to,
                code: used.code.reveal(),
                provider_id: &used.provider_id,
            };
            let context = self.standing.feedback(&subject, self.clock.now());
            let (answer, _) = self.call(&context, used.id.as_str(), || feedback.make(&context)).await?;
            if (200..300).contains(&answer.status) {
                return Ok(());
            }
            Err(SendError::Rejected(format!("HTTP status {}", answer.status)))
        }))
    }
}
