//! What one backend wants its tokens to say.
//!
//! Guarantees: a token holds the claims of the preset and those that are configured, and no others. The id in it is
//! one that the backend takes, and the one that the app is told.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::context;
use serde_json::{Map, Value};

use super::super::person::{self, Ids, Person};
use super::claims::ClaimError;
use super::{JwtError, Moment};
use crate::config::{JwtPreset, SettingValue};
use crate::outbound::body::{Body, Format};
use crate::outbound::template::{LoadError, Names, Template, Templates};

/// What a preset's templates may name beside a person and `cfg`.
const OF_THE_TOKEN: [&str; 3] = ["iat", "exp", "jti"];
const NAMES: [&str; 9] = {
    let [a, b, c, d, e, f] = person::NAMES;
    let [g, h, i] = OF_THE_TOKEN;
    [a, b, c, d, e, f, g, h, i]
};

/// A preset, compiled, with what the operator set.
pub(super) struct Preset {
    pub(super) name: &'static str,
    wants: &'static JwtPreset,
    templates: Templates,
    claims: Body,
    known_as: Option<Template>,
    cfg: minijinja::Value,
    pub(super) ids: Ids,
}

impl Preset {
    pub(super) fn new(
        name: &'static str,
        preset: &'static JwtPreset,
        settings: &BTreeMap<String, SettingValue>,
    ) -> Result<Self, LoadError> {
        let mut templates = Templates::new(Names {
            known: &NAMES,
            settings: preset.settings.keys().cloned().collect(),
            table: "cfg",
            written_in: "[settings]",
            vars: BTreeSet::new(),
        });
        let claims = Body::compile(&mut templates, "claims", &preset.claims, &[], Format::Json)?;
        let known_as =
            preset.known_as.as_deref().map(|text| templates.compile("known_as", text)).transpose()?;
        let cfg = settings.iter().map(|(key, value)| (key.as_str(), value.reveal()));
        let cfg = minijinja::Value::from_pairs(cfg);
        Ok(Self { name, wants: preset, templates, claims, known_as, cfg, ids: Ids::new(&preset.user_id) })
    }

    /// Further members of the header.
    pub(super) fn header(&mut self) -> Result<Map<String, Value>, JwtError> {
        let header = Body::compile(&mut self.templates, "header", &self.wants.header, &[], Format::Json)?;
        let cfg = &self.cfg;
        let made = header.render(&self.templates, &context! { cfg });
        made.map_err(|text| JwtError::Preset(LoadError::new("preset", text)))
    }

    pub(super) fn claims_of(
        &self,
        person: &Person<'_>,
        at: &Moment,
    ) -> Result<Map<String, Value>, ClaimError> {
        let (Moment { iat, exp, jti }, cfg) = (at, &self.cfg);
        let context = context! { iat, exp, jti, cfg, ..person.context() };
        let made = self.claims.render(&self.templates, &context);
        // The reason names a place in the preset, never a value.
        made.map_err(|reason| ClaimError { key: self.name.to_owned(), reason })
    }

    /// The claim that holds the user's id.
    pub(super) fn user_claim(&self) -> &'static str {
        let path = self.wants.user_claim.trim_start_matches('/');
        path.split('/').next().unwrap_or(path)
    }

    /// The id in these claims; `None` where there is none that the backend takes.
    pub(super) fn id_in<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a str> {
        let within = self.wants.user_claim.strip_prefix('/')?.strip_prefix(self.user_claim())?;
        let id = claims.get(self.user_claim())?.pointer(within)?.as_str()?;
        Some(id).filter(|id| self.ids.admit(id))
    }

    /// How the backend's SDK spells that id.
    pub(super) fn known_as(&self, id: &str) -> String {
        let cfg = &self.cfg;
        let spelled = self
            .known_as
            .as_ref()
            .map(|template| self.templates.render(template, &context! { user_id => id, cfg }));
        spelled.and_then(Result::ok).unwrap_or_else(|| id.to_owned())
    }
}
