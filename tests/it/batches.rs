//! Logins that are written together on PostgreSQL: each writes what it would write alone, and is let through where it
//! would be alone.

mod alike;
mod codes;
mod starts;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;

use futures_util::FutureExt;
use latchkey::domain::address::Address;
use latchkey::domain::challenge::Dialect;
use latchkey::domain::code::{Code, CodeLength};
use latchkey::domain::network::ClientIp;
use latchkey::domain::purpose::Purpose;
use latchkey::login::{Sent, Start, Started, Verified, Verify};
use latchkey::store::challenges::Key;
use latchkey::store::{Abort, AnyConnection, Store};
use tokio::sync::Notify;

use crate::harness::app::{APP, Builder};
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

/// A fresh database, where there is a server.
fn database() -> Option<Database> {
    postgres::is_here().then(|| Database::fresh(Backend::Postgres))
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

fn builder(database: &Database) -> Builder<'_> {
    TestApp::builder(database)
        .set("database.connections", 1)
        .set("providers.console.kind", "console")
        .set("prices.console.default", 0.02)
        .set("limits.spend_per_day", 100)
}

fn app(database: &Database) -> TestApp {
    builder(database).start()
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

fn sent(started: Started) -> Sent {
    let Started::Sent(sent) = started else { panic!("nothing was sent") };
    *sent
}

/// Statements that wrote this on record.
fn statements(database: &Database, event: &str) -> i64 {
    database.number(&format!("SELECT count(DISTINCT xmin::text) AS n FROM audit WHERE event = '{event}'"))
}

/// Three people, of whom the first is at a number of their own.
fn three() -> Vec<Person> {
    let mut people = people();
    people.truncate(3);
    people.swap(0, 2);
    people
}

/// Changes something behind the back of the first of three, before a step; the others never notice.
fn meddling(database: &Database, before: usize, sql: impl Into<String>) -> impl Fn(usize) + '_ {
    let sql = sql.into();
    move |step| {
        if step == before {
            database.execute(&sql);
        }
    }
}
