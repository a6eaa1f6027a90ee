//! How many SMS a text takes.

/// GSM 03.38, the letters of one septet.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿\
                     abcdefghijklmnopqrstuvwxyzäöñüà";
/// Those of two.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// The septets of a text; `None` where it has a letter that GSM 03.38 has not.
fn septets(text: &str) -> Option<usize> {
    let size = |c: char| match c {
        c if BASIC.contains(c) => Some(1),
        c if EXTENDED.contains(c) => Some(2),
        _ => None,
    };
    text.chars().map(size).sum()
}

/// Whether the text can be sent in the GSM alphabet.
pub(super) fn is_gsm7(text: &str) -> bool {
    septets(text).is_some()
}

/// How many parts it is sent, and paid for, in. Parts of several are shorter: each has a header.
pub(super) fn segments(text: &str) -> usize {
    let (units, single, part) = match septets(text) {
        Some(septets) => (septets, 160, 153),
        None => (text.encode_utf16().count(), 70, 67),
    };
    if units <= single { 1 } else { units.div_ceil(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_outside_the_gsm_alphabet_makes_a_text_unicode() {
        assert!(is_gsm7("Your code is 123456. Größe: 5 €"));
        assert!(!is_gsm7("Ваш код 123456") && !is_gsm7("çok") && !is_gsm7("`"));
    }

    #[test]
    fn segments_are_counted_as_carriers_bill_them() {
        let of = |text: &str, times: usize| segments(&text.repeat(times));
        assert_eq!((of("a", 160), of("a", 161), of("a", 307)), (1, 2, 3));
        assert_eq!((of("€", 80), of("€", 81)), (1, 2));
        assert_eq!((of("ж", 70), of("ж", 71), of("😀", 35), of("😀", 36)), (1, 2, 1, 2));
    }
}
