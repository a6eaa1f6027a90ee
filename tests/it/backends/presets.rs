use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use super::*;
use crate::harness::on_both;

const KEY: &str = "0123456789abcdefghijklmnopqrstuv";

fn hex(text: &str) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).expect("a half");
    text.bytes().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

on_both! {
    async fn a_preset_signs_what_its_backend_takes_for_the_user_that_the_app_is_told_of(database) {
        let app = serving(&database, &format!("kind = \"jwt\"\npreset = \"stream\"\nkey = \"{KEY}\""));
        let answer = log_in(&app, APP, "+18005551234").await;
        let (chat, user) = (chat(&answer), answer.get("user_id"));
        assert_eq!((&chat["provider"], &chat["user_id"], &chat["expires_in"]), (&json!("stream"), &user, &json!(86_400)));
        let [header, claims] = parts(&chat["token"]);
        assert_eq!(header, r#"{"typ":"JWT","alg":"HS256"}"#);
        assert_eq!(claims, format!(r#"{{"exp":1767312000,"iat":1767225600,"user_id":{user}}}"#));
        app.stop().await;
    }
}

on_both! {
    async fn a_backend_without_capitals_knows_the_same_user_by_the_same_id_each_time(database) {
        let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
        let key = rsa.serialize_pem();
        let app = serving(
            &database,
            &format!("kind = \"jwt\"\npreset = \"synapse\"\nhost = \"m.example\"\nalgorithm = \"RS256\"\nkey = '''{key}'''"),
        );
        let mut ids = Vec::new();
        for phone in ["+18005551234", "+18005551234", "+18005551235"] {
            let answer = log_in(&app, APP, phone).await;
            let user = answer.get("user_id").as_str().expect("an id").to_owned();
            let hex = hex(user.strip_prefix("usr_").expect("ours"));
            let chat = chat(&answer);
            assert_eq!(chat["user_id"], format!("@usr_{hex}:m.example"));
            let public = DecodingKey::from_rsa_pem(rsa.public_key_pem().as_bytes()).expect("a key");
            let mut rules = Validation::new(Algorithm::RS256);
            rules.validate_exp = false;
            let token = chat["token"].as_str().expect("a token");
            let claims = jsonwebtoken::decode::<Value>(token, &public, &rules).expect("a right signature").claims;
            assert_eq!(claims["sub"], format!("usr_{hex}"));
            ids.push(user);
            app.advance(60);
        }
        assert!(ids[0] == ids[1] && ids[1] != ids[2]);
        app.stop().await;
    }
}
