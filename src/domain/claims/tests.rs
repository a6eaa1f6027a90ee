use serde_json::{Value, json};

use super::*;
use crate::ambient::SeededEntropy;

const ISSUER: &str = "https://login.example.com";
/// A whole second: 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn claims() -> Claims {
    let entropy = SeededEntropy::new(1);
    Claims {
        issuer: ISSUER.to_owned(),
        app_id: "com.example.chat".to_owned(),
        user: UserId::generate(&entropy),
        session: SessionId::generate(&entropy),
        id: AccessTokenId::generate(&entropy),
        issued_at: NOW,
        expires_at: NOW.plus(MAX_LIFETIME),
        channel: Some(Channel::Sms),
    }
}

fn parse(json: &str) -> Result<Claims, TokenError> {
    Claims::parse(json.as_bytes(), ISSUER, NOW)
}

/// Good claims with one of them as this text of JSON.
fn with(claim: &str, value: &str) -> String {
    let mut good: Value = serde_json::from_slice(&claims().to_json()).expect("JSON");
    good[claim] = json!("PLACE");
    good.to_string().replace("\"PLACE\"", value)
}

#[test]
fn claims_read_back_and_are_these_g1_g7() {
    for channel in Channel::ALL.into_iter().map(Some).chain([None]) {
        let claims = Claims { channel, ..claims() };
        let text = String::from_utf8(claims.to_json()).expect("UTF-8");
        assert!(!text.contains("mfa"), "{text}");
        assert_eq!(parse(&text).as_ref(), Ok(&claims));
    }
    let claims = claims();
    let golden = json!({
        "iss": ISSUER, "aud": "com.example.chat", "client_id": "com.example.chat", "sub": claims.user.as_str(),
        "iat": 1_767_225_600, "nbf": 1_767_225_600, "exp": 1_767_226_500, "jti": claims.id.as_str(),
        "sid": claims.session.as_str(), "amr": ["otp", "sms"],
    });
    assert_eq!(serde_json::from_slice::<Value>(&claims.to_json()).expect("JSON"), golden);
}

#[test]
fn how_the_code_travelled_is_told_honestly_g7() {
    let told = [
        (Some(Channel::Sms), vec!["otp", "sms"]),
        (Some(Channel::Voice), vec!["otp", "tel"]),
        (Some(Channel::Whatsapp), vec!["otp", "whatsapp"]),
        (Some(Channel::Telegram), vec!["otp", "telegram"]),
        (Some(Channel::Email), vec!["otp", "email"]),
        (None, vec!["otp"]),
    ];
    for (channel, methods) in told {
        assert_eq!(amr(channel), methods);
    }
    for lie in [r#"["mfa"]"#, r#"["otp","mfa"]"#, r#"["pwd"]"#, "[]", r#"["sms","otp"]"#, r#""otp""#, "null"]
    {
        assert_eq!(parse(&with("amr", lie)), Err(TokenError::Claims), "{lie}");
    }
}

#[test]
fn a_time_is_a_whole_number_of_this_age_and_nothing_else_g2() {
    let wrong = [
        "\"9999999999\"",
        "\"1767226000\"",
        "1e400",
        "-1e400",
        "1e9",
        "1767226000.0",
        "1767226000.5",
        "null",
        "true",
        "[1767226000]",
        "{}",
        "-1",
        "0",
        "-9223372036854775808",
        "9223372036854775807",
        "18446744073709551615",
        "253402300800",
        "99999999999999999999999999",
    ];
    for claim in ["exp", "nbf", "iat"] {
        assert!(parse(&with(claim, "1767225600")).is_ok() != (claim == "exp"), "the corpus itself: {claim}");
        for value in wrong {
            assert_eq!(parse(&with(claim, value)), Err(TokenError::Claims), "{claim}: {value}");
        }
    }
}

#[test]
fn every_claim_is_needed_once_and_in_its_own_form_g1() {
    let good: Value = serde_json::from_slice(&claims().to_json()).expect("JSON");
    let names: Vec<&String> = good.as_object().expect("an object").keys().collect();
    assert_eq!(names.len(), 10);
    for name in names {
        let mut less = good.clone();
        less.as_object_mut().expect("an object").remove(name);
        assert_eq!(parse(&less.to_string()), Err(TokenError::Claims), "without {name}");
        let twice = good.to_string().replacen('{', &format!("{{{:?}:{},", name, good[name]), 1);
        assert_eq!(parse(&twice), Err(TokenError::Claims), "{name} twice");
        assert_eq!(parse(&with(name, "null")), Err(TokenError::Claims), "{name} is null");
    }
    let wrong = [
        ("sub", "\"ann\""),
        ("sub", "\"ses_aaaaaaaaaaaaaaaaaaaaaa\""),
        ("sub", "\"usr_aaaaaaaaaaaaaaaaaaaaa\\u0000\""),
        ("sid", "\"usr_aaaaaaaaaaaaaaaaaaaaaa\""),
        ("jti", "\"1\""),
        ("jti", "7"),
        ("aud", "[\"com.example.chat\"]"),
        ("aud", "\"com.example.other\""),
        ("client_id", "\"com.example.other\""),
        ("iss", "[\"https://login.example.com\"]"),
    ];
    for (claim, value) in wrong {
        assert_eq!(parse(&with(claim, value)), Err(TokenError::Claims), "{claim}: {value}");
    }
    for value in ["\"\"", "\"https://login.example.com/\"", "\"https://evil.example\""] {
        assert_eq!(parse(&with("iss", value)), Err(TokenError::Issuer), "{value}");
    }
    let array: Vec<&Value> = good.as_object().expect("an object").values().collect();
    for text in
        ["", "{}", "[]", "null", "\"\"", &json!(array).to_string(), &format!("{good}{{}}"), "{\"exp\""]
    {
        assert_eq!(parse(text), Err(TokenError::Claims), "{text}");
    }
}

#[test]
fn a_token_is_valid_from_its_second_on_less_five_and_never_after_its_end_g2() {
    let json = claims().to_json();
    let at =
        |secs: i64| Claims::parse(&json, ISSUER, Timestamp::from_millis(NOW.as_millis() + secs * 1000)).err();
    let end = 15 * 60;
    let cases = [
        (-6, Some(TokenError::NotYet)),
        (-5, None),
        (0, None),
        (end - 1, None),
        (end, Some(TokenError::Expired)),
        (end + 5, Some(TokenError::Expired)),
    ];
    for (secs, error) in cases {
        assert_eq!(at(secs), error, "{secs} s");
    }
    assert_eq!(parse(&with("nbf", "1767225605")).err(), None);
    assert_eq!(parse(&with("nbf", "1767225606")), Err(TokenError::NotYet));
}

#[test]
fn no_token_lives_longer_than_fifteen_minutes_whoever_signed_it_g4() {
    assert!(parse(&with("exp", "1767226500")).is_ok());
    for exp in ["1767226501", "9999999999", "1767225600", "1767225599"] {
        assert_eq!(parse(&with("exp", exp)), Err(TokenError::Claims), "{exp}");
    }
}
