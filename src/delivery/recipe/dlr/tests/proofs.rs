//! The kinds of proof that have no published vectors, and the handshakes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, SigningKey};
use serde_json::json;

use super::*;

#[test]
fn basic_header_and_query_take_their_secret_and_nothing_else() {
    let basic = with_dlr(
        "format = \"json\"\nid = \"/id\"\nstatus = \"/status\"\nmap = { ok = \"delivered\", no = \"failed\" }\n\
         verify = { kind = \"basic\", user = \"token\", secret = \"secret\" }",
    );
    let basic = basic.unwrap_or_else(|error| panic!("{error}")).into_dlr().expect("[dlr]");
    let known = settings(&[("token", "user"), ("secret", "p:ss")]);
    let given = |pair: &str| call("").with("authorization", &format!("Basic {}", STANDARD.encode(pair)));
    let proved = |call: &CallIn| basic.read(&known, call, None, at(NOW)).is_ok();
    assert!(proved(&given("user:p:ss")));
    for wrong in
        [given("user:p:sS"), given("user:"), given(""), call(""), call("").with("authorization", "Basic é")]
    {
        assert!(!proved(&wrong));
    }

    let header = dlr("kind = \"header\"\nname = \"X-Token\"\nsecret = \"secret\"");
    assert!(super::proved(&header, "s3cret", &call("").with("x-token", "s3cret"), NOW));
    for wrong in [call(""), call("").with("x-token", "s3creT"), call("").with("x-token", "")] {
        assert!(!super::proved(&header, "s3cret", &wrong, NOW));
    }
    let query = dlr("kind = \"query\"\nname = \"key\"\nsecret = \"secret\"");
    let at_url = |query: &str| call("").at_url(&format!("https://login.example.com/r?{query}"));
    assert!(super::proved(&query, "s&cret", &at_url("a=1&key=s%26cret"), NOW));
    for wrong in ["", "key=", "key=s%26creT", "Key=s%26cret"] {
        assert!(!super::proved(&query, "s&cret", &at_url(wrong), NOW), "{wrong}");
    }
}

#[test]
fn a_secret_that_is_optional_and_not_set_asks_for_the_path_alone() {
    let header = dlr("kind = \"header\"\nname = \"X-Token\"\nsecret = \"secret\"");
    assert!(proved(&header, "", &call(""), NOW));
}

/// Telegram's key is the SHA-256 of its token; Telnyx joins with `|`.
#[test]
fn a_key_can_be_hashed_or_in_base64_and_parts_are_joined_as_they_are_named() {
    use aws_lc_rs::{digest, hmac};
    let telegram = dlr("kind = \"hmac\"\nalg = \"sha256\"\nsecret = \"secret\"\nkey = \"sha256\"\n\
                        signature = { header = \"X-Request-Signature\", encoding = \"hex\", timestamp = \"X-Request-Timestamp\", \
                        payload = [\"header:X-Request-Timestamp\", \"text:\\n\", \"body\"] }");
    let key = hmac::Key::new(hmac::HMAC_SHA256, digest::digest(&digest::SHA256, b"token").as_ref());
    let tag = hmac::sign(&key, format!("{NOW}\n{{}}").as_bytes());
    let hex: String = tag.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let signed = call("{}").with("x-request-timestamp", &NOW.to_string()).with("x-request-signature", &hex);
    assert!(proved(&telegram, "token", &signed, NOW));
    assert!(!proved(&telegram, "token", &signed, NOW + 301), "a replay");
    assert!(!proved(&telegram, "tokem", &signed, NOW));
    let later =
        call("{}").with("x-request-timestamp", &(NOW + 1).to_string()).with("x-request-signature", &hex);
    assert!(!proved(&telegram, "token", &later, NOW), "the time is signed");

    let in_base64 = dlr("kind = \"hmac\"\nalg = \"sha512\"\nsecret = \"secret\"\nkey = \"base64\"\n\
                         signature = { header = \"s\", encoding = \"base64\", payload = [\"body\"] }");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA512, b"key"), b"{}");
    let signed = call("{}").with("s", &STANDARD.encode(tag.as_ref()));
    assert!(proved(&in_base64, &STANDARD.encode("key"), &signed, NOW));
    assert!(!proved(&in_base64, "no base64!", &signed, NOW));
}

fn telnyx() -> Dlr {
    dlr("kind = \"ed25519\"\npublic_key = \"secret\"\n\
         signature = { header = \"telnyx-signature-ed25519\", encoding = \"base64\", timestamp = \"telnyx-timestamp\", \
         payload = [\"header:telnyx-timestamp\", \"text:|\", \"body\"] }")
}

#[test]
fn an_ed25519_signature_covers_time_and_body() {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let public = STANDARD.encode(pair.public_key().as_ref());
    let signature = STANDARD.encode(pair.sign(format!("{NOW}|{{}}").as_bytes()).as_ref());
    let signed = |time: i64, body: &str| {
        call(body).with("telnyx-timestamp", &time.to_string()).with("telnyx-signature-ed25519", &signature)
    };
    assert!(proved(&telnyx(), &public, &signed(NOW, "{}"), NOW));
    assert!(!proved(&telnyx(), &public, &signed(NOW, "[]"), NOW));
    assert!(!proved(&telnyx(), &public, &signed(NOW + 1, "{}"), NOW));
    assert!(!proved(&telnyx(), &public, &signed(NOW, "{}"), NOW + 301), "a replay");
    assert!(!proved(&telnyx(), "short", &signed(NOW, "{}"), NOW));
}

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:sms";

fn sns() -> Dlr {
    let minimal = crate::delivery::recipe::tests::MINIMAL;
    let text = minimal.replace("[limits]", "topic = {}\n[limits]");
    let text = format!(
        "{text}\n[dlr]\nformat = \"json\"\nid = \"/messageId\"\nstatus = \"/eventType\"\n\
         map = {{ TEXT_DELIVERED = \"delivered\", TEXT_BLOCKED = \"failed\" }}\n\
         verify = {{ kind = \"aws_sns\", topic = \"topic\" }}"
    );
    let loaded = crate::delivery::recipe::tests::load(&text).unwrap_or_else(|error| panic!("{error}"));
    loaded.into_dlr().expect("[dlr]")
}

fn signed_by_amazon(key: &KeyPair, subject: Option<&str>) -> Value {
    let message = r#"{"messageId":"m1","eventType":"TEXT_DELIVERED"}"#;
    let subject_line = subject.map(|subject| format!("Subject\n{subject}\n")).unwrap_or_default();
    let text = format!(
        "Message\n{message}\nMessageId\nid\n{subject_line}Timestamp\n2026-01-01T00:00:00Z\nTopicArn\n{TOPIC}\nType\nNotification\n"
    );
    let mut body = json!({
        "Type": "Notification", "MessageId": "id", "TopicArn": TOPIC, "Message": message,
        "Timestamp": "2026-01-01T00:00:00Z", "SignatureVersion": "2",
        "Signature": STANDARD.encode(key.sign(text.as_bytes()).expect("a signature")),
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
    });
    if let Some(subject) = subject {
        body["Subject"] = subject.into();
    }
    body
}

#[test]
fn amazon_signs_with_the_key_of_a_certificate_and_for_one_topic() {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key");
    let pem = CertificateParams::new(vec!["sns.amazonaws.com".to_owned()]).expect("a name");
    let pem = pem.self_signed(&key).expect("a certificate").pem();
    let certificate = Certificate::from_pem(&pem).expect("a key in it");
    let dlr = sns();
    let known = settings(&[("topic", TOPIC)]);
    let read = |body: &Value, certificate: Option<&Certificate>| {
        dlr.read(&known, &call(&body.to_string()), certificate, at(NOW))
    };
    for subject in [None, Some("of it")] {
        let body = signed_by_amazon(&key, subject);
        let Ok(Read::Notices { notices, .. }) = read(&body, Some(&certificate)) else {
            panic!("{subject:?}")
        };
        assert_eq!((notices[0].id.as_deref(), notices[0].said), (Some("m1"), Said::Delivered));
        assert_eq!(read(&body, None), Err(NotProved), "no certificate");
    }
    for (name, value) in [
        ("Message", "{}"),
        ("TopicArn", "arn:aws:sns:eu-west-1:999999999999:sms"),
        ("SignatureVersion", "1"),
        ("Timestamp", "2026-01-01T00:00:01Z"),
        ("Type", "SubscriptionConfirmation"),
        ("Signature", "AAAA"),
        ("Subject", "added"),
    ] {
        let mut body = signed_by_amazon(&key, None);
        body[name] = value.into();
        assert_eq!(read(&body, Some(&certificate)), Err(NotProved), "{name}");
    }
    let unset = dlr.read(
        &settings(&[]),
        &call(&signed_by_amazon(&key, None).to_string()),
        Some(&certificate),
        at(NOW),
    );
    assert_eq!(unset, Err(NotProved), "no topic is nobody's");
    let other = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key");
    assert_eq!(read(&signed_by_amazon(&other, None), Some(&certificate)), Err(NotProved));
    for pem in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        &pem.replace("MI", "AA"),
        pem.split_at(400).0,
    ] {
        assert!(Certificate::from_pem(pem).is_none());
    }
}

#[test]
fn certificates_are_asked_for_at_amazons_hosts_alone() {
    let dlr = sns();
    let at_url = |url: &str| dlr.certificate_url(&call(&json!({ "SigningCertURL": url }).to_string()));
    let good = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem";
    assert_eq!(at_url(good).as_deref(), Some(good));
    assert!(at_url("https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-0a.pem").is_some());
    for bad in [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0a.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0a.pem",
        "https://bucket.s3.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.a.b.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns..amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-west-1.amazonaws.com/evil.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a.pem?x=1",
        "https://127.0.0.1/SimpleNotificationService-0a.pem",
        "file:///etc/passwd",
        "",
    ] {
        assert_eq!(at_url(bad), None, "{bad}");
    }
    let ask = |url: &str| {
        subscription(
            json!({ "Type": "SubscriptionConfirmation", "SubscribeURL": url }).to_string().as_bytes(),
        )
    };
    assert!(ask("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=1").is_some());
    assert_eq!(ask("https://169.254.169.254/latest/meta-data"), None);
}

fn greeting(handshake: &str) -> Dlr {
    let text = format!(
        "format = \"json\"\nid = \"/id\"\nstatus = \"/status\"\nmap = {{ ok = \"delivered\", no = \"failed\" }}\n\
         handshake = {handshake}\nverify = {{ kind = \"path\" }}"
    );
    with_dlr(&text).unwrap_or_else(|error| panic!("{error}")).into_dlr().expect("[dlr]")
}

#[test]
fn whatsapp_is_echoed_its_challenge_where_it_knows_the_word() {
    let dlr = greeting("{ kind = \"hub\", word = \"secret\" }");
    assert!(dlr.takes(Method::Get) && dlr.takes(Method::Post));
    let known = settings(&[("secret", "w&rd")]);
    let greet = |query: &str| {
        dlr.read(
            &known,
            &call("").at_url(&format!("https://login.example.com/r?{query}")).get(),
            None,
            at(NOW),
        )
    };
    let right = greet("hub.mode=subscribe&hub.verify_token=w%26rd&hub.challenge=1158201444");
    let reply = Reply { status: 200, content_type: "text/plain".to_owned(), body: "1158201444".to_owned() };
    assert_eq!(right, Ok(Read::Handshake(reply)));
    for wrong in [
        "hub.mode=subscribe&hub.verify_token=w%26rD&hub.challenge=1",
        "hub.mode=subscribe&hub.challenge=1",
        "hub.mode=unsubscribe&hub.verify_token=w%26rd&hub.challenge=1",
        "hub.mode=subscribe&hub.verify_token=w%26rd",
        "hub.mode=subscribe&hub.verify_token=w%26rd&hub.challenge=%3Cscript%3E",
        "",
    ] {
        assert_eq!(greet(wrong), Err(NotProved), "{wrong}");
    }
    let unset = dlr.read(
        &settings(&[]),
        &call("").at_url("https://a.b/?hub.mode=subscribe&hub.verify_token=&hub.challenge=1").get(),
        None,
        at(NOW),
    );
    assert_eq!(unset, Err(NotProved), "no word is no word");
}

#[test]
fn event_grid_is_echoed_its_code() {
    let dlr = greeting("{ kind = \"event_grid\" }");
    let event = json!([{
        "id": "2d1781af", "topic": "/subscriptions/1", "subject": "",
        "data": { "validationCode": "512d38b6-c7b8-40c8", "validationUrl": "https://rp-eastus2.eventgrid.azure.net:553/x" },
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "eventTime": "2018-01-25T22:12:19Z",
    }]);
    let Ok(Read::Handshake(reply)) = dlr.read(&settings(&[]), &call(&event.to_string()), None, at(NOW))
    else {
        panic!("a handshake");
    };
    assert_eq!((reply.status, reply.body.as_str()), (200, "{\"validationResponse\":\"512d38b6-c7b8-40c8\"}"));
    let other = json!([{"eventType": "Microsoft.Communication.SMSDeliveryReportReceived", "data": {}}]);
    assert!(matches!(
        dlr.read(&settings(&[]), &call(&other.to_string()), None, at(NOW)),
        Ok(Read::Notices { .. })
    ));
}
