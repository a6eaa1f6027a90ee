//! The recipes in `providers/`.

use proptest::prelude::*;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::super::answer::Answer;
use super::*;

/// The files of a folder that are recipes, by id.
fn files(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("a file").path());
    let recipes = entries.filter(|file| file.extension().is_some_and(|extension| extension == "toml"));
    let mut ids: Vec<String> =
        recipes.map(|file| file.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn every_file_in_the_folder_is_shipped_under_its_own_name() {
    let shipped: Vec<String> = shipped().iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(shipped, files(concat!(env!("CARGO_MANIFEST_DIR"), "/providers")));
    assert!(shipped.len() > 40);
}

#[test]
fn every_shipped_recipe_is_in_the_table_of_the_readme_with_its_channel() {
    let readme = include_str!("../../../../README.md");
    for recipe in Recipes::embedded().iter() {
        let row = format!("| `{}` | {} |", recipe.id, recipe.channel.as_str());
        assert!(readme.contains(&row), "README.md lacks the row {row}");
    }
}

#[test]
fn every_shipped_recipe_passes_its_own_examples() {
    let faults: Vec<String> = shipped()
        .iter()
        .flat_map(|(id, recipe)| {
            let reports = recipe.run_examples().into_iter();
            reports.filter_map(move |report| Some(format!("{id}: {}: {}", report.name, report.fault?)))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_shipped_recipe_shows_each_outcome_that_it_maps_and_its_request_c12() {
    for (id, recipe) in shipped() {
        assert_eq!(recipe.without_example(), BTreeSet::new(), "{id}");
        assert!(recipe.has_whole_request(), "{id}: no example has the whole request");
    }
}

#[test]
fn the_recipe_in_the_readme_loads_and_passes_its_own_examples() {
    let readme = include_str!("../../../../providers/README.md");
    let text = readme.split("```toml\n").find(|part| part.starts_with("schema")).expect("a recipe");
    let recipe = load(text.split("```").next().expect("its end")).unwrap_or_else(|error| panic!("{error}"));
    for report in recipe.run_examples() {
        assert_eq!(report.fault, None, "{}", report.name);
    }
    assert_eq!(recipe.without_example(), BTreeSet::new());
    let tables: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `")).collect();
    for name in NAMES.into_iter().chain(feedback::NAMES) {
        assert!(tables.iter().any(|line| line.contains(&format!("`{name}`"))), "{name} is not documented");
    }
    for (_, recipe) in shipped() {
        for outcome in recipe.outcomes() {
            let row = format!("| `{}` |", outcome.as_str());
            assert!(readme.contains(&row), "{row} is not documented");
        }
    }
}

#[test]
fn nobody_has_run_these_against_the_live_gateways_and_they_say_so() {
    assert!(Recipes::embedded().iter().all(|recipe| recipe.verified.is_empty()));
}

#[test]
fn an_example_that_is_wrong_is_told_with_the_difference() {
    let wrong = [
        ("outcome = \"blocked\"", "outcome\n  expected: blocked\n  found:    bad_number (rule 2 matches)"),
        ("outcome = \"bad_number\"\nid = \"1\"", "id\n  expected: 1\n  found:    nothing"),
        ("outcome = \"bad_number\"\nrequest = {}", "given.cfg.base_url: is required; set it"),
        (
            "outcome = \"bad_number\"\nrequest = { method = \"GET\" }\ngiven = { cfg = { base_url = \"https://a.b\", \
             token = \"t\" } }",
            "request.method\n  expected: GET\n  found:    POST",
        ),
    ];
    for (lines, fault) in wrong {
        let text = format!("{MINIMAL}\n[[example]]\nname = \"x\"\nresponse = {{ status = 400 }}\n{lines}");
        let reports = load(&text).expect("a recipe").run_examples();
        assert_eq!(reports[0].fault.as_deref(), Some(fault));
    }
}

fn outcome(recipe: &Recipe, status: u16, body: &[u8]) -> Outcome {
    recipe.rules.judge(&Answer { status, headers: HeaderMap::new(), body: body.to_vec() }).outcome
}

fn headers(example: &file::Example) -> HeaderMap {
    let headers = example.response.headers.iter();
    let parsed = headers.map(|(name, value)| {
        (name.parse::<reqwest::header::HeaderName>().expect("a name"), value.parse().expect("a value"))
    });
    parsed.collect()
}

#[test]
fn an_accepted_answer_that_is_cut_anywhere_is_not_accepted() {
    let mut cuts = 0;
    for (id, recipe) in shipped() {
        let accepted = recipe.examples.iter().filter(|example| example.outcome == Outcome::Accepted);
        for example in accepted {
            let json = example.response.json.as_ref().map(Value::to_string);
            let body = json.or_else(|| example.response.text.clone()).expect("a body");
            for end in 0..body.len() {
                let cut = &body.as_bytes()[..end];
                let outcome = outcome(recipe, example.response.status, cut);
                assert_ne!(outcome, Outcome::Accepted, "{id}: {:?}", String::from_utf8_lossy(cut));
                cuts += 1;
            }
            let whole = Answer {
                status: example.response.status,
                headers: headers(example),
                body: body.into_bytes(),
            };
            assert_eq!(recipe.rules.judge(&whole).outcome, Outcome::Accepted);
        }
    }
    assert!(cuts > 300);
}

/// The structure without what was in it.
fn hollow(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), hollow(member))).collect()
        }
        Value::Array(items) => items.iter().map(hollow).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::Null,
    }
}

#[test]
fn an_accepted_answer_with_nothing_in_it_or_of_another_status_is_not_accepted() {
    for (id, recipe) in shipped() {
        for example in recipe.examples.iter().filter(|example| example.outcome == Outcome::Accepted) {
            let json = example.response.json.as_ref();
            let (status, headers) = (example.response.status, headers(example));
            let judged = |status: u16, body: Vec<u8>, headers: HeaderMap| {
                recipe.rules.judge(&Answer { status, headers, body }).outcome
            };
            if let Some(json) = json {
                let hollow = hollow(json).to_string().into_bytes();
                assert_ne!(judged(status, hollow, headers.clone()), Outcome::Accepted, "{id}");
            }
            let body =
                json.map(Value::to_string).or_else(|| example.response.text.clone()).unwrap_or_default();
            for other in [304, 400, 401, 403, 404, 429, 500, 503] {
                let outcome = judged(other, body.clone().into_bytes(), headers.clone());
                assert_ne!(outcome, Outcome::Accepted, "{id} {other}");
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof!["[a-z/_]{0,12}", Just("status".to_owned()), Just("ok".to_owned()), ".{0,8}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (4u8..200).prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        let key = prop_oneof![
            4 => prop::sample::select(vec!["status", "sid", "messages", "outcome", "groupId", "id", "message-id", "code"])
                .prop_map(str::to_owned),
            1 => word.clone(),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// One test for all, so that a new recipe cannot be forgotten.
    #[test]
    fn no_random_body_of_a_success_is_accepted_by_any_recipe(
        status in 200u16..300,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in ".{0,80}",
        json in any_json(),
    ) {
        for (id, recipe) in shipped() {
            for body in [bytes.clone(), text.clone().into_bytes(), json.to_string().into_bytes()] {
                prop_assert_ne!(outcome(recipe, status, &body), Outcome::Accepted, "{}", id);
            }
        }
    }

    /// The right shape with a wrong word in the place that decides.
    #[test]
    fn no_random_word_in_the_place_that_decides_is_accepted(word in any_json(), status in 200u16..300) {
        let text = word.as_str().map_or_else(|| word.to_string(), str::to_owned);
        // The words for success themselves, once in a million runs.
        prop_assume!(!["0", "1", "3", "sent", "queued", "sending", "accepted"].contains(&text.as_str()));
        let shapes = [
            ("twilio", json!({"sid": "SM1", "status": word})),
            ("vonage", json!({"messages": [{"message-id": "1", "status": "0"}, {"status": word}]})),
            ("infobip", json!({"messages": [{"messageId": "m", "status": {"groupId": word}}]})),
            ("webhook", json!({"outcome": word})),
        ];
        for (id, recipe) in shipped() {
            let shape = shapes.iter().find(|(name, _)| name == id);
            let Some((_, body)) = shape else { continue };
            prop_assert_ne!(outcome(recipe, status, body.to_string().as_bytes()), Outcome::Accepted, "{}", id);
        }
    }
}

#[test]
fn every_shipped_receipt_reads_as_it_says_and_each_report_is_shown() {
    for (id, recipe) in shipped() {
        for report in recipe.run_receipts() {
            assert_eq!(report.fault, None, "{id}: {}", report.name);
        }
        assert_eq!(recipe.without_receipt(), BTreeSet::new(), "{id}");
    }
}
