//! The operator looks at a user, and ends their sessions.

use serde_json::json;

use super::{MAILBOX, OTHER, linked};
use crate::harness::process::{Settings, run};
use crate::harness::{Database, TestApp, on_both};
use crate::sessions::{NUMBER, is_live, is_over, listed, log_in, log_in_again, refresh, refreshed};

async fn user(database: &Database, arguments: &[&str]) -> (Option<i32>, String, String) {
    let config = Settings::of(database).set("upstreams.local.kind", "jwt");
    let config = config.set("upstreams.local.algorithm", "HS256");
    let config = config.set("upstreams.local.key", "0123456789abcdef0123456789abcdef").save();
    let config = config.display().to_string();
    let all = [&["--config", &config, "user"], arguments].concat();
    let ended = run(database.folder.path(), &all, &[]).await;
    (ended.code, ended.out, ended.err)
}

on_both! {
    async fn a_user_is_shown_with_addresses_and_sessions_and_somebody_unknown_is_nobody(database) {
        let app = TestApp::builder(&database).with_mail().start();
        let held = log_in(&app, NUMBER).await;
        assert_eq!(linked(&app, &held, MAILBOX).await.status, 200);
        // The command's clock is the real one, and sessions of this year are long over by it.
        database.execute("UPDATE sessions SET expires_at = 9000000000000");
        let (code, out, err) = user(&database, &["show", "1 (800) 555-1234"]).await;
        assert_eq!(code, Some(0), "{err}");
        for part in ["usr_", " in local", NUMBER, MAILBOX, "ses_", "last login"] {
            assert!(out.contains(part), "{part:?} is not in\n{out}");
        }
        assert!(!out.contains(&held.refresh) && !out.contains(&held.access));
        let (code, out, _) = user(&database, &["show", OTHER]).await;
        assert_eq!((code, out.contains("nobody logs in with it")), (Some(0), true));
        app.stop().await;
    }
}

on_both! {
    async fn all_sessions_end_at_once_and_who_did_it_is_on_record_g5(database) {
        let app = TestApp::start(&database);
        let stranger = log_in(&app, OTHER).await;
        let one = log_in(&app, NUMBER).await;
        let two = log_in_again(&app, NUMBER).await;
        let stranger = refreshed(&app, &stranger).await;
        // The command's clock is the real one, and sessions of this year are long over by it.
        database.execute("UPDATE sessions SET expires_at = 9000000000000");
        let (code, out, err) =
            user(&database, &["end-sessions", NUMBER, "--by", "Lee", "--why", "a stolen phone"]).await;
        assert_eq!((code, out.contains("2 session(s) ended")), (Some(0), true), "{out}{err}");
        assert_eq!(refresh(&app, &one.refresh).await.get("code"), json!("session_over"));
        assert_eq!((listed(&app, &two).await, listed(&app, &stranger).await), (is_over(), is_live()));
        let detail = database.texts("SELECT detail AS t FROM audit WHERE event = 'sessions.ended'");
        assert_eq!(detail, ["by Lee: a stolen phone"]);
        assert_eq!(database.audited("session.ended"), 2);
        let (code, _, err) = user(&database, &["end-sessions", NUMBER]).await;
        assert_eq!((code, err.contains("--by")), (Some(2), true), "who and why are asked for");
        app.stop().await;
    }
}
