//! Logs and metrics.
//!
//! Guarantees: only our own code speaks below WARN, because some libraries print at TRACE what they carry. An event is
//! one line, whatever strangers wrote that it quotes. Metrics are labelled by outcome, provider and realm, never by
//! anything that a client sends.

use std::fmt::Write as _;
use std::io;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};
use crate::domain::money::Money;

/// A subscriber that writes lines of this kind to `writer`.
pub fn subscriber<W>(log: Log, writer: W) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::new(format!("warn,latchkey={}", log.level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(OneLine(writer));
    match log.format {
        LogFormat::Human => Box::new(builder.with_ansi(false).with_target(false).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    }
}

/// Escapes what would begin another line, or speak to a terminal, or turn the text around on it. The notation is
/// JSON's, since in a JSON line all of it stands in strings.
struct OneLine<W>(W);

impl<'writer, W: MakeWriter<'writer>> MakeWriter<'writer> for OneLine<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'writer self) -> Self::Writer {
        OneLine(self.0.make_writer())
    }

    fn make_writer_for(&'writer self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        OneLine(self.0.make_writer_for(meta))
    }
}

impl<W: io::Write> io::Write for OneLine<W> {
    /// Takes a whole event, as tracing-subscriber gives it.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        if line.contains(is_unprintable) {
            let mut escaped = String::with_capacity(line.len() + 64);
            for c in line.chars() {
                if is_unprintable(c) {
                    // Writing to a String does not fail.
                    let _ = write!(escaped, "\\u{:04x}", u32::from(c));
                } else {
                    escaped.push(c);
                }
            }
            escaped.push('\n');
            self.0.write_all(escaped.as_bytes())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Sends all logs of this process to standard error.
pub fn init(log: Log) {
    // Only a second call fails, and then the first subscriber keeps working.
    let _ = subscriber(log, io::stderr).try_init();
}

/// An error with everything below it, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// One label and its value.
type Label = [(&'static str, String); 1];
/// Two labels and their values.
type Labels = [(&'static str, String); 2];

/// What the operator's dashboards count.
pub struct Metrics {
    registry: Registry,
    starts: Family<Label, Counter>,
    deliveries: Family<Labels, Counter>,
    receipts: Family<Labels, Counter>,
    resends: Family<Label, Counter>,
    verifies: Family<Label, Counter>,
    mints: Family<Labels, Counter>,
    refreshes: Family<Label, Counter>,
    revokes: Family<Labels, Counter>,
    retries: Family<Label, Counter>,
    circuits: Family<Label, Gauge>,
    provider_circuits: Family<Label, Gauge>,
    costs: Family<Labels, Counter<f64, AtomicU64>>,
    reloads: Family<Label, Counter>,
    shed: Counter,
    in_flight: Gauge<i64, std::sync::atomic::AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("latchkey");
        let starts = Family::default();
        registry.register("login_starts", "Requests for a code, by what came of them", starts.clone());
        let deliveries = Family::default();
        registry.register("deliveries", "Messages, by provider and what became of them", deliveries.clone());
        let receipts = Family::default();
        registry.register("receipts", "What gateways report of messages, by provider", receipts.clone());
        let resends = Family::default();
        let help = "Messages that did not arrive, by what came of sending the code again";
        registry.register("resends", help, resends.clone());
        let verifies = Family::default();
        registry.register("login_verifies", "Guesses, by what they were", verifies.clone());
        let mints = Family::default();
        registry.register("mints", "Calls for a chat token, by realm and what came of them", mints.clone());
        let refreshes = Family::default();
        registry.register("session_refreshes", "Refresh tokens, by what became of them", refreshes.clone());
        let revokes = Family::default();
        registry.register(
            "revokes",
            "Calls to end a user's chat tokens, by realm and what came of them",
            revokes.clone(),
        );
        let retries = Family::default();
        registry.register(
            "upstream_retries",
            "Calls to a chat backend that were made again",
            retries.clone(),
        );
        let circuits = Family::default();
        let help = "Whether a chat backend is called (0), tried with one call (1), or left alone because it fails (2)";
        registry.register("upstream_circuit", help, circuits.clone());
        let provider_circuits = Family::default();
        let help =
            "Whether a provider is used (0), tried with one message (1), or left alone because it fails (2)";
        registry.register("provider_circuit", help, provider_circuits.clone());
        let costs = Family::default();
        let help = "What messages cost that were taken, or may have been, by provider and currency";
        registry.register("delivery_cost", help, costs.clone());
        let reloads = Family::default();
        let help = "How often the configuration was read again, by whether it is in force";
        registry.register("config_reloads", help, reloads.clone());
        let shed = Counter::<u64, AtomicU64>::default();
        registry.register("requests_shed", "Requests that were told to come back", shed.clone());
        let in_flight = Gauge::default();
        registry.register("requests_in_flight", "Requests that are worked on", in_flight.clone());
        Self {
            registry,
            starts,
            deliveries,
            receipts,
            resends,
            verifies,
            mints,
            refreshes,
            revokes,
            retries,
            circuits,
            provider_circuits,
            costs,
            reloads,
            shed,
            in_flight,
        }
    }
}

impl Metrics {
    /// A code was asked for.
    pub fn count_start(&self, outcome: &'static str) {
        self.starts.get_or_create(&[("outcome", outcome.to_owned())]).inc();
    }

    /// A message ended.
    pub fn count_delivery(&self, provider: Option<&str>, outcome: &'static str) {
        let provider = provider.unwrap_or("none").to_owned();
        self.deliveries.get_or_create(&[("provider", provider), ("outcome", outcome.to_owned())]).inc();
    }

    /// A gateway reported of a message.
    pub fn count_receipt(&self, provider: &str, status: &'static str) {
        let labels = [("provider", provider.to_owned()), ("status", status.to_owned())];
        self.receipts.get_or_create(&labels).inc();
    }

    /// A message did not arrive.
    pub fn count_resend(&self, outcome: &'static str) {
        self.resends.get_or_create(&[("outcome", outcome.to_owned())]).inc();
    }

    /// A guess came in.
    pub fn count_verify(&self, outcome: &'static str) {
        self.verifies.get_or_create(&[("outcome", outcome.to_owned())]).inc();
    }

    /// A backend was called.
    pub fn count_mint(&self, realm: &str, outcome: &'static str) {
        self.mints.get_or_create(&[("realm", realm.to_owned()), ("outcome", outcome.to_owned())]).inc();
    }

    /// A refresh token came in.
    pub fn count_refresh(&self, outcome: &'static str) {
        self.refreshes.get_or_create(&[("outcome", outcome.to_owned())]).inc();
    }

    /// A backend was asked to forget.
    pub fn count_revoke(&self, realm: &str, outcome: &'static str) {
        self.revokes.get_or_create(&[("realm", realm.to_owned()), ("outcome", outcome.to_owned())]).inc();
    }

    /// A backend is called again.
    pub fn count_retry(&self, realm: &str) {
        self.retries.get_or_create(&[("realm", realm.to_owned())]).inc();
    }

    /// A backend's circuit changed: 0 is closed, 1 half open, 2 open.
    pub fn set_circuit(&self, realm: &str, state: i64) {
        self.circuits.get_or_create(&[("realm", realm.to_owned())]).set(state);
    }

    /// A provider's circuit changed: 0 is closed, 1 half open, 2 open.
    pub fn set_provider_circuit(&self, provider: &str, state: i64) {
        self.provider_circuits.get_or_create(&[("provider", provider.to_owned())]).set(state);
    }

    /// A message was taken that costs something.
    pub fn count_cost(&self, provider: &str, currency: &str, cost: Money) {
        let labels = [("provider", provider.to_owned()), ("currency", currency.to_owned())];
        self.costs.get_or_create(&labels).inc_by(cost.units());
    }

    /// The configuration was read again.
    pub fn count_reload(&self, outcome: &'static str) {
        self.reloads.get_or_create(&[("outcome", outcome.to_owned())]).inc();
    }

    /// A request was told to come back.
    pub fn count_shed(&self) {
        self.shed.inc();
    }

    /// Counts a request while it is worked on.
    #[must_use]
    pub fn track_in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// All of it in the `OpenMetrics` text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Ends the count of a request when it is dropped.
pub struct InFlight(Gauge<i64, std::sync::atomic::AtomicI64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
