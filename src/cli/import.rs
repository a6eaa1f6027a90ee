//! `latchkey users import`.
//!
//! Guarantees: the whole file is read before anything is written; where one line is wrong, all wrong lines are named
//! and nothing is imported. A line that is imported twice changes nothing.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::{CommandError, now};
use crate::ambient::SystemEntropy;
use crate::config::Config;
use crate::domain::address::Address;
use crate::domain::ids::UserId;
use crate::store::audit::{self, Event, Subject};
use crate::store::users::{self, Import, Imported};
use crate::store::{Abort, AnyConnection, Store};

/// Lines of one write: the store's jobs are bounded.
const BATCH: usize = 200;

/// A line, in either format.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    address: String,
    #[serde(alias = "upstream id", alias = "id")]
    upstream_id: String,
    #[serde(default)]
    name: Option<String>,
}

pub(super) async fn run(
    config: &Config,
    store: &Store,
    file: &Path,
    upstream: Option<String>,
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let realm = realm(config, upstream)?;
    let text = std::fs::read_to_string(file)
        .map_err(|error| CommandError::Told(format!("cannot read {}: {error}", file.display())))?;
    let is_csv = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let lines = if is_csv { read_csv(&text) } else { read_json_lines(&text) };
    let users = check(lines, file)?;
    let (mut added, mut known, mut taken) = (0, 0, Vec::new());
    for batch in users.chunks(BATCH) {
        let outcomes = import(store, &realm, batch).await?;
        for ((number, _), outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Import::Added => added += 1,
                Import::Known => known += 1,
                Import::Taken { by } => {
                    taken.push(format!("line {number}: the address belongs to {by} already"));
                }
            }
        }
    }
    writeln!(out, "{realm}: {added} imported, {known} known already, {} left alone", taken.len())?;
    if taken.is_empty() { Ok(()) } else { Err(CommandError::Told(taken.join("\n  "))) }
}

/// A user, and the line it stands in.
type Numbered = (usize, Imported);

async fn import(store: &Store, realm: &str, batch: &[Numbered]) -> Result<Vec<Import>, CommandError> {
    let fresh = batch.iter().map(|(_, user)| (user.clone(), UserId::generate(&SystemEntropy)));
    let (realm, users, at) = (realm.to_owned(), Arc::new(fresh.collect::<Vec<_>>()), now());
    let write = move |db: &mut AnyConnection| {
        let mut outcomes = Vec::with_capacity(users.len());
        for (user, id) in users.iter() {
            let outcome = users::import(db, &realm, user, id, at)?;
            if outcome == Import::Added {
                let about = Subject {
                    realm: Some(&realm),
                    address: Some(user.address.as_str()),
                    user: Some(id.as_str()),
                    detail: Some(&user.upstream_id),
                    ..Subject::default()
                };
                audit::record(db, Event::UserImported, about, at)?;
            }
            outcomes.push(outcome);
        }
        Ok::<_, Abort<std::convert::Infallible>>(outcomes)
    };
    let Ok(outcomes) = store.write(write).await?;
    Ok(outcomes)
}

fn realm(config: &Config, upstream: Option<String>) -> Result<String, CommandError> {
    let names: Vec<&str> = config.upstreams.keys().map(String::as_str).collect();
    match (upstream, names.as_slice()) {
        (Some(name), _) if names.contains(&name.as_str()) => Ok(name),
        (None, [only]) => Ok((*only).to_owned()),
        (Some(_) | None, _) => Err(CommandError::Told(format!(
            "name the upstream with --upstream; there is {}",
            names.join(", ")
        ))),
    }
}

/// Lines by number, each read or with what is wrong.
type Lines = Vec<(usize, Result<Line, String>)>;

fn read_csv(text: &str) -> Lines {
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(false).from_reader(text.as_bytes());
    let headers = match reader.headers() {
        Ok(headers) => headers.clone(),
        Err(error) => return vec![(1, Err(error.to_string()))],
    };
    let records = reader.records().enumerate();
    let read = records.map(|(index, record)| {
        let line = record.and_then(|record| record.deserialize::<Line>(Some(&headers)));
        (index + 2, line.map_err(|error| error.to_string()))
    });
    read.collect()
}

fn read_json_lines(text: &str) -> Lines {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read =
        lines.map(|(index, line)| (index + 1, serde_json::from_str(line).map_err(|error| error.to_string())));
    read.collect()
}

fn check(lines: Lines, file: &Path) -> Result<Vec<Numbered>, CommandError> {
    let mut users = Vec::with_capacity(lines.len());
    let mut wrong = Vec::new();
    for (number, line) in lines {
        match line.and_then(to_user) {
            Ok(user) => users.push((number, user)),
            Err(why) => wrong.push(format!("line {number}: {why}")),
        }
    }
    if wrong.is_empty() {
        return Ok(users);
    }
    let head = format!("{}: {} wrong line(s), nothing was imported", file.display(), wrong.len());
    Err(CommandError::Told(format!("{head}\n  {}", wrong.join("\n  "))))
}

fn to_user(line: Line) -> Result<Imported, String> {
    let address = Address::parse(line.address.trim()).map_err(|error| error.to_string())?;
    let upstream_id = line.upstream_id.trim().to_owned();
    if upstream_id.is_empty() {
        return Err("the upstream id is empty".to_owned());
    }
    let name = line.name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    Ok(Imported { address, upstream_id, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_and_json_lines_say_the_same() {
        let csv = check(
            read_csv("address,upstream_id,name\n+1 800 555 1234,u1,Ann\na@x.example,u2,\n"),
            Path::new("f"),
        );
        let json = "{\"address\":\"18005551234\",\"upstream_id\":\"u1\",\"name\":\"Ann\"}\n\n\
                    {\"address\":\"a@x.example\",\"upstream_id\":\"u2\"}\n";
        let json = check(read_json_lines(json), Path::new("f"));
        let users = |lines: Result<Vec<Numbered>, CommandError>| {
            lines.expect("good lines").into_iter().map(|(_, user)| user).collect::<Vec<_>>()
        };
        assert_eq!(users(csv), users(json));
    }

    #[test]
    fn every_wrong_line_is_named() {
        let text = "address,upstream_id,name\nnobody,u1,\n+18005551234,,\n+18005551235,u3,\n";
        let error = check(read_csv(text), Path::new("users.csv")).expect_err("two wrong lines").to_string();
        assert!(error.starts_with("users.csv: 2 wrong line(s), nothing was imported\n  line 2: "), "{error}");
        assert!(error.contains("\n  line 3: the upstream id is empty"), "{error}");
    }
}
