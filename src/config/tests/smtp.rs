//! `[providers.NAME] kind = "smtp"`.

use super::*;
use crate::domain::channel::Channel;

fn mail(lines: &str) -> String {
    format!("[providers.mail]\nkind = \"smtp\"\n{lines}")
}

fn server(url: &str, more: &str) -> Result<SmtpProvider, Vec<Problem>> {
    let text = mail(&format!("url = {url:?}\nfrom = \"login@example.com\"\n{more}"));
    let config = parse(&text);
    let Ok(config) = config else { return Err(problems(config)) };
    let ProviderConfig::Smtp(smtp) = &config.providers["mail"] else { panic!("not what was set") };
    Ok(smtp.clone())
}

#[test]
fn the_url_says_host_port_and_when_tls_begins() {
    for (url, more, wanted) in [
        ("smtps://mail.example.com", "", ("mail.example.com", 465, SmtpSecurity::Implicit)),
        ("smtps://Mail.Example.com:10465/", "", ("mail.example.com", 10465, SmtpSecurity::Implicit)),
        ("smtp://mail.example.com", "", ("mail.example.com", 587, SmtpSecurity::StartTls)),
        ("smtp://mail.example.com:25", "", ("mail.example.com", 25, SmtpSecurity::StartTls)),
        ("smtp://mail.example.com", "allow_plain = true", ("mail.example.com", 587, SmtpSecurity::Plain)),
        ("smtp://127.0.0.1:1025", "", ("127.0.0.1", 1025, SmtpSecurity::Plain)),
        ("smtp://[::1]", "", ("::1", 587, SmtpSecurity::Plain)),
        ("smtp://localhost", "", ("localhost", 587, SmtpSecurity::Plain)),
        ("smtps://localhost", "", ("localhost", 465, SmtpSecurity::Implicit)),
        ("smtp://10.0.0.5", "", ("10.0.0.5", 587, SmtpSecurity::StartTls)),
        ("smtp://localhost.example.com", "", ("localhost.example.com", 587, SmtpSecurity::StartTls)),
    ] {
        let smtp = server(url, more).expect(url);
        assert_eq!((smtp.host.as_str(), smtp.port, smtp.security), wanted, "{url}");
        assert!(smtp.login.is_none());
    }
}

#[test]
fn a_mail_server_serves_the_channel_email() {
    let config =
        parse(&mail("url = \"smtps://mail.example.com\"\nfrom = \"a@example.com\"")).expect("no problems");
    assert_eq!(way(&config.routes, Channel::Email, "ann@mail.example", "any"), ["mail"]);
    assert!(!config.routes.offers(Channel::Sms));
}

#[test]
fn a_url_that_is_no_mail_server_is_told() {
    for url in [
        "https://mail.example.com",
        "mail.example.com",
        "smtp://",
        "smtp:mail.example.com",
        "smtps://mail.example.com/path",
        "smtps://mail.example.com?tls=no",
    ] {
        let found = server(url, "").expect_err(url);
        assert_eq!(keys(&found), ["providers.mail.url"], "{url}");
        assert!(found[0].text.contains("smtps://USER@HOST"), "{found:?}");
    }
}

#[test]
fn an_authority_of_ones_own_is_for_tls_to_this_host_too_and_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n").expect("a file");
    let line = format!("ca_file = {path:?}");
    let smtp = server("smtp://localhost", &line).expect("no problems");
    assert_eq!(smtp.security, SmtpSecurity::StartTls);
    let found = server("smtp://mail.example.com", &format!("{line}\nallow_plain = true")).expect_err("both");
    assert_eq!(keys(&found), ["providers.mail.ca_file"]);
    std::fs::write(&path, "a letter to the authority").expect("a file");
    let found = server("smtps://mail.example.com", &line).expect_err("no certificates");
    assert!(found[0].text.contains("holds no certificates in PEM"), "{found:?}");
}

#[test]
fn a_user_has_a_password_and_a_password_a_user_and_no_url_holds_it() {
    use secrecy::ExposeSecret;

    let smtp =
        server("smtps://ann%40example.com@mail.example.com", "password = \"hunter2\"").expect("no problems");
    let (user, password) = smtp.login.expect("a login");
    assert_eq!((user.as_str(), password.expose_secret()), ("ann@example.com", "hunter2"));
    for (url, more, key) in [
        ("smtps://ann@mail.example.com", "", "providers.mail.password_file"),
        ("smtps://mail.example.com", "password = \"hunter2\"", "providers.mail.url"),
        ("smtps://ann:hunter2@mail.example.com", "password = \"hunter2\"", "providers.mail.url"),
        ("smtps://a%0d%0ab@mail.example.com", "password = \"hunter2\"", "providers.mail.url"),
        ("smtps://a%00b@mail.example.com", "password = \"hunter2\"", "providers.mail.url"),
        ("smtps://ann@mail.example.com", "password = \"a\\r\\nQUIT\"", "providers.mail.password"),
    ] {
        let found = server(url, more).expect_err(url);
        assert!(keys(&found).contains(&key), "{url}: {found:?}");
        assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
    }
}

#[test]
fn the_sender_is_one_plain_mailbox_with_or_without_a_name_d6() {
    let read = |from: &str| {
        let from = toml::Value::String(from.to_owned());
        parse(&mail(&format!("url = \"smtps://mail.example.com\"\nfrom = {from}")))
    };
    for (from, name, address) in [
        ("login@example.com", None, "login@example.com"),
        ("Messenger <login@Example.com>", Some("Messenger"), "login@example.com"),
        ("\"My Chat\" <login@example.com>", Some("My Chat"), "login@example.com"),
        ("Чат <login@example.com>", Some("Чат"), "login@example.com"),
    ] {
        let config = read(from).expect(from);
        let ProviderConfig::Smtp(smtp) = &config.providers["mail"] else { panic!("not what was set") };
        assert_eq!((smtp.from_name.as_deref(), smtp.from.as_str()), (name, address));
    }
    for bad in [
        "",
        "login",
        "Messenger",
        "a@example.com, b@example.com",
        "Messenger <login@example.com",
        "x <y> <login@example.com>",
        "a@b.example <login@example.com>",
        "Messenger\r\nBcc: x@y.example <login@example.com>",
        "Messenger\0 <login@example.com>",
        "\u{202e}Messenger <login@example.com>",
    ] {
        assert_eq!(keys(&problems(read(bad))), ["providers.mail.from"], "{bad:?}");
    }
}

#[test]
fn times_stay_below_the_deadline_of_the_use_case() {
    let found =
        server("smtps://mail.example.com", "timeout = \"15s\"\nconnections = 0").expect_err("too long");
    assert_eq!(keys(&found), ["providers.mail.connections", "providers.mail.timeout"]);
}

#[test]
fn what_is_missing_is_told() {
    assert_eq!(keys(&problems(parse(&mail("")))), ["providers.mail.url", "providers.mail.from"]);
}
