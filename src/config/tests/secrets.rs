//! Secrets: from a file or as text, never both, never quoted.

use std::collections::BTreeSet;

use secrecy::ExposeSecret;

use super::*;

/// A secret: its section, its key, a valid value, and how to get at it.
struct Secret {
    section: &'static str,
    key: &'static str,
    valid: &'static str,
    found: fn(&Config) -> &str,
}

const SECRETS: [Secret; 10] = [
    Secret {
        section: "[database]",
        key: "url",
        valid: "postgres://user:hunter2@localhost/latchkey",
        found: |config| match &config.database.url {
            DatabaseUrl::Postgres(url) => url.expose_secret(),
            DatabaseUrl::Sqlite(_) => panic!("not what was set"),
        },
    },
    Secret {
        section: "[otp]",
        key: "pepper",
        valid: PEPPER,
        found: |config| match &config.otp.pepper {
            PepperSource::Given(text) => text.expose_secret(),
            PepperSource::Generated(_) => panic!("not what was set"),
        },
    },
    Secret {
        section: "[upstreams.chat]\nkind = \"mesibo\"",
        key: "app_token",
        valid: "hunter2",
        found: |config| {
            let UpstreamConfig::Mesibo(mesibo) = &config.upstreams["chat"] else {
                panic!("not what was set")
            };
            mesibo.app_token.expose_secret()
        },
    },
    Secret {
        section: "[upstreams.chat]\nkind = \"jwt\"\nalgorithm = \"HS256\"",
        key: "key",
        valid: "hunter2 hunter2 hunter2 hunter2 hunter2",
        found: |config| {
            let UpstreamConfig::Jwt(JwtUpstream { key: JwtKey::Hs256(key), .. }) = &config.upstreams["chat"]
            else {
                panic!("not what was set")
            };
            key.expose_secret()
        },
    },
    Secret {
        section: "[upstreams.chat]\nkind = \"sendbird\"\nurl = \"https://api-app.sendbird.com\"",
        key: "api_token",
        valid: "hunter2",
        found: |config| {
            let UpstreamConfig::Sendbird(sendbird) = &config.upstreams["chat"] else {
                panic!("not what was set")
            };
            sendbird.api_token.expose_secret()
        },
    },
    Secret {
        section: "[upstreams.chat]\nkind = \"chatsdk\"\nurl = \"https://chat.example.com\"",
        key: "api_key",
        valid: "hunter2",
        found: |config| {
            let UpstreamConfig::ChatSdk(chatsdk) = &config.upstreams["chat"] else {
                panic!("not what was set")
            };
            chatsdk.api_key.expose_secret()
        },
    },
    Secret {
        section: "[upstreams.chat]\nkind = \"kustomer\"",
        key: "secret",
        valid: "hunter2",
        found: |config| {
            let UpstreamConfig::Kustomer(kustomer) = &config.upstreams["chat"] else {
                panic!("not what was set")
            };
            let KustomerSecret::Given(secret) = &kustomer.secret else { panic!("not what was set") };
            secret.expose_secret()
        },
    },
    Secret {
        section: "[upstreams.chat]\nkind = \"kustomer\"\norg = \"acme\"",
        key: "api_key",
        valid: "hunter2",
        found: |config| {
            let UpstreamConfig::Kustomer(kustomer) = &config.upstreams["chat"] else {
                panic!("not what was set")
            };
            let KustomerSecret::Fetched { api_key, .. } = &kustomer.secret else {
                panic!("not what was set")
            };
            api_key.expose_secret()
        },
    },
    Secret {
        section: "[providers.mail]\nkind = \"smtp\"\nurl = \"smtps://user@mail.example.com\"\nfrom = \"a@example.com\"",
        key: "password",
        valid: "hunter2",
        found: |config| {
            let ProviderConfig::Smtp(SmtpProvider { login: Some((_, password)), .. }) =
                &config.providers["mail"]
            else {
                panic!("not what was set")
            };
            password.expose_secret()
        },
    },
    // One stands for those of all recipes: what a secret is, each recipe declares.
    Secret {
        section: "[providers.sms]\nrecipe = \"infobip\"\nbase_url = \"https://a.api.infobip.com\"\nsender = \"Us\"",
        key: "api_key",
        valid: "hunter2",
        found: |config| {
            let ProviderConfig::Recipe(provider) = &config.providers["sms"] else {
                panic!("not what was set")
            };
            provider.settings["api_key"].reveal()
        },
    },
];

impl Secret {
    /// The full key, as problems name it.
    fn name(&self) -> String {
        let section = self.section.lines().next().unwrap_or_default().trim_matches(['[', ']']);
        format!("{section}.{}", self.key)
    }

    fn with(&self, lines: &str) -> String {
        format!("{}\n{lines}", self.section)
    }
}

#[test]
fn these_are_all_the_secrets() {
    let mut pairs = BTreeSet::new();
    for secret in SECRETS {
        let asked = Config::read(table(&secret.with("")), FILE, &BTreeMap::new()).1;
        let with_file = |key: &&String| asked.contains_key(&format!("{key}_file"));
        pairs.extend(asked.keys().filter(with_file).cloned());
    }
    assert_eq!(pairs, SECRETS.map(|secret| secret.name()).into());
}

#[test]
fn every_secret_is_read_from_a_file_less_its_line_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    for secret in SECRETS {
        for end in ["", "\n", "\r\n"] {
            std::fs::write(&path, format!("{}{end}", secret.valid)).expect("a file");
            let text = secret.with(&format!("{}_file = {path:?}", secret.key));
            let config = parse(&text).expect("no problems");
            assert_eq!((secret.found)(&config), secret.valid);
            let variable = format!("LATCHKEY_{}_FILE", secret.name().replace('.', "__").to_uppercase());
            let pairs = [(variable.as_str(), path.to_str().expect("UTF-8"))];
            let config = parse_with(&secret.with(""), &pairs).expect("no problems");
            assert_eq!((secret.found)(&config), secret.valid);
        }
        let config = parse(&secret.with(&format!("{} = {:?}", secret.key, secret.valid)));
        assert_eq!((secret.found)(&config.expect("no problems")), secret.valid);
    }
}

#[test]
fn a_secret_as_text_and_as_a_file_is_one_problem() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    for secret in SECRETS {
        std::fs::write(&path, secret.valid).expect("a file");
        let text = format!("{0} = {1:?}\n{0}_file = {path:?}", secret.key, secret.valid);
        let wanted =
            format!("{} (latchkey.toml): both it and {}_file are set; keep one", secret.name(), secret.key);
        assert_eq!(only_problem(&secret.with(&text)), wanted);
    }
}

#[test]
fn a_secret_file_that_cannot_be_read_is_one_problem_with_its_path() {
    let folder = tempfile::tempdir().expect("a folder");
    for secret in SECRETS {
        let text = secret.with(&format!("{}_file = {:?}", secret.key, folder.path()));
        let problem = only_problem(&text);
        let start =
            format!("{}_file (latchkey.toml): cannot read {}: ", secret.name(), folder.path().display());
        assert!(problem.starts_with(&start), "{problem}");
    }
}

#[test]
fn a_blank_secret_is_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, " \n").expect("a file");
    for secret in SECRETS {
        let found = problems(parse(&secret.with(&format!("{}_file = {path:?}", secret.key))));
        assert_eq!(keys(&found), [format!("{}_file", secret.name())]);
    }
}

#[test]
fn no_problem_quotes_a_secret() {
    let wrong = [
        "postgres://user:hunter2@[bad/db",
        "postgres://user:hunter2@db.example.com/latchkey",
        "mysql://user:hunter2@localhost/latchkey",
        "hunter2",
        "k1 hunter2",
        "hunter2 00",
    ];
    let mut seen = 0;
    for secret in SECRETS {
        for value in wrong {
            let as_text = secret.with(&format!("{} = {value:?}", secret.key));
            let as_list = secret.with(&format!("{} = [{value:?}]", secret.key));
            let variable = format!("LATCHKEY_{}", secret.name().replace('.', "__").to_uppercase());
            let as_variable = parse_with(&secret.with("extra = 1"), &[(&variable, value)]);
            for result in [parse(&as_text), parse(&as_list), as_variable] {
                let shown = match &result {
                    Ok(config) => format!("{config:?}"),
                    Err(error) => format!("{error} {error:?}"),
                };
                seen += usize::from(result.is_err());
                assert!(!shown.contains("hunter2"), "{shown}");
            }
        }
    }
    assert!(seen > 48, "most of these are problems, not {seen}");
}

#[test]
fn a_syntax_error_does_not_quote_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("latchkey.toml");
    for line in ["app_token = hunter2", "app_token = \"hunter2", "hunter2", "app_token = 'a' hunter2"] {
        std::fs::write(&path, format!("[upstreams.chat]\n{line}\n")).expect("a file");
        let error = Config::load(Some(&path), &BTreeMap::new()).expect_err("a syntax error");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("line 2") && !shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_whole_configuration_does_not_show_its_secrets() {
    for secret in SECRETS {
        let config = parse(&secret.with(&format!("{} = {:?}", secret.key, secret.valid)));
        let shown = format!("{:?}", config.expect("no problems"));
        assert!(!shown.contains(secret.valid), "{shown}");
    }
}
