//! `latchkey demo`: one whole login against itself.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::CommandError;
use crate::ambient::SystemEntropy;
use crate::app::{App, World};
use crate::config::{CallLimits, Config};
use crate::domain::ids::{ClientSecret, MessageId};
use crate::outbound;

const LIMITS: CallLimits =
    CallLimits { connect_timeout: Duration::from_secs(5), timeout: Duration::from_secs(20) };

/// Starts on free ports with a database of its own, logs in, and cleans up.
pub(super) async fn run(out: &mut (dyn Write + Send)) -> Result<(), CommandError> {
    let folder = Folder::new()?;
    let outbox = folder.0.join("outbox");
    let app = App::start(config(&folder.0, &outbox)?, World::real())?;
    let url = format!("http://{}/", app.public_address());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(app.run_until(async {
        // The sender is dropped when the demo is over, however it went.
        let _ = stopped.await;
    }));
    let logged_in = log_in(&url, &outbox, out).await;
    drop(stop);
    // Its own panic would have been ours: nothing of it is left to report.
    let _ = serving.await;
    logged_in
}

async fn log_in(url: &str, outbox: &Path, out: &mut (dyn Write + Send)) -> Result<(), CommandError> {
    writeln!(out, "A messenger asks for a code (the tutorial's own line, keys unquoted):")?;
    let first = "{op: \"login\", phone: \"18005551234\", appid: \"com.messenger.appid\"}";
    post(url, first, out).await?;

    let message =
        std::fs::read_to_string(outbox).map_err(|error| failed(&format!("no code came out: {error}")))?;
    let line = message.lines().last().unwrap_or_default();
    writeln!(out, "The code leaves through the provider `console`:\n  {line}\n")?;
    let code = line.rsplit(' ').next().unwrap_or_default();

    writeln!(out, "The messenger posts the code:")?;
    let second =
        format!("{{op: \"login\", phone: \"18005551234\", appid: \"com.messenger.appid\", otp: \"{code}\"}}");
    let answer = post(url, &second, out).await?;
    let token = answer.get("token").and_then(Value::as_str).ok_or_else(|| failed("no token came back"))?;
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.ok_or_else(|| failed("the token is no JWT"))?;
    writeln!(out, "The token says:\n  {}\n", String::from_utf8_lossy(&claims))?;

    writeln!(out, "The same code a second time:")?;
    let again = post(url, &second, out).await?;
    if again.get("token").is_some() {
        return Err(failed("a code was accepted twice"));
    }
    writeln!(out, "That was a whole login. `latchkey serve` waits for yours.")?;
    Ok(())
}

async fn post(url: &str, body: &str, out: &mut (dyn Write + Send)) -> Result<Value, CommandError> {
    let client = outbound::client(LIMITS).map_err(|error| failed(&error.to_string()))?;
    writeln!(out, "  > POST {url}\n  > {body}")?;
    let sent = client.post(url).body(body.to_owned()).send().await;
    let response = sent.map_err(|error| failed(&error.to_string()))?;
    let status = response.status();
    let text = response.text().await.map_err(|error| failed(&error.to_string()))?;
    writeln!(out, "  < {status}\n  < {text}\n")?;
    serde_json::from_str(&text).map_err(|error| failed(&error.to_string()))
}

fn failed(why: &str) -> CommandError {
    CommandError::Told(format!("the demo failed: {why}"))
}

fn config(folder: &Path, outbox: &Path) -> Result<Config, CommandError> {
    // Signed with a key of this run: the demo leaves no file behind.
    let key = ClientSecret::generate(&SystemEntropy);
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
         [database]\nurl = {:?}\n\
         [otp]\npepper_file = {:?}\n\
         [session]\nkey_file = {:?}\n\
         [upstreams.local]\nkind = \"jwt\"\nalgorithm = \"HS256\"\nkey = {:?}\n\
         [providers.console]\nkind = \"console\"\nfile = {:?}\n",
        format!("sqlite://{}", folder.join("demo.db").display()),
        folder.join("pepper").display().to_string(),
        folder.join("session.keys").display().to_string(),
        key.reveal(),
        outbox.display().to_string(),
    );
    let table = text.parse().map_err(|error: toml::de::Error| failed(error.message()))?;
    Ok(Config::parse(table, "the demo", &BTreeMap::new())?)
}

/// A folder that goes when the demo ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let path =
            std::env::temp_dir().join(format!("latchkey-demo-{}", MessageId::generate(&SystemEntropy)));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind in the temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
