//! Chat backends that have an address of their own.

use super::*;

/// A backend, its secret, and what else it needs.
const KINDS: [(&str, &str); 2] = [("sendbird", "api_token"), ("chatsdk", "api_key")];

fn with_url(kind: &str, secret: &str, url: &str) -> String {
    format!("[upstreams.chat]\nkind = {kind:?}\n{secret} = \"t\"\nurl = {url:?}")
}

#[test]
fn a_backend_of_ones_own_needs_its_address() {
    for (kind, secret) in KINDS {
        let problem = only_problem(&format!("[upstreams.chat]\nkind = {kind:?}\n{secret} = \"t\""));
        assert!(problem.starts_with("upstreams.chat.url (not set): set where the backend is"), "{problem}");
        for (url, wanted) in [
            ("ftp://chat.example.com", "must start with https://, such as https://"),
            ("https://chat.example.com/?a=b", "leave out ? and #"),
            ("https://chat.example.com/#a", "leave out ? and #"),
            ("http://chat.example.com", "allow_http = true"),
        ] {
            let problem = only_problem(&with_url(kind, secret, url));
            assert!(problem.starts_with("upstreams.chat.url ") && problem.contains(wanted), "{problem}");
        }
        for url in ["https://chat.example.com/base/", "http://127.0.0.1:4000"] {
            assert_eq!(problems(parse(&with_url(kind, secret, url))), [], "{url}");
        }
        let told = format!("{}\nallow_http = true", with_url(kind, secret, "http://chat.example.com"));
        assert_eq!(problems(parse(&told)), []);
    }
}

#[test]
fn sendbirds_tokens_live_a_week_and_its_pictures_are_urls() {
    let text =
        |line: &str| format!("{}\n{line}", with_url("sendbird", "api_token", "https://sb.example.com"));
    let config = parse(&text("")).expect("no problems");
    let UpstreamConfig::Sendbird(sendbird) = &config.upstreams["chat"] else { panic!("another upstream") };
    assert_eq!(sendbird.token_lifetime.as_secs(), 7 * 24 * 60 * 60);
    assert_eq!(config.upstreams["chat"].deadline(), sendbird.call.timeout);
    for (line, key) in [
        ("token_lifetime = \"59s\"", "token_lifetime"),
        ("profile_url = \"face.png\"", "profile_url"),
        ("profile_url = \"data:image/png;base64,\"", "profile_url"),
        (&format!("profile_url = \"https://a.example/{}\"", "x".repeat(2048)), "profile_url"),
    ] {
        assert_eq!(keys(&problems(parse(&text(line)))), [format!("upstreams.chat.{key}")], "{line}");
    }
    assert_eq!(problems(parse(&text("profile_url = \"https://a.example/face.png\""))), []);
}
