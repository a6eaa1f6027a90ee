//! The commands as somebody meets them who has just installed the binary.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use latchkey::ambient::SeededEntropy;
use latchkey::domain::keyring::KeyRing;
use serde_json::json;

use crate::harness::process::{Client, Ended, Process, Settings, run, secret};
use crate::harness::{Backend, Database};

/// In place of the fixed ports of the defaults.
const FREE_PORTS: [(&str, &str); 2] =
    [("LATCHKEY_SERVER__LISTEN", "127.0.0.1:0"), ("LATCHKEY_SERVER__ADMIN_LISTEN", "127.0.0.1:0")];

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn files(folder: &Path) -> Vec<String> {
    let files = folder.read_dir().expect("our folder").flatten();
    let mut names: Vec<String> = files.map(|file| file.file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// A command that fails says all of this, and neither panics nor shows a backtrace.
#[track_caller]
fn assert_refused(ended: &Ended, parts: &[&str]) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for part in parts {
        assert!(ended.err.contains(part), "{part:?} is not in\n{}", ended.err);
    }
    for noise in ["panicked", "backtrace", "Error {", "Some(", "Os {"] {
        assert!(!ended.err.contains(noise), "{noise:?} is in\n{}", ended.err);
    }
}

#[tokio::test]
async fn the_demo_shows_a_whole_login_and_leaves_nothing_behind() {
    let folder = folder();
    let path = folder.path().to_str().expect("UTF-8");
    let ended = run(folder.path(), &["demo"], &[("TMPDIR", path)]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let requests: Vec<&str> = ended.out.lines().filter(|line| line.starts_with("  > {op:")).collect();
    assert_eq!(requests.len(), 3, "{}", ended.out);
    let answers: Vec<serde_json::Value> = ended
        .out
        .lines()
        .filter_map(|line| line.strip_prefix("  < {"))
        .map(|rest| serde_json::from_str(&format!("{{{rest}")).expect("JSON"))
        .collect();
    assert_eq!(answers[0]["result"], json!(true));
    assert_eq!(answers[1]["token"].as_str().expect("a token").split('.').count(), 3, "a JWT");
    assert_eq!((&answers[2]["result"], &answers[2]["error"]), (&json!(false), &json!("BADUSER")));
    assert!(ended.out.contains("otp for 18005551234 is "), "{}", ended.out);
    assert_eq!(files(folder.path()), [""; 0]);
    assert_eq!(ended.err, "");
}

/// The bodies and the address of the curl lines that a first start prints.
async fn curl_lines(process: &Process) -> Vec<(String, String)> {
    process.out.find("otp: \"CODE\"").await.unwrap_or_else(|| panic!("{}", process.err.text()));
    let text = process.out.text();
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("curl -d '"));
    let parts = lines.map(|line| line.split_once("' http://").expect("a body and an address"));
    parts.map(|(body, to)| (body.to_owned(), to.trim_end_matches('/').to_owned())).collect()
}

async fn first_start(arguments: &[&str]) {
    let folder = folder();
    let process = Process::start(folder.path(), arguments, &FREE_PORTS);
    let lines = curl_lines(&process).await;
    let [(first, address), (second, again)] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(address, again);
    let address = address.parse().expect("an address");
    let client = Client::new(address, address);
    let started = client.post(first.clone()).await.expect("an answer");
    assert_eq!(started.get("result"), json!(true), "{started:?}");
    let line = process.err.find("otp for 18005551234 is ").await.expect("the log has it");
    let code = line.rsplit(' ').next().expect("a word");
    let verified = client.post(second.replace("CODE", code)).await.expect("an answer");
    assert_eq!(verified.get("result"), json!(true), "{verified:?}");
    assert_eq!(verified.token().expect("a token").split('.').count(), 3);
    process.terminate();
    let ended = process.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        files(folder.path()),
        ["latchkey-local.pem", "latchkey-session.keys", "latchkey.db", "latchkey.pepper"]
    );
    for secret in ["latchkey-local.pem", "latchkey-session.keys", "latchkey.pepper"] {
        let mode = folder.path().join(secret).metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
}

#[tokio::test]
async fn with_no_file_at_all_it_serves_and_its_own_curl_lines_log_in() {
    first_start(&["serve"]).await;
}

#[tokio::test]
async fn without_a_command_it_serves() {
    first_start(&[]).await;
}

#[tokio::test]
async fn config_check_names_every_problem_with_key_source_and_fix_l8() {
    let folder = folder();
    let text = "mode = \"production\"\npublc_url = \"https://x.example\"\n[server]\nworkers = 5000\n\
                [otp]\nlength = 4\n[upstreams.chat]\nkind = \"mesibo\"\n";
    std::fs::write(folder.path().join("broken.toml"), text).expect("a file");
    let variables = [("LATCHKEY_OTP__ATTEMPTS", "eleven"), ("LATCHKEY_UNRELATED", "x")];
    let ended = run(folder.path(), &["config", "check", "--config", "broken.toml"], &variables).await;
    let wanted = [
        "the configuration has 11 problem(s):",
        "public_url (not set): production needs https",
        "publc_url (broken.toml): there is no such key",
        "server.workers (broken.toml): must be 0 to 1024",
        "otp.length (broken.toml): must be 6 to 10",
        "otp.attempts (LATCHKEY_OTP__ATTEMPTS): ",
        "otp.pepper_file (not set): codes need a secret key",
        "session.key_file (not set): access tokens need signing keys",
        "policy.countries (not set): ",
        "upstreams.chat.app_token_file (not set): ",
        "apps (not set): ",
        "providers (not set): ",
    ];
    assert_refused(&ended, &wanted);
    assert_eq!(ended.out, "");
    // Serving refuses with the same words, and touches nothing.
    let served = run(folder.path(), &["serve", "--config", "broken.toml"], &variables).await;
    assert_eq!((served.code, served.err), (Some(1), ended.err));
    assert_eq!(files(folder.path()), ["broken.toml"]);
}

#[tokio::test]
async fn config_check_says_that_a_good_file_is_good() {
    let folder = folder();
    std::fs::write(folder.path().join("latchkey.toml"), "[otp]\nlifetime = \"3m\"\n").expect("a file");
    let ended = run(folder.path(), &["config", "check"], &[]).await;
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert!(ended.out.contains("valid: development, 1 upstream(s), 1 provider(s)"), "{}", ended.out);
    assert_eq!(files(folder.path()), ["latchkey.toml"], "a check makes nothing");
}

#[tokio::test]
async fn the_printed_reference_is_itself_a_valid_configuration() {
    let folder = folder();
    let printed = run(folder.path(), &["config", "reference"], &[]).await;
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
    assert!(printed.out.contains("[database]") && printed.out.lines().count() > 100);
    std::fs::write(folder.path().join("reference.toml"), printed.out).expect("a file");
    let ended = run(folder.path(), &["config", "check"], &[("LATCHKEY_CONFIG", "reference.toml")]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn a_file_that_is_missing_unreadable_or_no_toml_is_named() {
    let folder = folder();
    let check = async |file: &str| run(folder.path(), &["serve", "--config", file], &[]).await;
    assert_refused(&check("missing.toml").await, &["cannot read missing.toml", "fix: name a file"]);
    assert_refused(&check(".").await, &["cannot read .:", "directory", "fix: "]);
    std::fs::write(folder.path().join("x.toml"), "[otp]\npepper = s3cret\n").expect("a file");
    let ended = check("x.toml").await;
    assert_refused(&ended, &["x.toml, line 2, is not TOML"]);
    assert!(!ended.err.contains("s3cret"));
    let ended = run(folder.path(), &["migrate"], &[("LATCHKEY_CONFIG", "gone.toml")]).await;
    assert_refused(&ended, &["cannot read gone.toml"]);
    let ended = run(folder.path(), &["frobnicate"], &[]).await;
    assert_eq!(ended.code, Some(2), "a command that does not exist");
    assert!(ended.err.contains("--help"), "{}", ended.err);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_key_before_anything_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for (variable, key) in [
        ("LATCHKEY_SERVER__LISTEN", "server.listen"),
        ("LATCHKEY_SERVER__ADMIN_LISTEN", "server.admin_listen"),
    ] {
        let folder = folder();
        let mut variables = FREE_PORTS.to_vec();
        variables.retain(|(name, _)| *name != variable);
        variables.push((variable, &address));
        let ended = run(folder.path(), &[], &variables).await;
        assert_refused(&ended, &[key, &address, "in use", "fix: "]);
        assert_eq!(ended.out, "", "no curl line");
        assert_eq!(files(folder.path()), [""; 0]);
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_named_with_its_setting_and_no_password() {
    let folder = folder();
    std::fs::write(folder.path().join("text.db"), "no database at all ".repeat(100)).expect("a file");
    std::fs::create_dir(folder.path().join("a-folder")).expect("a folder");
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let nobody = format!("postgres://ann:hunter2@{closed}/latchkey");
    let urls = [
        ("sqlite://nowhere/x.db", "nowhere/x.db: unable to open database file"),
        ("sqlite://a-folder", "a-folder: unable to open database file"),
        ("sqlite://text.db", "text.db: file is not a database"),
        (nobody.as_str(), "Connection refused"),
    ];
    for (url, why) in urls {
        let mut variables = FREE_PORTS.to_vec();
        variables.push(("LATCHKEY_DATABASE__URL", url));
        let commands: [&[&str]; 5] = [
            &["serve"],
            &["migrate"],
            &["purge"],
            &["guard", "show", "18005551234"],
            &["users", "import", "users.csv"],
        ];
        for command in commands {
            let ended = run(folder.path(), command, &variables).await;
            assert_refused(&ended, &["database.url", why, "fix: "]);
            assert!(!ended.err.contains("hunter2"), "{}", ended.err);
            assert!(ended.err.lines().all(|line| !line.starts_with(['\t', ' '])), "{}", ended.err);
        }
    }
}

#[tokio::test]
async fn a_pepper_that_cannot_be_made_or_is_weak_is_refused_k2() {
    let folder = folder();
    let with = async |file: &str| {
        let mut variables = FREE_PORTS.to_vec();
        variables.push(("LATCHKEY_OTP__PEPPER_FILE", file));
        run(folder.path(), &["serve"], &variables).await
    };
    assert_refused(&with("nowhere/pepper").await, &["otp.pepper_file", "nowhere/pepper", "fix: "]);
    std::fs::write(folder.path().join("weak"), "k1 abcdef\n").expect("a file");
    let ended = with("weak").await;
    assert_refused(&ended, &["otp.pepper_file", "line 1 is shorter than 32 bytes"]);
    assert!(!ended.err.contains("abcdef"), "{}", ended.err);
}

/// Everything that production asks for, but a way out.
fn production(database: &Database) -> Settings {
    secret(database, "pepper", &format!("k1 {}\n", "0123456789abcdef".repeat(4)));
    secret(database, "session.keys", &KeyRing::generate(&SeededEntropy::new(1)));
    let app: toml::Table = "id = \"com.example\"\nname = \"Example\"".parse().expect("TOML");
    Settings::of(database)
        .set("mode", "production")
        .set("public_url", "https://login.example.com")
        .set("policy.countries", vec!["US"])
        .set("apps", vec![app])
        .set("upstreams.chat.kind", "mesibo")
        .set("upstreams.chat.app_token", "the-app-token")
}

async fn serve(database: &Database, settings: &Settings) -> Ended {
    let file = settings.save();
    run(database.folder.path(), &["serve", "--config", file.to_str().expect("UTF-8")], &[]).await
}

#[tokio::test]
async fn production_refuses_the_console_provider_l4() {
    let database = Database::fresh(Backend::Sqlite);
    let ended = serve(&database, &production(&database)).await;
    assert_refused(
        &ended,
        &["has 1 problem(s)", "providers.console.kind (", "production does not write codes to its log"],
    );
    assert!(!database.file("test.db").exists());
}

#[tokio::test]
async fn production_refuses_a_pepper_that_others_can_read_k2() {
    let database = Database::fresh(Backend::Sqlite);
    let settings = production(&database);
    let pepper = database.file("pepper");
    std::fs::set_permissions(&pepper, std::fs::Permissions::from_mode(0o644)).expect("our file");
    let ended = serve(&database, &settings).await;
    let chmod = format!("other users can read it: chmod 600 {}", pepper.display());
    assert_refused(&ended, &["has 2 problem(s)", "otp.pepper_file (", &chmod]);
    // And one that is not there: production makes none.
    std::fs::remove_file(&pepper).expect("our file");
    let ended = serve(&database, &settings).await;
    assert_refused(&ended, &["otp.pepper_file (", "pepper: No such file"]);
    assert!(!pepper.exists());
}
