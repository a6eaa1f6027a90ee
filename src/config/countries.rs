//! Countries, as operators and recipes write them.

use std::collections::BTreeSet;

use super::reader::Section;
use crate::domain::phone::Country;

/// Each is one that has numbers: a list that can fit nobody is a mistake.
///
/// # Errors
/// What to write.
pub(super) fn parse(names: &[String]) -> Result<BTreeSet<Country>, String> {
    let country = |name: &String| {
        let fix = || {
            let code = "two capital letters of ISO 3166-1, such as [\"US\", \"GB\"]";
            format!("there is no country {name:?}: each must be {code}")
        };
        Country::parse(name).ok_or_else(fix)
    };
    names.iter().map(country).collect()
}

/// Reads `countries`.
pub(super) fn read(section: &Section<'_>) -> BTreeSet<Country> {
    check(section, &section.optional::<Vec<String>>("countries").unwrap_or_default())
}

/// What was read under `countries`.
pub(super) fn check(section: &Section<'_>, names: &[String]) -> BTreeSet<Country> {
    parse(names).unwrap_or_else(|fix| {
        section.problem("countries", &fix);
        BTreeSet::new()
    })
}
