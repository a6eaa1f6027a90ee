//! Published signature vectors, calls that are forged, and whatever else comes in.

mod proofs;
mod vectors;

use proptest::prelude::*;

use super::*;
use crate::delivery::recipe::tests::{shipped, with_dlr};

/// When published vectors were made, or calls come here: unix seconds.
const NOW: i64 = 1_767_225_600;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn call(body: &str) -> CallIn {
    let url = "https://login.example.com/v1/receipts/name/token/msg_1".to_owned();
    CallIn { method: Method::Post, url, query: String::new(), headers: Vec::new(), body: body.into() }
}

impl CallIn {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn at_url(mut self, url: &str) -> Self {
        self.query = url.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
        url.clone_into(&mut self.url);
        self
    }

    fn get(mut self) -> Self {
        self.method = Method::Get;
        self
    }
}

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let secret = |(name, value): &(&str, &str)| ((*name).to_owned(), SettingValue::Secret((*value).into()));
    pairs.iter().map(secret).collect()
}

/// `[dlr]` with this `[dlr.verify]`, and a setting `secret`.
fn dlr(verify: &str) -> Dlr {
    with_dlr(&format!(
        "format = \"json\"\nid = \"/id\"\nstatus = \"/status\"\nmap = {{ ok = \"delivered\", no = \"failed\" }}\n\
         [dlr.verify]\n{verify}\n"
    ))
    .unwrap_or_else(|error| panic!("{error}"))
    .into_dlr()
    .expect("[dlr]")
}

fn proved(dlr: &Dlr, secret: &str, call: &CallIn, now: i64) -> bool {
    dlr.read(&settings(&[("secret", secret)]), call, None, at(now)).is_ok()
}

fn refused(dlr: &str, key: &str, fix: &str) {
    let error = with_dlr(dlr).err().unwrap_or_else(|| panic!("{key}: it loads"));
    assert!(error.starts_with(&format!("{key}: ")) && error.contains(fix), "{error}");
}

#[test]
fn a_recipe_that_could_not_be_read_is_refused_by_its_key() {
    let rest = "format = \"json\"\nstatus = \"/status\"\n";
    let path = "verify = { kind = \"path\" }\n";
    let map = "map = { ok = \"delivered\", no = \"failed\" }\n";
    refused(&format!("{rest}{map}{path}"), "dlr.id", "which message");
    let rest = format!("{rest}id = \"/id\"\n");
    refused(&format!("{rest}{path}map = {{ ok = \"delivered\" }}"), "dlr.map", "means failed");
    refused(&format!("{rest}{path}map = {{ no = \"failed\" }}"), "dlr.map", "means delivered");
    refused(&format!("{rest}{path}{map}errors = {{ 1 = \"temporary\" }}"), "dlr.error", "where the code is");
    let accepted = "error = \"/e\"\nerrors = { 1 = \"accepted\" }";
    refused(&format!("{rest}{path}{map}{accepted}"), "dlr.errors", "no success");
    refused(&format!("{rest}{path}{map}ack = {{ status = 500 }}"), "dlr.ack.status", "success");
    refused(&format!("{rest}{path}{map}methods = []"), "dlr.methods", "GET");
    let nowhere = rest.replace("\"/status\"", "[]");
    refused(&format!("{nowhere}{path}{map}"), "dlr.status", "where the status is");
    let bare = rest.replace("\"/status\"", "[\"/status\", \"type\"]");
    refused(&format!("{bare}{path}{map}"), "dlr.status", "a JSON pointer");
    refused(
        &format!("{rest}{map}verify = {{ kind = \"basic\", user = \"a\", secret = \"b\" }}"),
        "dlr.verify",
        "declare",
    );
    let jwt = "verify = { kind = \"jwt\", header = \"a\", secret = \"secret\" }";
    refused(&format!("{rest}{map}{jwt}"), "dlr.verify.payload_hash", "ties the token");
    let signature = "{ header = \"s\", encoding = \"hex\", payload = [\"body\"], timestamp = \"t\" }";
    let hmac = |signature: &str| {
        format!(
            "{rest}{map}verify = {{ kind = \"hmac\", alg = \"sha256\", secret = \"secret\", signature = {signature} }}"
        )
    };
    refused(&hmac(signature), "dlr.verify.signature.timestamp", "must cover it");
    let unknown = "{ header = \"s\", encoding = \"hex\", payload = [\"everything\"] }";
    refused(&hmac(unknown), "dlr.verify.signature.payload[0]", "form_sorted");
    for misspelt in ["heeder = \"s\", encoding = \"hex\"", "header = \"s\", encoding = \"hex\", max_age = 1"]
    {
        let error = with_dlr(&hmac(&format!("{{ {misspelt}, payload = [\"body\"] }}")));
        assert!(error.is_err_and(|error| error.contains("unknown field")), "{misspelt}");
    }
}

#[test]
fn a_callback_that_nothing_reads_is_refused() {
    let minimal = crate::delivery::recipe::tests::MINIMAL;
    let asking = minimal.replace("to = \"{{ to }}\"", "to = \"{{ to }}\"\ncb = \"{{ receipt_url }}\"");
    let error = crate::delivery::recipe::tests::load(&asking).err().expect("no [dlr]");
    assert!(error.starts_with("dlr: ") && error.contains("write [dlr]"), "{error}");
}

#[test]
fn what_the_recipe_does_not_map_says_nothing() {
    let dlr = dlr("kind = \"path\"");
    for body in [
        "{}",
        "{\"status\": \"late\"}",
        "{\"status\": [\"ok\"]}",
        "{\"status\": null}",
        "[]",
        "",
        "\u{feff}{\"status\": \"ok\"}",
        "status=ok",
    ] {
        let read = dlr.read(&settings(&[]), &call(body), None, at(NOW));
        assert_eq!(read, Ok(Read::Notices { notices: Vec::new(), unknown: 1 }), "{body}");
    }
    let long = format!("{{\"status\": \"ok\", \"id\": \"{}\"}}", "x".repeat(129));
    let Ok(Read::Notices { notices, .. }) = dlr.read(&settings(&[]), &call(&long), None, at(NOW)) else {
        panic!("it is read");
    };
    assert_eq!(notices[0].id, None, "an id that is too long is none");
}

#[test]
fn of_several_places_the_first_counts_that_has_a_word_we_know() {
    let dlr = with_dlr(
        "format = \"json\"\nid = \"/i\"\nstatus = [\"/a\", \"/b\"]\nerror = [\"/c\", \"/d\"]\n\
         map = { ok = \"delivered\", no = \"failed\" }\nerrors = { 1 = \"blocked\", true = \"bad_number\" }\n\
         verify = { kind = \"path\" }",
    );
    let dlr = dlr.unwrap_or_else(|error| panic!("{error}")).into_dlr().expect("[dlr]");
    let read = |body: &str| match dlr.read(&settings(&[]), &call(body), None, at(NOW)) {
        Ok(Read::Notices { notices, .. }) => notices.first().map(|notice| (notice.said, notice.error)),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(r#"{"a": "ok", "b": "no"}"#), Some((Said::Delivered, None)));
    assert_eq!(read(r#"{"a": "later", "b": "no"}"#), Some((Said::Failed, None)));
    assert_eq!(read(r#"{"b": "no", "c": 1, "d": true}"#), Some((Said::Failed, Some(Outcome::Blocked))));
    assert_eq!(read(r#"{"b": "no", "c": 2, "d": true}"#), Some((Said::Failed, Some(Outcome::BadNumber))));
    assert_eq!(read(r#"{"b": "no", "c": 2, "d": false}"#), Some((Said::Failed, None)));
    assert_eq!(read(r#"{"a": "later", "b": ["no"]}"#), None);
}

#[test]
fn a_call_with_more_than_one_write_can_hold_is_cut() {
    let many = with_dlr(
        "format = \"json\"\neach = \"/*\"\nid = \"/i\"\nstatus = \"/s\"\nmap = { ok = \"delivered\", no = \"failed\" }\n\
         verify = { kind = \"path\" }",
    );
    let dlr = many.unwrap_or_else(|error| panic!("{error}")).into_dlr().expect("[dlr]");
    let body = format!("[{}{{\"s\":\"ok\"}}]", "{\"s\":\"ok\",\"i\":7},".repeat(600));
    let Ok(Read::Notices { notices, unknown }) = dlr.read(&settings(&[]), &call(&body), None, at(NOW)) else {
        panic!("it is read");
    };
    assert_eq!((notices.len(), unknown), (MAX_NOTICES, 0));
    assert_eq!(notices[0].id.as_deref(), Some("7"));
}

proptest! {
    #[test]
    fn nothing_that_comes_in_makes_any_shipped_recipe_panic_or_report_what_it_does_not_map(
        body in prop::collection::vec(any::<u8>(), 0..200),
        text in "[\\[{}\\]\":,a-z0-9&=/% ]{0,120}",
        get in any::<bool>(),
    ) {
        for (_, recipe) in shipped() {
            let Some(dlr) = recipe.dlr() else { continue };
            for body in [body.clone(), text.clone().into_bytes()] {
                let mut call = call("").at_url(&format!("https://login.example.com/r?{text}"));
                call.method = if get { Method::Get } else { Method::Post };
                call.body = body;
                // No settings: the path alone is asked for.
                let read = dlr.read(&Settings::new(), &call, None, at(NOW));
                prop_assert!(!matches!(read, Ok(Read::Handshake(_))));
            }
        }
    }
}
