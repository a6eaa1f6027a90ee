//! Codes that go out together: what is spent, and by whom.

use latchkey::domain::challenge::Dialect;
use latchkey::login::Started;

use super::{Person, app, builder, database, in_step, meddling, person, statements, three};
use crate::harness::TestApp;

/// What people get who started at once.
async fn start_in_step(app: &TestApp, people: &[Person], meddle: impl Fn(usize)) -> Vec<bool> {
    let starts = people.iter().map(|person| person.start(app)).collect();
    let is_sent = |started| matches!(started, Started::Sent(_));
    in_step(app, starts, meddle).await.into_iter().map(is_sent).collect()
}

#[tokio::test]
async fn a_budget_that_several_share_lets_through_as_many_as_one_by_one_e1() {
    let three_an_hour = || toml::Value::from("3/1h");
    let limits = [
        ("per_ip_unverified", three_an_hour()),
        ("per_ip", three_an_hour()),
        ("per_country", three_an_hour()),
        ("per_app", three_an_hour()),
        ("overall", three_an_hour()),
        ("spend_per_day", 0.06.into()),
    ];
    for (limit, value) in limits {
        let Some(database) = database() else { return };
        let app = builder(&database).set(&format!("limits.{limit}"), value).start();
        let people: Vec<_> =
            (0..7).map(|n| person(Dialect::Mesibo, &format!("+1800555123{n}"), "203.0.113.7")).collect();
        let (first, others) = people.split_at(2);
        assert_eq!(start_in_step(&app, first, |_| ()).await, [true, true], "{limit}");
        assert_eq!(statements(&database, "code.sent"), 1, "{limit}: both fit");
        let sent = start_in_step(&app, others, |_| ()).await;
        assert_eq!(sent.into_iter().filter(|is_sent| *is_sent).count(), 1, "{limit}: one more fits");
        assert_eq!(app.outbox.count(), 3, "{limit}");
        app.stop().await;
    }
}

#[tokio::test]
async fn of_starts_for_one_number_at_once_one_goes_out_e2() {
    let Some(database) = database() else { return };
    let app = app(&database);
    let people: Vec<_> = (0..4)
        .map(|n| person(Dialect::V1, ["+18005551234", "+18005551235"][n % 2], &format!("203.0.113.{n}")))
        .collect();
    assert_eq!(start_in_step(&app, &people, |_| ()).await, [true, true, false, false]);
    assert_eq!(app.outbox.count(), 2);
    app.stop().await;
}

#[tokio::test]
async fn what_was_spent_between_the_look_and_the_write_is_not_spent_again() {
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
        let Some(database) = database() else { return };
        let app = app(&database);
        let meddle = meddling(&database, 1, insert(&row));
        assert_eq!(start_in_step(&app, &three(), meddle).await, [false, true, true], "{row}");
        assert_eq!((app.outbox.count(), database.count("challenges")), (2, 2), "{row}");
        app.stop().await;
    }
}
