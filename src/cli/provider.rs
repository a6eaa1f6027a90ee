//! `latchkey provider`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::CommandError;
use crate::ambient::{Entropy, SystemClock, SystemEntropy};
use crate::app::read_pepper;
use crate::config::{self, Config, ProviderConfig};
use crate::delivery::recipe::{Gateway, Outcome, Recipe, Told};
use crate::delivery::{Callbacks, Messages, Occasion, OutgoingCode, SendError, Text};
use crate::domain::address::Address;
use crate::domain::code::{Code, CodeLength};
use crate::domain::ids::MessageId;
use crate::domain::purpose::Purpose;
use crate::domain::receipt::PathKeys;

/// What a test message calls the app.
const APP_NAME: &str = "Latchkey";
/// What a test message says about its code.
const LIFETIME: Duration = Duration::from_mins(5);

/// Says which recipes there are, and which providers use them.
pub(super) fn list(config: &Config, out: &mut (dyn Write + Send)) -> Result<(), CommandError> {
    let width = config.recipes.iter().map(|recipe| recipe.id.len()).max().unwrap_or_default();
    writeln!(out, "{:<width$} {:<9} {:<12} CONFIGURED AS", "RECIPE", "CHANNEL", "VERIFIED")?;
    for recipe in config.recipes.iter() {
        let users = config.providers.iter().filter_map(|(name, provider)| match provider {
            ProviderConfig::Recipe(provider) if provider.recipe.id == recipe.id => Some(name.as_str()),
            ProviderConfig::Recipe(_) | ProviderConfig::Console(_) | ProviderConfig::Smtp(_) => None,
        });
        let users: Vec<&str> = users.collect();
        let users = if users.is_empty() { "-".to_owned() } else { users.join(", ") };
        let verified = if recipe.verified.is_empty() { "never" } else { &recipe.verified };
        writeln!(out, "{:<width$} {:<9} {verified:<12} {users}", recipe.id, recipe.channel.as_str())?;
    }
    writeln!(
        out,
        "\nVERIFIED is the day on which somebody last ran the recipe against the live gateway. Each passes its own \
         examples, which were written from the gateway's documentation."
    )?;
    Ok(())
}

/// Says where gateways report to.
pub(super) fn receipts(
    config: &Config,
    entropy: &dyn Entropy,
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let callbacks =
        Callbacks::new(config.public_url.clone(), PathKeys::new(&read_pepper(&config.otp, entropy)?));
    let mut shown = 0usize;
    for (name, provider) in &config.providers {
        let ProviderConfig::Recipe(provider) = provider else { continue };
        let recipe = Recipe::load(&provider.recipe)
            .map_err(|error| CommandError::Told(format!("providers.{name}: recipe: {error}")))?;
        let Some(told) = recipe.reports() else { continue };
        shown += 1;
        match told {
            Told::WithEachMessage => writeln!(out, "{name}: it is told with each message")?,
            Told::ByTheOperator => writeln!(out, "{name}: {}", callbacks.url(name, None))?,
        }
    }
    if shown == 0 {
        writeln!(out, "No provider reports: none of their recipes has [dlr].")?;
    }
    Ok(())
}

/// Loads recipes and runs their examples, without a network.
pub(super) fn check(files: &[PathBuf], out: &mut (dyn Write + Send)) -> Result<(), CommandError> {
    let mut wrong = 0usize;
    for file in files {
        match check_one(file, out)? {
            0 => {}
            faults => wrong += faults,
        }
    }
    if wrong == 0 { Ok(()) } else { Err(CommandError::Told(format!("{wrong} thing(s) to mend"))) }
}

/// How many faults it has.
fn check_one(file: &Path, out: &mut (dyn Write + Send)) -> Result<usize, CommandError> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| CommandError::Told(format!("cannot read {shown}: {error}")))?;
    let loaded =
        config::Recipe::parse(&text).and_then(|head| Recipe::load(&head).map_err(|error| error.to_string()));
    let recipe = match loaded {
        Ok(recipe) => recipe,
        Err(error) => {
            writeln!(out, "{shown}: {error}")?;
            return Ok(1);
        }
    };
    let mut faults = 0;
    for report in recipe.run_examples().into_iter().chain(recipe.run_receipts()) {
        match report.fault {
            None => writeln!(out, "{shown}: {}: as it should be", report.name)?,
            Some(fault) => {
                // Those behind the first are often the same one again.
                if faults == 0 {
                    writeln!(out, "{shown}: {}: {fault}", report.name)?;
                } else {
                    writeln!(out, "{shown}: {}: wrong, too", report.name)?;
                }
                faults += 1;
            }
        }
    }
    for outcome in recipe.without_example() {
        writeln!(out, "{shown}: no [[example]] shows {}: write one", outcome.as_str())?;
        faults += 1;
    }
    for said in recipe.without_receipt() {
        writeln!(out, "{shown}: no [[receipt]] shows {said}: write one")?;
        faults += 1;
    }
    Ok(faults)
}

/// Sends one message for real, and shows what leaves and what comes back.
pub(super) async fn send_test(
    config: &Config,
    name: &str,
    to: &str,
    text: Option<String>,
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let provider = match config.providers.get(name) {
        Some(ProviderConfig::Recipe(provider)) => provider,
        Some(ProviderConfig::Console(_)) => {
            return Err(CommandError::Told(format!("{name} prints to the log: there is nothing to try")));
        }
        Some(ProviderConfig::Smtp(_)) => {
            return Err(CommandError::Told(format!("{name} is a mail server: there is no recipe to try")));
        }
        None => {
            let known: Vec<&str> = config.providers.keys().map(String::as_str).collect();
            let text = format!("there is no [providers.{name}]; configured are {}", known.join(", "));
            return Err(CommandError::Told(text));
        }
    };
    let to = Address::parse(to).map_err(|error| CommandError::Told(format!("--to {to}: {error}")))?;
    let gateway = Gateway::new(name, provider, Arc::new(SystemClock), None)
        .map_err(|error| CommandError::Told(format!("providers.{name}: {error}")))?;
    let code = Code::generate(&SystemEntropy, CodeLength::SIX);
    let text = match text {
        Some(body) => {
            Text { locale: "en".to_owned(), subject: APP_NAME.to_owned(), body: Zeroizing::new(body) }
        }
        None => Messages::new(config.messages.clone(), Arc::new(config.apps.clone())).write(&Occasion {
            app_id: "",
            channel: provider.recipe.channel,
            app_name: APP_NAME,
            languages: &[],
            code: &code,
            lifetime: LIFETIME,
        }),
    };
    let message = OutgoingCode {
        id: MessageId::generate(&SystemEntropy),
        to,
        purpose: Purpose::LOGIN,
        code: Some(code),
        app_id: String::new(),
        app_name: APP_NAME.to_owned(),
        lifetime: LIFETIME,
        text,
    };
    let trial = gateway.try_out(&message).await;
    for line in trial.request.lines() {
        writeln!(out, "> {line}")?;
    }
    writeln!(out)?;
    let came = trial.answer.is_some();
    for line in trial.answer.iter().flat_map(|answer| answer.lines()) {
        writeln!(out, "< {line}")?;
    }
    let rule = match trial.rule {
        Some(rule) => format!("rule {rule} of the recipe"),
        None if came => "no rule of the recipe".to_owned(),
        None => "no answer".to_owned(),
    };
    match trial.result {
        Ok(receipt) => {
            let id = receipt.provider_id.map_or_else(|| "no id".to_owned(), |id| format!("id {id}"));
            writeln!(out, "\n{rule}: {} ({id})", Outcome::Accepted.as_str())?;
            Ok(())
        }
        Err(error) => {
            writeln!(out, "\n{rule}: {}", error.kind())?;
            Err(CommandError::Told(advice(&error)))
        }
    }
}

/// What routing would make of it.
fn advice(error: &SendError) -> String {
    let next =
        if error.allows_another() { "the next provider is tried" } else { "no other provider is tried" };
    format!("the gateway did not accept the message, and {next}: {error}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn said(run: impl FnOnce(&mut Vec<u8>) -> Result<(), CommandError>) -> (String, Option<String>) {
        let mut out = Vec::new();
        let error = run(&mut out).err().map(|error| error.to_string());
        (String::from_utf8(out).expect("UTF-8"), error)
    }

    #[test]
    fn the_list_names_what_is_configured_and_what_nobody_has_verified() {
        let text = "[providers.sms]\nrecipe = \"kannel\"\nbase_url = \"http://localhost:1\"\nusername = \"u\"\n\
                    password = \"hunter2\"\nsender = \"1\"";
        let config =
            Config::parse(text.parse().expect("TOML"), "a test", &BTreeMap::new()).expect("no problems");
        let (out, error) = said(|out| list(&config, out));
        assert_eq!(error, None);
        let row = |id: &str| {
            let row = out.lines().find(|line| line.split_whitespace().next() == Some(id)).expect("a row");
            row.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("kannel"), "kannel sms never sms");
        assert_eq!(row("twilio"), "twilio sms never -");
        assert!(!out.contains("hunter2"));
    }

    #[test]
    fn receipts_name_an_address_where_the_operator_has_to_enter_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = include_str!("../../providers/infobip.toml").replace("{{ receipt_url }}", "");
        let own = own.replace(" if receipt_url else", " if false else");
        let own = own.replace("id       = \"infobip\"", "id       = \"own\"");
        std::fs::write(folder.path().join("own.toml"), own).expect("a file");
        let text = format!(
            "public_url = \"https://login.example.com/\"\nproviders_dir = {:?}\n\
             [otp]\npepper = \"k1 {}\"\n\
             [providers.a]\nrecipe = \"own\"\nbase_url = \"https://a.b\"\napi_key = \"hunter2\"\nsender = \"1\"\n\
             [providers.b]\nrecipe = \"infobip\"\nbase_url = \"https://a.b\"\napi_key = \"hunter2\"\nsender = \"1\"\n\
             [routes.sms]\ndefault = [\"a\", \"b\"]",
            folder.path(),
            "ab".repeat(32)
        );
        let config = Config::parse(text.parse().expect("TOML"), "a test", &BTreeMap::new())
            .unwrap_or_else(|error| panic!("{error}"));
        let (out, error) = said(|out| receipts(&config, &SystemEntropy, out));
        assert_eq!(error, None);
        assert!(out.starts_with("a: https://login.example.com/v1/receipts/a/"), "{out}");
        assert!(out.ends_with("\nb: it is told with each message\n") && !out.contains("hunter2"), "{out}");
    }

    #[test]
    fn a_check_prints_each_example_and_the_first_difference() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("kannel.toml");
        let shipped = include_str!("../../providers/kannel.toml");
        std::fs::write(&file, shipped).expect("a file");
        let (out, error) = said(|out| check(std::slice::from_ref(&file), out));
        assert_eq!(error, None, "{out}");
        let told = shipped.matches("[[example]]").count() + shipped.matches("[[receipt]]").count();
        assert_eq!(out.matches("as it should be").count(), told);

        std::fs::write(&file, shipped.replace("charset  = \"UTF-8\"", "charset  = \"latin1\""))
            .expect("a file");
        let (out, error) = said(|out| check(std::slice::from_ref(&file), out));
        assert_eq!(error.as_deref(), Some("2 thing(s) to mend"));
        assert!(out.contains("found:    http://kannel:13013/cgi-bin/sendsms?charset=latin1&"), "{out}");
        assert!(out.contains("wrong, too"), "{out}");

        std::fs::write(&file, shipped.replace("secret_in_url = true", "")).expect("a file");
        let (out, _) = said(|out| check(std::slice::from_ref(&file), out));
        assert!(out.contains("settings.password: "), "{out}");
    }

    #[test]
    fn the_recipe_that_the_documentation_shows_passes_the_check() {
        let readme = include_str!("../../providers/README.md");
        let text = readme.split("```toml\n").find(|part| part.starts_with("schema")).expect("a recipe");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, text.split("```").next().expect("its end")).expect("a file");
        let (out, error) = said(|out| check(std::slice::from_ref(&file), out));
        assert_eq!(error, None, "{out}");
        assert_eq!(out.matches("as it should be").count(), 4, "three examples and the feedback: {out}");
    }
}
