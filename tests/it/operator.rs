//! The operator's commands, beside a server that runs.

use std::sync::Arc;

use latchkey::ambient::{Clock, ManualClock, SystemClock};
use serde_json::json;

use crate::harness::process::{Ended, Settings, run, wrong};
use crate::harness::{Database, FakeMesibo, TestApp, on_both};

const PHONE: &str = crate::harness::app::PHONE;
const SPELLINGS: [&str; 4] = ["18005551234", "+1 (800) 555-1234", "0018005551234", "+1-800-555-1234"];

/// Runs a command on the test's database.
async fn latchkey(database: &Database, arguments: &[&str]) -> Ended {
    let file = Settings::of(database).save();
    let mut arguments = arguments.to_vec();
    arguments.extend(["--config", file.to_str().expect("UTF-8")]);
    run(database.folder.path(), &arguments, &[]).await
}

/// What a command that succeeds prints.
async fn prints(database: &Database, arguments: &[&str]) -> String {
    let ended = latchkey(database, arguments).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out
}

on_both! {
    async fn migrate_makes_the_schema_and_a_second_time_changes_nothing_l7(database) {
        let first = latchkey(&database, &["migrate"]).await;
        assert_eq!(first.code, Some(0), "{first:?}");
        assert!(first.err.contains("the database schema was brought up to date"), "{first:?}");
        let migrations = database.count("__diesel_schema_migrations");
        assert_eq!((database.count("challenges"), migrations > 0), (0, true));
        let second = latchkey(&database, &["migrate"]).await;
        assert_eq!((second.code, second.out), (Some(0), first.out));
        assert!(!second.err.contains("brought up to date"), "{}", second.err);
        assert_eq!(database.count("__diesel_schema_migrations"), migrations);
    }
}

on_both! {
    async fn purge_forgets_what_is_due_and_nothing_else(database) {
        let long_ago = TestApp::start(&database);
        long_ago.log_in("12125550100").await;
        long_ago.stop().await;
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let app = TestApp::builder(&database).clock(&clock).seed(2).start();
        app.start_login(PHONE).await;
        assert_eq!(database.count("challenges"), 2);
        let said = prints(&database, &["purge"]).await;
        assert!(said.contains("challenges forgotten: 1\n"), "{said}");
        assert_eq!(database.count("challenges"), 1);
        assert!(app.verify(PHONE, &app.outbox.last_code()).await.token().is_some());
        assert_eq!(database.count("users"), 2, "users stay");
        app.stop().await;
    }
}

on_both! {
    async fn guard_show_tells_failures_and_the_wait_for_any_spelling_b3(database) {
        let none = prints(&database, &["guard", "show", PHONE]).await;
        assert_eq!(none, "+18005551234: no failed guess since the last success");
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let app = TestApp::builder(&database).clock(&clock).start();
        app.start_login(PHONE).await;
        for _ in 0..5 {
            app.verify(PHONE, &app.outbox.wrong_code()).await;
        }
        for spelling in SPELLINGS {
            let shown = prints(&database, &["guard", "show", spelling]).await;
            let wanted = "+18005551234 in local: 5 failed guess(es), 5 of 100 comparisons; a guess is evaluated now";
            assert_eq!(shown, wanted, "{spelling}");
        }
        // Ten minutes ahead of the command's own clock, which makes the wait longer and never shorter.
        app.advance(600);
        app.start_login(PHONE).await;
        app.verify(PHONE, &app.outbox.wrong_code()).await;
        let shown = prints(&database, &["guard", "show", PHONE]).await;
        assert!(shown.contains("6 failed guess(es), 6 of 100 comparisons; the next guess is evaluated in 1"), "{shown}");
        let ended = latchkey(&database, &["guard", "show", "nobody"]).await;
        assert_eq!(ended.code, Some(1));
        assert!(ended.err.contains("nobody: a phone number is `+`, the country code"), "{}", ended.err);
        app.stop().await;
    }
}

/// Guesses wrong, an hour apart, until no guess is let through any more; how many were evaluated.
async fn guess_until_closed(app: &TestApp, database: &Database) -> i64 {
    loop {
        let before = database.audited("guess.counted");
        for _ in 0..3 {
            app.start_login(PHONE).await;
            app.advance(2);
        }
        app.verify(PHONE, &app.outbox.wrong_code()).await;
        if database.audited("guess.counted") == before {
            return before;
        }
        app.advance(3700);
    }
}

on_both! {
    async fn guard_open_lets_a_closed_number_in_again_and_is_on_record_b3_b4_i6(database) {
        let app = TestApp::builder(&database)
            .set("otp.at_cap", "close")
            .set("limits.send_waits", vec!["1s", "1s", "1s", "1s"])
            .set("limits.per_address", "1000/1h")
            .set("limits.per_ip_unverified", "10000/1h")
            .set("limits.per_ip", "10000/1h")
            .start();
        let guesses = guess_until_closed(&app, &database).await;
        let comparisons = database.number("SELECT comparisons AS n FROM guards");
        assert!((98..=100).contains(&comparisons), "{comparisons} comparisons in {guesses} guesses");
        assert_eq!(database.audited("guard.at_cap"), 1);
        // For good, and nothing is sent.
        app.advance(30 * 24 * 3600);
        let sent = app.outbox.count();
        assert!(app.start_login(PHONE).await.is_ok(), "the answer tells nobody");
        assert_eq!(app.outbox.count(), sent);
        let shown = prints(&database, &["guard", "show", PHONE]).await;
        assert!(shown.ends_with("closed until `latchkey guard open`"), "{shown}");

        let open = ["guard", "open", SPELLINGS[1], "--by", "ann@example.com", "--why", "ticket 17"];
        assert_eq!(prints(&database, &open).await, "+18005551234: 1 guard(s) opened");
        let record = "SELECT detail AS t FROM audit WHERE event = 'guard.opened' AND address = '+18005551234'";
        assert_eq!(database.texts(record), ["by ann@example.com: ticket 17"]);
        assert_eq!(database.audited("token.minted"), 0, "I6: it logs nobody in");
        assert_eq!(database.count("guards"), 0);

        app.advance(2);
        assert!(app.start_login(PHONE).await.is_ok());
        assert_eq!(app.outbox.count(), sent + 1);
        app.verify(PHONE, &app.outbox.wrong_code()).await;
        assert_eq!(database.audited("guess.counted"), guesses + 1, "a guess is evaluated");
        assert!(app.verify(PHONE, &app.outbox.last_code()).await.token().is_some());

        // With nothing to open, nothing is on record.
        let nothing = prints(&database, &open).await;
        assert_eq!(nothing, "+18005551234: nothing to open, no failed guess since the last success");
        assert_eq!(database.audited("guard.opened"), 1);
        app.stop().await;
    }
}

const CSV: &str =
    "\u{feff}address,upstream_id,name\r\n+1 (212) 555-0100,ann-7,Ann\r\n\"12125550101\",bob 8,\r\n";
const JSON_LINES: &str = "{\"address\": \"0012125550100\", \"upstream_id\": \"ann-7\", \"name\": \"Ann\"}\n\n\
                          {\"address\": \"+12125550101\", \"upstream_id\": \"bob 8\"}\n";

fn write(database: &Database, name: &str, text: &str) -> String {
    let path = database.file(name);
    std::fs::write(&path, text).expect("our folder");
    path.display().to_string()
}

on_both! {
    async fn imported_users_keep_the_id_that_their_backend_knows(database) {
        let csv = write(&database, "users.csv", CSV);
        let said = prints(&database, &["users", "import", &csv]).await;
        assert_eq!(said, "local: 2 imported, 0 known already, 0 left alone");
        // The same people, in the other format and other spellings: nothing changes.
        let lines = write(&database, "users.jsonl", JSON_LINES);
        let said = prints(&database, &["users", "import", &lines]).await;
        assert_eq!(said, "local: 0 imported, 2 known already, 0 left alone");
        assert_eq!((database.count("users"), database.audited("user.imported")), (2, 2));
        assert_eq!(database.texts("SELECT name AS t FROM users WHERE name IS NOT NULL"), ["Ann"]);

        let app = TestApp::start(&database);
        app.log_in("12125550100").await;
        app.log_in("12125550101").await;
        app.log_in("12125550102").await;
        let ids: Vec<_> = app.upstream.subjects().into_iter().map(|subject| subject.upstream_id).collect();
        assert_eq!(ids, [Some("ann-7".to_owned()), Some("bob 8".to_owned()), None]);
        assert_eq!(database.count("users"), 3, "one is new");
        app.stop().await;
    }
}

on_both! {
    async fn an_imported_user_is_minted_for_at_mesibo_under_their_own_address(database) {
        let mesibo = FakeMesibo::start().await;
        let settings = Settings::of(&database).mesibo(&mesibo);
        let file = settings.save();
        let csv = write(&database, "users.csv", CSV);
        let arguments = ["users", "import", &csv, "--config", file.to_str().expect("UTF-8")];
        let ended = run(database.folder.path(), &arguments, &[]).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), "chat: 2 imported, 0 known already, 0 left alone"));

        let server = crate::harness::process::Server::start(&settings).await;
        for phone in ["12125550100", "12125550102"] {
            assert!(server.client.start_login(phone).await.expect("an answer").is_ok());
            let code = settings.only_code(phone);
            assert!(!server.client.verify(phone, wrong(&code)).await.expect("an answer").is_ok());
            let verified = server.client.verify(phone, &code).await.expect("an answer");
            assert!(verified.token().is_some(), "{verified:?}");
            assert_eq!(verified.get("phone"), phone);
        }
        let addresses: Vec<_> =
            mesibo.calls().iter().map(|call| (call["op"].clone(), call["user"]["address"].clone())).collect();
        let wanted = [(json!("useradd"), json!("ann-7")), (json!("useradd"), json!("12125550102"))];
        assert_eq!(addresses, wanted);
    }
}

on_both! {
    async fn wrong_lines_are_all_named_and_then_nobody_is_imported(database) {
        let csv = "address,upstream_id,name\n+12125550100,ann-7,Ann\n\nnobody,bob,\n+12125550101,,\n\
                   \"+12125550102\",\"cat\",\"Cat\nthe second\"\n+12125550103,dan,Dan,more\n";
        let file = write(&database, "users.csv", csv);
        let ended = latchkey(&database, &["users", "import", &file]).await;
        assert_eq!(ended.code, Some(1));
        let said: Vec<&str> = ended.err.lines().filter(|line| !line.contains("brought up to date")).collect();
        let wanted = [
            &format!("latchkey: {file}: 3 wrong line(s), nothing was imported"),
            "  line 4: a phone number is `+`, the country code and the number, in ASCII digits",
            "  line 5: the upstream id is empty",
            "  line 8: it has 4 field(s), and the first line 3",
        ];
        assert_eq!(said, wanted);

        let lines = "{\"address\": \"+12125550100\", \"upstream_id\": \"ann-7\"}\n{\"address\": \"+12125550101\"}\n\
                     \n{\"address\": \"a@b.example\", \"upstream_id\": \"x\", \"phone\": \"1\"}\nno JSON\n";
        let file = write(&database, "users.jsonl", lines);
        let ended = latchkey(&database, &["users", "import", &file]).await;
        assert_eq!(ended.code, Some(1));
        for part in ["3 wrong line(s)", "line 2: missing field `upstream_id`", "line 4: unknown field `phone`", "line 5: "] {
            assert!(ended.err.contains(part), "{part:?} is not in\n{}", ended.err);
        }
        let header = write(&database, "semicolons.csv", "address;upstream_id\n+12125550100;ann-7\n");
        let ended = latchkey(&database, &["users", "import", &header]).await;
        assert!(ended.code == Some(1) && ended.err.contains("line 1: the first line must name"), "{ended:?}");
        let ended = latchkey(&database, &["users", "import", "gone.csv"]).await;
        assert!(ended.code == Some(1) && ended.err.contains("cannot read gone.csv"), "{ended:?}");
        let ended = latchkey(&database, &["users", "import", &file, "--upstream", "other"]).await;
        assert!(ended.code == Some(1) && ended.err.contains("--upstream takes one of local"), "{ended:?}");
        assert_eq!((database.count("users"), database.count("identities")), (0, 0));
    }
}

on_both! {
    async fn an_address_that_another_user_holds_is_left_to_them(database) {
        let app = TestApp::start(&database);
        app.log_in("12125550101").await;
        let csv = write(&database, "users.csv", "address,upstream_id\n+12125550100,ann-7\n");
        prints(&database, &["users", "import", &csv]).await;
        let before = database.texts("SELECT user_id AS t FROM identities ORDER BY address");

        let csv = "address,upstream_id\n+12125550100,eve\n+12125550101,eve\n+12125550102,cat\n";
        let csv = write(&database, "more.csv", csv);
        let ended = latchkey(&database, &["users", "import", &csv]).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.out, "local: 1 imported, 0 known already, 2 left alone");
        let ours = format!("line 3: +12125550101 belongs to {} already", before[1]);
        for part in ["2 line(s) left alone; fix: ", "line 2: +12125550100 belongs to ann-7 already", &ours] {
            assert!(ended.err.contains(part), "{part:?} is not in\n{}", ended.err);
        }
        assert_eq!(database.texts("SELECT user_id AS t FROM identities ORDER BY address")[..2], before);
        let ids = database.texts("SELECT upstream_id AS t FROM identities WHERE upstream_id IS NOT NULL");
        assert_eq!(ids, ["ann-7", "cat"]);
        assert_eq!(database.count("users"), 3, "nobody is left over");
        app.stop().await;
    }
}
