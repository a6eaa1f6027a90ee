//! Codes that come back together: each guess is counted, and each right one is good for its own.

use diesel::RunQueryDsl;
use diesel::connection::SimpleConnection;
use latchkey::login::Verified;

use super::{Person, app, database, in_step, meddling, people, sent, three};
use crate::harness::{Database, TestApp};

fn change_of_challenge(change: &str) -> String {
    format!("UPDATE challenges SET {change} WHERE address = '+447400123456'")
}

/// Which of three get a token, who guess right at once, and come so many seconds after the test begins.
async fn guess_right_in_step(database: &Database, after: u64, meddle: impl Fn(usize)) -> Vec<bool> {
    let app = app(database);
    app.advance(after);
    let tokens = guess_all_right(&app, meddle).await;
    app.stop().await;
    tokens
}

/// The same of three at a server.
async fn guess_all_right(app: &TestApp, meddle: impl Fn(usize)) -> Vec<bool> {
    let people = three();
    let mut all_sent = Vec::new();
    for person in &people {
        all_sent.push(sent(person.start(app).await));
    }
    let guesses =
        people.iter().zip(&all_sent).map(|(person, sent)| person.guess(app, sent, &person.code(app)));
    let verified = in_step(app, guesses.collect(), meddle).await;
    verified.into_iter().map(|verified| matches!(verified, Verified::Token(_))).collect()
}

#[tokio::test]
async fn guesses_at_two_codes_of_one_number_at_once_count_as_two_b1() {
    let Some(database) = database() else { return };
    let app = app(&database);
    let (mine, other) = (people().remove(1), people().remove(3));
    let first = sent(mine.start(&app).await);
    app.advance(120);
    let (second, third) = (sent(mine.start(&app).await), sent(other.start(&app).await));
    let wrong = app.outbox.wrong_code();
    let guesses = [(&mine, &first), (&mine, &second), (&other, &third)]
        .map(|(person, sent)| person.guess(&app, sent, &wrong));
    let _ = in_step(&app, guesses.into(), |_| ()).await;
    let failures = |person: &Person| {
        database.number(&format!(
            "SELECT failures AS n FROM guards WHERE address = '{}'",
            person.address.as_str()
        ))
    };
    assert_eq!((failures(&mine), failures(&other)), (2, 1));
    app.stop().await;
}

#[tokio::test]
async fn what_changed_before_a_right_code_is_used_up_or_its_token_noted_counts_a4_f1() {
    let cases = [
        (1, "consumed_at = 1, user_id = 'usr_x', lease_until = 9000000000000"),
        (1, "ended_at = 1"),
        (1, "expires_at = 1"),
        (2, "lease_until = lease_until + 1"),
        (2, "minted_at = 1"),
    ];
    for (before, change) in cases {
        let Some(database) = database() else { return };
        let meddle = meddling(&database, before, change_of_challenge(change));
        let tokens = guess_right_in_step(&database, 0, meddle).await;
        assert_eq!(tokens, [false, true, true], "{change}");
        assert_eq!(database.audited("token.minted"), 2, "{change}");
    }
}

/// Who is logged in with the number of the first.
fn live_sessions(database: &Database) -> Vec<String> {
    let theirs = "SELECT user_id AS t FROM sessions WHERE address = '+447400123456' AND ended_at IS NULL";
    database.texts(theirs)
}

#[tokio::test]
async fn who_became_somebody_else_before_they_arrived_is_that_one() {
    let Some(database) = database() else { return };
    // Another process was first with this number.
    let sql = "WITH made AS (INSERT INTO users (id, realm, created_at) VALUES ('usr_x', 'local', 1) RETURNING id) \
               INSERT INTO identities (realm, address, user_id, created_at, last_login_at) \
               SELECT 'local', '+447400123456', id, 1, 1767225600000 FROM made";
    let meddle = meddling(&database, 1, sql);
    assert_eq!(guess_right_in_step(&database, 0, meddle).await, [true, true, true]);
    assert_eq!((live_sessions(&database), database.count("users")), (vec!["usr_x".to_owned()], 3));
    // They come again, and meanwhile the number is another's.
    let sql = "WITH made AS (INSERT INTO users (id, realm, created_at) VALUES ('usr_y', 'local', 1) RETURNING id) \
               UPDATE identities SET user_id = made.id FROM made WHERE address = '+447400123456'";
    let meddle = meddling(&database, 1, sql);
    assert_eq!(guess_right_in_step(&database, 3600, meddle).await, [true, true, true]);
    assert_eq!((live_sessions(&database).concat(), database.count("users")), ("usr_xusr_y".to_owned(), 4));
}

#[tokio::test]
async fn a_new_user_whose_chats_would_be_anothers_is_known_by_their_own_id() {
    let Some(database) = database() else { return };
    // Somebody had the number before, and is known by it still.
    let sql = "WITH made AS (INSERT INTO users (id, realm, created_at) VALUES ('usr_x', 'local', 1) RETURNING id) \
               INSERT INTO identities (realm, address, user_id, upstream_id, created_at, last_login_at) \
               SELECT 'local', '+447400999999', id, '+447400123456', 1, 1767225600000 FROM made";
    let meddle = meddling(&database, 1, sql);
    let app = app(&database);
    app.upstream.goes_by_address();
    let tokens = guess_all_right(&app, meddle).await;
    app.stop().await;
    assert_eq!(tokens, [true, true, true]);
    let known = "SELECT COALESCE(upstream_id, '-') AS t FROM identities WHERE address = '+447400123456' \
                 AND upstream_id = user_id";
    assert_eq!(database.texts(known).len(), 1);
}

#[tokio::test]
async fn a_session_that_was_born_before_a_token_is_noted_is_replaced_as_ever() {
    let Some(database) = database() else { return };
    let sql = "INSERT INTO sessions (id, user_id, realm, app_id, dialect, address, challenge_id, network, created_at, \
               last_used_at, expires_at) SELECT 'ses_x', user_id, realm, app_id, dialect, address, 'ch_x', '', 1, 1, \
               9000000000000 FROM challenges WHERE address = '+447400123456'";
    let meddle = meddling(&database, 2, sql);
    assert_eq!(guess_right_in_step(&database, 0, meddle).await, [true, true, true]);
    assert_eq!(live_sessions(&database).len(), 1);
    assert_eq!(
        database.number("SELECT count(*) AS n FROM sessions WHERE id = 'ses_x' AND ended_at IS NOT NULL"),
        1
    );
}

/// Changes this, and keeps it to itself until somebody waits for it.
fn meddle_under_a_lock(database: &Database, sql: &str) {
    let mut other = database.postgres();
    other.batch_execute(&format!("BEGIN; {sql}")).expect("the change");
    let waiting =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    std::thread::spawn(move || {
        while diesel::sql_query(waiting).execute(&mut other).expect("an answer") == 0 {
            std::thread::yield_now();
        }
        other.batch_execute("COMMIT").expect("the change");
    });
}

#[tokio::test]
async fn a_guess_is_counted_only_where_its_challenge_is_as_it_was_read_a4_b1() {
    let changes = [
        change_of_challenge("version = version + 1, slots = ''"),
        change_of_challenge("ended_at = 1"),
        change_of_challenge("consumed_at = 1, user_id = 'usr_x', lease_until = 9000000000000"),
        change_of_challenge("expires_at = 1"),
        change_of_challenge("guesses = 5"),
        "UPDATE guards SET next_guess_at = 9000000000000 WHERE address = '+447400123456'".to_owned(),
    ];
    for sql in changes {
        let Some(database) = database() else { return };
        let guard = "INSERT INTO guards (realm, address, failures, comparisons, next_guess_at, updated_at) \
                     VALUES ('local', '+447400123456', 1, 1, 0, 0)";
        let meddle = |step| {
            if step == 0 {
                database.execute(guard);
                meddle_under_a_lock(&database, &sql);
            }
        };
        assert_eq!(guess_right_in_step(&database, 0, meddle).await, [false, true, true], "{sql}");
        assert_eq!(database.audited("guess.counted"), 2, "{sql}");
    }
}

#[tokio::test]
async fn a_brake_that_changes_while_a_right_code_is_used_up_comes_off_with_the_others() {
    let Some(database) = database() else { return };
    let meddle = |step| {
        if step == 1 {
            let sql = "UPDATE guards SET failures = failures + 1 WHERE address = '+447400123456'";
            meddle_under_a_lock(&database, sql);
        }
    };
    assert_eq!(guess_right_in_step(&database, 0, meddle).await, [true, true, true]);
    assert_eq!(database.count("guards"), 0);
}
