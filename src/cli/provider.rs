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
use crate::delivery::smtp::Smtp;
use crate::delivery::{Callbacks, Messages, Occasion, OutgoingCode, Provider, Receipt, SendError, Text};
use crate::domain::address::Address;
use crate::domain::channel::Channel;
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
        "\nVERIFIED is the day on which somebody last ran the recipe against the live gateway. Those that come with us \
         pass their own examples, which were written from the gateway's documentation."
    )?;
    let own: Vec<&PathBuf> = config.recipes.iter().filter_map(|recipe| recipe.file.as_ref()).collect();
    if own.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nFrom providers_dir:")?;
    let mut wrong = 0usize;
    for file in own {
        let is_fault = |finding: &Finding| matches!(finding, Finding::Fault(_));
        let faults = examine(file).iter().filter(|finding| is_fault(finding)).count();
        let state =
            if faults == 0 { "as it should be" } else { "wrong: `latchkey provider check` says where" };
        writeln!(out, "{}: {state}", file.display())?;
        wrong = wrong.saturating_add(faults);
    }
    mended(wrong)
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
        let recipe = Recipe::load(&provider.recipe).map_err(|error| {
            CommandError::Told(format!("providers.{name}: {}: {error}", provider.recipe.place()))
        })?;
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
        let shown = file.display();
        for finding in examine(file) {
            match finding {
                Finding::Good(name) => writeln!(out, "{shown}: {name}: as it should be")?,
                Finding::Fault(fault) => {
                    writeln!(out, "{shown}: {fault}")?;
                    wrong = wrong.saturating_add(1);
                }
            }
        }
    }
    mended(wrong)
}

fn mended(wrong: usize) -> Result<(), CommandError> {
    if wrong == 0 { Ok(()) } else { Err(CommandError::Told(format!("{wrong} thing(s) to mend"))) }
}

/// What a look at a recipe found.
enum Finding {
    /// An example of this name, as it should be.
    Good(String),
    Fault(String),
}

fn examine(file: &Path) -> Vec<Finding> {
    let loaded =
        config::Recipe::read(file).and_then(|head| Recipe::load(&head).map_err(|error| error.to_string()));
    let recipe = match loaded {
        Ok(recipe) => recipe,
        Err(fault) => return vec![Finding::Fault(fault)],
    };
    let mut told = false;
    let shown =
        recipe.run_examples().into_iter().chain(recipe.run_receipts()).map(|report| match report.fault {
            None => Finding::Good(report.name),
            // Those behind the first are often the same one again.
            Some(_) if std::mem::replace(&mut told, true) => {
                Finding::Fault(format!("{}: wrong, too", report.name))
            }
            Some(fault) => Finding::Fault(format!("{}: {fault}", report.name)),
        });
    let mut findings: Vec<Finding> = shown.collect();
    let missing = |what: &str| Finding::Fault(format!("no {what}: write one"));
    let outcomes = recipe.without_example().into_iter();
    findings.extend(outcomes.map(|outcome| missing(&format!("[[example]] shows {}", outcome.as_str()))));
    findings.extend(
        recipe.without_receipt().into_iter().map(|said| missing(&format!("[[receipt]] shows {said}"))),
    );
    if !recipe.has_whole_request() {
        findings.push(missing("accepted [[example]] has the whole request (method, url and body)"));
    }
    findings
}

/// Sends one message for real, and shows what leaves and what comes back.
pub(super) async fn send_test(
    config: &Config,
    name: &str,
    to: &str,
    text: Option<String>,
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let told = |text: String| CommandError::Told(text);
    let Some(provider) = config.providers.get(name) else {
        let known: Vec<&str> = config.providers.keys().map(String::as_str).collect();
        return Err(told(format!("there is no [providers.{name}]; configured are {}", known.join(", "))));
    };
    let to = Address::parse(to).map_err(|error| told(format!("--to {to}: {error}")))?;
    let is_mail = provider.channel() == Channel::Email;
    if is_mail != matches!(to, Address::Email(_)) {
        let wanted = if is_mail { "a mailbox" } else { "a phone number" };
        return Err(told(format!("--to: {name} sends to {wanted}: write one")));
    }
    let message = test_message(config, provider.channel(), to, text);
    match provider {
        ProviderConfig::Console(_) => Err(told(format!("{name} prints to the log: there is nothing to try"))),
        ProviderConfig::Smtp(mail) => {
            let server = Smtp::new(name, mail).map_err(|error| told(error.to_string()))?;
            writeln!(out, "> a mail by {}:{} from {}", mail.host, mail.port, mail.from.as_str())?;
            conclude("the mail server", server.send(&message).await, out)
        }
        ProviderConfig::Recipe(provider) => {
            let gateway = Gateway::new(name, provider, Arc::new(SystemClock), None)
                .map_err(|error| told(format!("providers.{name}: {error}")))?;
            let trial = gateway.try_out(&message).await;
            for line in trial.request.lines() {
                writeln!(out, "> {line}")?;
            }
            writeln!(out)?;
            for line in trial.answer.iter().flat_map(|answer| answer.lines()) {
                writeln!(out, "< {line}")?;
            }
            let decided = match trial.rule {
                Some(rule) => format!("rule {rule} of the recipe"),
                None if trial.answer.is_some() => "no rule of the recipe".to_owned(),
                None => "no answer".to_owned(),
            };
            conclude(&decided, trial.result, out)
        }
    }
}

fn test_message(config: &Config, channel: Channel, to: Address, text: Option<String>) -> OutgoingCode {
    let code = Code::generate(&SystemEntropy, CodeLength::SIX);
    let text = match text {
        Some(body) => {
            Text { locale: "en".to_owned(), subject: APP_NAME.to_owned(), body: Zeroizing::new(body) }
        }
        None => Messages::new(config.messages.clone(), Arc::new(config.apps.clone())).write(&Occasion {
            app_id: "",
            channel,
            purpose: &Purpose::Login,
            app_name: APP_NAME,
            languages: &[],
            code: &code,
            lifetime: LIFETIME,
        }),
    };
    OutgoingCode {
        id: MessageId::generate(&SystemEntropy),
        to,
        purpose: Purpose::LOGIN,
        code: Some(code),
        app_id: String::new(),
        app_name: APP_NAME.to_owned(),
        lifetime: LIFETIME,
        text,
    }
}

/// Says what routing would be told, and what it would do.
fn conclude(
    decided: &str,
    result: Result<Receipt, SendError>,
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let error = match result {
        Ok(receipt) => {
            let id = receipt.provider_id.map_or_else(|| "no id".to_owned(), |id| format!("id {id}"));
            writeln!(out, "\n{decided}: {} ({id})", Outcome::Accepted.as_str())?;
            return Ok(());
        }
        Err(error) => error,
    };
    let may_be_sent = matches!(error, SendError::Unknown(_));
    let outcome = if may_be_sent { Outcome::Uncertain.as_str() } else { error.kind() };
    let state = if may_be_sent { "the message may have been sent" } else { "the message was not accepted" };
    let next =
        if error.allows_another() { "the next provider is tried" } else { "no other provider is tried" };
    writeln!(out, "\n{decided}: {outcome}")?;
    Err(CommandError::Told(format!("{state}, and {next}: {error}")))
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
    fn the_list_says_which_recipes_are_the_operators_and_which_of_them_are_wrong() {
        let folder = tempfile::tempdir().expect("a folder");
        let shipped = include_str!("../../providers/kannel.toml");
        std::fs::write(folder.path().join("kannel.toml"), shipped).expect("a file");
        let own = shipped.replace("id       = \"kannel\"", "id       = \"own\"");
        assert_ne!(own, shipped);
        std::fs::write(folder.path().join("own.toml"), own.replace("{{ to }}", "{{ whom }}"))
            .expect("a file");
        let text = format!("providers_dir = {:?}", folder.path());
        let config =
            Config::parse(text.parse().expect("TOML"), "a test", &BTreeMap::new()).expect("no problems");
        let (out, error) = said(|out| list(&config, out));
        assert_eq!(error.as_deref(), Some("1 thing(s) to mend"), "{out}");
        assert!(out.contains("/kannel.toml: as it should be\n"), "{out}");
        assert!(out.contains("/own.toml: wrong: `latchkey provider check` says where\n"), "{out}");
    }

    #[tokio::test]
    async fn a_test_message_goes_to_whom_the_channel_reaches() {
        let text = "[providers.sms]\nrecipe = \"kannel\"\nbase_url = \"http://localhost:1\"\nusername = \"u\"\n\
                    password = \"hunter2\"\nsender = \"1\"\n\
                    [providers.mail]\nkind = \"smtp\"\nurl = \"smtp://localhost:1\"\nfrom = \"a@example.com\"";
        let config =
            Config::parse(text.parse().expect("TOML"), "a test", &BTreeMap::new()).expect("no problems");
        for (name, to, said) in [
            ("sms", "ann@mail.example", "--to: sms sends to a phone number: write one"),
            ("mail", "+14155552671", "--to: mail sends to a mailbox: write one"),
            ("voice", "+14155552671", "there is no [providers.voice]; configured are mail, sms"),
        ] {
            let mut out = Vec::new();
            let error = send_test(&config, name, to, None, &mut out).await.expect_err("nobody to send to");
            assert_eq!(error.to_string(), said);
        }
        let mut out = Vec::new();
        let error =
            send_test(&config, "mail", "ann@mail.example", None, &mut out).await.expect_err("nobody there");
        let out = String::from_utf8(out).expect("UTF-8");
        assert_eq!(out, "> a mail by localhost:1 from a@example.com\n\nthe mail server: temporary\n");
        assert!(
            error.to_string().contains("the next provider is tried: temporary: no connection"),
            "{error}"
        );
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

        let whole = shipped.replace("method = \"GET\", url", "url");
        assert_ne!(whole, shipped);
        std::fs::write(&file, whole).expect("a file");
        let (out, _) = said(|out| check(std::slice::from_ref(&file), out));
        assert!(out.contains("no accepted [[example]] has the whole request"), "{out}");

        let other = folder.path().join("other.toml");
        std::fs::write(&other, shipped).expect("a file");
        let (out, _) = said(|out| check(std::slice::from_ref(&other), out));
        assert!(out.ends_with("other.toml: must be named kannel.toml, as its id\n"), "{out}");

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
