//! `latchkey provider disable`, `promote` and `enable`: what an operator says of a provider, for all nodes.

use std::io::Write;
use std::time::Duration;

use super::{CommandError, now};
use crate::config::{Config, duration};
use crate::domain::selection::{Ruling, Says};
use crate::domain::time::Timestamp;
use crate::store::audit::{self, Event, Subject};
use crate::store::{Abort, AnyConnection, Store, providers};

/// Who says something of which provider, for how long and why.
#[derive(clap::Args)]
pub(super) struct Words {
    /// Its name in the configuration.
    name: String,
    /// For how long, such as 30m, 1h or 7d; without it until `latchkey provider enable`.
    #[arg(long = "for", value_name = "TIME")]
    span: Option<String>,
    /// Who does it, for the record.
    #[arg(long, default_value = "operator")]
    by: String,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    why: String,
}

/// Says it, or takes back what was said.
pub(super) async fn say(
    config: &Config,
    store: &Store,
    words: Words,
    says: Option<Says>,
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let Words { name, span, by, why } = words;
    // One that was taken out of the configuration may still be taken back.
    if says.is_some() && !config.providers.contains_key(&name) {
        let known: Vec<&str> = config.providers.keys().map(String::as_str).collect();
        let text = format!("there is no [providers.{name}]; configured are {}", known.join(", "));
        return Err(CommandError::Told(text));
    }
    let span = span.as_deref().map(parse_span).transpose()?;
    let at = now();
    let until = span.map_or(Timestamp::NEVER, |span| at.plus(span));
    let ruling = says.map(|says| Ruling { says, until });
    let event = match says {
        Some(Says::Disabled) => Event::ProviderDisabled,
        Some(Says::Promoted) => Event::ProviderPromoted,
        None => Event::ProviderEnabled,
    };
    let length = span.map_or_else(String::new, |span| format!(" for {} s", span.as_secs()));
    let detail = format!("{name}{length}, by {by}: {why}");
    let provider = name.clone();
    let write = move |db: &mut AnyConnection| {
        let changed = providers::rule(db, &provider, ruling, at)?;
        if changed {
            audit::record(db, event, Subject { detail: Some(&detail), ..Subject::default() }, at)?;
        }
        Ok::<_, Abort<std::convert::Infallible>>(changed)
    };
    let Ok(changed) = store.write(write).await?;
    let done = match says {
        Some(Says::Disabled) => "nothing goes through it",
        Some(Says::Promoted) => "it is tried first, wherever a route names it",
        None if changed => "it is used as the routes say",
        None => "nothing was said of it",
    };
    let until = if span.is_some() { length } else { String::new() };
    writeln!(out, "{name}: {done}{until}; nodes that run follow within 5 seconds")?;
    Ok(())
}

fn parse_span(text: &str) -> Result<Duration, CommandError> {
    let span = duration(text).filter(|span| !span.is_zero());
    span.ok_or_else(|| CommandError::Told(format!("--for {text}: must be a time such as 30m, 1h or 7d")))
}
