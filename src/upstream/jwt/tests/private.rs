//! Private keys, checked with their public halves.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize};

use super::*;

/// 1024 bits: anybody with enough money can sign with it.
const SHORT_RSA: &str = "-----BEGIN RSA PRIVATE KEY-----\nMIICXQIBAAKBgQCyvecsvnAGuz0B6ViZtsdeRd4fuP2LGcYYFkFQTYJyrh3Wk6tl\n+Th4DuHVvp6xaoEvgoTV6LzUcXcZD5hIoNaf1l0PN1V5YSyhYCcl2uygUqMwNwZe\nvLpLFAdiySdaRUhW5/fSfhP2skQJMlGLvZmh2aeSSgAbRM+VxymF/VHISQIDAQAB\nAoGAFE1luLtY1irmXxU2Lx+HvbmJ5WiJxAcFbS759DkZnBUS5pCXY1nPhDOMi06/\nj79dNRxKIlHxQOAyevI+heFe/1AFyATTYUhbXF5gjQuFtU0+l9FYoVCzbPr7s1at\nSMH6wAWhcw1HiO2Jt+ihPvd2JnS/Gxlte3J9JGJnmqTdO1ECQQDnwF65/LSScCJf\nLHjnCDhXhnbqotL05+nn0v4IMfH7pwjnq2nSFARB/Mkxb8A0zyekNaJ7uSt2+5Rl\npPwagwr7AkEAxXGhrlbFOrL6v5s6f/i8ndmOy1d8mma/3nWnqfbwoqYM7AbHod5x\npSXpHz4/4trH9+beUTbzG0EhLEhARmfWiwJAEIykNxPcsThgu/spBxaHL3jitQ67\nkdGd2nguu9cVOKtM735GKEJVq4CpvWYFi7/fTNKnr74hZHXCux91AU+qUQJBALUR\n3pqJjNqmJPrvGpkdvaxtRl0I4Iag0DjtYVOn2UrwSU1zckTqQQKZX899QQ2EYnrg\nSOXmJNDLy+ZWZEutEr0CQQCMd17t2z45/2jP6kzt9ajZN6BkEZk7oWOaXCTuc467\nr+0XwpYu2HUqFoytdIVpx1x0ogYSOdIiFBSkQSag+Syq\n-----END RSA PRIVATE KEY-----\n";

fn rsa() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key")
}

fn p256() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

#[tokio::test]
async fn rs256_and_es256_verify_with_the_public_key_and_name_it_g1() {
    let (rsa, p256) = (rsa(), p256());
    let rsa_public = DecodingKey::from_rsa_pem(rsa.public_key_pem().as_bytes()).expect("a key");
    let p256_public = DecodingKey::from_ec_pem(p256.public_key_pem().as_bytes()).expect("a key");
    for (key, algorithm, public) in [
        (JwtKey::Rs256(rsa.serialize_pem().into()), Algorithm::RS256, rsa_public),
        (JwtKey::Es256(p256.serialize_pem().into()), Algorithm::ES256, p256_public),
    ] {
        let jwt = made(&config(key, &[])).expect("right");
        let token = jwt.mint(&subject()).await.expect("a token");
        let (header, claims) = verified(&token.token, algorithm, &public);
        assert_eq!((header.alg, header.typ.as_deref()), (algorithm, Some("JWT")));
        assert_eq!(header.kid.map(|kid| kid.len()), Some(16));
        assert_eq!(claims["sub"], "usr_1");
    }
}

#[test]
fn what_is_no_such_key_is_a_start_up_error_with_the_command_that_makes_one_g3() {
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
    let (rsa, p256) = (rsa().serialize_pem(), p256().serialize_pem());
    for (key, command) in [
        (JwtKey::Es256(rsa.clone().into()), "-algorithm EC -pkeyopt ec_paramgen_curve:P-256"),
        (JwtKey::Es256(p384.serialize_pem().into()), "-algorithm EC"),
        (JwtKey::Es256(RFC_KEY.into()), "-algorithm EC"),
        (JwtKey::Rs256(p256.clone().into()), "-algorithm RSA -pkeyopt rsa_keygen_bits:2048"),
        (JwtKey::Rs256(SHORT_RSA.into()), "-algorithm RSA"),
        (JwtKey::Rs256("s3cret-canary".into()), "-algorithm RSA"),
        (JwtKey::EdDsa(p256.into()), "-algorithm ed25519"),
    ] {
        let error = made(&config(key, &[])).err().expect("another key").to_string();
        assert!(error.starts_with("key_file: ") && error.contains(command), "{error}");
        assert!(!error.contains("canary") && !error.contains("MI"), "{error}");
    }
}
