//! `latchkey reload`: the process that runs reads its configuration again.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::CommandError;
use crate::admin::RELOAD_PATH;
use crate::config::{CallLimits, Config};
use crate::outbound;

/// It builds every client and reads every file.
const LIMITS: CallLimits =
    CallLimits { connect_timeout: Duration::from_secs(5), timeout: Duration::from_mins(1) };

/// Asks on `server.admin_listen`, and says what came of it.
pub(super) async fn run(config: &Config, out: &mut (dyn Write + Send)) -> Result<(), CommandError> {
    let address = here(config.server.admin_listen);
    let told = |why: String| CommandError::Told(why);
    let client = outbound::client(LIMITS).map_err(|error| told(error.to_string()))?;
    let response = client.post(format!("http://{address}{RELOAD_PATH}")).send().await.map_err(|_error| {
        told(format!(
            "nobody answers at {address}, which is server.admin_listen of this configuration; fix: start `latchkey \
             serve`, or name the configuration that it runs with (--config)"
        ))
    })?;
    let accepted = response.status().is_success();
    let text = response.text().await.unwrap_or_default();
    let text = text.trim_end();
    if accepted {
        writeln!(out, "{text}")?;
        return Ok(());
    }
    Err(told(format!("{text}\nthe configuration before it stays in force")))
}

/// A process that listens everywhere listens on this host, too.
fn here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}
