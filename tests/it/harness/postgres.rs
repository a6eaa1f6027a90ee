//! A throw-away PostgreSQL cluster from the installed binaries, or the one that `LATCHKEY_TEST_POSTGRES_URL` names.
//!
//! The cluster ends with the test process, however that ends: a shell waits for its standard input to close.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use diesel::{Connection, PgConnection, RunQueryDsl};

/// PostgreSQL refuses to run as root; this account is on every Linux.
const NOBODY: u32 = 65534;

struct Server {
    /// A URL with `{}` in place of the database's name.
    url: String,
    /// Keeps the cluster's shell waiting.
    _shell: Option<Child>,
}

static SERVER: OnceLock<Option<Server>> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Whether there is a PostgreSQL to test on. `LATCHKEY_TEST_REQUIRE_POSTGRES` makes its absence a failure.
pub fn is_here() -> bool {
    server().is_some()
}

/// The URL of a new, empty database.
pub fn fresh_database() -> String {
    let name = format!("latchkey_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
    diesel::sql_query(format!("CREATE DATABASE {name}")).execute(&mut admin()).expect("a database");
    url(&name)
}

/// A connection beside all databases that are tested on.
pub fn admin() -> PgConnection {
    PgConnection::establish(&url("postgres")).expect("the server answers")
}

fn url(name: &str) -> String {
    server().expect("is_here() was asked before").url.replace("{}", name)
}

fn server() -> Option<&'static Server> {
    SERVER.get_or_init(find).as_ref()
}

#[expect(clippy::disallowed_methods, reason = "the suite itself is configured by its environment")]
fn find() -> Option<Server> {
    if let Ok(url) = std::env::var("LATCHKEY_TEST_POSTGRES_URL") {
        let mut url = url::Url::parse(&url).expect("LATCHKEY_TEST_POSTGRES_URL is a URL");
        url.set_path("/DATABASE");
        return Some(Server { url: url.as_str().replace("/DATABASE", "/{}"), _shell: None });
    }
    if let Some(binaries) = find_binaries() {
        return Some(start(&binaries));
    }
    assert!(
        std::env::var("LATCHKEY_TEST_REQUIRE_POSTGRES").is_err(),
        "no PostgreSQL: install Debian's postgresql, or set LATCHKEY_TEST_POSTGRES_URL"
    );
    eprintln!("no PostgreSQL is installed: running on SQLite alone");
    None
}

fn find_binaries() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders.extend(["/usr/local/bin", "/usr/bin", "/opt/homebrew/bin"].map(PathBuf::from));
    folders.into_iter().find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

fn start(binaries: &Path) -> Server {
    let folder = tempfile::Builder::new().prefix("lk").tempdir().expect("a folder").keep();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).expect("our folder");
    let (data, sockets) = (folder.join("data"), folder.join("s"));
    std::fs::create_dir(&sockets).expect("a folder");
    std::fs::create_dir(&data).expect("a folder");
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    let as_user = |command: &mut Command| {
        if root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir("/");
    };
    if root {
        for path in [&folder, &data, &sockets] {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
    }
    let mut initdb = Command::new(binaries.join("initdb"));
    initdb.args(["-U", "latchkey", "-A", "trust", "-E", "UTF8", "--no-sync", "-D"]).arg(&data);
    as_user(&mut initdb);
    let made = initdb.stdin(Stdio::null()).output().expect("initdb runs");
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));

    // When the suite ends its end of the pipe closes, `cat` returns, and the cluster goes with its folder.
    let script = "\"$0\" -D \"$1\" -k \"$2\" -c listen_addresses= -c fsync=off -c synchronous_commit=off \
                  -c full_page_writes=off -c max_connections=400 -c shared_buffers=64MB >\"$3/log\" 2>&1 & \
                  pid=$!; cat >/dev/null; kill -INT $pid; wait $pid; rm -rf \"$3\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(binaries.join("postgres")).args([&data, &sockets, &folder]);
    as_user(&mut shell);
    let shell = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let shell = shell.spawn().expect("a shell");
    let url = format!("postgres:///{{}}?host={}&user=latchkey", sockets.display());
    wait_until_up(&url.replace("{}", "postgres"), &folder);
    Server { url, _shell: Some(shell) }
}

fn wait_until_up(url: &str, folder: &Path) {
    for _ in 0..300 {
        if PgConnection::establish(url).is_ok() {
            return;
        }
        // The server gives no other sign that it is up.
        let _ = Command::new("sleep").arg("0.1").status();
    }
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    panic!("PostgreSQL did not come up: {log}");
}
