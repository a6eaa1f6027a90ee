//! Logins that are written together on PostgreSQL: each writes what it would write alone, and is let through where it
//! would be alone.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;

use diesel::RunQueryDsl;
use diesel::connection::SimpleConnection;
use futures_util::FutureExt;
use latchkey::domain::address::Address;
use latchkey::domain::challenge::Dialect;
use latchkey::domain::code::{Code, CodeLength};
use latchkey::domain::network::ClientIp;
use latchkey::domain::purpose::Purpose;
use latchkey::login::{Sent, Start, Started, Unproved, Verified, Verify};
use latchkey::store::challenges::Key;
use latchkey::store::{Abort, AnyConnection, Store};
use tokio::sync::Notify;

use crate::harness::app::APP;
use crate::harness::{Backend, Database, TestApp, postgres};

type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Sits on the only connection, in its turn.
struct Seat {
    taken: Arc<Notify>,
    release: mpsc::Sender<()>,
}

impl Seat {
    fn line_up(store: &Arc<Store>) -> Self {
        let (release, released) = mpsc::channel();
        let (taken, released) = (Arc::new(Notify::new()), std::sync::Mutex::new(released));
        let inside = Arc::clone(&taken);
        let sit = move |_: &mut AnyConnection| {
            inside.notify_one();
            // It also ends when the test does.
            let _ = released.lock().unwrap().recv();
            Ok::<_, Abort<()>>(())
        };
        let store = Arc::clone(store);
        let mut sitting = Box::pin(async move { store.write(sit).await });
        assert!((&mut sitting).now_or_never().is_none(), "it waits for its turn");
        tokio::spawn(sitting);
        Self { taken, release }
    }
}

/// Has all of them go on step by step: at each, all wait for the only connection at once. Somebody may meddle before a
/// step.
async fn in_step<T>(app: &TestApp, mut all: Vec<Doing<'_, T>>, meddle: impl Fn(usize)) -> Vec<T> {
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    let mut seat = Seat::line_up(&app.store);
    for step in 0..20 {
        seat.taken.notified().await;
        meddle(step);
        for (doing, done) in all.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            *done = doing.now_or_never();
        }
        let next = Seat::line_up(&app.store);
        drop(seat.release);
        if done.iter().all(Option::is_some) {
            return done.into_iter().flatten().collect();
        }
        seat = next;
    }
    panic!("they do not come to an end");
}

/// One after the other.
async fn in_turn<T>(all: Vec<Doing<'_, T>>) -> Vec<T> {
    let mut done = Vec::new();
    for doing in all {
        done.push(doing.await);
    }
    done
}

/// Somebody who logs in.
struct Person {
    dialect: Dialect,
    address: Address,
    client: ClientIp,
}

fn person(dialect: Dialect, phone: &str, from: &str) -> Person {
    let client = ClientIp::new(from.parse().expect("an address"));
    Person { dialect, address: Address::parse(phone).expect("a number"), client }
}

/// Over both wires; some share a network, some a site.
fn people() -> Vec<Person> {
    vec![
        person(Dialect::Mesibo, "+18005551234", "203.0.113.7"),
        person(Dialect::V1, "+18005551235", "203.0.113.7"),
        person(Dialect::Mesibo, "+447400123456", "2001:db8:1:1::1"),
        person(Dialect::V1, "+447400123457", "2001:db8:1:2::1"),
        person(Dialect::Mesibo, "+4915123456789", "2001:db8:1:2::2"),
        person(Dialect::V1, "+4915123456788", "198.51.100.9"),
    ]
}

fn app(database: &Database) -> TestApp {
    TestApp::builder(database)
        .set("database.connections", 1)
        .set("providers.console.kind", "console")
        .set("prices.console.default", 0.02)
        .set("limits.spend_per_day", 100)
        .start()
}

impl Person {
    fn start<'a>(&'a self, app: &'a TestApp) -> Doing<'a, Started> {
        let start = Start {
            dialect: self.dialect,
            app_id: APP.to_owned(),
            address: self.address.clone(),
            channel: None,
            languages: Vec::new(),
            client: self.client,
        };
        Box::pin(async move { app.login.start(start).await.expect("the store answers") })
    }

    fn guess<'a>(&'a self, app: &'a TestApp, sent: &Sent, code: &str) -> Doing<'a, Verified> {
        let key = match self.dialect {
            Dialect::Mesibo => Key::Mesibo { app_id: APP.to_owned(), address: self.address.clone() },
            Dialect::V1 => Key::V1 {
                purpose: Purpose::Login,
                id: sent.challenge.clone(),
                secret: sent.secret.as_ref().expect("it has one").hash(),
            },
        };
        let verify = Verify {
            key,
            secret: sent.secret.clone(),
            code: Code::parse(code, CodeLength::SIX).expect("six digits"),
            name: None,
            device: None,
            client: self.client,
        };
        Box::pin(async move { app.login.verify(verify).await.expect("the store answers") })
    }

    /// The code that they were sent last.
    fn code(&self, app: &TestApp) -> String {
        let to = self.address.as_str();
        app.outbox.sent().into_iter().rfind(|sent| sent.to == to).expect("one was sent").code
    }
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

fn sent(started: Started) -> Sent {
    let Started::Sent(sent) = started else { panic!("nothing was sent") };
    *sent
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

/// Statements that wrote this on record.
fn statements(database: &Database, event: &str) -> i64 {
    database.number(&format!("SELECT count(DISTINCT xmin::text) AS n FROM audit WHERE event = '{event}'"))
}

#[tokio::test]
async fn logins_that_are_written_together_write_what_each_writes_alone() {
    if !postgres::is_here() {
        return;
    }
    let people = people();
    let [alone, together] =
        [Pace::InTurn, Pace::InStep].map(|pace| (pace, Database::fresh(Backend::Postgres)));
    for (pace, database) in [&alone, &together] {
        let app = app(database);
        log_all_in(&app, &people, *pace).await;
        let each = |event| (event, statements(database, event));
        let wrong_and_right = if *pace == Pace::InStep { 2 } else { 12 };
        let once = if *pace == Pace::InStep { 1 } else { 6 };
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
        log_all_in(&app, &people, *pace).await;
        assert_eq!((whole_logins(database), database.count("users")), (12, 6));
        app.stop().await;
    }
    let (alone, together) = (rows(&alone.1), rows(&together.1));
    assert!(alone.len() > 100, "{}", alone.len());
    for (alone, together) in alone.iter().zip(&together) {
        assert_eq!(alone, together);
    }
    assert_eq!(alone.len(), together.len());
}

/// What people get who started at once.
async fn start_in_step(app: &TestApp, people: &[Person], meddle: impl Fn(usize)) -> Vec<bool> {
    let starts = people.iter().map(|person| person.start(app)).collect();
    let is_sent = |started| matches!(started, Started::Sent(_));
    in_step(app, starts, meddle).await.into_iter().map(is_sent).collect()
}

#[tokio::test]
async fn a_budget_that_several_share_lets_through_as_many_as_one_by_one_e1() {
    if !postgres::is_here() {
        return;
    }
    let database = Database::fresh(Backend::Postgres);
    let app = TestApp::builder(&database)
        .set("database.connections", 1)
        .set("limits.per_ip_unverified", "3/1h")
        .start();
    let people: Vec<_> =
        (0..7).map(|n| person(Dialect::Mesibo, &format!("+1800555123{n}"), "203.0.113.7")).collect();
    let (first, others) = people.split_at(2);
    assert_eq!(start_in_step(&app, first, |_| ()).await, [true, true]);
    assert_eq!(statements(&database, "code.sent"), 1, "both fit");
    let sent = start_in_step(&app, others, |_| ()).await;
    assert_eq!(sent.into_iter().filter(|is_sent| *is_sent).count(), 1, "one more fits");
    assert_eq!(app.outbox.count(), 3);
    app.stop().await;
}

#[tokio::test]
async fn of_starts_for_one_number_at_once_one_goes_out_e2() {
    if !postgres::is_here() {
        return;
    }
    let database = Database::fresh(Backend::Postgres);
    let app = app(&database);
    let people: Vec<_> = (0..4)
        .map(|n| person(Dialect::V1, ["+18005551234", "+18005551235"][n % 2], &format!("203.0.113.{n}")))
        .collect();
    assert_eq!(start_in_step(&app, &people, |_| ()).await, [true, true, false, false]);
    assert_eq!(app.outbox.count(), 2);
    app.stop().await;
}

#[tokio::test]
async fn guesses_at_two_codes_of_one_number_at_once_count_as_two_b1() {
    if !postgres::is_here() {
        return;
    }
    let database = Database::fresh(Backend::Postgres);
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

/// What changes behind the back of the first of three, before a step; the others never notice.
struct Meddling {
    before: usize,
    sql: String,
}

impl Meddling {
    fn with<'a>(&'a self, database: &'a Database) -> impl Fn(usize) + 'a {
        |step| {
            if step == self.before {
                database.execute(&self.sql);
            }
        }
    }
}

fn change_of_challenge(change: &str) -> String {
    format!("UPDATE challenges SET {change} WHERE address = '+447400123456'")
}

/// Three people, of whom the first is at a number of their own.
fn three() -> Vec<Person> {
    let mut people = people();
    people.truncate(3);
    people.swap(0, 2);
    people
}

#[tokio::test]
async fn what_was_spent_between_the_look_and_the_write_is_not_spent_again() {
    if !postgres::is_here() {
        return;
    }
    let full = "9000000000000";
    let insert =
        |row: &str| format!("INSERT INTO budgets (arrival, total_arrival, ready_at, key) VALUES ({row})");
    let rows = [
        format!("{full}, 0, 0, 'to:+447400123456'"),
        format!("0, 0, {full}, 'to:+447400123456'"),
        format!("{full}, 0, 0, 'from:2001:db8:1:1::/64'"),
        format!("0, {full}, 0, 'from:2001:db8:1:1::/64'"),
        format!("{full}, 0, 0, 'from:2001:db8:1::/48'"),
        format!("{full}, 0, 0, 'country:GB'"),
    ];
    for row in rows {
        let database = Database::fresh(Backend::Postgres);
        let app = app(&database);
        let meddling = Meddling { before: 1, sql: insert(&row) };
        assert_eq!(
            start_in_step(&app, &three(), meddling.with(&database)).await,
            [false, true, true],
            "{row}"
        );
        assert_eq!((app.outbox.count(), database.count("challenges")), (2, 2), "{row}");
        app.stop().await;
    }
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
async fn what_changed_before_a_right_code_is_used_up_or_its_token_noted_counts_a4_f1() {
    if !postgres::is_here() {
        return;
    }
    let cases = [
        (1, "consumed_at = 1, user_id = 'usr_x', lease_until = 9000000000000"),
        (1, "ended_at = 1"),
        (1, "expires_at = 1"),
        (2, "lease_until = lease_until + 1"),
        (2, "minted_at = 1"),
    ];
    for (before, change) in cases {
        let database = Database::fresh(Backend::Postgres);
        let meddling = Meddling { before, sql: change_of_challenge(change) };
        let tokens = guess_right_in_step(&database, 0, meddling.with(&database)).await;
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
    if !postgres::is_here() {
        return;
    }
    let database = Database::fresh(Backend::Postgres);
    // Another process was first with this number.
    let sql = "WITH made AS (INSERT INTO users (id, realm, created_at) VALUES ('usr_x', 'local', 1) RETURNING id) \
               INSERT INTO identities (realm, address, user_id, created_at, last_login_at) \
               SELECT 'local', '+447400123456', id, 1, 1767225600000 FROM made";
    let meddling = Meddling { before: 1, sql: sql.to_owned() };
    assert_eq!(guess_right_in_step(&database, 0, meddling.with(&database)).await, [true, true, true]);
    assert_eq!((live_sessions(&database), database.count("users")), (vec!["usr_x".to_owned()], 3));
    // They come again, and meanwhile the number is another's.
    let sql = "WITH made AS (INSERT INTO users (id, realm, created_at) VALUES ('usr_y', 'local', 1) RETURNING id) \
               UPDATE identities SET user_id = made.id FROM made WHERE address = '+447400123456'";
    let meddling = Meddling { before: 1, sql: sql.to_owned() };
    assert_eq!(guess_right_in_step(&database, 3600, meddling.with(&database)).await, [true, true, true]);
    assert_eq!((live_sessions(&database).concat(), database.count("users")), ("usr_xusr_y".to_owned(), 4));
}

#[tokio::test]
async fn a_new_user_whose_chats_would_be_anothers_is_known_by_their_own_id() {
    if !postgres::is_here() {
        return;
    }
    let database = Database::fresh(Backend::Postgres);
    // Somebody had the number before, and is known by it still.
    let sql = "WITH made AS (INSERT INTO users (id, realm, created_at) VALUES ('usr_x', 'local', 1) RETURNING id) \
               INSERT INTO identities (realm, address, user_id, upstream_id, created_at, last_login_at) \
               SELECT 'local', '+447400999999', id, '+447400123456', 1, 1767225600000 FROM made";
    let meddling = Meddling { before: 1, sql: sql.to_owned() };
    let app = app(&database);
    app.upstream.goes_by_address();
    let tokens = guess_all_right(&app, meddling.with(&database)).await;
    app.stop().await;
    assert_eq!(tokens, [true, true, true]);
    let known = "SELECT COALESCE(upstream_id, '-') AS t FROM identities WHERE address = '+447400123456' \
                 AND upstream_id = user_id";
    assert_eq!(database.texts(known).len(), 1);
}

#[tokio::test]
async fn a_session_that_was_born_before_a_token_is_noted_is_replaced_as_ever() {
    if !postgres::is_here() {
        return;
    }
    let database = Database::fresh(Backend::Postgres);
    let sql = "INSERT INTO sessions (id, user_id, realm, app_id, dialect, address, challenge_id, network, created_at, \
               last_used_at, expires_at) SELECT 'ses_x', user_id, realm, app_id, dialect, address, 'ch_x', '', 1, 1, \
               9000000000000 FROM challenges WHERE address = '+447400123456'";
    let meddling = Meddling { before: 2, sql: sql.to_owned() };
    assert_eq!(guess_right_in_step(&database, 0, meddling.with(&database)).await, [true, true, true]);
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
    if !postgres::is_here() {
        return;
    }
    let changes = [
        change_of_challenge("version = version + 1, slots = ''"),
        change_of_challenge("ended_at = 1"),
        change_of_challenge("consumed_at = 1, user_id = 'usr_x', lease_until = 9000000000000"),
        change_of_challenge("expires_at = 1"),
        change_of_challenge("guesses = 5"),
        "UPDATE guards SET next_guess_at = 9000000000000 WHERE address = '+447400123456'".to_owned(),
    ];
    for sql in changes {
        let database = Database::fresh(Backend::Postgres);
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
    if !postgres::is_here() {
        return;
    }
    let database = Database::fresh(Backend::Postgres);
    let meddle = |step| {
        if step == 1 {
            let sql = "UPDATE guards SET failures = failures + 1 WHERE address = '+447400123456'";
            meddle_under_a_lock(&database, sql);
        }
    };
    assert_eq!(guess_right_in_step(&database, 0, meddle).await, [true, true, true]);
    assert_eq!(database.count("guards"), 0);
}
