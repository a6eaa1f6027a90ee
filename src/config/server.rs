//! `mode`, `public_url`, `[server]`, `[database]`, `[log]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

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

pub(super) fn read_server(root: &Section<'_>, mode: Mode, allow_remote_development: bool) -> Option<Server> {
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
    let seconds = |key: &str, default: u64| section.get(key, Duration::from_secs(default));
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
    Some(server)
}

const DEFAULT_DATABASE: &str = "sqlite://latchkey.db";

pub(super) fn read_database(root: &Section<'_>) -> Option<Database> {
    let section = root.section("database");
    let default_url = (!section.has("url_file")).then(|| DEFAULT_DATABASE.to_owned());
    let text = match section.secret("url") {
        Some(url) => url.expose_secret().to_owned(),
        None => default_url.unwrap_or_default(),
    };
    let url = parse_database_url(&text);
    if let Err(fix) = &url {
        section.problem("url", fix);
    }
    let database = Database {
        url: url.ok()?,
        connections: section.ranged("connections", 8, 1..=512, "connections to the database"),
        queue: section.ranged("queue", 2048, 1..=1_000_000, "work that may wait for the database"),
        deadline: section.get("deadline", Duration::from_secs(5)),
    };
    section.finish();
    Some(database)
}

/// Never quotes the URL: it may hold a password.
fn parse_database_url(text: &str) -> Result<DatabaseUrl, String> {
    let wanted = "must be sqlite://FILE or postgres://USER@HOST/NAME";
    if let Some(path) = text.strip_prefix("sqlite://") {
        return if path.is_empty() { Err(wanted.to_owned()) } else { Ok(DatabaseUrl::Sqlite(path.into())) };
    }
    let url = Url::parse(text).or(Err(wanted.to_owned()))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(wanted.to_owned());
    }
    let remote = match url.host() {
        None => false,
        Some(Host::Domain(name)) => name != "localhost",
        Some(Host::Ipv4(ip)) => !ip.is_loopback(),
        Some(Host::Ipv6(ip)) => !ip.is_loopback(),
    };
    if remote && !url.query_pairs().any(|(key, _)| key == "sslmode") {
        return Err(
            "a database on another host needs ?sslmode=verify-full&sslrootcert=FILE (or a weaker sslmode, \
                    written out)"
                .to_owned(),
        );
    }
    Ok(DatabaseUrl::Postgres(text.to_owned().into()))
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
