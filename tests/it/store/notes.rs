//! What became of many messages, written down at once.

use std::sync::Arc;

use latchkey::domain::address::Address;
use latchkey::domain::channel::Channel;
use latchkey::domain::ids::{ChallengeId, MessageId};
use latchkey::domain::time::Timestamp;
use latchkey::store::batch;
use latchkey::store::deliveries::{self, NewDelivery, Note, Outcome, Status};
use latchkey::store::steps::Missed;
use latchkey::store::{Abort, AnyConnection, Store};

use super::settings;
use crate::harness::app::now;
use crate::harness::{Database, on_both};

/// A store that has written down these messages, and offers them.
async fn sending(database: &Database, ids: &[&str]) -> Store {
    let store = Store::open(&settings(database)).expect("the database");
    for id in ids {
        let new = NewDelivery {
            id: MessageId::from_stored((*id).to_owned()),
            challenge: ChallengeId::from_stored("ch_1".to_owned()),
            address: Address::parse("+18005551234").expect("a number"),
            channel: Channel::Sms,
            network: "192.0.2.1".to_owned(),
            status: Status::Pending,
            locale: "en".to_owned(),
            resend_of: None,
            created_at: now(),
            deadline_at: now(),
        };
        let insert = move |db: &mut AnyConnection| Ok::<_, Abort<()>>(deliveries::insert(&new).run(db)?);
        assert!(store.write(insert).await.expect("the store answers").expect("done"));
    }
    store
}

fn accepted(id: &str, by: &str, provider_id: Option<&str>, due_at: Option<Timestamp>) -> Note {
    let outcome = Outcome {
        status: Status::Accepted,
        provider: Some(by.to_owned()),
        provider_id: provider_id.map(str::to_owned),
        error: None,
        due_at,
        failed: Vec::new(),
    };
    Note { id: MessageId::from_stored(id.to_owned()), outcome, at: now() }
}

/// Writes them as a login does: together, and where that misses, one by one. Whether it missed.
async fn write(store: &Store, notes: Vec<Note>) -> bool {
    let notes = Arc::new(notes);
    let together = Arc::clone(&notes);
    let done = store.write_once(move |once| batch::notes::make(once, &together)).await;
    let has_missed = done.expect("the store answers") == Err(Missed);
    if has_missed {
        let each = move |db: &mut AnyConnection| {
            notes.iter().try_for_each(|note| deliveries::note(db, note).map(|_| ()))?;
            Ok::<_, Abort<()>>(())
        };
        store.write(each).await.expect("the store answers").expect("done");
    }
    has_missed
}

fn rows(database: &Database) -> Vec<String> {
    let columns = "id || ' ' || status || ' ' || COALESCE(provider, '-') || ' ' || COALESCE(provider_id, '-') || ' ' \
        || COALESCE(error, '-') || ' ' || COALESCE(failed_providers, '-') || ' ' || COALESCE(due_at, 0)";
    database.texts(&format!("SELECT {columns} AS t FROM deliveries ORDER BY id"))
}

on_both! {
    async fn each_of_many_messages_has_an_outcome_of_its_own(database) {
        let store = sending(&database, &["msg_1", "msg_2", "msg_3"]).await;
        let lost = Outcome {
            status: Status::Unknown,
            provider: Some("slow".to_owned()),
            provider_id: None,
            error: Some("unknown"),
            due_at: None,
            failed: vec!["first".to_owned(), "second".to_owned()],
        };
        let lost = Note { id: MessageId::from_stored("msg_2".to_owned()), outcome: lost, at: now() };
        let due_at = Some(Timestamp::from_millis(7));
        write(&store, vec![accepted("msg_1", "quick", Some("q-1"), due_at), lost]).await;
        assert_eq!(rows(&database), [
            "msg_1 accepted quick q-1 - - 7",
            "msg_2 unknown slow - unknown first,second 0",
            "msg_3 pending - - - - 0",
        ]);
        store.close().await;
    }
}

on_both! {
    async fn an_outcome_among_many_that_comes_too_late_changes_nothing_and_spoils_none(database) {
        let store = sending(&database, &["msg_1", "msg_2", "msg_3"]).await;
        database.execute("UPDATE deliveries SET status = 'unknown' WHERE id = 'msg_1'");
        database.execute("UPDATE deliveries SET early_reports = '' WHERE id = 'msg_2'");
        let notes = ["msg_1", "msg_2", "msg_3"].map(|id| accepted(id, "quick", None, None)).into();
        assert!(write(&store, notes).await, "two of them are not for one statement");
        let row = |id: &str| format!("{id} accepted quick - - - 0");
        assert_eq!(rows(&database), ["msg_1 unknown - - - - 0".to_owned(), row("msg_2"), row("msg_3")]);
        store.close().await;
    }
}
