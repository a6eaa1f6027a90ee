//! Gateways by their recipes.

use super::*;

/// A provider with one more line.
fn twilio(line: &str) -> String {
    let sid = if line.starts_with("account_sid") {
        ""
    } else {
        "account_sid = \"AC0123456789abcdef0123456789abcdef\""
    };
    format!("[providers.sms]\nrecipe = \"twilio\"\nauth_token = \"t\"\nsender = \"+1\"\n{sid}\n{line}")
}

fn kannel(line: &str) -> String {
    format!(
        "[providers.sms]\nrecipe = \"kannel\"\nusername = \"u\"\npassword = \"p\"\nsender = \"1\"\n{line}"
    )
}

#[test]
fn a_recipe_asks_for_its_own_settings() {
    let config = parse(&twilio("")).expect("no problems");
    let ProviderConfig::Recipe(provider) = &config.providers["sms"] else { panic!("another kind") };
    assert_eq!(provider.recipe.id, "twilio");
    assert_eq!(provider.settings["base_url"].reveal(), "https://api.twilio.com", "its default");
    assert!(provider.settings["auth_token"].is_secret());
    assert_eq!(way(&config.routes, Channel::Sms, "+12015550123", "any"), ["sms"], "its channel is routed");
    let none = problems(parse("[providers.sms]\nrecipe = \"twilio\""));
    let wanted = ["providers.sms.account_sid", "providers.sms.auth_token_file", "providers.sms.sender"];
    assert_eq!(keys(&none), wanted, "all at once");
}

#[test]
fn what_a_recipe_does_not_declare_or_admit_is_a_problem() {
    let problem = only_problem(&twilio("colour = \"red\""));
    assert!(problem.starts_with("providers.sms.colour ") && problem.contains("account_sid"), "{problem}");
    let problem = only_problem(&twilio("account_sid = \"AC1\""));
    assert!(
        problem.starts_with("providers.sms.account_sid (latchkey.toml): must match AC[0-9a-f]{32} ("),
        "{problem}"
    );
    let problem = only_problem("[providers.sms]\nrecipe = \"twillio\"\nsender = \"1\"");
    assert!(problem.starts_with("providers.sms.recipe ") && problem.contains("tencent, termii"), "{problem}");
    let hook = "[providers.sms]\nrecipe = \"webhook\"\nbase_url = \"https://a.b\"\nsecret = \"hunter2\"";
    let problem = only_problem(hook);
    assert!(problem.starts_with("providers.sms.secret ") && !problem.contains("hunter2"), "{problem}");
}

#[test]
fn codes_travel_in_clear_only_to_private_hosts_and_only_where_it_is_said_f4() {
    let base = |url: &str, more: &str| kannel(&format!("base_url = \"{url}\"\n{more}"));
    for private in ["http://10.0.0.1:13013", "http://kannel:13013", "http://192.168.1.2"] {
        let problem = only_problem(&base(private, ""));
        assert!(
            problem.starts_with("providers.sms.base_url ") && problem.contains("allow_http"),
            "{problem}"
        );
        assert_eq!(problems(parse(&base(private, "allow_http = true"))), [], "{private}");
    }
    for own in ["http://127.0.0.1:13013", "http://localhost:13013", "http://[::1]/"] {
        assert_eq!(problems(parse(&base(own, ""))), [], "{own} in development");
    }
    for public in ["http://gateway.example.com", "http://192.0.2.1", "ftp://gateway.example.com"] {
        let problem = only_problem(&base(public, "allow_http = true"));
        assert!(problem.starts_with("providers.sms.base_url ") && problem.contains("https"), "{problem}");
    }
    for wrong in ["gateway", "https://", "https://u:p@gateway.example.com", "https://a.b/?x=1"] {
        let problem = only_problem(&base(wrong, ""));
        assert!(problem.starts_with("providers.sms.base_url "), "{problem}");
    }
}

#[test]
fn a_secret_that_signs_nothing_is_told_with_how_to_make_one() {
    let with = |secret: &str| {
        format!(
            "[providers.sms]\nrecipe = \"webhook\"\nbase_url = \"https://a.example\"\nsecret = \"{secret}\""
        )
    };
    for good in ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAAAAAAAAAAAAAAAAAAAA=="] {
        assert_eq!(problems(parse(&with(good))), [], "{good}");
    }
    for bad in
        ["AAAAAAAAAAAAAAAAAAAAAAAA", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAA", "whsec_AAAAAAAAAAAAAAAAAAAAAB=="]
    {
        let problem = only_problem(&with(bad));
        assert!(
            problem.contains("echo whsec_$(openssl rand -base64 32)") && !problem.contains(bad),
            "{problem}"
        );
    }
}

#[test]
fn a_folder_of_recipes_adds_and_overrides() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    let recipe = |id: &str| {
        format!(
            "id = \"{id}\"\nname = \"Ours\"\nchannel = \"voice\"\n[settings]\nbase_url = {{ required = true }}\n"
        )
    };
    write("ours.toml", &recipe("ours"));
    write("kannel.toml", &recipe("kannel"));
    write("notes.txt", "no recipe");
    let text = format!("providers_dir = {:?}", folder.path());
    let config = parse(&text).expect("no problems");
    let names = ["ours", "kannel"].map(|id| config.recipes.get(id).expect("a recipe").name.as_str());
    assert_eq!(names, ["Ours", "Ours"]);
    assert!(config.recipes.get("twilio").is_some());

    write("other.toml", &recipe("another"));
    write("broken.toml", "id = ");
    let found = problems(parse(&text));
    assert_eq!(keys(&found), ["providers_dir"; 2]);
    assert!(found[0].text.contains("broken.toml") && found[1].text.contains("another.toml"), "{found:?}");
    let found = problems(parse(&format!("{text}\n[providers.sms]\nrecipe = \"broken\"\nkey = 1")));
    assert_eq!(keys(&found), ["providers_dir"; 2], "what is wrong with it was said: {found:?}");
    let problem = only_problem("providers_dir = \"/nowhere/at/all\"");
    assert!(problem.starts_with("providers_dir (latchkey.toml): cannot read /nowhere"), "{problem}");
}
