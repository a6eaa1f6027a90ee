//! Reports that are quicker than the note of who took their message.
//!
//! A provider that refused a message, so that another was asked, may report that, too; a quick one reports before it has
//! even answered. Which it is, the note says: until then they are kept with the message.

use std::borrow::Cow;

use diesel::dsl::{case_when, sql};
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{Bool, Nullable, Text};

use super::{Named, Report, apply};
use crate::domain::ids::MessageId;
use crate::domain::time::Timestamp;
use crate::store::connection::AnyConnection;
use crate::store::deliveries::{Status, pending};
use crate::store::prepared::found_its_row;
use crate::store::schema::deliveries::dsl;

/// Keeps a report of a message that is being sent; false where that is not so, or the report says no more than a note.
pub(super) fn keep(db: &mut AnyConnection, report: &Report, now: Timestamp) -> Result<bool, Error> {
    let Named::Ours(id) = &report.message else { return Ok(false) };
    let Some(line) = write(report) else { return Ok(false) };
    // A gateway that goes on and on says nothing new.
    let has_room = sql::<Bool>("(early_reports IS NULL OR length(early_reports) < 2000)");
    let sending = pending!(id).filter(has_room);
    let lines = case_when(dsl::early_reports.is_null(), (&line).into_sql::<Nullable<Text>>())
        .otherwise(dsl::early_reports.concat(&line));
    let change = (dsl::early_reports.eq(lines), dsl::reported_at.eq(now.as_millis()));
    found_its_row!(db, diesel::update(sending).set(change), dsl::updated_at)
}

/// Has the kept reports of a message count, now that it is noted who took it.
pub(in crate::store) fn settle(
    db: &mut AnyConnection,
    id: &MessageId,
    early: Option<&str>,
    now: Timestamp,
) -> Result<(), Error> {
    for report in early.unwrap_or_default().lines().filter_map(|line| read(id, line)) {
        apply(db, &report, now)?;
    }
    Ok(())
}

/// `twilio failed undelivered resend`.
fn write(report: &Report) -> Option<String> {
    let status = match report.status {
        Status::Delivered | Status::Failed => report.status.as_str(),
        Status::Pending | Status::Accepted | Status::Unknown | Status::Withheld => return None,
    };
    let (error, then) =
        (report.error.as_deref().unwrap_or("-"), if report.resend { "resend" } else { "rest" });
    Some(format!("{} {status} {error} {then}\n", report.provider))
}

fn read(id: &MessageId, line: &str) -> Option<Report> {
    let mut words = line.split(' ').map(str::to_owned);
    let (provider, status, error, then) = (words.next()?, words.next()?, words.next()?, words.next()?);
    Some(Report {
        message: Named::Ours(id.clone()),
        provider,
        status: [Status::Delivered, Status::Failed].into_iter().find(|known| known.as_str() == status)?,
        error: (error != "-").then_some(Cow::Owned(error)),
        resend: then == "resend",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let id = MessageId::from_stored("msg_0123456789abcdefghijkl".to_owned());
        for (status, error, resend) in [
            (Status::Delivered, None, false),
            (Status::Failed, Some("undelivered"), true),
            (Status::Failed, Some("bad_number"), false),
        ] {
            let report = Report {
                message: Named::Ours(id.clone()),
                provider: "twilio".to_owned(),
                status,
                error: error.map(Cow::Borrowed),
                resend,
            };
            let line = write(&report).expect("it is worth keeping");
            let kept = read(&id, line.trim_end()).expect("a report");
            assert_eq!(format!("{kept:?}"), format!("{report:?}"));
        }
    }
}
