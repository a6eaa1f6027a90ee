use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};

use super::*;
use crate::ambient::SeededEntropy;

const PAYLOAD: &[u8] = br#"{"sub":"usr_1"}"#;

fn ring(seed: u64) -> KeyRing {
    KeyRing::parse(&KeyRing::generate(&SeededEntropy::new(seed))).expect("two keys")
}

fn rotated(ring: &KeyRing, seed: u64) -> KeyRing {
    let (rotation, text) = ring.rotated(&SeededEntropy::new(seed));
    assert_eq!(rotation, Rotation::Rotated);
    KeyRing::parse(&text).expect("three keys")
}

fn token(ring: &KeyRing) -> String {
    ring.sign(TokenType::Access, PAYLOAD).expect("a token").to_string()
}

fn open(ring: &KeyRing, token: &str) -> Result<Vec<u8>, TokenError> {
    ring.open(TokenType::Access, token)
}

fn ids(ring: &KeyRing) -> Vec<String> {
    ring.keys().map(|key| key.pair.id().to_owned()).collect()
}

#[test]
fn a_token_outlives_one_rotation_and_not_two_g3() {
    let first = ring(1);
    let second = rotated(&first, 2);
    let third = rotated(&second, 3);
    let old = token(&first);
    assert_eq!(open(&first, &old).as_deref(), Ok(PAYLOAD));
    assert_eq!(open(&second, &old).as_deref(), Ok(PAYLOAD), "in the overlap");
    assert_eq!(open(&third, &old), Err(TokenError::Form), "its key is gone");
}

#[test]
fn whoever_knew_the_keys_before_a_rotation_knows_the_one_that_signs_after_it_g3() {
    let first = ring(1);
    let second = rotated(&first, 2);
    assert_eq!(second.current_id(), ids(&first)[0], "next became current");
    assert_eq!(ids(&second)[2], first.current_id(), "current became previous");
    assert!(!ids(&first).contains(&ids(&second)[0]), "and the next one is new");
    // A node that has not read the file again, and a service with the old JWKS, take the new tokens.
    assert_eq!(open(&first, &token(&second)).as_deref(), Ok(PAYLOAD));
}

#[test]
fn one_key_alone_is_given_a_next_one_before_anything_else_signs_g3() {
    let alone = KeyRing::parse(&generate_pem(&SeededEntropy::new(1))).expect("one key");
    let (rotation, text) = alone.rotated(&SeededEntropy::new(2));
    assert_eq!(rotation, Rotation::NextAdded);
    let pair = KeyRing::parse(&text).expect("two keys");
    assert_eq!(pair.current_id(), alone.current_id());
    assert_eq!(ids(&pair).len(), 2);
    assert_eq!(ids(&rotated(&pair, 3)), [&ids(&rotated(&pair, 3))[0], &ids(&pair)[0], alone.current_id()]);
}

#[test]
fn any_library_verifies_a_token_with_the_published_keys_g1() {
    let ring = rotated(&ring(1), 2);
    let set: JwkSet = serde_json::from_value(ring.jwks()).expect("a JWK set");
    assert_eq!(set.keys.len(), 3);
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    let token = token(&ring);
    let header = decode_header(&token).expect("a header");
    assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::EdDSA, Some("at+jwt")));
    let jwk = set.find(&header.kid.expect("a kid")).expect("published");
    let read =
        decode::<Value>(&token, &DecodingKey::from_jwk(jwk).expect("a key"), &validation).expect("valid");
    assert_eq!(read.claims["sub"], "usr_1");
    for key in ring.jwks()["keys"].as_array().expect("keys") {
        assert_eq!(key.get("d"), None, "a private half");
        let members: Vec<&str> = key.as_object().expect("a JWK").keys().map(String::as_str).collect();
        assert_eq!(members, ["kty", "crv", "x", "kid", "use", "alg"]);
    }
}

/// A token with a header of a stranger's choice, signed with our own current key.
fn signed_under(ring: &KeyRing, header: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(PAYLOAD));
    let signature = ring.current.pair.sign(message.as_bytes()).expect("a signature");
    format!("{message}.{signature}")
}

#[test]
fn no_header_but_ours_is_taken_even_with_a_good_signature_g1() {
    let ring = ring(1);
    let (kid, next) = (ring.current_id(), &ids(&ring)[0]);
    let ours = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{kid}"}}"#);
    assert_eq!(open(&ring, &signed_under(&ring, &ours)).as_deref(), Ok(PAYLOAD), "the corpus itself");
    let headers = [
        format!(r#"{{"alg":"none","typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"None","typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"Ed25519","typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#),
        r#"{"alg":"EdDSA","typ":"at+jwt"}"#.to_owned(),
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":""}"#.to_owned(),
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"../../etc/passwd"}"#.to_owned(),
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"' OR 1=1 --"}"#.to_owned(),
        ours.replace('}', r#","crit":["exp"]}"#),
        ours.replace('}', r#","jku":"https://evil.example/jwks.json"}"#),
        ours.replace('}', r#","x5u":"https://evil.example/cert.pem"}"#),
        ours.replace('}', r#","x5c":["MII"]}"#),
        ours.replace(
            '}',
            r#","jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}"#,
        ),
        ours.replace('}', r#","b64":false}"#),
        ours.replace('}', r#","zip":"DEF"}"#),
        ours.replace('}', r#","alg":"none"}"#),
        ours.replace(',', ", "),
        "{}".to_owned(),
        String::new(),
    ];
    for header in headers {
        assert_eq!(open(&ring, &signed_under(&ring, &header)), Err(TokenError::Form), "{header}");
    }
    let other_key = ours.replace(kid, next);
    assert_eq!(
        open(&ring, &signed_under(&ring, &other_key)),
        Err(TokenError::Signature),
        "signed with another"
    );
}

#[test]
fn the_published_key_as_a_shared_secret_signs_nothing_g1() {
    let ring = ring(1);
    let jwk = ring.jwks()["keys"][1].clone();
    let x = jwk["x"].as_str().expect("x");
    let raw = URL_SAFE_NO_PAD.decode(x).expect("base64");
    for secret in [x.as_bytes(), &raw, jwk.to_string().as_bytes()] {
        let mut header = Header::new(Algorithm::HS256);
        (header.kid, header.typ) = (Some(ring.current_id().to_owned()), Some("at+jwt".to_owned()));
        let forged =
            encode(&header, &json!({"sub": "usr_1"}), &EncodingKey::from_secret(secret)).expect("a token");
        assert_eq!(open(&ring, &forged), Err(TokenError::Form));
        let signature = forged.rsplit('.').next().expect("a signature");
        let (message, _) =
            token(&ring).rsplit_once('.').map(|(m, s)| (m.to_owned(), s.to_owned())).expect("parts");
        assert_eq!(open(&ring, &format!("{message}.{signature}")), Err(TokenError::Signature));
    }
}

#[test]
fn one_changed_letter_anywhere_is_refused_g1() {
    let (ring, other) = (ring(1), ring(9));
    let good = token(&ring);
    for index in 0..good.len() {
        for letter in ['A', 'B', '.', '=', 'é'] {
            let changed: String =
                good.char_indices().map(|(at, old)| if at == index { letter } else { old }).collect();
            assert!(changed == good || open(&ring, &changed).is_err(), "{letter} at {index}");
        }
    }
    let strange = [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        good.trim_start_matches('e'),
        &format!("{good}."),
        &format!("{good} "),
        &format!(".{good}"),
    ];
    for text in strange {
        assert!(open(&ring, text).is_err(), "{text}");
    }
    assert!(open(&ring, &"a.".repeat(1 << 20)).is_err());
    assert_eq!(open(&ring, &token(&other)), Err(TokenError::Form), "another house's");
}

#[test]
fn a_key_file_is_up_to_three_ed25519_keys_with_comments_g3() {
    let entropy = SeededEntropy::new(1);
    let [a, b, c, d] = [(); 4].map(|()| generate_pem(&entropy));
    let count = |text: &str| KeyRing::parse(text).map(|ring| ids(&ring).len());
    assert_eq!(count(&a), Ok(1));
    assert_eq!(count(&format!("# next\n{}\r\n\n{}", *a, b.replace('\n', "\r\n"))), Ok(2));
    assert_eq!(count(&format!("{}{}{}", *a, *b, *c)), Ok(3));
    assert_eq!(count(&format!("{}{}{}{}", *a, *b, *c, *d)), Err(KeyRingError::TooMany));
    assert_eq!(count(&format!("{}{}", *a, *a)), Err(KeyRingError::Duplicate(2)));
    assert_eq!(count(""), Err(KeyRingError::Empty));
    assert_eq!(count("# nothing yet\n"), Err(KeyRingError::Empty));
    assert_eq!(count("hunter2\n"), Err(KeyRingError::Form(1)));
    assert_eq!(count(&format!("{}hunter2\n", *a)), Err(KeyRingError::Form(4)));
    assert_eq!(count(&a.replace("-----END PRIVATE KEY-----\n", "")), Err(KeyRingError::Form(1)));
    let half = a.split_inclusive('\n').take(2).collect::<String>();
    assert_eq!(count(&format!("{half}{}", *b)), Err(KeyRingError::Form(3)));
    let short = a.replace("MC4CAQAwBQYDK2VwBCIEI", "MC4CAQAwBQYDK2VwBCIEAA");
    assert_eq!(count(&format!("{}{short}", *b)), Err(KeyRingError::Key(2)));
    let public = a.replace("PRIVATE", "PUBLIC");
    assert_eq!(count(&public), Err(KeyRingError::Key(1)));
}
