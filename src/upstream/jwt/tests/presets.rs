//! What each preset signs: exact headers and claims, made from a configuration as an operator writes it.

use super::*;
use crate::config::{Config, jwt_presets};

/// As long as the longest minimum.
const KEY: &str = "0123456789abcdefghijklmnopqrstuv";

/// A preset, its settings, and what it signs for `usr_1`: header and claims.
const GOLDEN: [(&str, &str, &str, &str, &str); 8] = [
    (
        "stream",
        "",
        r#"{"typ":"JWT","alg":"HS256"}"#,
        r#"{"exp":1750086400,"iat":1750000000,"user_id":"usr_1"}"#,
        "usr_1",
    ),
    (
        "talkjs",
        "app_id = \"tAbc123\"",
        r#"{"typ":"JWT","alg":"HS256"}"#,
        r#"{"exp":1750086400,"iss":"tAbc123","sub":"usr_1","tokenType":"user"}"#,
        "usr_1",
    ),
    (
        "centrifugo",
        "",
        r#"{"typ":"JWT","alg":"HS256"}"#,
        r#"{"exp":1750003600,"iat":1750000000,"jti":"JTI","sub":"usr_1"}"#,
        "usr_1",
    ),
    (
        "livekit",
        "api_key = \"APIabc\"",
        r#"{"typ":"JWT","alg":"HS256"}"#,
        r#"{"exp":1750021600,"iat":1750000000,"iss":"APIabc","nbf":1750000000,"sub":"usr_1","video":{"roomJoin":true}}"#,
        "usr_1",
    ),
    (
        "twilio-conversations",
        "account_sid = \"AC0123456789abcdef0123456789abcdef\"\napi_key_sid = \"SK0123456789abcdef0123456789abcdef\"\n\
         service_sid = \"IS0123456789abcdef0123456789abcdef\"",
        r#"{"typ":"JWT","alg":"HS256","cty":"twilio-fpa;v=1"}"#,
        r#"{"exp":1750003600,"grants":{"chat":{"service_sid":"IS0123456789abcdef0123456789abcdef"},"identity":"usr_1"},"iat":1750000000,"iss":"SK0123456789abcdef0123456789abcdef","jti":"SK0123456789abcdef0123456789abcdef-1750000000","sub":"AC0123456789abcdef0123456789abcdef"}"#,
        "usr_1",
    ),
    (
        "ably",
        "key_name = \"xVLyHw.LMJZxw\"",
        r#"{"typ":"JWT","alg":"HS256","kid":"xVLyHw.LMJZxw"}"#,
        r#"{"exp":1750003600,"iat":1750000000,"x-ably-capability":"{\"*\":[\"publish\",\"subscribe\",\"presence\",\"history\"]}","x-ably-clientId":"usr_1"}"#,
        "usr_1",
    ),
    (
        "synapse",
        "host = \"matrix.example\"",
        r#"{"typ":"JWT","alg":"HS256"}"#,
        r#"{"exp":1750000300,"iat":1750000000,"sub":"usr_31"}"#,
        "@usr_31:matrix.example",
    ),
    (
        "ejabberd",
        "host = \"xmpp.example\"",
        r#"{"typ":"JWT","alg":"HS256"}"#,
        r#"{"exp":1750086400,"iat":1750000000,"jid":"usr_31@xmpp.example"}"#,
        "usr_31@xmpp.example",
    ),
];

fn text(preset: &str, settings: &str) -> String {
    format!("[upstreams.chat]\nkind = \"jwt\"\npreset = \"{preset}\"\nkey = \" {KEY}\\n\"\n{settings}\n")
}

fn settings_of(wanted: &str) -> &'static str {
    GOLDEN.iter().find(|(preset, ..)| *preset == wanted).expect("a preset").1
}

/// As the whole configuration makes it.
fn built(text: &str) -> Result<Jwt, String> {
    let config = Config::parse(text.parse().expect("TOML"), "a test", &BTreeMap::new());
    let config = config.map_err(|error| error.to_string())?;
    let UpstreamConfig::Jwt(config) = &config.upstreams["chat"] else { panic!("another kind") };
    made(config).map_err(|error| error.to_string())
}

fn parts(token: &str) -> [String; 2] {
    let mut parts = token
        .split('.')
        .map(|part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap_or_default()).unwrap_or_default());
    [(); 2].map(|()| parts.next().expect("a part"))
}

async fn signed(text: &str, subject: &Subject) -> (ChatToken, Map<String, Value>) {
    let token = built(text).expect("right").mint(subject).await.expect("a token");
    let (_, claims) = verified(&token.token, Algorithm::HS256, &DecodingKey::from_secret(KEY.as_bytes()));
    (token, claims)
}

#[tokio::test]
async fn each_preset_signs_exactly_this() {
    for (preset, settings, header, claims, user_id) in GOLDEN {
        let (token, read) = signed(&text(preset, settings), &subject()).await;
        let jti = read.get("jti").and_then(Value::as_str).unwrap_or_default().to_owned();
        let [got_header, got_claims] = parts(&token.token);
        assert_eq!(got_header, header, "{preset}");
        let claims = claims.replace("\"JTI\"", &format!("{jti:?}"));
        assert_eq!(got_claims, claims, "{preset}");
        assert_eq!((token.provider, token.user_id.as_str()), (preset, user_id));
        assert_eq!(token.extra["expires_in"], read["exp"].as_i64().expect("a time") - 1_750_000_000);
    }
}

#[test]
fn every_preset_has_a_golden_token_and_keeps_its_own_promises() {
    let golden: Vec<&str> = GOLDEN.iter().map(|(preset, ..)| *preset).collect();
    let mut known: Vec<&str> = jwt_presets().map(|(name, _)| name).collect();
    known.sort_by_key(|name| golden.iter().position(|golden| golden == name));
    assert_eq!(known, golden);
    for (name, preset) in jwt_presets() {
        assert!(preset.max_lifetime.is_none_or(|longest| preset.lifetime <= longest), "{name}");
        assert!(preset.docs.starts_with("https://") && !preset.label.is_empty(), "{name}");
        let rule = &preset.user_id;
        assert_eq!(rule.pattern.is_empty(), rule.says.is_empty(), "{name}: what is refused is explained");
        let declared = preset.settings.values().chain([]).map(|setting| setting.pattern.as_str());
        for pattern in declared.chain([rule.pattern.as_str(), preset.key.pattern.as_str()]) {
            crate::config::whole(pattern).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[tokio::test]
async fn what_is_set_fills_the_optional_claims() {
    let (_, claims) = signed(&text("livekit", "api_key = \"k\"\nroom = \"lobby\""), &subject()).await;
    assert_eq!(claims["video"], json!({"roomJoin": true, "room": "lobby"}));
    let (_, claims) =
        signed(&text("synapse", "host = \"m.example\"\nissuer = \"us\"\naudience = \"m\""), &subject()).await;
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("us"), &json!("m")));
    let settings = format!(
        "{}\nregion = \"ie1\"\npush_credential_sid = \"CR{}\"",
        settings_of("twilio-conversations"),
        "0".repeat(32)
    );
    let (token, claims) = signed(&text("twilio-conversations", &settings), &subject()).await;
    assert_eq!(parts(&token.token)[0], r#"{"typ":"JWT","alg":"HS256","cty":"twilio-fpa;v=1","twr":"ie1"}"#);
    assert!(claims["grants"]["chat"]["push_credential_sid"].is_string());
}

#[tokio::test]
async fn configured_claims_override_a_preset_and_the_app_is_told_the_id_that_they_make() {
    let more = "[upstreams.chat.claims]\nuser_id = \"{{ phone_digits or 'mail' }}\"\nexp = \"{{ iat + 60 }}\"\nrole = \"member\"";
    let (token, claims) = signed(&text("stream", more), &subject()).await;
    assert_eq!(
        Value::Object(claims),
        json!({"exp": 1_750_000_060, "iat": 1_750_000_000, "user_id": "18005551234", "role": "member"})
    );
    assert_eq!((token.user_id.as_str(), &token.extra["expires_in"]), ("18005551234", &json!(60)));
}

#[tokio::test]
async fn an_imported_id_is_taken_as_it_is_or_refused_and_never_quoted_f6() {
    for (preset, good, bad) in [
        ("stream", "Ann@old_42", "+18005551234"),
        ("talkjs", "any thing", ""),
        ("twilio-conversations", "ann.42", "ann+42"),
        ("ably", "ann:42", "ann*"),
        ("synapse", "ann=2e42", "Ann"),
        ("ejabberd", "ann.42", "Ann"),
    ] {
        let jwt = built(&text(preset, settings_of(preset))).expect("right");
        let imported = |id: &str| Subject { upstream_id: Some(id.to_owned()), ..subject() };
        let token = jwt.mint(&imported(good)).await.expect(preset);
        assert!(token.user_id.contains(good), "{preset}: {}", token.user_id);
        let error = jwt.mint(&imported(bad)).await.err().expect(preset);
        assert!(
            matches!(&error, UpstreamError::Refused(text) if text.contains("which takes ")),
            "{preset}: {error:?}"
        );
        assert!(bad.is_empty() || !error.to_string().contains("18005551234"), "{error}");
    }
}

#[test]
fn a_claim_that_makes_a_wrong_id_is_a_start_up_error() {
    let claims = "[upstreams.chat.claims]\nuser_id = \"{{ phone or email }}\"";
    let error = built(&text("stream", claims)).err().expect("a plus sign");
    assert!(error.starts_with("claims.user_id: ") && error.contains("1 to 255 of A-Z"), "{error}");
}

#[test]
fn a_token_lives_no_longer_than_the_vendor_allows() {
    let settings = settings_of("twilio-conversations");
    let error = built(&text("twilio-conversations", &format!("{settings}\nlifetime = \"25h\"")))
        .err()
        .expect("too long");
    assert!(error.contains("upstreams.chat.lifetime (a test): must be \"1s\" to \"1d\""), "{error}");
    let claims = format!("{settings}\n[upstreams.chat.claims]\nexp = \"{{{{ iat + 86401 }}}}\"");
    let error = built(&text("twilio-conversations", &claims)).err().expect("too long");
    assert_eq!(error, "claims.exp: is later than the backend allows");
}
