//! `[otp]`, `[policy]`, `[limits]`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::reader::Section;
use super::routes::is_prefix;
use super::secret_file::is_readable_by_others;
use super::{Mode, countries, prices};
use crate::domain::address::Address;
use crate::domain::code::CodeLength;
use crate::domain::guard::AtCap;
use crate::domain::limits::{Rate, SendWaits};
use crate::domain::money::DailySpend;
use crate::domain::pepper::{HashCost, MEMORY_KIB, Peppers};
use crate::domain::phone::{Country, Holder};

/// `[otp]`.
#[derive(Debug, Clone)]
pub struct Otp {
    /// Digits of a code.
    pub length: CodeLength,
    /// How long a code is valid.
    pub lifetime: Duration,
    /// Guesses that are ever evaluated for one challenge.
    pub attempts: i32,
    /// What happens at a hundred comparisons without a success.
    pub at_cap: AtCap,
    /// Argon2id's cost.
    pub cost: HashCost,
    /// Where the keys are.
    pub pepper: PepperSource,
}

/// Where the keys that codes are hashed under come from.
#[derive(Debug, Clone)]
pub enum PepperSource {
    /// The keys themselves, already read and valid.
    Given(SecretString),
    /// Development: this file, made at the first start where it is missing.
    Generated(PathBuf),
}

/// `[policy]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Where codes are sent to; empty means everywhere, which only development takes.
    pub countries: BTreeSet<Country>,
    /// Whether kinds of numbers that no person reads messages on are refused: production.
    pub persons_only: bool,
    /// Beginnings of numbers in E.164 that are persons' though the numbering plan gives them to nobody.
    pub new_ranges: Vec<String>,
}

impl Policy {
    /// Whether codes are sent to an address at all.
    #[must_use]
    pub fn serves(&self, address: &Address) -> bool {
        let Address::Phone(phone) = address else { return true };
        let served = || self.countries.is_empty() || self.countries.contains(&phone.country());
        if !self.persons_only {
            return served();
        }
        match phone.holder() {
            Holder::Person => served(),
            Holder::Service => false,
            // Some countries share their calling code: of a range that it does not know, the plan knows no country.
            Holder::Nobody => self.new_ranges.iter().any(|range| phone.e164().starts_with(range.as_str())),
        }
    }
}

/// `[email]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Email {
    /// Whether a mailbox can be logged in with.
    pub login: bool,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Between two messages to one address.
    pub send_waits: SendWaits,
    /// Messages to one address.
    pub per_address: Rate,
    /// Messages asked for by one network and not verified.
    pub per_ip_unverified: Rate,
    /// Messages asked for by one network.
    pub per_ip: Rate,
    /// Messages to one country.
    pub per_country: Rate,
    /// Messages of one app.
    pub per_app: Rate,
    /// Messages in all.
    pub overall: Rate,
    /// What they may cost in all.
    pub spend_per_day: Option<DailySpend>,
}

/// A code lives ten minutes at most (NIST SP 800-63B §3.1.3.2).
pub(super) const MAX_LIFETIME: Duration = Duration::from_mins(10);
const LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(30)..=MAX_LIFETIME;
const GENERATED_PEPPER: &str = "latchkey.pepper";

/// The length apart from the rest: whether it suits the apps is told even where the rest is wrong.
pub(super) fn read_otp(root: &Section<'_>, mode: Mode) -> (CodeLength, Option<Otp>) {
    let section = root.section("otp");
    let digits =
        section.ranged("length", 6, 6..=10, "fewer digits can be guessed, and no phone autofills more");
    let length = u8::try_from(digits).ok().and_then(CodeLength::new).unwrap_or(CodeLength::SIX);
    let why = "a longer one gives guessing more time (NIST SP 800-63B)";
    let lifetime = section.ranged("lifetime", Duration::from_mins(5), LIFETIMES, why);
    let attempts = section.ranged("attempts", 5, 1..=10, "guesses for one challenge");
    let at_cap = section.choice("at_cap", "slow", &[("slow", AtCap::Slow), ("close", AtCap::Close)]);
    let cost = HashCost {
        memory_kib: section.ranged("hash_memory_kib", 64, MEMORY_KIB, "Argon2id's memory"),
        passes: section.ranged("hash_passes", 1, 1..=1000, "Argon2id's passes"),
    };
    let pepper = read_pepper(&section, mode);
    section.finish();
    let whole = || {
        let attempts = i32::try_from(attempts).ok()?;
        Some(Otp { length, lifetime, attempts, at_cap: at_cap?, cost, pepper: pepper? })
    };
    (length, whole())
}

fn read_pepper(section: &Section<'_>, mode: Mode) -> Option<PepperSource> {
    let named = section.optional::<PathBuf>("pepper_file");
    let inline = section.optional::<String>("pepper");
    let to_be_made = inline.is_none() && named.as_ref().is_none_or(|path| !path.exists());
    if mode == Mode::Development && to_be_made {
        return Some(PepperSource::Generated(named.unwrap_or_else(|| GENERATED_PEPPER.into())));
    }
    if mode == Mode::Production
        && let Some(path) = &named
        && is_readable_by_others(path)
    {
        section.problem("pepper_file", &format!("other users can read it: chmod 600 {}", path.display()));
    }
    let fix = "codes need a secret key, which only development makes by itself: run `(umask 077; echo \"k1 \
               $(openssl rand -hex 32)\" > pepper)` and set otp.pepper_file to that file";
    let text = section.required_secret("pepper", fix)?;
    if let Err(error) = Peppers::parse(text.expose_secret()) {
        section.secret_problem("pepper", &error.to_string());
    }
    Some(PepperSource::Given(text))
}

pub(super) fn read_policy(root: &Section<'_>, mode: Mode) -> Policy {
    let section = root.section("policy");
    let countries = countries::check(&section, &section.get("countries", Vec::new()));
    if mode == Mode::Production && countries.is_empty() {
        section.problem(
            "countries",
            "production needs the list of countries to send to: each one left out is one that nobody can pump \
             messages to at your cost",
        );
    }
    let new_ranges = section.get("new_ranges", Vec::<String>::new());
    if !new_ranges.iter().all(|range| is_prefix(range)) {
        section.problem("new_ranges", "must hold beginnings of numbers in E.164, such as [\"+23481\"]");
    }
    section.finish();
    Policy { countries, persons_only: mode == Mode::Production, new_ranges }
}

pub(super) fn read_email(root: &Section<'_>) -> Email {
    let section = root.section("email");
    let email = Email { login: section.get("login", false) };
    section.finish();
    email
}

pub(super) fn read_limits(root: &Section<'_>) -> Limits {
    let section = root.section("limits");
    let rate = |key: &str, burst: u32, hours: u64| section.get(key, Rate::per_hours(burst, hours));
    let waits: Vec<Duration> = section.get("send_waits", SendWaits::default().0.to_vec());
    let send_waits = <[Duration; 4]>::try_from(waits).map_or_else(
        |_| {
            section.problem(
                "send_waits",
                "must be four waits: behind the first, second, third and each later message",
            );
            SendWaits::default()
        },
        SendWaits,
    );
    let limits = Limits {
        send_waits,
        per_address: rate("per_address", 10, 24),
        per_ip_unverified: rate("per_ip_unverified", 60, 1),
        per_ip: rate("per_ip", 600, 1),
        per_country: rate("per_country", 20_000, 1),
        per_app: rate("per_app", 50_000, 1),
        overall: rate("overall", 100_000, 1),
        spend_per_day: prices::read_daily_spend(&section),
    };
    section.finish();
    limits
}
