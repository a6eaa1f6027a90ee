//! Several server processes on one database.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use crate::harness::process::{Server, Settings, until, wrong};
use crate::harness::{Database, FakeMesibo, on_both};

const PHONE: &str = crate::harness::app::PHONE;
const ALL_SERVE: usize = 6;

async fn pair(settings: &Settings) -> [Server; 2] {
    let (one, other) = (Server::launch(settings), Server::launch(settings));
    [Server::up(one).await, Server::up(other).await]
}

on_both! {
    async fn of_64_right_guesses_at_two_processes_one_is_accepted_a3_a4(database) {
        let mesibo = FakeMesibo::start().await;
        let settings = Settings::of(&database).mesibo(&mesibo);
        let servers = pair(&settings).await;
        assert!(servers[0].client.start_login(PHONE).await.expect("an answer").is_ok());
        let code = settings.only_code(PHONE);

        let guesses = (0..64).map(|index| servers[index % 2].client.verify(PHONE, &code));
        let answers: Vec<_> =
            join_all(guesses).await.into_iter().map(|answer| answer.expect("an answer")).collect();
        let tokens: Vec<String> = answers.iter().filter_map(crate::harness::app::Answer::token).collect();
        assert_eq!(tokens.len(), 1, "{answers:?}");
        assert!(answers.iter().all(|answer| answer.is_ok() == answer.token().is_some()), "{answers:?}");
        assert_eq!(mesibo.calls().len(), 1, "mints");
        assert_eq!(database.audited("code.consumed"), 1);
        assert_eq!(database.audited("token.minted"), 1);
        assert_eq!(database.count("users"), 1);
        for server in &servers {
            let again = server.client.verify(PHONE, &code).await.expect("an answer");
            assert_eq!((again.token(), again.error().as_str()), (None, "BADUSER"));
        }
    }
}

on_both! {
    async fn of_512_wrong_guesses_at_two_processes_five_are_evaluated_b1_b2(database) {
        let settings = Settings::of(&database);
        let servers = pair(&settings).await;
        assert!(servers[0].client.start_login(PHONE).await.expect("an answer").is_ok());
        let code = settings.only_code(PHONE);

        let guesses = (0..512).map(|index| servers[index % 2].client.verify(PHONE, wrong(&code)));
        let answers: Vec<_> =
            join_all(guesses).await.into_iter().map(|answer| answer.expect("an answer")).collect();
        assert!(answers.iter().all(|answer| !answer.is_ok()), "{answers:?}");
        assert_eq!(database.number("SELECT guesses AS n FROM challenges"), 5);
        assert_eq!(database.number("SELECT failures AS n FROM guards"), 5);
        assert_eq!(database.audited("guess.counted"), 5);
        for server in &servers {
            let late = server.client.verify(PHONE, &code).await.expect("an answer");
            assert_eq!((late.token(), late.error().as_str()), (None, "BADUSER"), "a sixth guess, and right");
        }
        assert_eq!(database.audited("guess.counted"), 5);
        assert_eq!(database.audited("code.consumed"), 0);
    }
}

on_both! {
    async fn of_64_starts_at_two_processes_one_sends_a_code_c3(database) {
        let settings = Settings::of(&database);
        let servers = pair(&settings).await;
        let starts = (0..64).map(|index| servers[index % 2].client.start_login(PHONE));
        for answer in join_all(starts).await {
            let answer = answer.expect("an answer");
            assert!(answer.is_ok() || answer.error() == "TOOSOON", "{answer:?}");
        }
        let code = settings.only_code(PHONE);
        assert_eq!(database.number("SELECT count(*) AS n FROM challenges WHERE ended_at IS NULL"), 1);
        assert_eq!(database.count("challenges"), 1);
        assert_eq!(database.count("deliveries"), 1);
        assert_eq!(database.audited("code.sent"), 1);
        assert!(servers[1].client.verify(PHONE, &code).await.expect("an answer").token().is_some());
    }
}

on_both! {
    async fn starts_verifies_and_failures_are_one_state_for_all_processes_b3(database) {
        let settings = Settings::of(&database).without_send_limits();
        let servers = pair(&settings).await;
        assert!(servers[0].client.start_login(PHONE).await.expect("an answer").is_ok());
        let code = settings.only_code(PHONE);
        for index in 0..4 {
            let answer = servers[index % 2].client.verify(PHONE, wrong(&code)).await.expect("an answer");
            assert_eq!(answer.error(), "BADUSER");
        }
        assert_eq!(database.number("SELECT failures AS n FROM guards"), 4);
        // A restart of both forgets nothing.
        drop(servers);
        let servers = pair(&settings).await;
        assert!(!servers[1].client.verify(PHONE, wrong(&code)).await.expect("an answer").is_ok());
        assert_eq!(database.number("SELECT failures AS n FROM guards"), 5);
        assert!(!servers[0].client.verify(PHONE, &code).await.expect("an answer").is_ok(), "the sixth guess");
        assert_eq!(database.number("SELECT failures AS n FROM guards"), 5);
    }
}

/// How often all of them together said it.
fn said(servers: &[Server], text: &str) -> usize {
    servers.iter().map(|server| server.process.err.text().matches(text).count()).sum()
}

fn files_like(database: &Database, part: &str) -> BTreeSet<String> {
    let files = database.folder.path().read_dir().expect("our folder").flatten();
    let names = files.map(|file| file.file_name().into_string().expect("UTF-8"));
    names.filter(|name| name.contains(part)).collect()
}

on_both! {
    async fn six_processes_that_start_at_once_on_nothing_all_serve_as_one_l7(database) {
        let settings = Settings::of(&database);
        let processes: Vec<_> = (0..ALL_SERVE).map(|_| Server::launch(&settings)).collect();
        let servers = join_all(processes.into_iter().map(Server::up)).await;

        assert_eq!(said(&servers, "made a pepper"), 1);
        assert_eq!(said(&servers, "made a key"), 1);
        assert_eq!(said(&servers, "made keys"), 1);
        let migrations = usize::try_from(database.count("__diesel_schema_migrations")).expect("few");
        assert_eq!(said(&servers, "the database schema was brought up to date"), migrations, "each once");
        assert_eq!(files_like(&database, "pepper"), ["pepper".to_owned()].into(), "no draft is left");
        assert_eq!(files_like(&database, "keys"), ["session.keys".to_owned()].into());
        assert_eq!(files_like(&database, "pem"), ["latchkey-local.pem".to_owned()].into());
        for (index, server) in servers.iter().enumerate() {
            assert_eq!(server.client.probe("/readyz").await, Some(200));
            let phone = format!("1212555010{index}");
            assert!(server.client.start_login(&phone).await.expect("an answer").is_ok());
            let other = &servers[(index + 1) % ALL_SERVE];
            let verified = other.client.verify(&phone, &settings.only_code(&phone)).await.expect("an answer");
            assert!(verified.token().is_some(), "{verified:?}");
        }
        assert_eq!(said(&servers, "\"level\":\"ERROR\""), 0);
        until("every message is noted", || {
            database.number("SELECT count(*) AS n FROM deliveries WHERE status = 'pending'") == 0
        }).await;
    }
}
