//! Which languages a client prefers.

/// More are nobody's.
const MAX_LANGUAGES: usize = 10;

/// The tags of all lines of an `Accept-Language` header, best first (RFC 9110 §5.3, §12.5.4). What is malformed is
/// passed over.
pub(super) fn preferences<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let items = lines.flat_map(|line| line.split(',')).take(MAX_LANGUAGES);
    let mut weighted: Vec<(u16, String)> = items.filter_map(read).collect();
    // Stable: of two that weigh the same, the first stays first.
    weighted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    weighted.into_iter().map(|(_, tag)| tag).collect()
}

/// A tag and its weight in thousandths.
fn read(item: &str) -> Option<(u16, String)> {
    let mut parts = item.split(';').map(str::trim);
    let tag = parts.next().filter(|tag| is_tag(tag))?;
    let weight = match parts.next() {
        None => 1000,
        Some(parameter) => thousandths(parameter.strip_prefix(['q', 'Q'])?.strip_prefix('=')?)?,
    };
    (weight > 0).then(|| (weight, tag.to_owned()))
}

/// The letters of a BCP 47 tag; nothing that a template could stumble over.
pub(super) fn is_tag(text: &str) -> bool {
    (2..=35).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// `1`, `0.5`, `0.333`.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = rest.len() <= 3 && rest.bytes().all(|b| b.is_ascii_digit());
    let rest: u16 = format!("{rest:0<3}").parse().ok()?;
    match whole {
        "0" if digits => Some(rest),
        "1" if digits && rest == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_LANGUAGES, preferences};

    fn read(line: &str) -> Vec<String> {
        preferences(std::iter::once(line))
    }

    #[test]
    fn the_heaviest_comes_first_and_zero_is_no() {
        assert_eq!(read("de;Q=0.5, pt-BR, *;q=0.1, en;q=0.8, fr;q=0"), ["pt-BR", "en", "de"]);
        assert_eq!(read("en, fr"), ["en", "fr"]);
        assert_eq!(
            preferences(["de;q=0.5", "fr, tr;q=0.7"].into_iter()),
            ["fr", "tr", "de"],
            "of several lines"
        );
    }

    #[test]
    fn what_is_malformed_is_passed_over_d4() {
        for bad in ["", ";", "e", "../../etc", "{{ code }}", "en;q=2", "en;q=x", "en;q=0.1234", "en\r\nx"] {
            assert!(read(bad).is_empty(), "{bad:?}");
        }
        assert_eq!(read(&"en,".repeat(1000)).len(), MAX_LANGUAGES);
    }
}
