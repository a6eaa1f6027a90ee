//! A limit that cannot be counted is a limit that is reached.

use crate::harness::{Backend, Database, TestApp, on_both};

const PHONE: &str = crate::harness::app::PHONE;

on_both! {
    async fn without_the_guards_no_guess_is_evaluated_b7(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        database.execute("ALTER TABLE guards RENAME TO elsewhere");
        for guess in [&code, &app.outbox.wrong_code()] {
            let answer = app.verify(PHONE, guess).await;
            assert_eq!((answer.status, answer.error().as_str()), (200, "BUSY"), "{answer:?}");
        }
        assert!(app.upstream.subjects().is_empty());
        database.execute("ALTER TABLE elsewhere RENAME TO guards");
        assert_eq!(database.number("SELECT CAST(guesses AS BIGINT) AS n FROM challenges"), 0, "together or not at all");
        assert_eq!(database.audited("guess.counted"), 0);
        assert!(app.verify(PHONE, &code).await.token().is_some(), "the code is as good as before");
        app.stop().await;
    }
}

on_both! {
    async fn without_the_budgets_nothing_is_sent_b7(database) {
        let app = TestApp::start(&database);
        // The read before the write must find them: only the write cannot.
        refuse_writes(&database, "budgets");
        let answer = app.start_login(PHONE).await;
        assert_eq!((answer.status, answer.error().as_str()), (200, "BUSY"), "{answer:?}");
        assert_eq!((app.outbox.count(), database.count("challenges"), database.count("deliveries")), (0, 0, 0));
        accept_writes(&database, "budgets");
        assert!(app.start_login(PHONE).await.is_ok());
        assert_eq!(app.outbox.count(), 1);
        app.stop().await;
    }
}

on_both! {
    async fn without_the_record_neither_sends_nor_guesses_happen_b7(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        refuse_writes(&database, "audit");
        assert_eq!(app.verify(PHONE, &code).await.error(), "BUSY");
        assert_eq!(app.start_login("12125550123").await.error(), "BUSY");
        assert_eq!((app.outbox.count(), app.upstream.subjects().len(), database.count("guards")), (1, 0, 0));
        accept_writes(&database, "audit");
        assert!(app.verify(PHONE, &code).await.token().is_some());
        app.stop().await;
    }
}

on_both! {
    async fn a_code_whose_consumption_cannot_be_written_gives_no_token_b7(database) {
        let app = TestApp::start(&database);
        app.start_login(PHONE).await;
        let code = app.outbox.last_code();
        refuse_writes(&database, "users");
        assert_eq!(app.verify(PHONE, &code).await.error(), "BUSY");
        assert!(app.upstream.subjects().is_empty());
        assert_eq!(database.number("SELECT CAST(guesses AS BIGINT) AS n FROM challenges"), 1, "the guess was counted first");
        accept_writes(&database, "users");
        assert!(app.verify(PHONE, &code).await.token().is_some());
        app.stop().await;
    }
}

/// From now on every row that is to be added is an error.
fn refuse_writes(database: &Database, table: &str) {
    match database.backend {
        Backend::Sqlite => database.execute(&format!(
            "CREATE TRIGGER outage BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'out of order'); END"
        )),
        Backend::Postgres => {
            database.execute(
                "CREATE OR REPLACE FUNCTION outage() RETURNS trigger AS \
                 $$ BEGIN RAISE EXCEPTION 'out of order'; END $$ LANGUAGE plpgsql",
            );
            database.execute(&format!(
                "CREATE TRIGGER outage BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION outage()"
            ));
        }
    }
}

fn accept_writes(database: &Database, table: &str) {
    match database.backend {
        Backend::Sqlite => database.execute("DROP TRIGGER outage"),
        Backend::Postgres => database.execute(&format!("DROP TRIGGER outage ON {table}")),
    }
}
