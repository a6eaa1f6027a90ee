//! The same rows, one by one and together.

use latchkey::login::{Sent, Unproved, Verified};

use super::{Doing, Person, app, database, in_step, people, sent, statements};
use crate::harness::{Database, TestApp};

/// One after the other.
async fn in_turn<T>(all: Vec<Doing<'_, T>>) -> Vec<T> {
    let mut done = Vec::new();
    for doing in all {
        done.push(doing.await);
    }
    done
}

/// How the people of a test go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    InTurn,
    InStep,
}

impl Pace {
    async fn of<T>(self, app: &TestApp, all: Vec<Doing<'_, T>>) -> Vec<T> {
        match self {
            Self::InTurn => in_turn(all).await,
            Self::InStep => in_step(app, all, |_| ()).await,
        }
    }
}

/// All of them log in, with a wrong guess before the right one.
async fn log_all_in(app: &TestApp, people: &[Person], pace: Pace) {
    let starts = people.iter().map(|person| person.start(app)).collect();
    let sent: Vec<Sent> = pace.of(app, starts).await.into_iter().map(sent).collect();
    let wrong = app.outbox.wrong_code();
    let pairs = || people.iter().zip(&sent);
    let guesses = pairs().map(|(person, sent)| person.guess(app, sent, &wrong)).collect();
    for verified in pace.of(app, guesses).await {
        assert!(matches!(verified, Verified::Unproved(Unproved::Wrong { attempts_left: 4, .. })));
    }
    let guesses = pairs().map(|(person, sent)| person.guess(app, sent, &person.code(app))).collect();
    for verified in pace.of(app, guesses).await {
        assert!(matches!(verified, Verified::Token(_)));
    }
}

/// Every row of every table that logins write, without what is drawn for each.
fn rows(database: &Database) -> Vec<String> {
    let drawn = "'id', 'challenge_id', 'user_id', 'salt', 'slots', 'code_hash', 'grant_hash', 'secret_hash', 'family', \
         'refresh_hash', 'chat_token_hash', 'detail'";
    let tables =
        ["users", "identities", "challenges", "deliveries", "guards", "budgets", "sessions", "audit"];
    let rows = tables.map(|table| {
        format!(
            "SELECT '{table} ' || (SELECT jsonb_object_agg(key, CASE WHEN key IN ({drawn}) AND value <> 'null' \
             THEN '\"drawn\"' ELSE value END) FROM jsonb_each(to_jsonb(t)))::text AS t FROM {table} AS t"
        )
    });
    let mut rows = database.texts(&rows.join(" UNION ALL "));
    rows.sort();
    rows
}

/// Logins whose rows name each other as they should.
fn whole_logins(database: &Database) -> i64 {
    database.number(
        "SELECT count(*) AS n FROM challenges c \
         JOIN identities i ON i.address = c.address AND i.realm = c.realm AND i.user_id = c.user_id \
         JOIN users u ON u.id = c.user_id \
         JOIN sessions s ON s.challenge_id = c.id AND s.user_id = c.user_id AND s.address = c.address \
         JOIN deliveries d ON d.challenge_id = c.id AND d.address = c.address \
         JOIN audit sent ON sent.event = 'code.sent' AND sent.challenge_id = c.id AND sent.address = c.address \
         AND sent.network = d.network AND sent.detail LIKE d.id || ' %' \
         JOIN audit used ON used.event = 'code.consumed' AND used.challenge_id = c.id AND used.address = c.address \
         AND used.user_id = c.user_id AND used.detail = d.id \
         JOIN audit minted ON minted.event = 'token.minted' AND minted.challenge_id = c.id \
         AND minted.user_id = c.user_id \
         JOIN audit born ON born.event = 'session.started' AND born.challenge_id = c.id AND born.detail = s.id \
         AND born.network = s.network",
    )
}

#[tokio::test]
async fn logins_that_are_written_together_write_what_each_writes_alone() {
    let (Some(alone), Some(together)) = (database(), database()) else { return };
    let people = people();
    for (pace, database) in [(Pace::InTurn, &alone), (Pace::InStep, &together)] {
        let app = app(database);
        log_all_in(&app, &people, pace).await;
        let each = |event| (event, statements(database, event));
        let wrong_and_right = if pace == Pace::InStep { 2 } else { 12 };
        let once = if pace == Pace::InStep { 1 } else { 6 };
        assert_eq!(
            ["code.sent", "code.consumed", "token.minted", "session.started", "guess.counted"].map(each),
            [
                ("code.sent", once),
                ("code.consumed", once),
                ("token.minted", once),
                ("session.started", once),
                ("guess.counted", wrong_and_right),
            ]
        );
        assert_eq!(whole_logins(database), 6);
        // They come again: they are known now, and have sessions.
        app.advance(3600);
        log_all_in(&app, &people, pace).await;
        assert_eq!((whole_logins(database), database.count("users")), (12, 6));
        app.stop().await;
    }
    let (alone, together) = (rows(&alone), rows(&together));
    assert!(alone.len() > 100, "{}", alone.len());
    for (alone, together) in alone.iter().zip(&together) {
        assert_eq!(alone, together);
    }
    assert_eq!(alone.len(), together.len());
}
