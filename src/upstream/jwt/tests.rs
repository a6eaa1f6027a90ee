use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::json;

use super::*;
use crate::ambient::{ManualClock, SeededEntropy, SystemEntropy};
use crate::config::{JwtKey, UpstreamConfig};
use crate::domain::address::Address;
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;
use crate::upstream::Surroundings;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// RFC 8410 §10.3 and the public key of §10.1.
const RFC_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
const RFC_KEY_V2: &str = "-----BEGIN PRIVATE KEY-----\nMHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\noB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\nZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PRIVATE KEY-----\n";
const RFC_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_999);

fn config(key: JwtKey, claims: &[(&str, &str)]) -> JwtUpstream {
    JwtUpstream {
        key,
        lifetime: Duration::from_mins(15),
        claims: claims.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect(),
        form: form(""),
    }
}

fn form(audience: &str) -> JwtForm {
    JwtForm::Standard { issuer: "https://login.example".to_owned(), audience: audience.to_owned() }
}

fn hs256(claims: &[(&str, &str)]) -> JwtUpstream {
    config(JwtKey::Hs256(SECRET.into()), claims)
}

fn made(config: &JwtUpstream) -> Result<Jwt, JwtError> {
    Jwt::new("chat", config, Arc::new(ManualClock::new(NOW)), Arc::new(SeededEntropy::new(7)))
}

fn subject() -> Subject {
    Subject {
        user: UserId::from_stored("usr_1".to_owned()),
        upstream_id: None,
        address: Address::parse("+18005551234").expect("a number"),
        app_id: "com.example.app".to_owned(),
        name: None,
    }
}

/// Verified by another's hand: signature and algorithm. Time stands still here, and is not looked at.
fn verified(token: &str, algorithm: Algorithm, key: &DecodingKey) -> (Header, Map<String, Value>) {
    let mut rules = Validation::new(algorithm);
    rules.validate_exp = false;
    rules.validate_aud = false;
    let read = jsonwebtoken::decode(token, key, &rules).expect("a right signature");
    (read.header, read.claims)
}

async fn minted(config: &JwtUpstream, subject: &Subject) -> (ChatToken, Map<String, Value>) {
    let token = made(config).expect("right").mint(subject).await.expect("a token");
    let (_, claims) = verified(&token.token, Algorithm::HS256, &DecodingKey::from_secret(SECRET.as_bytes()));
    (token, claims)
}

#[tokio::test]
async fn the_standard_claims_are_these_and_claim_no_more_than_was_proved_g7() {
    let (token, claims) = minted(&hs256(&[]), &subject()).await;
    let jti = claims["jti"].as_str().expect("a text").to_owned();
    assert_eq!(jti.len(), 22);
    assert_eq!(
        serde_json::to_string(&claims).expect("JSON"),
        format!(
            r#"{{"iss":"https://login.example","sub":"usr_1","aud":"com.example.app","iat":1750000000,"nbf":1750000000,"exp":1750000900,"jti":"{jti}"}}"#
        )
    );
    assert_eq!(token.user_id, "usr_1");
    assert_eq!(Value::Object(token.extra), json!({"expires_in": 900}));
    let imported = Subject { upstream_id: Some("old-42".to_owned()), ..subject() };
    let (token, claims) = minted(&JwtUpstream { form: form("chat"), ..hs256(&[]) }, &imported).await;
    assert_eq!(
        (token.user_id.as_str(), &claims["sub"], &claims["aud"]),
        ("old-42", &json!("old-42"), &json!("chat"))
    );
}

#[tokio::test]
async fn no_two_tokens_share_an_id() {
    let jwt = made(&hs256(&[])).expect("right");
    let first = jwt.mint(&subject()).await.expect("a token").token;
    assert_ne!(first, jwt.mint(&subject()).await.expect("a token").token);
}

#[tokio::test]
async fn hs256_signs_with_the_shared_secret_and_names_no_key_g1() {
    let token = made(&hs256(&[])).expect("right").mint(&subject()).await.expect("a token").token;
    let (header, _) = verified(&token, Algorithm::HS256, &DecodingKey::from_secret(SECRET.as_bytes()));
    assert_eq!(header, Header::new(Algorithm::HS256));
    assert_eq!((header.typ.as_deref(), header.kid), (Some("JWT"), None));
}

#[tokio::test]
async fn ed_dsa_signs_with_either_form_of_the_key_and_names_it_g1() {
    let public = DecodingKey::from_ed_pem(RFC_PUBLIC.as_bytes()).expect("a key");
    for pem in [RFC_KEY, RFC_KEY_V2] {
        let token = made(&config(JwtKey::EdDsa(pem.into()), &[])).expect("right").mint(&subject()).await;
        let (header, claims) = verified(&token.expect("a token").token, Algorithm::EdDSA, &public);
        assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::EdDSA, Some("JWT")));
        assert_eq!(header.kid.as_deref(), Some("50TAeRMgwyhUYO3b"));
        assert_eq!(claims["sub"], "usr_1");
    }
}

#[test]
fn what_is_no_ed25519_key_is_a_start_up_error_that_does_not_quote_it_g3() {
    let encrypted = RFC_KEY.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let x25519 = RFC_KEY.replace("K2Vw", "K2Vu");
    for pem in ["s3cret-canary", "", RFC_PUBLIC, &encrypted, &x25519, &RFC_KEY.replace("MC4C", "MC4D")] {
        let error = made(&config(JwtKey::EdDsa(pem.into()), &[])).err().expect("no key");
        assert!(error.to_string().starts_with("key_file: ") && error.to_string().contains("openssl genpkey"));
        assert!(!format!("{error} {error:?}").contains("canary") && !format!("{error:?}").contains("MC4"));
    }
}

#[tokio::test]
async fn one_expression_keeps_its_type_and_text_stays_text() {
    let config = hs256(&[
        ("number", "{{ iat }}"),
        ("sum", "{{ exp - iat }}"),
        ("flag", "{{ email == '' }}"),
        ("list", "{{ [app_id, phone_digits] }}"),
        ("map", "{{ {'x-user': user_id} }}"),
        ("trimmed", "{{- user_id -}}"),
        ("braces", "{{ '}}' ~ '{{' }}"),
        ("mixed", "u-{{ user_id }}/{{ phone }}"),
        ("two", "{{ iat }}{{ exp }}"),
        ("digits", "42"),
        ("word", "true"),
        ("chosen", "{% if email %}mail{% else %}phone{% endif %}"),
        ("https://chat.example/role.html", "<{{ phone }}>"),
    ]);
    let (_, mut claims) = minted(&config, &subject()).await;
    for standard in ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"] {
        claims.remove(standard).expect("there");
    }
    assert_eq!(
        Value::Object(claims),
        json!({
            "number": 1_750_000_000,
            "sum": 900,
            "flag": true,
            "list": ["com.example.app", "18005551234"],
            "map": {"x-user": "usr_1"},
            "trimmed": "usr_1",
            "braces": "}}{{",
            "mixed": "u-usr_1/+18005551234",
            "two": "17500000001750000900",
            "digits": "42",
            "word": "true",
            "chosen": "phone",
            "https://chat.example/role.html": "<+18005551234>",
        })
    );
}

#[tokio::test]
async fn an_empty_claim_is_left_out_and_a_configured_one_takes_the_standards_place() {
    let config = hs256(&[
        ("email", "{{ email }}"),
        ("nothing", "{{ none }}"),
        ("text", "{% if name %}Dear {{ name }}{% endif %}"),
        ("jti", ""),
        ("exp", "{{ iat + 60 }}"),
        ("sub", "phone:{{ phone_digits }}{{ email }}"),
    ]);
    let (token, claims) = minted(&config, &subject()).await;
    for absent in ["email", "nothing", "text", "jti"] {
        assert!(!claims.contains_key(absent), "{absent}");
    }
    assert_eq!(claims["exp"], 1_750_000_060);
    assert_eq!(token.user_id, "phone:18005551234", "the backend's id is the token's subject");
    assert_eq!(token.extra["expires_in"], 60);
    let ann = Subject {
        address: Address::parse("ann@mail.example").expect("a mailbox"),
        name: Some("{{ jti }}".to_owned()),
        ..subject()
    };
    let (_, claims) = minted(&config, &ann).await;
    assert_eq!(
        (&claims["email"], &claims["sub"]),
        (&json!("ann@mail.example"), &json!("phone:ann@mail.example"))
    );
    assert_eq!(claims["text"], "Dear {{ jti }}", "a user's words are no template");
}

#[test]
fn a_wrong_claim_is_a_start_up_error_that_names_its_key_and_makes_no_key_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key.pem");
    for (text, reason) in [
        ("{{ user_id", "syntax error"),
        ("{% if %}", "syntax error"),
        ("{{ usr_id }}", "there is no \"usr_id\"; a claim knows user_id, phone"),
        ("x{{ usr_id }}", "there is no \"usr_id\""),
        ("{% if name == 'Eve' %}{{ usr_id }}{% endif %}", "there is no \"usr_id\""),
        ("{{ user_id.domain }}", "no value"),
        ("{{ name|reverse_it }}", "unknown filter"),
        ("{{ 1 / 0 }}", "1 / 0"),
        ("{% for a in range(99999) %}{% endfor %}", "there is no \"range\""),
    ] {
        let claims = config(JwtKey::GeneratedEdDsa(path.clone()), &[("role", text)]);
        let all = BTreeMap::from([("chat".to_owned(), UpstreamConfig::Jwt(claims))]);
        let surroundings = Surroundings {
            clock: Arc::new(ManualClock::new(NOW)),
            entropy: Arc::new(SeededEntropy::new(7)),
            metrics: Arc::default(),
        };
        let error = crate::upstream::build(&all, &surroundings).err().expect("wrong").remove(0).to_string();
        assert!(error.starts_with("upstreams.chat.claims.role: "), "{error}");
        assert!(error.contains(reason), "{text}: {error}");
        assert!(!path.exists(), "{text}");
    }
}

#[tokio::test]
async fn a_claim_that_fails_for_one_user_names_its_key_and_quotes_nobody_f7() {
    let text = "{% if name == 'Eve +18005551234' %}{{ name / 2 }}{% endif %}";
    let eve = Subject { name: Some("Eve +18005551234".to_owned()), ..subject() };
    let error = made(&hs256(&[("role", text)])).expect("right").mint(&eve).await.err().expect("no number");
    assert!(
        matches!(&error, UpstreamError::Misconfigured(text) if text.starts_with("upstreams.chat.claims.role "))
    );
    assert!(!error.to_string().contains("1234"), "{error}");
}

#[test]
fn an_endless_template_runs_out_of_fuel() {
    let nested = "{% for a in l %}{% for b in l %}{% for c in l %}x{% endfor %}{% endfor %}{% endfor %}";
    let numbers: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    let text = format!("{{% set l = [{}] %}}{nested}", numbers.join(","));
    let error = made(&hs256(&[("role", &text)])).err().expect("too long").to_string();
    assert!(error.contains("fuel"), "{error}");
}

#[test]
fn times_must_be_numbers_and_a_token_must_end_g2() {
    for (key, text) in
        [("exp", "never"), ("exp", ""), ("exp", "{{ name }}"), ("iat", "17"), ("nbf", "{{ iat * 1.5 }}")]
    {
        let error = made(&hs256(&[(key, text)])).err().expect("wrong").to_string();
        assert!(error.starts_with(&format!("claims.{key}: must be a whole number")), "{error}");
    }
}

fn generated(path: &Path, entropy: Arc<dyn Entropy>) -> Jwt {
    let config = config(JwtKey::GeneratedEdDsa(path.to_owned()), &[]);
    Jwt::new("local", &config, Arc::new(ManualClock::new(NOW)), entropy).expect("a key")
}

#[tokio::test]
async fn six_first_starts_agree_on_one_key_and_the_next_start_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key.pem");
    let jwts: Vec<Jwt> = std::thread::scope(|scope| {
        let starts: Vec<_> =
            (0..6).map(|_| scope.spawn(|| generated(&path, Arc::new(SystemEntropy)))).collect();
        starts.into_iter().map(|start| start.join().expect("no panic")).collect()
    });
    let later = generated(&path, Arc::new(SystemEntropy));
    let mut kids = HashSet::new();
    let mut signatures = HashSet::new();
    for jwt in jwts.iter().chain([&later]) {
        let token = jwt.mint(&subject()).await.expect("a token").token;
        kids.insert(jsonwebtoken::decode_header(&*token).expect("a header").kid.expect("a key id"));
        // Ed25519 is deterministic: the same key signs the same text alike.
        signatures.insert(jwt.key.sign(&json!({"x": 1})).expect("signed"));
    }
    assert_eq!((kids.len(), signatures.len()), (1, 1));
}

#[tokio::test]
async fn a_generated_key_is_a_plain_pkcs8_file_that_verifies() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key.pem");
    let token =
        generated(&path, Arc::new(SeededEntropy::new(7))).mint(&subject()).await.expect("a token").token;
    let pem = std::fs::read_to_string(&path).expect("a file");
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI"), "{pem}");
    let key = jsonwebtoken::EncodingKey::from_ed_pem(pem.as_bytes()).expect("a key");
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::EdDSA).expect("its public part");
    verified(&token, Algorithm::EdDSA, &DecodingKey::from_jwk(&jwk).expect("a key"));
}

#[test]
fn a_key_file_that_cannot_be_made_is_named() {
    let config = config(JwtKey::GeneratedEdDsa("/nonexistent-folder/key.pem".into()), &[]);
    let error = made(&config).err().expect("no folder").to_string();
    assert!(error.starts_with("key_file: /nonexistent-folder/key.pem cannot be read or made"), "{error}");
}

#[tokio::test]
async fn revoking_succeeds_and_changes_nothing() {
    made(&hs256(&[])).expect("right").revoke(&subject()).await.expect("nothing to do");
}

mod presets;
mod private;
