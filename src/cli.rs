//! The commands.
//!
//! Guarantees: a command that fails says on standard error what to change, and exits with a code that is not zero.
//! What it prints for people goes to standard output; logs go to standard error.

mod demo;
mod guard;
mod import;
mod keys;
mod provider;
mod reload;
mod ruling;
mod serve;
mod upstream;
mod user;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::ambient::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::app::StartError;
use crate::config::{Config, ConfigError, JwtKey, Mode, REFERENCE, Source, UpstreamConfig};
use crate::domain::selection::Says;
use crate::store::purge::Chore;
use crate::store::{Store, StoreError};
use crate::upstream::Surroundings;
use crate::{ambient, delivery, jobs, telemetry};

/// The login server in front of your chat backend.
#[derive(Parser)]
#[command(name = "latchkey", version)]
struct Cli {
    /// The configuration file; without it `LATCHKEY_CONFIG`, then latchkey.toml where it exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (also without any command).
    Serve,
    /// Have the server that runs read its configuration again. SIGHUP does so, too.
    Reload,
    /// Run one whole login against itself, and print each exchange.
    Demo,
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Bring the database's schema up to date. `serve` does so, too.
    Migrate,
    /// Forget what is due now. `serve` does so every minute.
    Purge,
    /// Look at, or take off, the brake on guessing.
    #[command(subcommand)]
    Guard(GuardCommand),
    /// Look after the keys that access tokens are signed with.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Look at one user, and end their sessions.
    #[command(subcommand)]
    User(UserCommand),
    /// Bring users along.
    #[command(subcommand)]
    Users(UsersCommand),
    /// Look at, and try, the gateways that send codes.
    #[command(subcommand)]
    Provider(ProviderCommand),
    /// Look at, and try, the chat backends that mint tokens.
    #[command(subcommand)]
    Upstream(UpstreamCommand),
}

#[derive(Subcommand)]
enum UpstreamCommand {
    /// Show which are configured, and the apps that use them.
    List,
    /// Mint a token for a user who does not exist, and say in one line whether that works.
    Check {
        /// Its name in the configuration.
        name: String,
    },
}

#[derive(Subcommand)]
enum ProviderCommand {
    /// Show the recipes that there are, and which are configured.
    List,
    /// Load recipes and run their examples, without a network.
    Check {
        /// The recipes.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Show where gateways report to, for those that have one address for all messages.
    Receipts,
    /// Send nothing through one, on all nodes. It is recorded.
    Disable(ruling::Words),
    /// Try one first, wherever a route names it, on all nodes. It is recorded.
    Promote(ruling::Words),
    /// Take back what was said of one. It is recorded.
    Enable(ruling::Words),
    /// Send one message for real, and show what leaves (without secrets) and what comes back.
    SendTest {
        /// Its name in the configuration.
        name: String,
        /// A number, or a mailbox.
        #[arg(long)]
        to: String,
        /// What to say, in place of a message with a code.
        #[arg(long)]
        text: Option<String>,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Read it all and say everything that is wrong.
    Check,
    /// Print every key with its meaning and default.
    Reference,
}

#[derive(Subcommand)]
enum GuardCommand {
    /// Show the guards of a number or mailbox.
    Show {
        /// In any spelling.
        address: String,
    },
    /// Take the brake off a number or mailbox. It is recorded.
    Open {
        /// In any spelling.
        address: String,
        /// Who does it, for the record.
        #[arg(long, default_value = "operator")]
        by: String,
        /// Why, for the record.
        #[arg(long, default_value = "")]
        why: String,
    },
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Let the next key sign, and publish a new one to follow it. Servers that run take it in.
    Rotate,
}

#[derive(Subcommand)]
enum UserCommand {
    /// Show whoever holds a number or mailbox: their addresses, and their sessions.
    Show {
        /// In any spelling.
        address: String,
    },
    /// End all sessions of whoever holds a number or mailbox, and revoke their chat tokens where the backend can. It is
    /// recorded.
    EndSessions {
        /// In any spelling.
        address: String,
        /// Who does it, for the record.
        #[arg(long)]
        by: String,
        /// Why, for the record.
        #[arg(long)]
        why: String,
    },
}

#[derive(Subcommand)]
enum UsersCommand {
    /// Import users from CSV (with a header line) or JSON lines: address, `upstream_id`, name.
    Import {
        /// The file; what ends in .csv is CSV, anything else JSON lines.
        file: PathBuf,
        /// The upstream whose users they are; may be left out when there is only one.
        #[arg(long)]
        upstream: Option<String>,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write to the terminal")]
    Output(#[from] std::io::Error),
    #[error("{0}")]
    Told(String),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(cli, &mut std::io::stdout())),
        Err(error) => Err(CommandError::Told(format!("cannot start a runtime: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do where standard error is closed.
            let _ = writeln!(std::io::stderr(), "latchkey: {}", telemetry::chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli, out: &mut (dyn Write + Send)) -> Result<(), CommandError> {
    let load = || Config::load(cli.config.as_deref(), &ambient::environment());
    match cli.command.unwrap_or(Command::Serve) {
        Command::Config(ConfigCommand::Reference) => out.write_all(REFERENCE.as_bytes())?,
        Command::Config(ConfigCommand::Check) => {
            let config = load()?;
            let mode = match config.mode {
                Mode::Development => "development",
                Mode::Production => "production",
            };
            // Recipes, keys and claims are tried here, too: what a start would refuse is refused. A key that a first
            // start makes is not made.
            let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) =
                (Arc::new(SystemClock), Arc::new(SystemEntropy));
            let built = delivery::build(&config.providers, &clock, None);
            let made_at_start = |upstream: &UpstreamConfig| matches!(upstream, UpstreamConfig::Jwt(jwt) if matches!(jwt.key, JwtKey::GeneratedEdDsa(_)));
            let mut given = config.upstreams.clone();
            given.retain(|_, upstream| !made_at_start(upstream));
            let surroundings = Surroundings { clock, entropy, metrics: Arc::default() };
            StartError::unless_usable(built, crate::upstream::build(&given, &surroundings))?;
            let (upstreams, providers) = (config.upstreams.len(), config.providers.len());
            writeln!(
                out,
                "The configuration is valid: {mode}, {upstreams} upstream(s), {providers} provider(s)."
            )?;
        }
        Command::Demo => demo::run(out).await?,
        Command::Serve => {
            let source = Source { file: cli.config.clone(), variables: ambient::environment() };
            serve::run(source, out).await?;
        }
        Command::Reload => reload::run(&load()?, out).await?,
        Command::Migrate => {
            open_store(&load()?)?.close().await;
            writeln!(out, "The schema is up to date.")?;
        }
        Command::Purge => {
            let store = open_store(&load()?)?;
            for (chore, rows) in jobs::purge(&store, &SystemClock).await? {
                writeln!(out, "{}: {rows}", purged(chore))?;
            }
            store.close().await;
        }
        Command::Guard(GuardCommand::Show { address }) => {
            guard::show(&open_store(&load()?)?, &address, out).await?;
        }
        Command::Guard(GuardCommand::Open { address, by, why }) => {
            guard::open(&open_store(&load()?)?, &address, &by, &why, out).await?;
        }
        Command::Keys(KeysCommand::Rotate) => keys::rotate(&load()?, &SystemEntropy, out)?,
        Command::Provider(ProviderCommand::List) => provider::list(&load()?, out)?,
        Command::Provider(ProviderCommand::Check { files }) => provider::check(&files, out)?,
        Command::Provider(ProviderCommand::Receipts) => provider::receipts(&load()?, &SystemEntropy, out)?,
        Command::Provider(ProviderCommand::SendTest { name, to, text }) => {
            provider::send_test(&load()?, &name, &to, text, out).await?;
        }
        Command::Provider(ProviderCommand::Disable(words)) => {
            let config = load()?;
            ruling::say(&config, &open_store(&config)?, words, Some(Says::Disabled), out).await?;
        }
        Command::Provider(ProviderCommand::Promote(words)) => {
            let config = load()?;
            ruling::say(&config, &open_store(&config)?, words, Some(Says::Promoted), out).await?;
        }
        Command::Provider(ProviderCommand::Enable(words)) => {
            let config = load()?;
            ruling::say(&config, &open_store(&config)?, words, None, out).await?;
        }
        Command::Upstream(UpstreamCommand::List) => upstream::list(&load()?, out)?,
        Command::Upstream(UpstreamCommand::Check { name }) => upstream::check(&load()?, &name, out).await?,
        Command::User(UserCommand::Show { address }) => {
            user::show(&open_store(&load()?)?, &address, out).await?;
        }
        Command::User(UserCommand::EndSessions { address, by, why }) => {
            let config = load()?;
            user::end_sessions(&config, &open_store(&config)?, &address, (&by, &why), out).await?;
        }
        Command::Users(UsersCommand::Import { file, upstream }) => {
            let config = load()?;
            import::run(&config, &open_store(&config)?, &file, upstream, out).await?;
        }
    }
    Ok(())
}

fn open_store(config: &Config) -> Result<Store, CommandError> {
    telemetry::init(config.log);
    Ok(Store::open(&config.database).map_err(StartError::Store)?)
}

/// What a chore did, for people.
fn purged(chore: Chore) -> &'static str {
    match chore {
        Chore::LostDeliveries => "messages given up as lost",
        Chore::DeadCodes => "challenges whose dead codes were erased",
        Chore::Challenges => "challenges forgotten",
        Chore::Deliveries => "messages forgotten",
        Chore::Sessions => "sessions forgotten",
        Chore::Guards => "guards forgotten",
        Chore::Budgets => "send limits forgotten",
        Chore::ProviderOutcomes => "hours of what became of messages forgotten",
        Chore::Audit => "records forgotten",
    }
}

/// The time, for commands.
fn now() -> crate::domain::time::Timestamp {
    SystemClock.now()
}
