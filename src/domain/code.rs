//! One-time codes.
//!
//! Guarantees: a [`Code`] is 6 to 10 ASCII digits, drawn uniformly from the operating system's randomness, and has
//! neither `Debug` nor `PartialEq`: it is compared only as a [`CodeHash`], in constant time, by
//! [`Challenge::judge`](super::challenge::Challenge::judge).

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::ambient::Entropy;

/// How many digits a code has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeLength(u8);

impl CodeLength {
    /// What every published client expects.
    pub const SIX: Self = Self(6);

    /// Between 6 (fewer can be guessed, NIST SP 800-63B §3.1.3.2) and 10 (Android finds no longer code).
    #[must_use]
    pub fn new(digits: u8) -> Option<Self> {
        (6..=10).contains(&digits).then_some(Self(digits))
    }

    /// The number of digits.
    #[must_use]
    pub fn digits(self) -> u8 {
        self.0
    }
}

/// A one-time code in clear. It lives in memory and in the message, nowhere else.
pub struct Code(Zeroizing<String>);

impl Code {
    /// Draws a code, uniform over all strings of `length` digits, leading zeros included.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy, length: CodeLength) -> Self {
        let space = 10u64.pow(u32::from(length.0));
        // Draws past the last whole multiple would favour small codes.
        let fair = u64::MAX - u64::MAX % space;
        let mut bytes = Zeroizing::new([0u8; 8]);
        loop {
            entropy.fill(&mut *bytes);
            let draw = u64::from_le_bytes(*bytes);
            if draw < fair {
                return Self(Zeroizing::new(format!(
                    "{:0width$}",
                    draw % space,
                    width = usize::from(length.0)
                )));
            }
        }
    }

    /// Takes exactly `length` ASCII digits; anything else is no code and must not be counted or compared.
    #[must_use]
    pub fn parse(text: &str, length: CodeLength) -> Option<Self> {
        let exact = text.len() == usize::from(length.0) && text.bytes().all(|b| b.is_ascii_digit());
        exact.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The digits, for the message and the hash.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A code under pepper, salt and binding. See [`super::pepper::CodeHasher`].
#[derive(Clone, Copy)]
pub struct CodeHash([u8; Self::BYTES]);

impl CodeHash {
    /// Its size in the database.
    pub const BYTES: usize = 32;

    pub(super) fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// From the database; `None` when it is not 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// For the database.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are of one code, in constant time.
    pub(super) fn matches(&self, other: &Self) -> subtle::Choice {
        self.0.ct_eq(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SystemEntropy;

    #[test]
    fn codes_are_uniform_with_leading_zeros_a1() {
        let draws = 200_000_u32;
        let mut digits = [[0u32; 10]; 6];
        for _ in 0..draws {
            let code = Code::generate(&SystemEntropy, CodeLength::SIX);
            assert_eq!(code.reveal().len(), 6);
            for (place, digit) in digits.iter_mut().zip(code.reveal().bytes()) {
                place[usize::from(digit - b'0')] += 1;
            }
        }
        let expected = f64::from(draws) / 10.0;
        for place in digits {
            let chi: f64 = place.iter().map(|seen| (f64::from(*seen) - expected).powi(2) / expected).sum();
            // 9 degrees of freedom: above 40 once in 100,000 runs of a fair generator.
            assert!(chi < 40.0, "chi-square {chi}: {place:?}");
        }
    }

    #[test]
    fn only_exact_ascii_digits_are_a_code_a8() {
        assert!(Code::parse("012345", CodeLength::SIX).is_some());
        for bad in [
            "",
            "12345",
            "1234567",
            " 12345",
            "12345 ",
            "１２３４５６",
            "12345\0",
            "-12345",
            "+12345",
            "12345a",
            "1e5",
        ] {
            assert!(Code::parse(bad, CodeLength::SIX).is_none(), "{bad:?}");
        }
        assert!(Code::parse(&"1".repeat(10_000), CodeLength::SIX).is_none());
    }

    #[test]
    fn shorter_than_six_digits_is_no_length_a1() {
        assert_eq!((CodeLength::new(5), CodeLength::new(11)), (None, None));
        assert_eq!(CodeLength::new(10).map(CodeLength::digits), Some(10));
    }
}
