//! `mode`, `public_url`, `[server]`, `[database]`, `[log]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Mode;
use super::reader::Section;

/// `[server]`.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where apps connect.
    pub listen: SocketAddr,
    /// Where the operator connects: metrics and probes.
    pub admin_listen: SocketAddr,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Threads that serve; 0 for one per core.
    pub workers: u32,
    /// Requests worked on at once; more are told to come back.
    pub max_in_flight: u32,
    /// Connections in all.
    pub max_connections: u32,
    /// Connections of one client address (trusted proxies are exempt).
    pub max_connections_per_ip: u32,
    /// For a request's head.
    pub head_timeout: Duration,
    /// For a request's body.
    pub body_timeout: Duration,
    /// For the next request on a connection.
    pub idle_timeout: Duration,
    /// For what is in flight at SIGTERM.
    pub shutdown_timeout: Duration,
}

/// `[database]`.
#[derive(Debug, Clone)]
pub struct Database {
    /// Which database, and where.
    pub url: DatabaseUrl,
    /// Connections: readers for SQLite, all for PostgreSQL.
    pub connections: u32,
    /// Work that may wait for a connection; more is refused as overload.
    pub queue: u32,
    /// How long it may wait.
    pub deadline: Duration,
}

/// `[database] url`.
#[derive(Debug, Clone)]
pub enum DatabaseUrl {
    /// `sqlite://FILE`.
    Sqlite(std::path::PathBuf),
    /// `postgres://…`, which may hold a password.
    Postgres(SecretString),
}

impl DatabaseUrl {
    /// Whether it is the same, to the last letter.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite(one), Self::Sqlite(other)) => one == other,
            (Self::Postgres(one), Self::Postgres(other)) => one.expose_secret() == other.expose_secret(),
            (Self::Sqlite(_), Self::Postgres(_)) | (Self::Postgres(_), Self::Sqlite(_)) => false,
        }
    }
}

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// How much our own code says. Libraries never say more than warnings: at TRACE some print what they carry.
    pub level: tracing::Level,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// For machines: one object a line.
    Json,
}

pub(super) fn read_public_url(root: &Section<'_>, mode: Mode) -> Url {
    let fallback = loopback_url();
    let url = root.get("public_url", fallback.clone());
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        root.problem("public_url", "must start with https:// (or http:// in development) and name a host");
        return fallback;
    }
    if mode == Mode::Production && url.scheme() != "https" {
        root.problem(
            "public_url",
            "production needs https: codes and tokens travel over it. Terminate TLS in front of us",
        );
    }
    url
}

#[expect(clippy::expect_used, reason = "a constant")]
fn loopback_url() -> Url {
    Url::parse("http://127.0.0.1:8080").expect("a URL")
}

const PORT: u16 = 8080;
const ADMIN_PORT: u16 = 8081;
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(10);

pub(super) fn read_server(root: &Section<'_>, mode: Mode, allow_remote_development: bool) -> Server {
    let section = root.section("server");
    let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let listen = section.get("listen", loopback(PORT));
    let admin_listen = section.get("admin_listen", loopback(ADMIN_PORT));
    for (key, address) in [("listen", listen), ("admin_listen", admin_listen)] {
        if mode == Mode::Development && !address.ip().is_loopback() && !allow_remote_development {
            let fix = "development prints codes and takes any app: listen on 127.0.0.1, set mode = \"production\", \
                       or set allow_remote_development = true if you mean it";
            section.problem(key, fix);
        }
    }
    if listen == admin_listen && listen.port() != 0 {
        section.problem("admin_listen", "must differ from server.listen: metrics are not for the public");
    }
    let seconds = |key: &str, default: u64| {
        section.ranged(
            key,
            Duration::from_secs(default),
            TIMEOUTS,
            "without an end, few clients can hold it all",
        )
    };
    let server = Server {
        listen,
        admin_listen,
        trusted_proxies: section.get("trusted_proxies", Vec::new()),
        workers: section.ranged("workers", 0, 0..=1024, "0 is one per core"),
        max_in_flight: section.ranged("max_in_flight", 1024, 1..=1_000_000, "requests worked on at once"),
        max_connections: section.ranged("max_connections", 20_000, 1..=1_000_000, "connections in all"),
        max_connections_per_ip: section.ranged(
            "max_connections_per_ip",
            256,
            1..=1_000_000,
            "connections of one address",
        ),
        head_timeout: seconds("head_timeout", 5),
        body_timeout: seconds("body_timeout", 10),
        idle_timeout: seconds("idle_timeout", 15),
        shutdown_timeout: seconds("shutdown_timeout", 30),
    };
    section.finish();
    server
}

const DEFAULT_DATABASE: &str = "sqlite://latchkey.db";

pub(super) fn read_database(root: &Section<'_>) -> Option<Database> {
    let section = root.section("database");
    let url = section.secret_or("url", DEFAULT_DATABASE).map(|text| parse_database_url(text.expose_secret()));
    if let Some(Err(fix)) = url {
        section.secret_problem("url", fix);
    }
    let deadlines = Duration::from_millis(1)..=Duration::from_mins(1);
    let why = "somebody waits for the answer";
    let (connections, queue, deadline) = (
        section.ranged("connections", 8, 1..=512, "connections to the database"),
        section.ranged("queue", 2048, 1..=1_000_000, "work that may wait for the database"),
        section.ranged("deadline", Duration::from_secs(5), deadlines, why),
    );
    section.finish();
    Some(Database { url: url?.ok()?, connections, queue, deadline })
}

/// Never quotes the URL: it may hold a password.
fn parse_database_url(text: &str) -> Result<DatabaseUrl, &'static str> {
    let wanted = "must be sqlite://FILE or postgres://USER@HOST/NAME";
    if let Some(path) = text.strip_prefix("sqlite://") {
        return if path.is_empty() { Err(wanted) } else { Ok(DatabaseUrl::Sqlite(path.into())) };
    }
    let url = Url::parse(text).or(Err(wanted))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(wanted);
    }
    if is_remote(&url) && !url.query_pairs().any(|(key, _)| key == "sslmode") {
        return Err(
            "a database on another host needs ?sslmode=verify-full&sslrootcert=FILE (or a weaker sslmode, \
                    written out)",
        );
    }
    Ok(DatabaseUrl::Postgres(text.to_owned().into()))
}

/// Whether libpq would leave this host. It takes hosts from the query too, and the folder of a socket for a host.
fn is_remote(url: &Url) -> bool {
    let queried = url.query_pairs().filter(|(key, _)| matches!(&**key, "host" | "hostaddr"));
    let mut hosts = url.host_str().into_iter().map(str::to_owned).chain(queried.map(|(_, host)| host.into()));
    hosts.any(|host| {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let is_socket =
            name.is_empty() || name.starts_with('/') || name.to_ascii_lowercase().starts_with("%2f");
        let is_loopback = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        !is_socket && !is_loopback
    })
}

pub(super) fn read_log(root: &Section<'_>) -> Option<Log> {
    let section = root.section("log");
    let format = section.choice("format", "human", &[("human", LogFormat::Human), ("json", LogFormat::Json)]);
    let levels = [
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("info", tracing::Level::INFO),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ];
    let level = section.choice("level", "info", &levels);
    section.finish();
    Some(Log { format: format?, level: level? })
}
