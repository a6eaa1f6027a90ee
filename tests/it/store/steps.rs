//! Lists of guarded statements.

use std::sync::Arc;
use std::time::Duration;

use diesel::{RunQueryDsl, sql_query};
use futures_util::future::join_all;
use latchkey::domain::ids::MessageId;
use latchkey::domain::limits::Rate;
use latchkey::store::audit::{self, Event, Subject};
use latchkey::store::steps::{Missed, Once, Steps};
use latchkey::store::{Abort, AnyConnection, Store, budgets, deliveries, guards};

use super::settings;
use crate::harness::app::now;
use crate::harness::{Backend, Database, on_both, postgres};

fn recorded<'a>() -> Steps<'a> {
    Steps::new().must(audit::recording(Event::CodeSent, Subject::default(), now()))
}

fn rate(burst: u32) -> Rate {
    Rate::new(burst, Duration::from_hours(1)).expect("a rate")
}

async fn make<F>(store: &Store, steps: F) -> Result<(), Missed>
where
    F: Fn() -> Steps<'static> + Send + 'static,
{
    store.write_once(move |once| steps().run(once)).await.expect("the store answers")
}

fn rows(database: &Database) -> (i64, i64) {
    (database.count("audit"), database.count("budgets"))
}

on_both! {
    async fn of_a_list_whose_guard_misses_nothing_stays_wherever_that_stands(database) {
        let store = Store::open(&settings(&database)).expect("the database");
        let spend = || budgets::spend("all", rate(5), now());
        let missing = || guards::open("chat", "+18005551234");
        assert_eq!(make(&store, move || Steps::new().must(missing()).and(recorded()).must(spend())).await, Err(Missed));
        assert_eq!(make(&store, move || recorded().must(missing()).must(spend())).await, Err(Missed));
        assert_eq!(make(&store, move || recorded().must(spend()).must(missing())).await, Err(Missed));
        assert_eq!(make(&store, move || Steps::new().must(missing())).await, Err(Missed), "alone");
        assert_eq!(rows(&database), (0, 0));
        assert_eq!(make(&store, move || recorded().may(missing()).must(spend())).await, Ok(()));
        assert_eq!(rows(&database), (1, 1), "what may miss undoes nothing");
        store.close().await;
    }
}

on_both! {
    async fn a_list_that_misses_undoes_the_write_that_it_is_part_of(database) {
        let store = Store::open(&settings(&database)).expect("the database");
        let write = |db: &mut AnyConnection| {
            assert!(budgets::spend("all", rate(5), now()).run(db)?);
            recorded().must(guards::open("chat", "+18005551234")).run(Once::within(db))
        };
        assert_eq!(store.write(write).await.expect("the store answers"), Err(Missed));
        assert_eq!(rows(&database), (0, 0));
        store.close().await;
    }
}

on_both! {
    async fn of_lists_that_need_one_row_as_many_are_made_as_it_allows_a3(database) {
        let store = Store::open(&settings(&database)).expect("the database");
        let lists = (0..40).map(|_| make(&store, || recorded().must(budgets::spend("all", rate(7), now()))));
        let made = join_all(lists).await.into_iter().flatten().count();
        assert_eq!((made, rows(&database)), (7, (7, 1)));
        store.close().await;
    }
}

on_both! {
    async fn what_the_database_refuses_in_a_list_is_its_error_and_no_miss(database) {
        let store = Store::open(&settings(&database)).expect("the database");
        database.execute("DROP TABLE budgets");
        let spend = |once: Once<'_>| -> Result<(), Abort<Missed>> {
            recorded().must(budgets::spend("all", rate(7), now())).run(once)
        };
        assert!(store.write_once(spend).await.is_err());
        assert_eq!(database.count("audit"), 0);
        store.close().await;
    }
}

on_both! {
    async fn what_is_looked_for_beside_a_list_may_be_missing_and_its_guards_may_not(database) {
        let store = Store::open(&settings(&database)).expect("the database");
        database.execute(
            "INSERT INTO deliveries (id, challenge_id, address, channel, network, status, provider, created_at, \
             deadline_at, updated_at, locale) \
             VALUES ('msg_1', 'ch_1', '+18005551234', 'sms', '192.0.2.1', 'accepted', 'quick', 1, 1, 1, 'en')",
        );
        let look = |id: &'static str, is_missing: bool| {
            let id = MessageId::from_stored(id.to_owned());
            store.write_once(move |once| {
                let missing = is_missing.then(|| guards::open("chat", "+18005551234"));
                let steps = missing.into_iter().fold(recorded(), Steps::must);
                deliveries::taken_beside(steps, once, &id)
            })
        };
        let quick = Some(("quick".to_owned(), None));
        assert_eq!(look("msg_1", false).await.expect("the store answers"), Ok(quick));
        assert_eq!(look("msg_2", false).await.expect("the store answers"), Ok(None), "made all the same");
        assert_eq!(database.count("audit"), 2);
        for id in ["msg_1", "msg_2"] {
            assert_eq!(look(id, true).await.expect("the store answers"), Err(Missed));
        }
        assert_eq!(database.count("audit"), 2);
        store.close().await;
    }
}

/// How many wait for another's row.
const WAITING: &str = "SELECT count(*) AS n FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";

#[tokio::test]
async fn a_list_takes_its_rows_in_its_own_order_so_that_no_two_wait_in_a_circle() {
    if !postgres::is_here() {
        return;
    }
    let database = Database::fresh(Backend::Postgres);
    let store = Arc::new(Store::open(&settings(&database)).expect("the database"));
    let spend = |key| budgets::spend(key, rate(5), now());
    for [first, second] in [["a", "b"], ["b", "a"]] {
        let list = move || Steps::new().must(spend(first)).must(spend(second));
        assert_eq!(make(&store, list).await, Ok(()), "both rows are there from now on");
        let mut holder = database.postgres();
        sql_query("BEGIN").execute(&mut holder).expect("a transaction");
        let hold = format!("SELECT FROM budgets WHERE key = '{first}' FOR UPDATE");
        sql_query(hold).execute(&mut holder).expect("the first row");
        let waits = tokio::spawn({
            let store = Arc::clone(&store);
            async move { make(&store, list).await }
        });
        while database.number(WAITING) == 0 {
            tokio::task::yield_now().await;
        }
        // Fails where whoever waits for the first row has the second already.
        database.execute(&format!("SELECT FROM budgets WHERE key = '{second}' FOR UPDATE NOWAIT"));
        sql_query("COMMIT").execute(&mut holder).expect("its end");
        assert_eq!(waits.await.expect("no panic"), Ok(()));
    }
    store.close().await;
}
