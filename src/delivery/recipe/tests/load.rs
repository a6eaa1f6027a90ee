//! What is refused when a recipe is loaded, and by which key.

use super::*;

/// Replaces a part of the minimal recipe.
fn with(old: &str, new: &str) -> String {
    assert!(MINIMAL.contains(old), "{old}");
    MINIMAL.replace(old, new)
}

fn refused(text: &str, key: &str, fix: &str) {
    let error = load(text).err().unwrap_or_else(|| panic!("{key}: it loads"));
    assert!(error.starts_with(&format!("{key}: ")) && error.contains(fix), "{key}: {error}");
}

#[test]
fn the_minimal_recipe_loads() {
    load(MINIMAL).expect("a recipe");
}

#[test]
fn a_success_by_status_alone_is_refused_unless_it_is_said() {
    let accepted =
        "{ status = \"200\", at = \"/status\", in = [\"ok\"], outcome = \"accepted\", id = \"/id\" }";
    let rule = |rule: &str| with(accepted, rule);
    let only_status = rule("{ status = \"200\", outcome = \"accepted\" }");
    refused(&only_status, "response.rules[0].at", "allow_status_only = true");
    load(&only_status.replace("[response]", "[response]\nallow_status_only = true")).expect("it was said");
    let no_words = [
        "{ status = \"200\", at = \"/status\", not_in = [\"failed\"], outcome = \"accepted\" }",
        "{ status = \"200\", at = \"/error\", exists = false, outcome = \"accepted\" }",
        "{ status = \"200\", at = \"header:x-ok\", in = [\"1\"], outcome = \"accepted\" }",
        "{ status = \"200\", at = \"text\", exists = true, outcome = \"accepted\" }",
    ];
    for text in no_words {
        refused(&rule(text), "response.rules[0].at", "report failure with a success status");
    }
    for expression in [".*", "", "o?", "."] {
        let text =
            format!("{{ status = \"200\", at = \"text\", re = \"{expression}\", outcome = \"accepted\" }}");
        refused(&rule(&text), "response.rules[0].re", "matches anything");
    }
    for status in ["", "status = \"5xx\", ", "status = \"302\", "] {
        let text = format!("{{ {status}at = \"/status\", in = [\"ok\"], outcome = \"accepted\" }}");
        refused(&rule(&text), "response.rules[0].status", "success status");
    }
    refused(&rule("{ status = \"200\", outcome = \"uncertain\" }"), "response.rules", "what is accepted");
}

#[test]
fn where_a_request_goes_and_ends_no_recipe_says_in_a_header_e1() {
    for name in ["Host", "content-length", "Transfer-Encoding", "Connection"] {
        let text = with("[send.body]", &format!("[send.headers]\n{name} = \"7\"\n[send.body]"));
        refused(&text, &format!("send.headers.{name}"), "remove it");
    }
}

#[test]
fn a_filter_that_nothing_knows_is_refused_behind_any_condition() {
    let text = with("to = \"{{ to }}\"", "to = \"{{ to|digit if to_country == 'IN' else to }}\"");
    refused(&text, "send.body.to", "there is no filter \"digit\"");
}

#[test]
fn a_rule_that_says_too_little_or_too_much_is_refused() {
    let rule = |rule: &str| with("{ status = \"400\", outcome = \"bad_number\" }", rule);
    refused(&rule("{ outcome = \"blocked\" }"), "response.rules[1].status", "needs a status");
    refused(&rule("{ at = \"/a\", outcome = \"blocked\" }"), "response.rules[1].at", "needs a test");
    refused(&rule("{ in = [1], outcome = \"blocked\" }"), "response.rules[1].at", "where");
    refused(
        &rule("{ at = \"/a\", in = [1], re = \"1\", outcome = \"blocked\" }"),
        "response.rules[1]",
        "several",
    );
    refused(&rule("{ at = \"a\", in = [1], outcome = \"blocked\" }"), "response.rules[1].at", "/status");
    refused(&rule("{ status = \"9xx\", outcome = \"blocked\" }"), "response.rules[1].status", "5xx");
    refused(
        &rule("{ at = \"/a\", re = \"(\", outcome = \"blocked\" }"),
        "response.rules[1].re",
        "expression",
    );
    refused(&rule("{ at = \"regex:a\", in = [1], outcome = \"blocked\" }"), "response.rules[1].at", "re");
    refused(&rule("{ at = \"/a\", in = [[1]], outcome = \"blocked\" }"), "response.rules[1].in", "texts");
    let error =
        load(&rule("{ status = \"400\", outcome = \"delivered\" }")).err().expect("an unknown outcome");
    assert!(error.contains("delivered") && error.contains("bad_number"), "{error}");
}

#[test]
fn a_setting_that_nothing_uses_is_refused() {
    let text = with("[limits]", "colour = { default = \"red\" }\n[limits]");
    refused(&text, "settings.colour", "nothing uses it");
}

#[test]
fn a_secret_in_a_url_is_refused_unless_it_is_said_f7() {
    let in_path = with("/send\"", "/{{ cfg.token }}/send\"");
    let in_auth = with("kind = \"bearer\", token =", "kind = \"query\", name = \"key\", value =");
    let in_query = with("format = \"json\"", "format = \"query\"")
        .replace("to = \"{{ to }}\"", "to = \"{{ to }}\"\ntoken = \"{{ cfg.token|b64 }}\"");
    for text in [in_path, in_auth, in_query] {
        refused(&text, "settings.token", "secret_in_url = true");
        load(&text.replace("[send]", "[send]\nsecret_in_url = true")).expect("it was said");
    }
    let said = with("[send]", "[send]\nsecret_in_url = true");
    refused(&said, "send.secret_in_url", "remove it");
}

#[test]
fn a_url_leads_to_the_base_url_and_nowhere_else() {
    for url in [
        "https://gateway.example.com/send",
        "{{ cfg.base_url }}.example.com/",
        "{{ cfg.base_url }}@example.com/",
        "{{ cfg.token }}/send",
    ] {
        refused(&with("{{ cfg.base_url }}/send", url), "send.url", "{{ cfg.base_url }}");
    }
    let secret = with("base_url = { required = true }", "base_url = { required = true, secret = true }");
    refused(&secret, "settings.base_url", "where the gateway is");
}

#[test]
fn a_name_that_no_message_has_is_refused_d5() {
    let body = |leaf: &str| with("{{ msg.text }}", leaf);
    refused(&body("{{ phone }}"), "send.body.text", "\"phone\"");
    refused(&body("Hi {{ msg.body }}"), "send.body.text", "msg.body");
    refused(&body("{{ msg }}"), "send.body.text", "msg.text");
    refused(&body("{{ cfg.colour }}"), "send.body.text", "declare it");
    refused(&body("{{ cfg }}"), "send.body.text", "cfg.NAME");
    refused(&body("{{ cfg['token'] }}"), "send.body.text", "cfg");
    refused(&body("{{ msg.text.upper() }}"), "send.body.text", "no methods");
    refused(&body("{% if to %}x{% endif %}"), "send.body.text", "no {%");
    refused(&body("{{ to"), "send.body.text", "syntax error");
    refused(&body("{{ vars.anything }}"), "send.body.text", "declare it under [vars]");
    let declared = body("{{ vars.anything }}").replace("[limits]", "[vars]\nanything = {}\n[limits]");
    load(&declared).expect("the operator's own words");
    refused(&with("[limits]", "[vars]\nanything = {}\n[limits]"), "vars.anything", "nothing uses it");
}

#[test]
fn an_unknown_key_is_refused_by_its_name() {
    for (old, new) in [
        ("schema = 1", "schema = 1\ncolour = 1"),
        ("[send]", "[send]\ncolour = 1"),
        ("[limits]", "[limits]\ncolour = 1"),
        ("kind = \"bearer\",", "kind = \"bearer\", colour = 1,"),
        ("status = \"400\",", "status = \"400\", colour = 1,"),
        ("base_url = { required = true }", "base_url = { required = true, colour = 1 }"),
        ("[limits]", "[vars]\na = { colour = 1 }\n[limits]"),
        ("[limits]", "[limits]\ncharset = \"colour\""),
    ] {
        let error = load(&with(old, new)).err().unwrap_or_else(|| panic!("{new}: it loads"));
        assert!(error.contains("colour"), "{error}");
    }
}

#[test]
fn what_cannot_be_sent_is_refused() {
    refused(&with("schema = 1", "schema = 2"), "schema", "must be 1");
    refused(&with("\"POST\"", "\"DELETE\""), "send.method", "POST");
    refused(&with("\"POST\"", "\"GET\""), "send.format", "query");
    refused(&with("\"json\"", "\"none\""), "send.body", "remove it");
    let nested = with("\"json\"", "\"form\"").replace("to = \"{{ to }}\"", "to = [\"{{ to }}\"]");
    refused(&nested, "send.body.to", "json");
    refused(&with("timeout_ms = 400", "timeout_ms = 0"), "limits.timeout_ms", "14000");
    refused(&with("[limits]", "[limits]\nmax_response = 65537"), "limits.max_response", "65536");
    refused(&with("[limits]", "[limits]\ncountries = [\"us\"]"), "limits.countries", "capital");
}

#[test]
fn a_head_that_cannot_be_asked_for_is_refused() {
    refused(&with("\"sms\"", "\"fax\""), "channel", "sms, voice");
    refused(&with("id = \"test\"", "id = \"Te st\""), "id", "a-z");
    for taken in ["kind", "allow_http", "vars_for", "per_second", "key_file"] {
        refused(
            &with("[limits]", &format!("{taken} = {{}}\n[limits]")),
            &format!("settings.{taken}"),
            "taken",
        );
    }
    refused(&with("[limits]", "a = { pattern = \"(\" }\n[limits]"), "settings.a", "expression");
    refused(&with("[limits]", "a = { pattern = \"b\", default = \"c\" }\n[limits]"), "settings.a", "match");
    for (word, fix) in [
        ("locales = {}", "none of"),
        ("a = { required = true, required_in = [\"IN\"] }", "everywhere"),
        ("a = { required_in = [\"in\"] }", "capital"),
    ] {
        let name = word.split(' ').next().unwrap_or_default();
        refused(&with("[limits]", &format!("[vars]\n{word}\n[limits]")), &format!("vars.{name}"), fix);
    }
    refused(&with("secret = true,", "secret = true, default = \"x\","), "settings.token", "secret");
}

#[test]
fn a_token_is_asked_for_at_an_address_that_was_checked() {
    let auth = "kind = \"bearer\", token =";
    let grant = |url: &str| {
        let grant = format!("kind = \"oauth2_cc\", token_url = \"{url}\", id = \"us\", secret =");
        with(auth, &grant).replace("[limits]", "token_url = { required = true }\n[limits]")
    };
    load(&grant("{{ cfg.token_url }}")).expect("a setting of that name");
    for url in ["https://example.com/token", "{{ cfg.token }}", "{{ cfg.token_url }}/x", "{{ cfg.a|b_url }}"]
    {
        refused(&grant(url), "send.auth.token_url", "ends with _url");
    }
}

#[test]
fn a_header_is_enough_for_a_success_only_where_that_is_said() {
    let header = "{ status = \"200\", at = \"header:x-id\", exists = true, outcome = \"accepted\" }";
    let text = with(
        "{ status = \"200\", at = \"/status\", in = [\"ok\"], outcome = \"accepted\", id = \"/id\" }",
        header,
    );
    refused(&text, "response.rules[0].at", "allow_status_only = true");
    load(&text.replace("[response]", "[response]\nallow_status_only = true")).expect("it was said");
}

#[test]
fn feedback_goes_where_messages_go_and_names_what_it_has() {
    let feedback = |url: &str, leaf: &str| {
        format!(
            "{MINIMAL}\n[feedback]\nmethod = \"POST\"\nurl = \"{url}\"\nformat = \"json\"\n[feedback.body]\n\
             a = \"{leaf}\"\n[feedback.example]\nrequest = {{}}"
        )
    };
    let here = "{{ cfg.base_url }}/used/{{ provider_id }}";
    load(&feedback(here, "{{ code }}")).expect("feedback");
    refused(&feedback("https://example.com", ""), "feedback.url", "base_url");
    refused(&feedback("{{ cfg.base_url }}/{{ cfg.token }}", ""), "settings.token", "secret_in_url");
    refused(&feedback(here, "{{ msg.text }}"), "feedback.body.a", "provider_id");
    refused(&with("{{ msg.text }}", "{{ provider_id }}"), "send.body.text", "provider_id");
}
