//! `latchkey serve`.

use std::io::Write;

use tokio::signal::unix::{SignalKind, signal};

use super::CommandError;
use crate::app::{App, World};
use crate::config::{Mode, ProviderConfig, Source, UpstreamConfig};
use crate::telemetry;

/// Serves until SIGTERM or SIGINT; a second one ends the process at once. At SIGHUP the configuration is read again.
pub(super) async fn run(source: Source, out: &mut (dyn Write + Send)) -> Result<(), CommandError> {
    let config = source.load()?;
    telemetry::init(config.log);
    let mut hang_up = signal(SignalKind::hangup())?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (mode, apps) = (config.mode, config.apps.clone());
    let local = config.upstreams.values().all(|upstream| matches!(upstream, UpstreamConfig::Jwt(_)));
    let prints = config.providers.values().all(|provider| matches!(provider, ProviderConfig::Console(_)));
    let app = App::start(config, World { source: Some(source), ..World::real() })?;
    if mode == Mode::Development {
        let example = apps.example().unwrap_or("com.messenger.appid");
        hint(out, app.public_address(), example, prints, local)?;
    }
    let reloads = app.reloads().clone();
    let reloading = tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            // What came of it is in the log.
            let _ = reloads.ask().await;
        }
    });
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("stopped at once by a second signal");
            std::process::exit(1);
        });
    };
    app.run_until(stop).await;
    reloading.abort();
    Ok(())
}

/// What to try first.
fn hint(
    out: &mut dyn Write,
    address: std::net::SocketAddr,
    app: &str,
    prints: bool,
    local: bool,
) -> std::io::Result<()> {
    let way = if prints { "to the log below" } else { "where [routes] says" };
    let body = format!("{{op: \"login\", phone: \"18005551234\", appid: \"{app}\"");
    let token = if local { "a token that is signed here" } else { "a token of your chat backend" };
    writeln!(
        out,
        "Development mode: codes go {way}. Log in with\n\n  \
         curl -d '{body}}}' http://{address}/\n\n\
         then with the code, for {token}:\n\n  \
         curl -d '{body}, otp: \"CODE\"}}' http://{address}/\n"
    )?;
    out.flush()
}
