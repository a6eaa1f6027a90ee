//! Looking into an answer's JSON.
//!
//! Guarantees: a number is read as it is written, so that a long id loses no digit; a text that is not JSON from its
//! first byte to its last has nothing in it. Only what a pointer leads to is read, so depth costs nothing.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// JSON Pointer (RFC 6901), in which `*` stands for every element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer(Vec<String>);

impl Pointer {
    /// Reads one; `None` where it does not start with `/`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('/')?;
        Some(Self(rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect()))
    }

    /// The parts that it leads to, as they are written. Elements that lack one are passed over.
    pub(crate) fn select<'a>(&self, document: &'a [u8]) -> Vec<&'a [u8]> {
        let Ok(root) = serde_json::from_slice::<&'a RawValue>(document) else { return Vec::new() };
        let step = |found: Vec<&'a RawValue>, step: &String| {
            found.into_iter().filter_map(|raw| children(raw, step)).flatten().collect()
        };
        self.0.iter().fold(vec![root], step).into_iter().map(|raw| raw.get().as_bytes()).collect()
    }

    /// The values that it leads to, as text; `None` stands for one that is an object or a list. `null` is nothing. No
    /// value at all where any of the elements that a `*` stands for has none.
    pub(crate) fn find(&self, document: &[u8]) -> Vec<Option<String>> {
        let Ok(root) = serde_json::from_slice::<&RawValue>(document) else { return Vec::new() };
        let mut found = vec![root];
        for step in &self.0 {
            let next: Option<Vec<Vec<&RawValue>>> =
                found.into_iter().map(|raw| children(raw, step)).collect();
            found = next.unwrap_or_default().into_iter().flatten().collect();
        }
        let scalars: Option<Vec<Option<String>>> = found.into_iter().map(scalar).collect();
        scalars.unwrap_or_default()
    }
}

fn children<'a>(raw: &'a RawValue, step: &str) -> Option<Vec<&'a RawValue>> {
    let text = raw.get();
    if text.starts_with('{') {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
        if step == "*" {
            return Some(members.into_values().collect());
        }
        return Some(vec![*members.get(step)?]);
    }
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    if step == "*" {
        return Some(items);
    }
    Some(vec![*items.get(step.parse::<usize>().ok()?)?])
}

#[expect(clippy::option_option, reason = "nothing, something without a text, a text")]
fn scalar(raw: &RawValue) -> Option<Option<String>> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'n' => None,
        b'{' | b'[' => Some(None),
        b'"' => serde_json::from_str(text).ok().map(Some),
        _ => Some(Some(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pointer: &str, document: &str) -> Vec<Option<String>> {
        Pointer::parse(pointer).expect("a pointer").find(document.as_bytes())
    }

    fn one(text: &str) -> Vec<Option<String>> {
        vec![Some(text.to_owned())]
    }

    #[test]
    fn a_number_keeps_all_its_digits() {
        let long = "123456789012345678901234567890";
        assert_eq!(find("/id", &format!("{{\"id\": {long}}}")), one(long));
        assert_eq!(find("/id", "{\"id\": 3200017889310}"), one("3200017889310"));
        assert_eq!(find("/a/1/b~1c", "{\"a\": [0, {\"b/c\": \"x\"}]}"), one("x"));
    }

    #[test]
    fn what_is_missing_null_or_not_json_is_nothing() {
        for document in
            ["{}", "{\"a\": null}", "", "null", "[", "{\"a\": 1} x", "{\"a\": 1", "\u{feff}{\"a\":1}"]
        {
            assert_eq!(find("/a", document), [], "{document}");
        }
        assert_eq!(find("/a", "{\"a\": {}}"), [None]);
    }

    #[test]
    fn a_star_is_every_element_or_none() {
        let both = find("/m/*/s", "{\"m\": [{\"s\": \"0\"}, {\"s\": \"1\"}]}");
        assert_eq!(both, [Some("0".to_owned()), Some("1".to_owned())]);
        assert_eq!(find("/m/*/s", "{\"m\": [{\"s\": \"0\"}, {}]}"), []);
        assert_eq!(find("/m/*/s", "{\"m\": []}"), []);
    }

    #[test]
    fn parts_are_selected_where_they_are_and_passed_over_where_not() {
        let select = |pointer: &str, document: &'static str| -> Vec<&'static str> {
            let parts = Pointer::parse(pointer).expect("a pointer").select(document.as_bytes());
            parts.into_iter().map(|part| std::str::from_utf8(part).expect("UTF-8")).collect()
        };
        let nested = "{\"e\": [{\"s\": [{\"a\": 1}, 2]}, {\"m\": []}, {\"s\": []}, {\"s\": [ 3 ]}]}";
        assert_eq!(select("/e/*/s/*", nested), ["{\"a\": 1}", "2", "3"]);
        assert_eq!(select("/*", "[{\"a\": 1}]"), ["{\"a\": 1}"]);
        for none in ["{}", "", "[", "null", "7"] {
            assert!(select("/*", none).is_empty(), "{none}");
        }
    }

    #[test]
    fn a_thousand_levels_are_not_walked() {
        let deep = format!("{{\"a\": 1, \"b\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(find("/a", &deep), one("1"));
    }
}
