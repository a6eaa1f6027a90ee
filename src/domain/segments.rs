//! How many segments an SMS takes, and so what it costs.
//!
//! Guarantees: a text of one segment by [`segments`] travels as one message wherever the gateway picks the smallest
//! alphabet itself, as 3GPP TS 23.038 has it (default alphabet and its extension table, no national tables).

/// What an SMS is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// The GSM default alphabet: 7 bits a character, and 14 for those of the extension table.
    Gsm7,
    /// UTF-16 code units.
    Ucs2,
}

impl Alphabet {
    /// For the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gsm7 => "GSM-7",
            Self::Ucs2 => "UCS-2",
        }
    }

    /// Units that a message alone may have, and each part of a longer one, which has a header (TS 23.040 §9.2.3.24.1).
    fn limits(self) -> (usize, usize) {
        match self {
            Self::Gsm7 => (160, 153),
            Self::Ucs2 => (70, 67),
        }
    }

    fn units(self, letter: char) -> usize {
        match self {
            Self::Gsm7 => 1 + usize::from(EXTENSION.contains(letter)),
            Self::Ucs2 => letter.len_utf16(),
        }
    }
}

/// TS 23.038 §6.2.1.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// TS 23.038 §6.2.1.1: each behind an escape.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// Whether a text can be written in the GSM default alphabet.
#[must_use]
pub fn is_gsm7(text: &str) -> bool {
    text.chars().all(|letter| BASIC.contains(letter) || EXTENSION.contains(letter))
}

/// The alphabet of a text, its length in that alphabet's units, and the segments that it takes.
#[must_use]
pub fn segments(text: &str) -> (Alphabet, usize, usize) {
    let alphabet = if is_gsm7(text) { Alphabet::Gsm7 } else { Alphabet::Ucs2 };
    let units = text.chars().map(|letter| alphabet.units(letter)).sum();
    let (alone, part) = alphabet.limits();
    if units <= alone {
        return (alphabet, units, 1);
    }
    let (mut segments, mut used) = (1, 0);
    for letter in text.chars() {
        let needed = alphabet.units(letter);
        // No character is cut in two: one that does not fit begins the next part.
        if used + needed > part {
            segments += 1;
            used = 0;
        }
        used += needed;
    }
    (alphabet, units, segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_hold_127_and_10_characters_d3() {
        assert_eq!((BASIC.chars().count(), EXTENSION.chars().count()), (127, 10));
        assert!(is_gsm7("Grüße à la carte, 5 €\n@example.com #123456"));
        for foreign in ["ç", "ó", "ã", "ş", "ı", "к", "ö̈", "’", "\t", "😀"] {
            assert!(!is_gsm7(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_limits_are_160_and_153_septets_d3() {
        assert_eq!(segments(""), (Alphabet::Gsm7, 0, 1));
        assert_eq!(segments(&"a".repeat(160)), (Alphabet::Gsm7, 160, 1));
        assert_eq!(segments(&"a".repeat(161)), (Alphabet::Gsm7, 161, 2));
        assert_eq!(segments(&"a".repeat(306)), (Alphabet::Gsm7, 306, 2));
        assert_eq!(segments(&"a".repeat(307)), (Alphabet::Gsm7, 307, 3));
        assert_eq!(segments(&"€".repeat(80)), (Alphabet::Gsm7, 160, 1));
        assert_eq!(segments(&"€".repeat(81)), (Alphabet::Gsm7, 162, 2));
        // 76 escapes fill 152 of 153 septets; the 77th begins the next part.
        assert_eq!(segments(&"€".repeat(153)), (Alphabet::Gsm7, 306, 3));
    }

    #[test]
    fn the_limits_are_70_and_67_code_units_d3() {
        assert_eq!(segments(&"к".repeat(70)), (Alphabet::Ucs2, 70, 1));
        assert_eq!(segments(&"к".repeat(71)), (Alphabet::Ucs2, 71, 2));
        assert_eq!(segments(&"к".repeat(134)), (Alphabet::Ucs2, 134, 2));
        assert_eq!(segments(&"к".repeat(135)), (Alphabet::Ucs2, 135, 3));
        assert_eq!(segments(&"😀".repeat(35)), (Alphabet::Ucs2, 70, 1));
        // 33 pairs fill 66 of 67 units.
        assert_eq!(segments(&"😀".repeat(67)), (Alphabet::Ucs2, 134, 3));
    }
}
