//! Processes that are killed between two steps.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use latchkey::ambient::{Clock, ManualClock, SystemClock};

use crate::harness::process::{Server, Settings, until};
use crate::harness::{Database, FakeMesibo, TestApp, on_both};

const PHONE: &str = crate::harness::app::PHONE;

/// Past the lease of every mint that was under way, and past the first send wait; a code lives longer.
const LATER: Duration = Duration::from_secs(61);

/// A server on the same database, some time after the others died.
fn later(database: &Database, mesibo: &FakeMesibo) -> TestApp {
    let clock = ManualClock::new(SystemClock.now());
    clock.advance(LATER);
    let upstream = format!(
        "[upstreams.chat]\nkind = \"mesibo\"\nurl = {:?}\napp_token = \"the-app-token\"\n",
        mesibo.url
    );
    TestApp::builder(database).clock(&Arc::new(clock)).config(&upstream).real_upstreams().start()
}

on_both! {
    async fn killed_before_the_mint_the_same_code_gives_the_token_without_another_message_f1_f2_c1(database) {
        let mesibo = FakeMesibo::start().await;
        let settings = Settings::of(&database).mesibo(&mesibo);
        let mut server = Server::start(&settings).await;
        assert!(server.client.start_login(PHONE).await.expect("an answer").is_ok());
        let code = settings.only_code(PHONE);
        mesibo.hold();
        let client = server.client.clone();
        let killed = async {
            mesibo.called(1).await;
            server.process.kill();
        };
        let posted = client.verify(PHONE, &code);
        let (lost, ()) = tokio::join!(posted, killed);
        assert!(lost.is_err(), "{lost:?}");
        assert_eq!((database.audited("code.consumed"), database.audited("token.minted")), (1, 0));

        // Right behind the crash the mint may still be under way: one at a time.
        let restarted = Server::start(&settings).await;
        let early = restarted.client.verify(PHONE, &code).await.expect("an answer");
        assert_eq!((early.token(), early.error().as_str()), (None, "BUSY"));
        assert_eq!(mesibo.calls().len(), 1);
        drop(restarted);

        mesibo.let_go();
        let app = later(&database, &mesibo);
        let answer = app.verify(PHONE, &code).await;
        assert!(answer.token().is_some(), "{answer:?}");
        assert_eq!((settings.codes(PHONE).len(), app.outbox.count()), (1, 0), "messages");
        assert_eq!((database.count("users"), mesibo.calls().len()), (1, 2));
        assert_eq!(mesibo.calls()[0], mesibo.calls()[1], "the same account");
        assert_eq!((database.audited("code.consumed"), database.audited("token.minted")), (1, 1));
        let dead = app.verify(PHONE, &code).await;
        assert_eq!((dead.token(), dead.error().as_str()), (None, "BADUSER"));
        app.stop().await;
    }
}

on_both! {
    async fn killed_behind_a_sent_message_its_code_is_good_c1(database) {
        let mesibo = FakeMesibo::start().await;
        let settings = Settings::of(&database).mesibo(&mesibo);
        let mut server = Server::start(&settings).await;
        let client = server.client.clone();
        let started = client.start_login(PHONE);
        let killed = async {
            until("the message is out", || !settings.codes(PHONE).is_empty()).await;
            server.process.kill();
        };
        let (_answered_or_not, ()) = tokio::join!(started, killed);
        let app = later(&database, &mesibo);
        let answer = app.verify(PHONE, &settings.only_code(PHONE)).await;
        assert!(answer.token().is_some(), "{answer:?}");
        assert_eq!(app.outbox.count(), 0);
        app.stop().await;
    }
}

on_both! {
    async fn killed_before_a_message_is_sent_nothing_sends_it_later_and_a_new_one_works_c1(database) {
        let mesibo = FakeMesibo::start().await;
        // Opening a pipe that nobody reads takes for ever: the provider is called, and sends nothing.
        let pipe = database.file("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let settings = Settings::of(&database).mesibo(&mesibo);
        let stuck = settings.clone().set("providers.console.file", pipe.display().to_string());
        let mut server = Server::start(&stuck).await;
        let client = server.client.clone();
        let started = client.start_login(PHONE);
        let killed = async {
            until("the start is committed", || database.count("deliveries") == 1).await;
            server.process.kill();
        };
        let (lost, ()) = tokio::join!(started, killed);
        assert!(lost.is_err(), "{lost:?}");

        // The same start, again: its wait is not over, and the code that may be on its way is not doubled.
        let restarted = Server::start(&settings).await;
        assert!(restarted.client.start_login(PHONE).await.expect("an answer").is_ok());
        drop(restarted);
        assert_eq!(settings.codes(PHONE).len(), 0);
        assert_eq!(database.count("deliveries"), 1);

        let app = later(&database, &mesibo);
        latchkey::jobs::purge(&app.store, &*app.clock).await.expect("a purge");
        let unknown = "SELECT count(*) AS n FROM deliveries WHERE status = 'unknown'";
        assert_eq!(database.number(unknown), 1, "nobody knows, and nothing sends it again");
        assert_eq!(app.outbox.count(), 0);
        app.start_login(PHONE).await;
        assert_eq!(app.outbox.count(), 1);
        let answer = app.verify(PHONE, &app.outbox.last_code()).await;
        assert!(answer.token().is_some(), "{answer:?}");
        app.stop().await;
    }
}
