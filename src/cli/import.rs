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
    // Spreadsheets begin their files with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    let is_csv = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let lines = if is_csv { read_csv(text) } else { read_json_lines(text) };
    let users = check(lines, file)?;
    let (mut added, mut known, mut taken) = (0, 0, Vec::new());
    for batch in users.chunks(BATCH) {
        let outcomes = import(store, &realm, batch).await?;
        for ((number, user), outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Import::Added => added += 1,
                Import::Known => known += 1,
                Import::Taken { by } => {
                    taken.push(format!("line {number}: {} belongs to {by} already", user.address.as_str()));
                }
            }
        }
    }
    writeln!(out, "{realm}: {added} imported, {known} known already, {} left alone", taken.len())?;
    if taken.is_empty() {
        return Ok(());
    }
    let head = format!(
        "{}: {} line(s) left alone; fix: take them out, or correct the upstream id",
        file.display(),
        taken.len()
    );
    Err(CommandError::Told(format!("{head}\n  {}", taken.join("\n  "))))
}

/// A user, and the line it stands in.
type Numbered = (u64, Imported);

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
        (Some(name), _) => Err(CommandError::Told(format!(
            "there is no [upstreams.{name}]; fix: --upstream takes one of {}",
            names.join(", ")
        ))),
        (None, _) => Err(CommandError::Told(format!(
            "there are several upstreams; fix: say whose users they are with --upstream, one of {}",
            names.join(", ")
        ))),
    }
}

/// Lines by number, each read or with what is wrong.
type Lines = Vec<(u64, Result<Line, String>)>;

const COLUMNS: [&str; 5] = ["address", "upstream_id", "upstream id", "id", "name"];

fn read_csv(text: &str) -> Lines {
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(false).from_reader(text.as_bytes());
    let headers = match reader.headers() {
        Ok(headers) => headers.clone(),
        Err(error) => return vec![(1, Err(explain(&error)))],
    };
    // Told once, not for every line below it.
    if headers.iter().any(|name| !COLUMNS.contains(&name)) || !headers.iter().any(|name| name == "address") {
        let given = headers.iter().collect::<Vec<_>>().join("`, `");
        let why = format!(
            "the first line must name the columns, with commas: `address,upstream_id` or \
             `address,upstream_id,name`; it names `{given}`"
        );
        return vec![(1, Err(why))];
    }
    let mut lines = Vec::new();
    loop {
        let from = reader.position().clone();
        let mut record = csv::StringRecord::new();
        let line = match reader.read_record(&mut record) {
            Ok(false) => return lines,
            Ok(true) => record.deserialize::<Line>(Some(&headers)),
            Err(error) => Err(error),
        };
        lines.push((line_number(text, &from), line.map_err(|error| explain(&error))));
    }
}

/// Where the record behind `from` begins: blank lines are skipped, and a field in quotes may span lines.
fn line_number(text: &str, from: &csv::Position) -> u64 {
    let rest = usize::try_from(from.byte()).ok().and_then(|byte| text.get(byte..)).unwrap_or_default();
    let blank = rest.chars().take_while(|c| matches!(c, '\r' | '\n')).filter(|c| *c == '\n').count();
    from.line().saturating_add(u64::try_from(blank).unwrap_or(u64::MAX))
}

/// Without the parser's own count of lines.
fn explain(error: &csv::Error) -> String {
    if let csv::ErrorKind::UnequalLengths { expected_len, len, .. } = error.kind() {
        return format!("it has {len} field(s), and the first line {expected_len}");
    }
    if let csv::ErrorKind::Deserialize { err, .. } = error.kind() {
        return err.kind().to_string();
    }
    error.to_string()
}

fn read_json_lines(text: &str) -> Lines {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let read = lines.map(|(number, line)| {
        let line = serde_json::from_str(line).map_err(|error| {
            let why = error.to_string();
            let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(why, _)| why);
            format!("{why} (column {})", error.column())
        });
        (number, line)
    });
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
