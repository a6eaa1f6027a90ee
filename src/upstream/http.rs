//! Any backend that mints over HTTP, its calls described as data.
//!
//! Guarantees: the host is the configured URL's, whatever is filled into a path; what is filled in cannot change the
//! structure of a body, and is never read as a template. An unknown placeholder, or a secret in a URL, is a start-up
//! error. A mint is at most three calls: mint, create, mint. No secret is in an error or a log.
//!
//! A backend whose tokens cannot be ended by one call has no `revoke`; [`Upstream::revoke`] then succeeds and changes
//! nothing.

mod answer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use minijinja::value::merge_maps;
use minijinja::{Value, context};
use reqwest::Method;
use zeroize::Zeroizing;

use super::fault::FaultLog;
use super::person::{self, Ids, Person, SAMPLES};
use super::{BuildError, ChatToken, Subject, Upstream, UpstreamError};
use crate::ambient::{Clock, Entropy};
use crate::config::{HttpCall, HttpFormat, HttpUpstream, SettingValue};
use crate::outbound::body::Format;
use crate::outbound::redact::Redactor;
use crate::outbound::request::{Description, RequestTemplate};
use crate::outbound::template::{LoadError, Names, Templates};
use crate::outbound::{Client, MAX_ANSWER_BYTES, classify, client, read_capped, retry_after};
use answer::{Answer, Meaning, Reader, Which};

/// What every path is appended to.
const BASE: &str = "{{ url }}";
/// What templates may name beside a person and the settings.
const OF_THE_CALL: [&str; 3] = ["url", "now", "random"];
const NAMES: [&str; 9] = {
    let [a, b, c, d, e, f] = person::NAMES;
    let [g, h, i] = OF_THE_CALL;
    [a, b, c, d, e, f, g, h, i]
};
/// What `random` is made of.
const RANDOM_BYTES: usize = 32;

/// One backend.
pub(super) struct Http {
    faults: FaultLog,
    provider: &'static str,
    client: Client,
    calls: Calls,
    standing: Standing,
    reader: Reader,
    ids: Ids,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

struct Calls {
    templates: Templates,
    mint: RequestTemplate,
    create: Option<RequestTemplate>,
    revoke: Option<RequestTemplate>,
}

/// What stays the same from call to call.
struct Standing {
    /// Without its last slash; not escaped.
    url: Value,
    table: &'static str,
    settings: Value,
}

impl Http {
    pub(super) fn new(
        name: &str,
        config: &HttpUpstream,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, BuildError> {
        let wrong = |error: LoadError| BuildError::Description { name: name.to_owned(), error };
        let secrets = config.settings.values().filter(|value| value.is_secret()).map(SettingValue::reveal);
        let reader = Reader::compile(&config.calls.mint, &config.calls.errors, Redactor::new(secrets));
        let settings = config.settings.iter().map(|(key, value)| (key.as_str(), value.reveal()));
        let made = Self {
            faults: FaultLog::new(name),
            provider: config.provider,
            calls: Calls::compile(config).map_err(wrong)?,
            reader: reader.map_err(wrong)?,
            standing: Standing {
                url: Value::from_safe_string(config.url.as_str().trim_end_matches('/').to_owned()),
                table: config.settings_table,
                settings: Value::from_pairs(settings),
            },
            ids: Ids::new(&config.ids),
            client: client(config.call)
                .map_err(|error| BuildError::Client { name: name.to_owned(), error })?,
            clock,
            entropy,
        };
        for sample in &SAMPLES {
            let context = made.context(&Person::sample(sample, &made.ids));
            for (which, request) in made.calls.all() {
                let tried = request.make(&made.calls.templates, &context);
                tried.map_err(|text| wrong(LoadError::new(which.key(), text)))?;
            }
        }
        Ok(made)
    }

    fn context(&self, person: &Person<'_>) -> Value {
        let mut random = Zeroizing::new([0; RANDOM_BYTES]);
        self.entropy.fill(&mut *random);
        let Standing { url, table, settings } = &self.standing;
        let now = self.clock.now().as_secs();
        let call = context! { url, now, random => URL_SAFE_NO_PAD.encode(*random) };
        merge_maps([Value::from_pairs([(*table, settings.clone())]), call, person.context()])
    }

    async fn token(&self, subject: &Subject) -> Result<ChatToken, UpstreamError> {
        let (person, upstream) = (self.person(subject)?, self.faults.upstream());
        let context = self.context(&person);
        let mut meaning = self.ask_for_token(&context).await?;
        if let (Meaning::Missing, Some(create)) = (&meaning, &self.calls.create) {
            let created = self.create(create, &context).await?;
            meaning = self.ask_for_token(&context).await?;
            if matches!(meaning, Meaning::Missing) {
                return Err(UpstreamError::Misconfigured(format!(
                    "the backend does not know a user, not even after the call create ({created}); fix: what \
                     upstreams.{upstream} sends there must make the user that the mint is for"
                )));
            }
        }
        match meaning {
            Meaning::Minted { token, user, expires_in } => Ok(ChatToken {
                provider: self.provider,
                token: Zeroizing::new(token),
                user_id: user.unwrap_or_else(|| person.user_id.into_owned()),
                extra: expires_in.map(|left| ("expires_in".to_owned(), left.into())).into_iter().collect(),
            }),
            Meaning::Missing => Err(UpstreamError::Misconfigured(format!(
                "the backend does not know a user; fix: describe in upstreams.{upstream}.create how users are made"
            ))),
        }
    }

    fn person<'a>(&self, subject: &'a Subject) -> Result<Person<'a>, UpstreamError> {
        let person = Person::of(subject, &self.ids);
        if self.ids.admit(&person.user_id) {
            return Ok(person);
        }
        Err(UpstreamError::Refused(format!(
            "the id that the user was imported with is none of the backend's, which takes {}",
            self.ids.says
        )))
    }

    async fn ask_for_token(&self, context: &Value) -> Result<Meaning, UpstreamError> {
        let answer = self.call(Which::Mint, &self.calls.mint, context).await?;
        self.reader.minted(self.faults.upstream(), &answer, self.clock.now())
    }

    /// Makes the user; what the backend said. That it refuses is no error: another login may have been first, and the
    /// mint that follows knows.
    async fn create(&self, create: &RequestTemplate, context: &Value) -> Result<String, UpstreamError> {
        // A lost creation was no mint.
        let lost = |error| {
            if let UpstreamError::Unknown(text) = error { UpstreamError::Unavailable(text) } else { error }
        };
        let answer = self.call(Which::Create, create, context).await.map_err(lost)?;
        if answer.status.is_success() || matches!(answer.status.as_u16(), 400 | 404 | 409 | 422) {
            return Ok(self.reader.said(&answer));
        }
        Err(lost(self.reader.refusal(self.faults.upstream(), Which::Create, &answer)))
    }

    async fn end(&self, subject: &Subject) -> Result<(), UpstreamError> {
        let Some(revoke) = &self.calls.revoke else { return Ok(()) };
        let context = self.context(&self.person(subject)?);
        let answer = self.call(Which::Revoke, revoke, &context).await?;
        if answer.status.is_success() || self.reader.is_missing(&answer) {
            return Ok(());
        }
        Err(self.reader.refusal(self.faults.upstream(), Which::Revoke, &answer))
    }

    async fn call(
        &self,
        which: Which,
        request: &RequestTemplate,
        context: &Value,
    ) -> Result<Answer, UpstreamError> {
        let request = request.make(&self.calls.templates, context).map_err(|text| {
            let (upstream, key) = (self.faults.upstream(), which.key());
            UpstreamError::Misconfigured(format!(
                "upstreams.{upstream}.{key} cannot be made for this user ({text}); fix: its templates must do for \
                 every user, whatever they call themselves"
            ))
        })?;
        let mut call = self.client.request(request.method, request.url).headers(request.headers);
        if let Some(body) = request.body {
            call = call.body(body);
        }
        let response = call.send().await.map_err(|error| UpstreamError::from(classify(&error)))?;
        let (status, after) = (response.status(), retry_after(response.headers()));
        let body = read_capped(response, MAX_ANSWER_BYTES).await?.to_vec();
        Ok(Answer { status, after, body })
    }
}

impl Calls {
    fn compile(config: &HttpUpstream) -> Result<Self, LoadError> {
        let mut templates = Templates::new(Names {
            known: &NAMES,
            settings: config.settings.keys().cloned().collect(),
            table: config.settings_table,
            written_in: "[upstreams.….secrets]",
            vars: BTreeSet::new(),
        });
        let calls = &config.calls;
        let mut compile = |which: Which, call: &HttpCall| {
            let request = compile_call(&mut templates, which.key(), call, &calls.headers)?;
            let secret = request
                .settings_in_url()
                .into_iter()
                .find(|name| config.settings.get(*name).is_some_and(SettingValue::is_secret));
            match secret {
                Some(name) => Err(LoadError::new(
                    &format!("{}.path", which.key()),
                    format!(
                        "holds the secret {name:?}: URLs end up in logs; send it in a header or the body"
                    ),
                )),
                None => Ok(request),
            }
        };
        let mint = compile(Which::Mint, &calls.mint.call)?;
        let create = calls.create.as_ref().map(|call| compile(Which::Create, call)).transpose()?;
        let revoke = calls.revoke.as_ref().map(|call| compile(Which::Revoke, call)).transpose()?;
        Ok(Self { templates, mint, create, revoke })
    }

    fn all(&self) -> impl Iterator<Item = (Which, &RequestTemplate)> {
        let others = [(Which::Create, &self.create), (Which::Revoke, &self.revoke)];
        let others = others.into_iter().filter_map(|(which, call)| Some((which, call.as_ref()?)));
        [(Which::Mint, &self.mint)].into_iter().chain(others)
    }
}

fn compile_call(
    templates: &mut Templates,
    key: &str,
    call: &HttpCall,
    headers: &BTreeMap<String, String>,
) -> Result<RequestTemplate, LoadError> {
    let method = call.method.parse::<Method>();
    let description = Description {
        key,
        method: method.map_err(|_bad| LoadError::new(&format!("{key}.method"), "is no method"))?,
        url: (&format!("{key}.path"), &format!("{BASE}{}", call.path)),
        format: match call.format {
            HttpFormat::Json => Format::Json,
            HttpFormat::Form => Format::Form,
            HttpFormat::Query => Format::Query,
            HttpFormat::None => Format::None,
        },
        headers: ("headers", headers),
        body: &call.body,
        overlay: &[],
    };
    RequestTemplate::compile(templates, &description)
}

impl Upstream for Http {
    fn mint<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<ChatToken, UpstreamError>> {
        Box::pin(async move {
            let minted = self.token(subject).await;
            self.faults.note(&minted);
            minted
        })
    }

    fn revoke<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<(), UpstreamError>> {
        Box::pin(async move {
            let ended = self.end(subject).await;
            self.faults.note(&ended);
            ended
        })
    }
}

#[cfg(test)]
mod tests;
