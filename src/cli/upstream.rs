//! `latchkey upstream`.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use super::CommandError;
use crate::ambient::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::{Config, UpstreamConfig};
use crate::domain::address::Address;
use crate::domain::ids::UserId;
use crate::domain::time::whole_secs;
use crate::upstream::{self, BuildError, Subject, Surroundings, Upstream, UpstreamError};

/// A number of the range that is kept for films (555-01xx): nobody is reached by it, and mesibo, which knows people by
/// their numbers, makes one user for all checks.
const NOBODYS_NUMBER: &str = "+12015550123";

/// Says which backends are configured, and which apps use them.
pub(super) fn list(config: &Config, out: &mut (dyn Write + Send)) -> Result<(), CommandError> {
    writeln!(out, "{:<16} {:<10} APPS", "NAME", "KIND")?;
    for (name, upstream) in &config.upstreams {
        let apps = config.apps.iter().filter(|(_, app)| app.upstream == *name);
        let apps: Vec<&str> = apps.map(|(id, _)| id.unwrap_or("any")).collect();
        let apps = if apps.is_empty() { "-".to_owned() } else { apps.join(", ") };
        writeln!(out, "{name:<16} {:<10} {apps}", upstream.kind())?;
    }
    Ok(())
}

/// Mints for somebody who does not exist, and says in one line whether it works, or what to change.
pub(super) async fn check(
    config: &Config,
    name: &str,
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let told = |text: String| CommandError::Told(format!("upstream {name}: {text}"));
    let Some(upstream) = config.upstreams.get(name) else {
        let known: Vec<&str> = config.upstreams.keys().map(String::as_str).collect();
        return Err(told(format!("there is no [upstreams.{name}]; configured are {}", known.join(", "))));
    };
    let backend = backend(name, upstream)?;
    let subject = nobody(config, name).ok_or_else(|| told("the number of nobody is none".to_owned()))?;
    let minted = match tokio::time::timeout(upstream.deadline(), backend.mint(&subject)).await {
        Ok(minted) => minted,
        Err(_elapsed) => Err(UpstreamError::Unknown("no answer within the deadline".to_owned())),
    };
    let user = minted.map_err(|error| told(format!("{error}{}", fix(&error, name))))?.user_id;
    let revoked = match tokio::time::timeout(upstream.deadline(), backend.revoke(&subject)).await {
        Ok(Ok(())) if matches!(upstream, UpstreamConfig::Jwt(_)) => "it ends by itself".to_owned(),
        Ok(Ok(())) => "it was taken back".to_owned(),
        Ok(Err(error)) => format!("it was not taken back ({error})"),
        Err(_elapsed) => "it was not taken back (no answer within the deadline)".to_owned(),
    };
    writeln!(out, "upstream {name}: it works: a token was minted for {user}, who is nobody; {revoked}")?;
    Ok(())
}

/// One backend, ready to be called.
pub(super) fn backend(name: &str, config: &UpstreamConfig) -> Result<Arc<dyn Upstream>, CommandError> {
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) =
        (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let surroundings = Surroundings { clock, entropy, metrics: Arc::default() };
    let only = BTreeMap::from([(name.to_owned(), config.clone())]);
    let told = |errors: Vec<BuildError>| errors.iter().map(ToString::to_string).collect();
    let built = upstream::build(&only, &surroundings).map_err(|errors| CommandError::Told(told(errors)))?;
    let not_made = || CommandError::Told(format!("upstream {name}: it was not made"));
    built.get(name).cloned().ok_or_else(not_made)
}

fn nobody(config: &Config, name: &str) -> Option<Subject> {
    Some(Subject {
        user: UserId::generate(&SystemEntropy),
        upstream_id: None,
        address: Address::parse(NOBODYS_NUMBER).ok()?,
        app_id: some_app(config, name).to_owned(),
        name: None,
    })
}

/// An app that uses a backend; any, where every id is taken.
pub(super) fn some_app<'a>(config: &'a Config, name: &str) -> &'a str {
    let mut apps = config.apps.iter().filter(|(_, app)| app.upstream == name);
    apps.find_map(|(id, _)| id).unwrap_or("com.messenger.appid")
}

/// What to do about it, where the error does not say so itself.
fn fix(error: &UpstreamError, name: &str) -> String {
    match error {
        UpstreamError::Misconfigured(_) => String::new(),
        UpstreamError::Refused(_) => {
            "; fix: look in the backend's console why it takes no new users".to_owned()
        }
        UpstreamError::Throttled { after, .. } | UpstreamError::Resting { after } => {
            format!("; fix: try again in {} s", whole_secs(*after))
        }
        UpstreamError::Unavailable(_) => format!(
            "; fix: see that upstreams.{name}.url is right, and that this host reaches it through its firewall"
        ),
        UpstreamError::Unknown(_) => format!(
            "; fix: see that upstreams.{name}.url is the backend's API, and raise upstreams.{name}.timeout where it is slow"
        ),
    }
}
