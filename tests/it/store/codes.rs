//! Where a code may be put.

use latchkey::ambient::SeededEntropy;
use latchkey::domain::address::Address;
use latchkey::domain::challenge::{Challenge, Dialect, LIFETIME, Slots};
use latchkey::domain::ids::ChallengeId;
use latchkey::domain::purpose::Purpose;
use latchkey::store::challenges::{self, NewChallenge};
use latchkey::store::{Abort, Store};

use super::settings;
use crate::harness::app::now;
use crate::harness::{Database, on_both};

const ATTEMPTS: i32 = 5;

/// Whether a code is put into the one challenge that there is, as it was read at first.
async fn is_put(store: &Store, id: &ChallengeId, version: i32) -> bool {
    let id = id.clone();
    let put = move |db: &mut latchkey::store::AnyConnection| {
        let put = challenges::put_codes(&id, version, &Slots::new(Vec::new()), ATTEMPTS, now()).run(db)?;
        // It is only asked.
        Err::<(), _>(Abort::Refused(put))
    };
    store.write(put).await.expect("the store answers").expect_err("undone")
}

/// A store with a waiting challenge.
async fn waiting(database: &Database) -> (Store, ChallengeId) {
    let store = Store::open(&settings(database)).expect("the database");
    let id = ChallengeId::generate_at(now(), &SeededEntropy::new(1));
    let new = NewChallenge {
        id: id.clone(),
        dialect: Dialect::V1,
        purpose: Purpose::Login,
        app_id: "app".to_owned(),
        realm: "chat".to_owned(),
        address: Address::parse("+18005551234").expect("a number"),
        secret: None,
        key_id: "k1".to_owned(),
        salt: [7; 16],
        slots: Slots::new(Vec::new()),
        created_at: now(),
        expires_at: now().plus(LIFETIME),
    };
    let insert =
        move |db: &mut latchkey::store::AnyConnection| Ok::<_, Abort<()>>(challenges::insert(&new).run(db)?);
    assert!(store.write(insert).await.expect("the store answers").expect("done"));
    (store, id)
}

/// Whether a guess is charged to a challenge as it was read.
async fn is_charged(store: &Store, challenge: &Challenge) -> bool {
    let challenge = challenge.clone();
    let charge = move |db: &mut latchkey::store::AnyConnection| {
        let charged = challenges::charge_guess(&challenge, ATTEMPTS, now()).run(db)?;
        // It is only asked.
        Err::<(), _>(Abort::Refused(charged))
    };
    store.write(charge).await.expect("the store answers").expect_err("undone")
}

/// What makes a challenge one that cannot be guessed at, and what mends that.
fn breaks() -> [(String, String); 4] {
    let at = now().as_millis();
    [
        ("guesses = 5".to_owned(), "guesses = 4".to_owned()),
        (format!("expires_at = {at}"), format!("expires_at = {}", at + 1)),
        (format!("consumed_at = {at}"), "consumed_at = NULL".to_owned()),
        (format!("ended_at = {at}"), "ended_at = NULL".to_owned()),
    ]
}

on_both! {
    async fn a_code_is_put_only_where_a_guess_at_it_would_be_evaluated_a5(database) {
        let (store, id) = waiting(&database).await;
        assert!(is_put(&store, &id, 1).await);
        assert!(!is_put(&store, &id, 2).await, "it is not as it was read");
        for (broken, whole) in breaks() {
            database.execute(&format!("UPDATE challenges SET {broken}"));
            assert!(!is_put(&store, &id, 1).await, "{broken}");
            database.execute(&format!("UPDATE challenges SET {whole}"));
            assert!(is_put(&store, &id, 1).await, "{whole}");
        }
        store.close().await;
    }
}

on_both! {
    async fn a_guess_is_charged_only_where_it_would_be_compared_with_what_was_read_b1(database) {
        let (store, id) = waiting(&database).await;
        let seen = store.read(move |db| challenges::get(db, &id)).await.expect("the store answers").expect("one");
        assert!(is_charged(&store, &seen).await);
        for (broken, whole) in breaks().into_iter().chain([("version = 2".to_owned(), "version = 1".to_owned())]) {
            database.execute(&format!("UPDATE challenges SET {broken}"));
            assert!(!is_charged(&store, &seen).await, "{broken}");
            database.execute(&format!("UPDATE challenges SET {whole}"));
            assert!(is_charged(&store, &seen).await, "{whole}");
        }
        store.close().await;
    }
}
