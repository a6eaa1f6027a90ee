//! The receipts in a recipe, run without a network.

use std::collections::BTreeSet;

use super::file::{Example, Expected};
use super::{Certificate, NotProved, Read, Said};
use crate::delivery::receipts::{CallIn, Notice};
use crate::delivery::recipe::example::{ExampleReport, compare};
use crate::delivery::recipe::{Outcome, Recipe};
use crate::domain::time::Timestamp;

/// Where receipts go in examples that do not say.
const URL: &str =
    "https://login.example.com/v1/receipts/name/0123456789abcdefghijkl/msg_0123456789abcdefghijkl";
/// When they come: 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;

impl Recipe {
    /// Runs every `[[receipt]]`.
    pub(crate) fn run_receipts(&self) -> Vec<ExampleReport> {
        let run = |example: &Example| ExampleReport {
            name: format!("receipt: {}", example.name),
            fault: self.run_receipt(example).err(),
        };
        self.receipts.iter().map(run).collect()
    }

    /// What `[dlr]` maps to and no `[[receipt]]` shows.
    pub(crate) fn without_receipt(&self) -> BTreeSet<&'static str> {
        let Some(dlr) = &self.dlr else { return BTreeSet::new() };
        let shown: BTreeSet<&str> =
            self.receipts.iter().flat_map(|example| &example.expect).map(|one| one.status.as_str()).collect();
        let mapped: BTreeSet<&'static str> = dlr.map.values().map(|said| Said::as_str(*said)).collect();
        mapped.into_iter().filter(|said| !shown.contains(said)).collect()
    }

    fn run_receipt(&self, example: &Example) -> Result<(), String> {
        let dlr = self.dlr.as_ref().ok_or("there is no [dlr]: write one, or remove this")?;
        let settings = self.example_settings(&example.cfg)?;
        let call = example.call();
        let now = Timestamp::from_millis(example.now.unwrap_or(NOW).saturating_mul(1000));
        if !dlr.takes(call.method) {
            return Err(format!("method: [dlr] takes no {}", call.method.as_str()));
        }
        let certificate = example.certificate.as_deref().and_then(Certificate::from_pem);
        let read = |call: &CallIn| dlr.read(&settings, call, certificate.as_ref(), now);
        let (found, reply) = match read(&call) {
            Err(NotProved) => return Err("the call does not prove to be the gateway's".to_owned()),
            Ok(Read::Handshake(reply)) => (Vec::new(), reply),
            Ok(Read::Notices { notices, .. }) => (notices, dlr.ack().clone()),
        };
        let expected: Vec<String> = example.expect.iter().map(Expected::describe).collect();
        compare("expect", &expected.join("; "), &found.iter().map(describe).collect::<Vec<_>>().join("; "))?;
        if let Some(wanted) = &example.reply {
            compare("reply.status", &wanted.status.to_string(), &reply.status.to_string())?;
            compare("reply.body", &wanted.body, &reply.body)?;
        }
        for (what, forged) in forgeries(&call, dlr.verify.header()) {
            if dlr.verify.is_bound_to(what, &settings) && read(&forged) != Err(NotProved) {
                return Err(format!("with one byte of the {what} changed the call is still the gateway's"));
            }
        }
        Ok(())
    }
}

/// The call with one byte changed, in its proof and in its body.
fn forgeries(call: &CallIn, proof: Option<&str>) -> Vec<(&'static str, CallIn)> {
    let mut forged = Vec::new();
    if let Some(name) = proof.filter(|name| call.header(name).is_some()) {
        let mut call = call.clone();
        for (header, value) in &mut call.headers {
            if header == name {
                *value = flip(value);
            }
        }
        forged.push(("proof", call));
    }
    if !call.body.is_empty() {
        let body = flip(&String::from_utf8_lossy(&call.body)).into_bytes();
        forged.push(("body", CallIn { body, ..call.clone() }));
    }
    forged
}

/// The text with another letter in its middle.
fn flip(text: &str) -> String {
    let middle = text.chars().count() / 2;
    let other = |(index, c): (usize, char)| match c {
        _ if index != middle => c,
        'A' => 'B',
        _ => 'A',
    };
    text.chars().enumerate().map(other).collect()
}

fn describe(notice: &Notice) -> String {
    let reference = notice.reference.as_ref().map(ToString::to_string);
    line(notice.id.as_deref(), reference.as_deref(), notice.said, notice.error.map(Outcome::as_str))
}

fn line(id: Option<&str>, reference: Option<&str>, said: Said, error: Option<&str>) -> String {
    let parts = [("id", id), ("ref", reference), ("status", Some(said.as_str())), ("error", error)];
    let shown = parts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    shown.collect::<Vec<_>>().join(", ")
}

impl Expected {
    fn describe(&self) -> String {
        let error = self.error.map(Outcome::as_str);
        line(self.id.as_deref(), self.reference.as_deref(), self.status, error)
    }
}

impl Example {
    fn call(&self) -> CallIn {
        let url = self.url.clone().unwrap_or_else(|| URL.to_owned());
        let query = url.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
        let body = self.json.as_ref().map_or_else(|| self.body.clone(), ToString::to_string);
        let headers = self.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        CallIn { method: self.method, url, query, headers: headers.collect(), body: body.into_bytes() }
    }
}
