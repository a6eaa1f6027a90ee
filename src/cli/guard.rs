//! `latchkey guard`.

use std::io::Write;
use std::time::Duration;

use super::{CommandError, now};
use crate::domain::address::Address;
use crate::domain::guard::{CAP, Opening};
use crate::store::audit::{self, Event, Subject};
use crate::store::{Abort, AnyConnection, Store, guards};

pub(super) fn parse(address: &str) -> Result<Address, CommandError> {
    Address::parse(address).map_err(|error| CommandError::Told(format!("{address}: {error}")))
}

/// Says what every guard of the address lets through.
pub(super) async fn show(
    store: &Store,
    address: &str,
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let address = parse(address)?;
    let text = address.as_str().to_owned();
    let guards = store.read(move |db| guards::list(db, &text)).await?;
    if guards.is_empty() {
        writeln!(out, "{}: no failed guess since the last success", address.as_str())?;
    }
    for (realm, guard) in guards {
        let opening = match guard.opening(now()) {
            Opening::Open => "a guess is evaluated now".to_owned(),
            Opening::At(at) => format!("the next guess is evaluated in {}", words(at.wait_from(now()))),
            Opening::Closed => "closed until `latchkey guard open`".to_owned(),
        };
        let (failures, comparisons) = (guard.failures, guard.comparisons);
        writeln!(
            out,
            "{} in {realm}: {failures} failed guess(es), {comparisons} of {CAP} comparisons; {opening}",
            address.as_str()
        )?;
    }
    Ok(())
}

/// Takes the brake off in every realm, and records who did and why.
pub(super) async fn open(
    store: &Store,
    address: &str,
    by: &str,
    why: &str,
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let address = parse(address)?;
    let (text, detail, at) = (address.as_str().to_owned(), format!("by {by}: {why}"), now());
    let write = move |db: &mut AnyConnection| {
        let mut opened = 0;
        for (realm, _) in guards::list(db, &text)? {
            // A success may have been quicker.
            if !guards::open(&realm, &text).run(db)? {
                continue;
            }
            opened += 1;
            let about = Subject {
                realm: Some(&realm),
                address: Some(&text),
                detail: Some(&detail),
                ..Subject::default()
            };
            audit::record(db, Event::GuardOpened, about, at)?;
        }
        Ok::<_, Abort<std::convert::Infallible>>(opened)
    };
    let Ok(opened) = store.write(write).await?;
    match opened {
        0 => writeln!(out, "{}: nothing to open, no failed guess since the last success", address.as_str())?,
        _ => writeln!(out, "{}: {opened} guard(s) opened", address.as_str())?,
    }
    Ok(())
}

fn words(wait: Duration) -> String {
    let secs = crate::domain::time::whole_secs(wait);
    if secs < 120 { format!("{secs} s") } else { format!("{} min", secs.div_ceil(60)) }
}
