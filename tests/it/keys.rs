//! The keys of access tokens, as servers, operators and other services meet them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use latchkey::ambient::{Clock, SystemClock, SystemEntropy};
use latchkey::config::Config;
use latchkey::domain::channel::Channel;
use latchkey::domain::ids::{SessionId, UserId};
use latchkey::keys::{AccessTokens, Bearer};
use reqwest::Method;
use serde_json::Value;

use crate::harness::app::APP;
use crate::harness::process::{Server, Settings, run};
use crate::harness::{Backend, Database, TestApp, on_both};

/// Another node of the same configuration.
fn node(settings: &Settings) -> AccessTokens {
    let config =
        Config::load(Some(&settings.save()), &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"));
    let issuer = "http://127.0.0.1:8080".to_owned();
    AccessTokens::open(&config.session, issuer, Arc::new(config.apps), Arc::new(SystemEntropy)).expect("keys")
}

fn issue(node: &AccessTokens) -> String {
    let (user, session) = (UserId::generate(&SystemEntropy), SessionId::generate(&SystemEntropy));
    let bearer = Bearer { app_id: APP.to_owned(), user, session, channel: Some(Channel::Sms) };
    node.issue(&bearer, SystemClock.now()).expect("a token").text.to_string()
}

/// Whether a service that knows our published keys, and nothing else of us, takes a token.
fn is_taken(published: &Value, token: &str) -> bool {
    let set: JwkSet = serde_json::from_value(published.clone()).expect("a JWK set");
    let kid = decode_header(token).expect("a header").kid.expect("a kid");
    let Some(jwk) = set.find(&kid) else { return false };
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[APP]);
    validation.set_issuer(&["http://127.0.0.1:8080"]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    decode::<Value>(token, &DecodingKey::from_jwk(jwk).expect("a key"), &validation).is_ok()
}

fn kids(published: &Value) -> Vec<&str> {
    published["keys"].as_array().expect("keys").iter().filter_map(|key| key["kid"].as_str()).collect()
}

on_both! {
    async fn the_published_keys_are_public_and_cached_for_five_minutes_g1(database) {
        let app = TestApp::start(&database);
        let answer = app.send(app.request(Method::GET, "/.well-known/jwks.json")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["cache-control"], "public, max-age=300");
        assert_eq!(answer.headers["content-type"], "application/jwk-set+json");
        assert_eq!(kids(&answer.json()).len(), 2, "next and current");
        assert!(!answer.text.contains("\"d\""), "a private half");
        app.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_runs_follows_a_rotation_and_old_tokens_fail_after_two_g3() {
    let database = Database::fresh(Backend::Sqlite);
    let settings = Settings::of(&database);
    let server = Server::start(&settings).await;
    let file = settings.save();
    let rotate = async || {
        let arguments = ["keys", "rotate", "--config", file.to_str().expect("UTF-8")];
        let ended = run(database.folder.path(), &arguments, &[]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.out.contains("signs access tokens now"), "{}", ended.out);
    };
    let before = server.client.jwks().await;
    let old = issue(&node(&settings));
    assert!(is_taken(&before, &old));

    rotate().await;
    let new = issue(&node(&settings));
    assert!(is_taken(&before, &new), "the key that signs was known before");
    server.process.err.find("the keys of access tokens were read again").await.expect("it follows");
    let between = server.client.jwks().await;
    assert_eq!(kids(&between).len(), 3);
    assert!(is_taken(&between, &old) && is_taken(&between, &new));

    rotate().await;
    let last = node(&settings);
    assert!(!is_taken(&last.jwks(), &old) && is_taken(&last.jwks(), &new));
    assert!(last.verify(&old, SystemClock.now()).is_err() && last.verify(&new, SystemClock.now()).is_ok());
}

#[tokio::test]
async fn a_single_key_is_not_rotated_away_before_its_successor_is_known_g3() {
    let database = Database::fresh(Backend::Sqlite);
    let settings = Settings::of(&database);
    let ring = latchkey::domain::ed25519::generate_pem(&SystemEntropy);
    crate::harness::process::secret(&database, "session.keys", &ring);
    let old = issue(&node(&settings));
    let file = settings.save();
    let ended =
        run(database.folder.path(), &["keys", "rotate", "--config", file.to_str().expect("UTF-8")], &[])
            .await;
    assert!(ended.code == Some(0) && ended.out.contains("still signs. Rotate again"), "{ended:?}");
    let now = node(&settings);
    assert_eq!(kids(&now.jwks())[1], decode_header(issue(&now)).expect("a header").kid.expect("a kid"));
    assert!(now.verify(&old, SystemClock.now()).is_ok());
}

#[tokio::test]
async fn production_makes_no_keys_and_says_how_to_g3() {
    let database = Database::fresh(Backend::Sqlite);
    let settings = Settings::production(&database);
    let keys = database.file("session.keys");
    std::fs::remove_file(&keys).expect("our file");
    let file = settings.save();
    for command in [&["serve"][..], &["keys", "rotate"], &["config", "check"]] {
        let arguments = [command, &["--config", file.to_str().expect("UTF-8")]].concat();
        let ended = run(database.folder.path(), &arguments, &[]).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.err.contains("session.key_file (") && ended.err.contains("openssl genpkey"),
            "{}",
            ended.err
        );
        assert!(!keys.exists());
    }
}
