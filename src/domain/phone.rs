//! Telephone numbers.
//!
//! Guarantees: a [`Phone`] is E.164 (`+`, country calling code, up to 15 digits in all, ASCII), of a length that
//! its country uses, and the same person's number in any spelling is the same `Phone`. Only ASCII digits and
//! ` +-().` ever reach the parser, so full-width digits, vanity letters and `;ext=` cannot.

use std::sync::OnceLock;

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumberFormat, PhoneNumberType, Region};

/// Longer than any spelling of 15 digits that a person would type.
const MAX_INPUT_BYTES: usize = 40;

/// The longest country calling code (ITU-T E.164).
const CALLING_CODE_DIGITS: usize = 3;

/// Calling codes that belong to no country: satellites, maritime and international networks (ITU-T E.164 annex).
const WORLD: [&str; 6] = ["+870", "+878", "+881", "+882", "+883", "+888"];

/// A number in E.164. Its `Debug` is masked.
#[derive(Clone)]
pub struct Phone {
    e164: String,
    /// Of one that the store gave back, once somebody asked: its calling code may be that of two dozen countries.
    country: OnceLock<Country>,
}

impl PartialEq for Phone {
    fn eq(&self, other: &Self) -> bool {
        self.e164 == other.e164
    }
}

impl Eq for Phone {}

impl std::hash::Hash for Phone {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.e164.hash(state);
    }
}

/// ISO 3166-1 alpha-2 of the region that a number belongs to; `ZZ` where the numbering plan does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 2]);

/// Why a text is not taken as a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// It has characters that no number has, or is far too long.
    #[error("a phone number is `+`, the country code and the number, in ASCII digits")]
    Characters,
    /// It starts with no country calling code, or has too few or too many digits for its country.
    #[error("this is not a number of any country: it is too short, too long, or lacks the country code")]
    Impossible,
    /// It is a number in another spelling.
    #[error("the number must be written in E.164, as {suggestion}")]
    NotCanonical {
        /// The spelling that is accepted.
        suggestion: String,
    },
}

/// To whom a numbering plan gives a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A person may read messages there.
    Person,
    /// Premium rate, shared cost, toll free, pagers, voice mail, company-wide access, satellites and other networks
    /// without a country.
    Service,
    /// Short codes, and ranges that are not given out, as far as this release knows.
    Nobody,
}

impl Phone {
    /// Takes E.164 and nothing else, for our own API.
    ///
    /// # Errors
    /// [`PhoneError::NotCanonical`] with the accepted spelling where there is one.
    pub fn parse(text: &str) -> Result<Self, PhoneError> {
        let phone = Self::parse_lenient(text)?;
        if phone.e164 == text { Ok(phone) } else { Err(PhoneError::NotCanonical { suggestion: phone.e164 }) }
    }

    /// Takes what published clients send: with or without `+` or `00`, with spaces and punctuation, with the
    /// national trunk `0` after the country code. The leading characters that mesibo's PHP strips go first.
    ///
    /// # Errors
    /// [`PhoneError::Characters`] or [`PhoneError::Impossible`].
    pub fn parse_lenient(text: &str) -> Result<Self, PhoneError> {
        if text.len() > MAX_INPUT_BYTES {
            return Err(PhoneError::Characters);
        }
        let text = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\0']);
        let text = text.trim_start_matches(['+', '0', '±', ' ']);
        let mut international = String::with_capacity(text.len() + 1);
        international.push('+');
        for c in text.chars() {
            match c {
                '0'..='9' => international.push(c),
                ' ' | '+' | '-' | '(' | ')' | '.' => {}
                _ => return Err(PhoneError::Characters),
            }
        }
        let phone = Self::read(&international)?;
        // Stripping a trunk prefix can leave digits that read as another number, or as none.
        if phone.e164 == international || Self::read(&phone.e164).is_ok_and(|again| again == phone) {
            Ok(phone)
        } else {
            Err(PhoneError::Impossible)
        }
    }

    fn read(international: &str) -> Result<Self, PhoneError> {
        let number = PHONE_NUMBER_UTIL.parse(international, None).or(Err(PhoneError::Impossible))?;
        match number.is_possible_with_reason() {
            Ok(NumberLengthType::IsPossible) => {}
            Ok(NumberLengthType::IsPossibleLocalOnly) | Err(_) => return Err(PhoneError::Impossible),
        }
        let e164 = number.format_as(PhoneNumberFormat::E164).into_owned();
        let country = country_of(&e164, || number.get_region_code());
        Ok(Self { e164, country: country.into() })
    }

    /// Takes one that the store gave back, without asking the numbering plan again.
    #[must_use]
    pub fn from_stored(e164: String) -> Option<Self> {
        let digits = e164.strip_prefix('+')?;
        let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then_some(Self { e164, country: OnceLock::new() })
    }

    /// `+` and digits.
    #[must_use]
    pub fn e164(&self) -> &str {
        &self.e164
    }

    /// The digits without `+`, as mesibo addresses its users.
    #[must_use]
    pub fn digits(&self) -> &str {
        self.e164.trim_start_matches('+')
    }

    /// Where the number belongs.
    #[must_use]
    pub fn country(&self) -> Country {
        let of_plan = || PHONE_NUMBER_UTIL.parse(&self.e164, None).ok()?.get_region_code();
        *self.country.get_or_init(|| country_of(&self.e164, of_plan))
    }

    /// To whom the numbering plan gives the number.
    #[must_use]
    pub fn holder(&self) -> Holder {
        let Ok(number) = PHONE_NUMBER_UTIL.parse(&self.e164, None) else { return Holder::Nobody };
        match number.get_type() {
            _ if WORLD.iter().any(|code| self.e164.starts_with(code)) => Holder::Service,
            PhoneNumberType::PremiumRate
            | PhoneNumberType::SharedCost
            | PhoneNumberType::TollFree
            | PhoneNumberType::Pager
            | PhoneNumberType::UAN
            | PhoneNumberType::VoiceMail => Holder::Service,
            PhoneNumberType::FixedLine
            | PhoneNumberType::Mobile
            | PhoneNumberType::FixedLineOrMobile
            | PhoneNumberType::VoIP
            | PhoneNumberType::PersonalNumber => Holder::Person,
            PhoneNumberType::Unknown => Holder::Nobody,
        }
    }

    /// `+1•••1234`: the first digit and the last four, for logs and answers.
    #[must_use]
    pub fn masked(&self) -> String {
        mask(&self.e164)
    }
}

/// Where a number belongs; the numbering plan is asked where its calling code does not tell.
fn country_of(e164: &str, of_plan: impl FnOnce() -> Option<Region>) -> Country {
    let region = sole_region(e164).or_else(of_plan);
    region.map_or(Country::UNKNOWN, |region| Country::of(&region.to_string()))
}

/// Most calling codes are of one region.
fn sole_region(e164: &str) -> Option<Region> {
    // No calling code begins another (ITU-T E.164, 6.2.1).
    let mut regions = (1..=CALLING_CODE_DIGITS).find_map(|length| {
        let code = e164.get(1..=length)?.parse().ok()?;
        PHONE_NUMBER_UTIL.get_regions_for_country_calling_code(code)
    })?;
    if regions.len() == 1 { regions.next() } else { None }
}

fn mask(e164: &str) -> String {
    let head: String = e164.chars().take(2).collect();
    let tail: String = e164.chars().skip(e164.len().saturating_sub(4).max(2)).collect();
    format!("{head}•••{tail}")
}

impl std::fmt::Debug for Phone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Country {
    /// The numbering plan does not tell.
    pub const UNKNOWN: Self = Self(*b"ZZ");

    /// Reads the two capital letters of one that has numbers (ISO 3166-1, and `XK`): `GB`, but not `UK`.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        let mut known = PHONE_NUMBER_UTIL.get_supported_regions();
        known.any(|region| region.to_string() == code).then(|| Self::of(code))
    }

    /// Reads two capital letters; anything else is [`Country::UNKNOWN`].
    #[must_use]
    pub fn of(code: &str) -> Self {
        match code.as_bytes() {
            &[a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Self([a, b]),
            _ => Self::UNKNOWN,
        }
    }
}

impl std::fmt::Display for Country {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|letter| std::fmt::Write::write_char(f, char::from(*letter)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_that_the_store_gave_back_is_the_same() {
        for text in ["+18005551234", "+447400123456", "+88213123456"] {
            let phone = Phone::parse(text).expect("a number");
            let stored = Phone::from_stored(phone.e164().to_owned()).expect("a number");
            assert!(stored == phone);
            assert_eq!((stored.country(), stored.e164()), (phone.country(), text));
        }
        for text in ["", "+", "18005551234", "+1 800", "+１"] {
            assert!(Phone::from_stored(text.to_owned()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_number_is_of_the_country_that_the_numbering_plan_says() {
        for region in PHONE_NUMBER_UTIL.get_supported_regions() {
            let example = PHONE_NUMBER_UTIL.get_example_number(region).expect("each region has one");
            let e164 = example.format_as(PhoneNumberFormat::E164).into_owned();
            let told = example.get_region_code().map(|region| region.to_string());
            let parsed = Phone::parse(&e164).expect("a number");
            let stored = Phone::from_stored(e164).expect("a number");
            for phone in [parsed, stored] {
                assert_eq!(Some(phone.country().to_string()), told, "{phone:?}");
            }
        }
    }

    #[test]
    fn a_number_of_a_network_without_a_country_is_of_none() {
        for text in ["+88213123456", "+881612345678", "+870773111632"] {
            assert_eq!(Phone::parse(text).expect(text).country(), Country::UNKNOWN, "{text}");
        }
    }

    #[test]
    fn every_spelling_of_one_number_is_one_person() {
        let spellings = [
            "+18005551234",
            "18005551234",
            "0018005551234",
            "±18005551234",
            "+1 800 555 1234",
            " +1 (800) 555-1234\n",
            "+1.800.555.1234",
            "+1-800-555-1234",
        ];
        for spelling in spellings {
            let phone = Phone::parse_lenient(spelling).expect(spelling);
            assert_eq!(phone.e164(), "+18005551234", "{spelling:?}");
            assert_eq!(phone.digits(), "18005551234");
            assert_eq!(phone.country(), Country::of("US"));
        }
    }

    #[test]
    fn each_regions_mobile_example_is_a_persons_and_its_costly_ones_are_not_c6() {
        let kinds = [
            (PhoneNumberType::Mobile, Holder::Person),
            (PhoneNumberType::PremiumRate, Holder::Service),
            (PhoneNumberType::SharedCost, Holder::Service),
            (PhoneNumberType::TollFree, Holder::Service),
            (PhoneNumberType::Pager, Holder::Service),
            (PhoneNumberType::UAN, Holder::Service),
        ];
        for (kind, holder) in kinds {
            let regions = PHONE_NUMBER_UTIL.get_supported_regions();
            let examples = regions.filter_map(|region| {
                PHONE_NUMBER_UTIL.get_example_number_for_type_and_region(region, kind).ok()
            });
            let mut seen = 0;
            for example in examples {
                let e164 = example.format_as(PhoneNumberFormat::E164).into_owned();
                // Toll-free numbers of some countries are too short for E.164: nobody can ask for those at all.
                let Ok(phone) = Phone::parse(&e164) else { continue };
                assert_eq!(phone.holder(), holder, "{e164} {kind:?}");
                seen += 1;
            }
            assert!(seen > 5, "{kind:?}");
        }
    }

    #[test]
    fn trunk_zeros_and_italian_zeros_are_told_apart_e3() {
        for (given, canonical) in [
            ("4407911123456", "+447911123456"),
            ("+44 (0) 7911 123456", "+447911123456"),
            ("+39 06 1234 5678", "+390612345678"),
            ("4915112345678", "+4915112345678"),
            ("49 0151 12345678", "+4915112345678"),
        ] {
            assert_eq!(Phone::parse_lenient(given).expect(given).e164(), canonical);
        }
    }

    #[test]
    fn anything_but_ascii_digits_and_punctuation_is_refused_e2() {
        for bad in [
            "＋18005551234",
            "１８００５５５１２３４",
            "+1800FLOWERS",
            "+18005551234;ext=5",
            "+18005551234x5",
            "18005551234\u{202e}",
            "tel:+18005551234",
            "a@example.com",
            "+1800555\n1234",
            "+1800555\u{0}1234",
            "٠١٢٣٤٥٦٧٨٩",
            "+180055512341800555123418005551234180055512",
        ] {
            assert_eq!(Phone::parse_lenient(bad), Err(PhoneError::Characters), "{bad:?}");
        }
        for bad in ["", "+", "000", "12345678", "+1234567890123456", "999999999999", "+", "1800555123"] {
            assert_eq!(Phone::parse_lenient(bad), Err(PhoneError::Impossible), "{bad:?}");
        }
    }

    #[test]
    fn our_own_api_takes_e164_alone_and_suggests_it_e3() {
        assert!(Phone::parse("+18005551234").is_ok());
        for fixable in ["18005551234", "+1 800 555 1234", "0018005551234", " +18005551234"] {
            let suggestion = "+18005551234".to_owned();
            assert_eq!(Phone::parse(fixable), Err(PhoneError::NotCanonical { suggestion }), "{fixable:?}");
        }
    }

    #[test]
    fn what_reads_differently_a_second_time_is_no_number_e1() {
        assert_eq!(Phone::parse_lenient("310000000"), Err(PhoneError::Impossible));
    }

    #[test]
    fn numbers_that_no_person_reads_on_are_known_c6() {
        for service in [
            "+18005551234",
            "+19002345678",
            "+448712345678",
            "+448081570000",
            "+881612345678",
            "+883510012345",
            "+870773111632",
            "+498001234567",
            "+33891123456",
        ] {
            assert_eq!(Phone::parse(service).expect(service).holder(), Holder::Service, "{service}");
        }
        for person in [
            "+12015550123",
            "+447400123456",
            "+4915123456789",
            "+919876543210",
            "+5511987654321",
            "+86 13812345678",
        ] {
            assert_eq!(Phone::parse_lenient(person).expect(person).holder(), Holder::Person, "{person}");
        }
    }

    #[test]
    fn debug_never_shows_a_whole_number_k4() {
        let phone = Phone::parse("+18005551234").expect("a number");
        assert_eq!(format!("{phone:?}"), "+1•••1234");
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point_e1(text in "[+0-9 ().-]{0,24}") {
            if let Ok(phone) = Phone::parse_lenient(&text) {
                prop_assert_eq!(&Phone::parse(phone.e164()).expect("its own form"), &phone);
                prop_assert!(phone.e164().len() <= 16);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic_e2(text in "\\PC{0,60}") {
            let _ = Phone::parse_lenient(&text).map(|phone| phone.masked());
        }
    }
}
