//! The body of a request, whoever wrote it.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Deeper nesting is nobody's: the JSON5 parser recurses without a limit of its own.
const MAX_BRACKETS: usize = 32;

/// A name longer than this is cut.
const MAX_NAME_CHARS: usize = 64;

/// No operation's name is longer.
const MAX_OP_BYTES: usize = 32;

/// The top level of the body. A key that occurs twice is an error: two readers could disagree on which counts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Fields(Map<String, Value>);

/// Reads the body as JSON, and where that fails as JSON5, which the tutorial's own curl line is. None: it is neither,
/// or no object.
pub(super) fn parse(body: &[u8]) -> Option<Fields> {
    if let Ok(fields) = serde_json::from_slice(body) {
        return Some(fields);
    }
    if body.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > MAX_BRACKETS {
        return None;
    }
    let body = std::str::from_utf8(body).ok()?;
    // `NaN` and the infinities, which JSON5 knows, would read as null: a code would turn into no code.
    let probes: HashMap<String, Probe> = json5::from_str(body).ok()?;
    let finite = |probe: &Probe| !matches!(probe, Probe::Number(number) if !number.is_finite());
    if probes.values().all(finite) { json5::from_str(body).ok() } else { None }
}

/// Tells numbers from all else.
#[derive(Deserialize)]
#[serde(untagged)]
enum Probe {
    Number(f64),
    Other(IgnoredAny),
}

impl Fields {
    /// The operation in small letters, or nothing. It is echoed: what is no word is `unknown`.
    pub(super) fn op(&self) -> String {
        let Some(op) = self.text("op") else { return String::new() };
        let is_word = op.len() <= MAX_OP_BYTES && op.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if is_word { op.to_ascii_lowercase() } else { "unknown".to_owned() }
    }

    /// A text or number, trimmed. Blank, null and anything structured count as absent.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let text = match self.0.get(key)? {
            Value::String(text) => text.trim().to_owned(),
            number @ Value::Number(_) => whole(number)?.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        (!text.is_empty()).then_some(text)
    }

    /// The code; `otp`, or `code` as apps of before 2021 call it. Numbers lost their leading zeros on the way.
    pub(super) fn otp(&self) -> Option<String> {
        let read = |key| match self.0.get(key) {
            Some(number @ Value::Number(_)) => {
                Some(whole(number).map_or_else(String::new, |n| format!("{n:06}")))
            }
            // Not absent: whoever sends these has a code in mind, and must not be sent another.
            Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Some(String::new()),
            Some(Value::String(_) | Value::Null) | None => self.text(key),
        };
        read("otp").or_else(|| read("code"))
    }

    /// What the person calls themselves, without control characters.
    pub(super) fn name(&self) -> Option<String> {
        let name: String =
            self.text("name")?.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
        (!name.trim().is_empty()).then_some(name)
    }

    /// Whether a field that only apps send is there.
    pub(super) fn is_from_an_app(&self) -> bool {
        self.0.contains_key("dt") || self.0.contains_key("device")
    }
}

/// A whole number that JSON (or JSON5, which knows only doubles) can hold exactly.
fn whole(number: &Value) -> Option<u64> {
    let double =
        || number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(n));
    number.as_u64().or_else(|| double().and_then(|n| format!("{n:.0}").parse().ok()))
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Fields, A::Error> {
                let mut fields = Map::new();
                while let Some((key, value)) = entries.next_entry::<String, Value>()? {
                    if fields.insert(key, value).is_some() {
                        return Err(A::Error::custom("a key occurs twice"));
                    }
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Fields {
        parse(body.as_bytes()).unwrap_or_else(|| panic!("{body} is an object"))
    }

    #[test]
    fn the_tutorials_unquoted_keys_are_read_like_json() {
        let tutorial = r#"{op: "login", phone: "18005551234", appid: "com.messenger.appid"}"#;
        let json = r#"{"op":"login","phone":"18005551234","appid":"com.messenger.appid"}"#;
        assert_eq!(read(tutorial), read(json));
    }

    #[test]
    fn texts_and_numbers_are_one_and_blanks_are_absent() {
        for body in [r#"{"phone":18005551234}"#, r"{phone: 18005551234}", r#"{"phone":" 18005551234 "}"#] {
            assert_eq!(read(body).text("phone").as_deref(), Some("18005551234"), "{body}");
        }
        for body in [
            r#"{"a":""}"#,
            r#"{"a":"  "}"#,
            r#"{"a":null}"#,
            r#"{"a":[1]}"#,
            r#"{"a":{}}"#,
            r#"{"a":true}"#,
            "{}",
        ] {
            assert_eq!(read(body).text("a"), None, "{body}");
        }
    }

    #[test]
    fn a_numeric_code_gets_its_zeros_back_and_junk_is_a_wrong_code_a8() {
        let otp = |body| read(body).otp();
        assert_eq!(otp(r#"{"otp":1234}"#).as_deref(), Some("001234"));
        assert_eq!(otp("{otp: 1234}").as_deref(), Some("001234"));
        assert_eq!(otp(r#"{"otp":0}"#).as_deref(), Some("000000"));
        assert_eq!(otp(r#"{"code":"123456"}"#).as_deref(), Some("123456"));
        for absent in [r#"{"otp":""}"#, r#"{"otp":"  "}"#, r#"{"otp":null}"#, "{}"] {
            assert_eq!(otp(absent), None, "{absent}");
        }
        for junk in [
            r#"{"otp":true}"#,
            r#"{"otp":[]}"#,
            r#"{"otp":{}}"#,
            r#"{"otp":-1}"#,
            r#"{"otp":1.5}"#,
            r#"{"otp":1e300}"#,
        ] {
            assert_eq!(otp(junk).as_deref(), Some(""), "{junk}");
        }
    }

    #[test]
    fn a_number_that_is_none_is_not_taken_for_null_a8() {
        for number in ["NaN", "-NaN", "Infinity", "-Infinity", "1e999", "-1e999"] {
            assert_eq!(parse(format!("{{\"otp\":{number}}}").as_bytes()), None, "{number}");
            assert_eq!(parse(format!("{{op: 'login', otp: {number}}}").as_bytes()), None, "{number}");
        }
    }

    #[test]
    fn an_op_is_a_word_in_small_letters() {
        let op = |op: &str| read(&serde_json::json!({"op": op}).to_string()).op();
        assert_eq!(op(" LogIn "), "login");
        assert_eq!(op("Set_Group2"), "set_group2");
        for strange in ["a b", "<b>", "\u{130}", "a\n", &"x".repeat(33)] {
            assert_ne!(op(strange), strange.to_lowercase(), "{strange:?}");
        }
        assert_eq!(op("  "), "");
    }

    #[test]
    fn a_key_that_occurs_twice_is_refused_in_both_readings_j5() {
        assert_eq!(parse(br#"{"otp":"1","otp":"2"}"#), None);
        assert_eq!(parse(br#"{otp:"1",otp:"2"}"#), None);
    }

    #[test]
    fn what_is_no_object_is_nothing() {
        for body in
            ["", "[]", "1", "\"a\"", "null", "true", "{", "{]", "op=login&phone=1", "\u{0}", "{\"a\":1} x"]
        {
            assert_eq!(parse(body.as_bytes()), None, "{body:?}");
        }
        assert_eq!(parse(&[0xff, 0xfe, b'{', b'}']), None);
    }

    #[test]
    fn sixteen_kilobytes_of_brackets_get_a_clean_no_a8() {
        for unit in ["[", "{", "{a:", "{\"a\":", "[[", "{a:["] {
            let body = unit.repeat(16 * 1024 / unit.len());
            assert_eq!(parse(body.as_bytes()), None, "{unit}");
        }
    }

    #[test]
    fn control_characters_leave_a_name() {
        assert_eq!(read(r#"{"name":"A\u0000nn\r\n"}"#).name().as_deref(), Some("Ann"));
        assert_eq!(read(r#"{"name":"\u0007"}"#).name(), None);
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body).map(|fields| (fields.op(), fields.otp(), fields.name()));
        }
    }
}
