//! Where gateways report what became of messages.
//!
//! Guarantees: a URL that is given to a gateway is made of `public_url`, never of a request's headers, and its path
//! proves that we gave it. A call is read only behind that, and then as the provider's recipe says.

mod certificates;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use url::Url;

use self::certificates::Certificates;
use super::recipe::dlr::{self, Dlr, Read, Said, Settings};
use super::recipe::{Outcome, Recipe, Told};
use super::{Board, BuildError};
use crate::config::{BASE_URL, ProviderConfig, RecipeProvider, is_near};
use crate::domain::ids::MessageId;
use crate::domain::receipt::PathKeys;
use crate::domain::time::Timestamp;

/// How gateways call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Method {
    /// All is in the query.
    #[serde(rename = "GET")]
    Get,
    /// Most is in the body.
    #[serde(rename = "POST")]
    Post,
}

impl Method {
    /// As HTTP writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// A call of a gateway's.
#[derive(Clone)]
pub struct CallIn {
    /// How.
    pub method: Method,
    /// The public URL with its query, as the gateway knows it.
    pub url: String,
    /// Its query, as it came.
    pub query: String,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// The body, as it came.
    pub body: Vec<u8>,
}

impl CallIn {
    /// The value of a header, named in small letters; none where it came twice.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(header, _)| header == name);
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value.as_str())
    }
}

/// What a gateway is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// A success.
    pub status: u16,
    /// Of the body.
    pub content_type: String,
    /// Exactly this.
    pub body: String,
}

/// What a gateway says of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The gateway's id for it.
    pub id: Option<String>,
    /// Ours, where the gateway says it back.
    pub reference: Option<MessageId>,
    pub(crate) said: Said,
    pub(crate) error: Option<Outcome>,
}

/// How far a message came, as its gateway says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is on its way.
    Accepted,
    /// It arrived.
    Delivered,
    /// It will not arrive.
    Failed {
        /// The kind of failure, for the database.
        kind: &'static str,
        /// Whether another provider may bring one.
        allows_another: bool,
    },
}

impl Notice {
    /// How far the message came.
    #[must_use]
    pub fn progress(&self) -> Progress {
        match (self.said, self.error) {
            (Said::Accepted, _) => Progress::Accepted,
            (Said::Delivered, _) => Progress::Delivered,
            (Said::Failed, None) => Progress::Failed { kind: "undelivered", allows_another: true },
            // The same person, and the same answer: see `SendError::allows_another`.
            (Said::Failed, Some(error @ (Outcome::BadNumber | Outcome::Blocked))) => {
                Progress::Failed { kind: error.as_str(), allows_another: false }
            }
            (Said::Failed, Some(error)) => Progress::Failed { kind: error.as_str(), allows_another: true },
        }
    }
}

/// A path whose token is right.
pub struct Door<'a> {
    /// The provider.
    pub provider: &'a str,
    /// The message that the path names; none where the gateway has one address for all.
    pub message: Option<MessageId>,
    desk: &'a Desk,
}

impl Door<'_> {
    /// Whether it is opened by this method.
    #[must_use]
    pub fn takes(&self, method: Method) -> bool {
        self.desk.dlr.takes(method)
    }
}

/// What a call is.
pub enum Reading {
    /// Reports, and the answer when they are written down.
    Notices(Vec<Notice>, Reply),
    /// The gateway looks whether we are here, and this is the answer.
    Handshake(Reply),
    /// Whoever calls did not prove to be the gateway.
    NotProved,
}

/// Makes the URLs that gateways report to.
pub struct Callbacks {
    public_url: Url,
    keys: PathKeys,
}

impl Callbacks {
    /// Below this URL, with these keys.
    #[must_use]
    pub fn new(public_url: Url, keys: PathKeys) -> Self {
        Self { public_url, keys }
    }

    /// Where a provider reports; without a message, for the gateway's own settings.
    #[must_use]
    pub fn url(&self, provider: &str, message: Option<&MessageId>) -> String {
        let base = self.public_url.as_str().trim_end_matches('/');
        let token = self.keys.token(provider, message);
        let message = message.map(|message| format!("/{message}")).unwrap_or_default();
        format!("{base}/v1/receipts/{provider}/{token}{message}")
    }

    /// Whether a gateway at this address can reach us: not from outside into a private network.
    pub(crate) fn reach(&self, config: &RecipeProvider) -> bool {
        let base = config.settings.get(BASE_URL).and_then(|base| Url::parse(base.reveal()).ok());
        !is_near(&self.public_url) || base.is_some_and(|base| is_near(&base))
    }
}

/// One provider that reports.
struct Desk {
    dlr: Dlr,
    settings: Settings,
    can_report: bool,
    told: Told,
}

/// All providers that report, and the paths they report to.
pub struct Receipts {
    desks: BTreeMap<String, Desk>,
    callbacks: Arc<Callbacks>,
    board: Arc<Board>,
    certificates: Certificates,
}

impl Receipts {
    /// Of the configured providers.
    ///
    /// # Errors
    /// With the first recipe that is wrong.
    pub fn new(
        providers: &BTreeMap<String, ProviderConfig>,
        callbacks: Arc<Callbacks>,
        board: Arc<Board>,
    ) -> Result<Self, BuildError> {
        let mut desks = BTreeMap::new();
        for (name, provider) in providers {
            let ProviderConfig::Recipe(config) = provider else { continue };
            let fault = |error: crate::outbound::template::LoadError| BuildError {
                name: name.clone(),
                reason: format!("{}: {error}", config.recipe.place()),
            };
            let recipe = Recipe::load(&config.recipe).map_err(fault)?;
            let (Some(told), Some(dlr)) = (recipe.reports(), recipe.into_dlr()) else { continue };
            let settings = config.settings.clone();
            let can_report = callbacks.reach(config) && dlr.can_be_proved(&settings);
            desks.insert(name.clone(), Desk { dlr, settings, can_report, told });
        }
        Ok(Self { desks, callbacks, board, certificates: Certificates::default() })
    }

    /// Whether a provider reports, can reach us, and can prove to be itself. One that only its own settings tell where to
    /// report must have done so: nobody else knows what stands there.
    #[must_use]
    pub fn are_expected(&self, provider: &str) -> bool {
        self.desks.get(provider).is_some_and(|desk| {
            let knows_where = match desk.told {
                Told::WithEachMessage => true,
                Told::ByTheOperator => self.board.has_reported(provider),
            };
            desk.can_report && knows_where
        })
    }

    /// The door that a path leads to; none where its token is not ours, or the provider does not report.
    #[must_use]
    pub fn open(&self, provider: &str, token: &str, message: Option<&str>) -> Option<Door<'_>> {
        let message = match message {
            Some(text) => Some(MessageId::parse(text)?),
            None => None,
        };
        let (provider, desk) = self.desks.get_key_value(provider)?;
        let ours = self.callbacks.keys.admits(token, provider, message.as_ref());
        ours.then_some(Door { provider, message, desk })
    }

    /// What a call says, as the provider's recipe reads it.
    pub async fn read(&self, door: &Door<'_>, call: &CallIn, now: Timestamp) -> Reading {
        let Desk { dlr, settings, .. } = door.desk;
        let certificate = match dlr.certificate_url(call) {
            Some(url) => self.certificates.get(&url, now).await,
            None => None,
        };
        match dlr.read(settings, call, certificate.as_deref(), now) {
            Err(dlr::NotProved) => {
                let fix = "check the provider's settings, and public_url, which some gateways sign";
                tracing::warn!(provider = door.provider, fix, "a receipt did not prove to be the gateway's");
                Reading::NotProved
            }
            Ok(Read::Handshake(reply)) => Reading::Handshake(reply),
            Ok(Read::Notices { notices, unknown }) => {
                if let Some(url) = dlr.certificate_url(call).and_then(|_| dlr::subscription(&call.body)) {
                    self.certificates.subscribe(&url).await;
                } else if unknown > 0 {
                    tracing::debug!(
                        provider = door.provider,
                        unknown,
                        "a receipt says what its recipe does not map"
                    );
                }
                if !notices.is_empty() {
                    self.board.note_report(door.provider);
                }
                Reading::Notices(notices, dlr.ack().clone())
            }
        }
    }
}
