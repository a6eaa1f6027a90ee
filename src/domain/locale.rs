//! Languages of messages.
//!
//! Guarantees: a [`Locale`] is a language, perhaps a script, perhaps a region, in the one spelling of BCP 47; two that
//! mean the same are equal. Whatever else a client's tag says (variants, extensions) is dropped.

use std::fmt;

/// A language as messages are written in: `en`, `pt-BR`, `zh-Hans`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locale(String);

/// Codes that were replaced (the IANA registry of language subtags), which Java and old Android still send.
const RENAMED: [(&str, &str); 5] = [("in", "id"), ("iw", "he"), ("ji", "yi"), ("cmn", "zh"), ("no", "nb")];

/// Regions where Chinese is written in traditional characters.
const TRADITIONAL: [&str; 3] = ["TW", "HK", "MO"];

impl Locale {
    /// English: what is left when nothing else fits.
    #[must_use]
    pub fn english() -> Self {
        Self("en".to_owned())
    }

    /// Reads a BCP 47 tag in any case; `None` when it does not begin with a language.
    #[must_use]
    pub fn parse(tag: &str) -> Option<Self> {
        let mut parts = tag.split(['-', '_']).peekable();
        let is_language = |part: &&str| (2..=3).contains(&part.len()) && is_alphabetic(part);
        let language = parts.next().filter(is_language)?.to_ascii_lowercase();
        let renamed = RENAMED.iter().find(|(old, _)| *old == language).map(|(_, new)| (*new).to_owned());
        let mut text = renamed.unwrap_or(language);
        // Extended languages ("zh-cmn-Hans") say what the primary one does.
        while parts.next_if(|part| part.len() == 3 && is_alphabetic(part)).is_some() {}
        if let Some(script) = parts.next_if(|part| part.len() == 4 && is_alphabetic(part)) {
            let mut letters = script.chars();
            text.push('-');
            text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            text.extend(letters.map(|letter| letter.to_ascii_lowercase()));
        }
        let is_region = |part: &&str| {
            part.len() == 2 && is_alphabetic(part)
                || part.len() == 3 && part.bytes().all(|b| b.is_ascii_digit())
        };
        if let Some(region) = parts.next_if(is_region) {
            text.push('-');
            text.push_str(&region.to_ascii_uppercase());
        }
        parts
            .all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
            .then_some(Self(text))
    }

    /// The tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is written from right to left.
    #[must_use]
    pub fn is_right_to_left(&self) -> bool {
        match self.script() {
            Some(script) => ["Arab", "Hebr", "Thaa", "Syrc", "Nkoo"].contains(&script),
            None => ["ar", "he", "fa", "ur", "yi", "ps", "sd", "ug", "dv", "ckb"].contains(&self.language()),
        }
    }

    fn language(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }

    fn script(&self) -> Option<&str> {
        self.0.split('-').skip(1).find(|part| part.len() == 4)
    }

    fn region(&self) -> Option<&str> {
        self.0.split('-').skip(1).find(|part| part.len() < 4)
    }

    /// The script that it is written in where the language has several and the tag may leave it out.
    fn likely_script(&self) -> Option<&str> {
        self.script().or_else(|| {
            let traditional = self.region().is_some_and(|region| TRADITIONAL.contains(&region));
            (self.language() == "zh").then_some(if traditional { "Hant" } else { "Hans" })
        })
    }

    /// Itself, then ever less of it (RFC 4647 §3.4), each with and without the script that goes without saying.
    fn ever_less(&self) -> impl Iterator<Item = String> {
        let language = self.language();
        let join = |script: Option<&str>, region: Option<&str>| {
            [Some(language), script, region].into_iter().flatten().collect::<Vec<_>>().join("-")
        };
        let (script, region) = (self.likely_script(), self.region());
        [
            join(self.script(), region),
            join(script, region),
            join(script, None),
            join(None, region),
            join(None, None),
        ]
        .into_iter()
    }

    /// Whether somebody who asked for `self` can read `other`: one language, one script.
    fn reads(&self, other: &Self) -> bool {
        let same_script = match (self.likely_script(), other.likely_script()) {
            (Some(one), Some(another)) => one == another,
            (None, _) | (_, None) => true,
        };
        self.language() == other.language() && same_script
    }
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_alphabetic(part: &str) -> bool {
    part.bytes().all(|b| b.is_ascii_alphabetic())
}

/// The best of `available` for somebody who prefers `wanted`, best first: each wish is followed as far as it goes
/// before the next one is looked at (RFC 4647 §3.4), and at its end any variety of the language will do.
#[must_use]
pub fn choose<'a>(wanted: &[String], available: &[&'a Locale]) -> Option<&'a Locale> {
    wanted.iter().filter_map(|tag| Locale::parse(tag)).find_map(|wish| {
        let exact = wish.ever_less().find_map(|tag| available.iter().find(|one| one.0 == tag));
        exact.or_else(|| available.iter().find(|one| wish.reads(one))).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: &[&str]) -> Option<String> {
        let embedded = ["ar", "de", "en", "es", "fr", "hi", "id", "ja", "pt-BR", "ru", "tr", "zh-Hans"];
        let available: Vec<Locale> = embedded.iter().map(|tag| Locale::parse(tag).expect(tag)).collect();
        let wanted: Vec<String> = wanted.iter().map(|tag| (*tag).to_owned()).collect();
        choose(&wanted, &available.iter().collect::<Vec<_>>()).map(ToString::to_string)
    }

    #[test]
    fn tags_have_one_spelling() {
        for (tag, wanted) in [
            ("EN", "en"),
            ("pt_br", "pt-BR"),
            ("ZH-hans-cn", "zh-Hans-CN"),
            ("zh-cmn-Hans", "zh-Hans"),
            ("in-ID", "id-ID"),
            ("es-419", "es-419"),
            ("de-CH-1996", "de-CH"),
            ("ar-EG-u-nu-arab", "ar-EG"),
        ] {
            assert_eq!(Locale::parse(tag).as_ref().map(Locale::as_str), Some(wanted), "{tag}");
        }
        for bad in ["", "e", "english", "x-klingon", "*", "12", "en--US", "en-", "{{ code }}", "en-<b>", "é"]
        {
            assert_eq!(Locale::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_wish_is_followed_from_the_exact_tag_to_any_variety_of_the_language() {
        for (wish, wanted) in [
            ("en", "en"),
            ("en-GB", "en"),
            ("pt-BR", "pt-BR"),
            ("pt", "pt-BR"),
            ("pt-PT", "pt-BR"),
            ("zh", "zh-Hans"),
            ("zh-CN", "zh-Hans"),
            ("zh-SG", "zh-Hans"),
            ("zh-Hans-HK", "zh-Hans"),
            ("in", "id"),
            ("es-419", "es"),
            ("fr-CA", "fr"),
            ("ar-EG", "ar"),
        ] {
            assert_eq!(chosen(&[wish]).as_deref(), Some(wanted), "{wish}");
        }
        for strange in ["zh-TW", "zh-Hant", "zh-HK", "xx", "sv", "nonsense"] {
            assert_eq!(chosen(&[strange]), None, "{strange}");
        }
    }

    #[test]
    fn the_first_wish_that_can_be_met_wins() {
        assert_eq!(chosen(&["sv", "de-AT", "en"]).as_deref(), Some("de"));
        assert_eq!(chosen(&["zh-TW", "ja"]).as_deref(), Some("ja"));
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn an_exact_tag_comes_before_the_language_alone() {
        let available = ["es", "es-MX", "zh-Hant", "zh-Hans"].map(|tag| Locale::parse(tag).expect(tag));
        let available: Vec<&Locale> = available.iter().collect();
        let choose = |tag: &str| choose(&[tag.to_owned()], &available).map(ToString::to_string);
        assert_eq!(choose("es-MX").as_deref(), Some("es-MX"));
        assert_eq!(choose("es-AR").as_deref(), Some("es"));
        assert_eq!(choose("zh-TW").as_deref(), Some("zh-Hant"));
        assert_eq!(choose("zh-MY").as_deref(), Some("zh-Hans"));
    }
}
