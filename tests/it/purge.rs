//! Forgetting: what is due, when it is due, and nothing that still counts.

use std::time::Duration;

use latchkey::ambient::{Clock, ManualClock};
use latchkey::delivery::SendError;
use latchkey::jobs;
use latchkey::store::Store;
use latchkey::store::purge::{self, BATCH, Chore};
use latchkey::upstream::UpstreamError;

use crate::harness::app::{PHONE, now};
use crate::harness::upstream::Mint;
use crate::harness::{Database, TestApp, on_both};
use crate::store::settings;

const DAY: Duration = Duration::from_hours(24);
const MS: Duration = Duration::from_millis(1);

/// A row of each table that is forgotten; `{n}` is its key and `{at}` the time that its age counts from.
const ROWS: [(Chore, &str, &str); 7] = [
    (Chore::Challenges, "challenges", CHALLENGE),
    (Chore::Deliveries, "deliveries", DELIVERY),
    (Chore::Sessions, "sessions", SESSION),
    (Chore::Guards, "guards", "INSERT INTO guards SELECT 'chat', {n}, 1, 1, {at}, {at} {from}"),
    (Chore::Budgets, "budgets", "INSERT INTO budgets SELECT {n}, {at}, {at}, {at} {from}"),
    (Chore::ProviderOutcomes, "provider_outcomes", OUTCOME),
    (Chore::Audit, "audit", "INSERT INTO audit (at, event) SELECT {at}, 'code.sent' {from}"),
];
// The hour that has just ended.
const OUTCOME: &str = "INSERT INTO provider_outcomes SELECT {n}, 'US', {at} / 3600000 - 1, 1, 1 {from}";
const CHALLENGE: &str = "INSERT INTO challenges (id, dialect, purpose, app_id, realm, address, key_id, salt, slots, \
    version, guesses, repeats, created_at, expires_at, is_new_user, grant_expires_at, lease_until) \
    SELECT {n}, 'v1', 'login', 'app', 'chat', '+12125550123', 'k1', '', '', 1, 0, 0, 0, {at}, false, 0, 0 {from}";
const SESSION: &str = "INSERT INTO sessions (id, user_id, realm, app_id, dialect, address, challenge_id, network, \
    created_at, last_used_at, expires_at) \
    SELECT {n}, 'usr_1', 'chat', 'app', 'v1', '+12125550123', 'ch_1', '192.0.2.1', 0, 0, {at} {from}";
const DELIVERY: &str = "INSERT INTO deliveries (id, challenge_id, address, channel, network, status, created_at, \
    deadline_at, updated_at) SELECT {n}, 'ch_1', '+12125550123', 'sms', '192.0.2.1', 'accepted', {at}, {at}, {at} {from}";

fn insert(database: &Database, row: &str, count: usize) {
    let numbers = "FROM (WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {count}) \
                   SELECT i FROM s) AS numbers";
    let sql = row
        .replace("{from}", &numbers.replace("{count}", &count.to_string()))
        .replace("{n}", "'key' || i")
        .replace("{at}", &now().as_millis().to_string());
    database.execute(&sql);
}

fn open(database: &Database) -> (Store, ManualClock) {
    (Store::open(&settings(database)).expect("the database"), ManualClock::new(now()))
}

/// Purges; the number of rows that a chore changed.
async fn purge(store: &Store, clock: &dyn Clock, chore: Chore) -> usize {
    let done = jobs::purge(store, clock).await.expect("purged");
    assert_eq!(done.len(), Chore::ALL.len(), "every chore is done");
    done.into_iter().filter(|(done, _)| *done == chore).map(|(_, rows)| rows).sum()
}

on_both! {
    async fn a_row_leaves_when_it_is_due_and_not_before(database) {
        let (store, clock) = open(&database);
        let kept = [DAY, DAY * 90, DAY * 30, DAY * 400, Duration::ZERO, DAY * 7, DAY * 400];
        for ((chore, table, row), kept) in ROWS.into_iter().zip(kept) {
            let clock = ManualClock::new(clock.now());
            insert(&database, row, 1);
            clock.advance(kept);
            assert_eq!(purge(&store, &clock, chore).await, 0, "{table}");
            assert_eq!(database.count(table), 1, "{table} is not due yet");
            clock.advance(MS);
            assert_eq!(purge(&store, &clock, chore).await, 1, "{table}");
            assert_eq!(database.count(table), 0, "{table} is due");
        }
    }
}

on_both! {
    async fn more_rows_than_a_batch_leave_in_batches(database) {
        let (store, clock) = open(&database);
        clock.advance(DAY * 1000);
        for (chore, table, row) in ROWS {
            insert(&database, row, 2 * BATCH + 1);
            let now = clock.now();
            let one = store.write::<_, (), _>(move |db| Ok(purge::run(db, chore, now)?)).await;
            assert_eq!(one.expect("written").expect("accepted"), BATCH, "{table}: logins come between");
            assert_eq!(purge(&store, &clock, chore).await, BATCH + 1, "{table}");
            assert_eq!(database.count(table), 0, "{table}");
        }
    }
}

on_both! {
    async fn a_pending_message_past_its_deadline_becomes_unknown(database) {
        let (store, clock) = open(&database);
        insert(&database, &DELIVERY.replace("'accepted'", "'pending'"), BATCH + 1);
        insert(&database, &DELIVERY.replace("{n}", "'other' || i"), 1);
        assert_eq!(purge(&store, &clock, Chore::LostDeliveries).await, 0, "a provider may still answer");
        clock.advance(MS);
        assert_eq!(purge(&store, &clock, Chore::LostDeliveries).await, BATCH + 1);
        let by = |status: &str| database.number(&format!("SELECT count(*) AS n FROM deliveries WHERE status = '{status}'"));
        assert_eq!((by("unknown"), by("accepted"), by("pending")), (501, 1, 0));
        assert_eq!(purge(&store, &clock, Chore::LostDeliveries).await, 0);
    }
}

on_both! {
    async fn a_guard_that_waits_for_an_operator_stays_for_ever(database) {
        let (store, clock) = open(&database);
        database.execute(&format!(
            "INSERT INTO guards VALUES ('chat', '+12125550123', 100, 100, {}, {})", i64::MAX, now().as_millis()
        ));
        clock.advance(DAY * 36_500);
        assert_eq!(purge(&store, &clock, Chore::Guards).await, 0);
        assert_eq!(database.count("guards"), 1);
    }
}

on_both! {
    async fn a_budget_stays_while_any_part_of_it_is_in_use(database) {
        let (store, clock) = open(&database);
        let later = now().as_millis() + 5000;
        for (key, arrival, total, ready) in [("a", later, 0, 0), ("b", 0, later, 0), ("c", 0, 0, later), ("d", 0, 0, 0)] {
            database.execute(&format!("INSERT INTO budgets VALUES ('{key}', {arrival}, {total}, {ready})"));
        }
        assert_eq!(purge(&store, &clock, Chore::Budgets).await, 1);
        assert_eq!(database.texts("SELECT key AS t FROM budgets ORDER BY key"), ["a", "b", "c"]);
        clock.advance(Duration::from_secs(5));
        assert_eq!(purge(&store, &clock, Chore::Budgets).await, 0);
        clock.advance(MS);
        assert_eq!(purge(&store, &clock, Chore::Budgets).await, 3);
    }
}

/// Codes, in whatever form, that the database holds.
fn hashes(database: &Database) -> i64 {
    database.number("SELECT count(*) AS n FROM challenges WHERE length(slots) > 0 OR code_hash IS NOT NULL")
}

on_both! {
    async fn no_code_outlives_its_challenge_a12(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        app.advance(60);
        assert_eq!(purge(&app.store, &*app.clock, Chore::DeadCodes).await, 0);
        assert!(app.verify(PHONE, &code).await.token().is_some(), "a live code survives the purge");
        assert_eq!(hashes(&database), 0, "minted: erased at once");

        app.start_login("12125550123").await;
        app.start_login("12125550124").await;
        app.upstream.next(Mint::Fails(UpstreamError::Unavailable("down".to_owned())));
        assert!(app.verify("12125550124", &app.outbox.last_code()).await.token().is_none());
        assert_eq!(hashes(&database), 2, "one waits, the other's grant is open");
        app.advance(10 * 60);
        assert_eq!(purge(&app.store, &*app.clock, Chore::DeadCodes).await, 0, "not before the grant ends");
        app.clock.advance(MS);
        assert_eq!(purge(&app.store, &*app.clock, Chore::DeadCodes).await, 1);
        app.advance(10 * 60 - 1);
        assert_eq!(purge(&app.store, &*app.clock, Chore::DeadCodes).await, 0, "not before the challenge ends");
        assert_eq!(hashes(&database), 1);
        app.advance(1);
        assert_eq!(purge(&app.store, &*app.clock, Chore::DeadCodes).await, 1);
        assert_eq!(hashes(&database), 0);
        assert_eq!(database.count("challenges"), 3, "their stories can still be read");
        app.stop().await;
    }
}

on_both! {
    async fn a_grant_that_outlives_its_challenge_keeps_its_code_until_it_ends_a12(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        // Another message, shortly before the challenge ends, carries a code that still works then.
        app.advance(16 * 60);
        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        app.advance(3 * 60);
        app.upstream.next(Mint::Fails(UpstreamError::Unavailable("down".to_owned())));
        assert!(app.verify(PHONE, &code).await.token().is_none());
        app.advance(9 * 60);
        assert_eq!(purge(&app.store, &*app.clock, Chore::DeadCodes).await, 0);
        assert!(app.verify(PHONE, &code).await.token().is_some(), "the same code, without another message");
        app.stop().await;
    }
}

on_both! {
    async fn a_purge_shortens_no_wait(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        for _ in 0..3 {
            app.advance(19);
            jobs::purge(&app.store, &*app.clock).await.expect("purged");
            app.start_login(PHONE).await;
            assert_eq!(app.outbox.count(), 1);
        }
        app.advance(3);
        app.outbox.fail_next(SendError::BadNumber("no such number".to_owned()));
        app.start_login(PHONE).await;
        jobs::purge(&app.store, &*app.clock).await.expect("purged");
        app.advance(119);
        app.start_login(PHONE).await;
        assert_eq!(app.outbox.count(), 1, "two minutes behind the second message, also when it failed");
        app.advance(1);
        app.start_login(PHONE).await;
        assert_eq!(app.outbox.count(), 2);
        app.stop().await;
    }
}
