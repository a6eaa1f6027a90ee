//! Signatures that the gateways themselves have published. None was made with our own code.

use super::*;

fn flipped(text: &str, index: usize) -> String {
    let other = |c: char| if c == 'A' { 'B' } else { 'A' };
    text.chars().enumerate().map(|(at, c)| if at == index { other(c) } else { c }).collect()
}

/// The header as it is proves the call; with any one letter changed that carries all of its bits, it does not.
fn verifies(dlr: &Dlr, secret: &str, call: &CallIn, header: &str, now: i64) {
    assert!(proved(dlr, secret, call, now), "the published signature verifies");
    assert!(!proved(dlr, &format!("{secret}x"), call, now), "another secret");
    let value = call.header(header).expect("a signature").to_owned();
    for index in (0..value.trim_end_matches('=').len() - 1).step_by(7) {
        let mut forged = call.clone();
        forged.headers.retain(|(name, _)| name != header);
        let forged = forged.with(header, &flipped(&value, index));
        assert!(!proved(dlr, secret, &forged, now), "letter {index}");
    }
    let mut bare = call.clone();
    bare.headers.retain(|(name, _)| name != header);
    assert!(!proved(dlr, secret, &bare, now), "no signature at all");
    let twice = call.clone().with(header, &value);
    assert!(!proved(dlr, secret, &twice, now), "two of them");
}

/// twilio-node, spec/validation.spec.js.
#[test]
fn twilio() {
    let dlr = dlr("kind = \"hmac\"\nalg = \"sha1\"\nsecret = \"secret\"\n\
                   signature = { header = \"X-Twilio-Signature\", encoding = \"base64\", payload = [\"url\", \"form_sorted\"] }");
    let form =
        "CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309";
    let signed = |url: &str, form: &str| {
        call(form).at_url(url).with("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8=")
    };
    let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
    verifies(&dlr, "12345", &signed(url, form), "x-twilio-signature", NOW);
    assert!(!proved(&dlr, "12345", &signed(&url.replace("foo=1", "foo=2"), form), NOW));
    assert!(!proved(&dlr, "12345", &signed(&url.replace("https", "http"), form), NOW));
    assert!(!proved(&dlr, "12345", &signed(url, &form.replace("1234&", "1235&")), NOW));
}

/// plivo-node, test/utils.js; the same in plivo-dotnet and plivo-ruby.
#[test]
fn plivo_v2() {
    let dlr = dlr("kind = \"hmac\"\nalg = \"sha256\"\nsecret = \"secret\"\n\
                   signature = { header = \"X-Plivo-Signature-V2\", encoding = \"base64\", separator = \",\", \
                   payload = [\"url_base\", \"header:X-Plivo-Signature-V2-Nonce\"] }");
    let vectors = [
        ("https://answer.url", "12345", "my_auth_token", "ehV3IKhLysWBxC1sy8INm0qGoQYdYsHwuoKjsX7FsXc="),
        (
            "https://answer.url:8000",
            "24725744043720739450",
            "my_auth_token",
            "LDphWoWimP4QM5AoWI1uwP6WmlWtt5ITPZjXIWYvCNU=",
        ),
        (
            "https://answer.url:8080",
            "123456",
            "my_auth_tokens",
            "xeV6S6BPIQJ/rgKCjCm/Fo2ve5zNe1fatQoHyRT8vxQ=",
        ),
    ];
    for (url, nonce, token, signature) in vectors {
        let signed = |nonce: &str| {
            let call = call("").at_url(&format!("{url}?a=1")).with("x-plivo-signature-v2-nonce", nonce);
            call.with("x-plivo-signature-v2", signature)
        };
        verifies(&dlr, token, &signed(nonce), "x-plivo-signature-v2", NOW);
        assert!(!proved(&dlr, token, &signed("1"), NOW));
    }
    let among = call("").at_url(vectors[0].0).with("x-plivo-signature-v2-nonce", "12345");
    let among = among.with("x-plivo-signature-v2", &format!("AAAA,{}", vectors[0].3));
    assert!(proved(&dlr, "my_auth_token", &among, NOW), "one of several");
}

/// sinch-sdk-dotnet, `ConversationTests`: the signature of all of Sinch's webhooks.
#[test]
fn sinch() {
    let dlr = dlr("kind = \"hmac\"\nalg = \"sha256\"\nsecret = \"secret\"\n\
                   signature = { header = \"x-sinch-webhook-signature\", encoding = \"base64\", \
                   timestamp = \"x-sinch-webhook-signature-timestamp\", payload = [\"body\", \"text:.\", \
                   \"header:x-sinch-webhook-signature-nonce\", \"text:.\", \"header:x-sinch-webhook-signature-timestamp\"] }");
    let body = r#"{"app_id":"","accepted_time":"2021-10-18T17:49:13.813615Z","project_id":"e2df3a34-a71b-4448-9db5-a8d2baad28e4","contact_create_notification":{"contact":{"id":"01FJA8B466Y0R2GNXD78MD9SM1","channel_identities":[{"channel":"SMS","identity":"48123456789","app_id":""}],"display_name":"New Test Contact","email":"new.contact@email.com","external_id":"","metadata":"","language":"EN_US"}},"message_metadata":""}"#;
    let signed = |body: &str| {
        let call = call(body).with("x-sinch-webhook-signature-nonce", "01FJA8B4A7BM43YGWSG9GBV067");
        let call = call.with("x-sinch-webhook-signature-timestamp", "1634579353");
        call.with("x-sinch-webhook-signature", "6bpJoRmFoXVjfJIVglMoJzYXxnoxRujzR4k2GOXewOE=")
    };
    verifies(&dlr, "foo_secret1234", &signed(body), "x-sinch-webhook-signature", 1_634_579_353);
    assert!(!proved(&dlr, "foo_secret1234", &signed(&body.replace("EN_US", "EN_GB")), 1_634_579_353));
    for late in [1_634_579_353 + 301, 1_634_579_353 - 301, NOW] {
        assert!(!proved(&dlr, "foo_secret1234", &signed(body), late), "a replay");
    }
}

/// The example of the specification of Standard Webhooks.
#[test]
fn standard_webhooks() {
    let dlr = dlr("kind = \"hmac\"\nalg = \"sha256\"\nsecret = \"secret\"\nkey = \"whsec\"\n\
                   signature = { header = \"webhook-signature\", encoding = \"base64\", prefix = \"v1,\", separator = \" \", \
                   timestamp = \"webhook-timestamp\", \
                   payload = [\"header:webhook-id\", \"text:.\", \"header:webhook-timestamp\", \"text:.\", \"body\"] }");
    let body = "{\"test\": 2432232314}";
    let signed = |signature: &str| {
        let call = call(body).with("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek");
        call.with("webhook-timestamp", "1614265330").with("webhook-signature", signature)
    };
    let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    verifies(&dlr, secret, &signed(signature), "webhook-signature", 1_614_265_330);
    assert!(proved(&dlr, secret, &signed(&format!("v1a,AAAA v1,AAAA {signature}")), 1_614_265_330));
    assert!(!proved(&dlr, secret, &signed(&signature.replace("v1,", "")), 1_614_265_330));
    assert!(!proved(&dlr, secret, &signed(signature), 1_614_265_330 + 301), "a replay");
}

/// RFC 4231, case 2: what WhatsApp's `X-Hub-Signature-256` is made of.
#[test]
fn whatsapp() {
    let dlr = dlr("kind = \"hmac\"\nalg = \"sha256\"\nsecret = \"secret\"\n\
                   signature = { header = \"X-Hub-Signature-256\", encoding = \"hex\", prefix = \"sha256=\", payload = [\"body\"] }");
    let signature = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let signed = call("what do ya want for nothing?").with("x-hub-signature-256", signature);
    verifies(&dlr, "Jefe", &signed, "x-hub-signature-256", NOW);
}

/// RFC 8032, 7.1: test 3, whose message is of two bytes; here it lies over the parts as Telnyx joins them.
#[test]
fn ed25519() {
    let dlr = dlr("kind = \"ed25519\"\npublic_key = \"secret\"\n\
                   signature = { header = \"telnyx-signature-ed25519\", encoding = \"hex\", payload = [\"body\"] }");
    let key = "/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU=";
    let signature = "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
                     18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";
    let signed =
        |body: &[u8]| CallIn { body: body.to_vec(), ..call("") }.with("telnyx-signature-ed25519", signature);
    assert!(proved(&dlr, key, &signed(&[0xaf, 0x82]), NOW));
    assert!(!proved(&dlr, key, &signed(&[0xaf, 0x83]), NOW));
    assert!(!proved(&dlr, "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", &signed(&[0xaf, 0x82]), NOW));
    for index in [0, 40, 64, 100, 127] {
        let forged = CallIn { body: vec![0xaf, 0x82], ..call("") };
        let forged = forged
            .with("telnyx-signature-ed25519", &flipped(signature, index).replace('A', "3").replace('B', "4"));
        assert!(
            !proved(&dlr, key, &forged, NOW) || forged.header("telnyx-signature-ed25519") == Some(signature)
        );
    }
}

/// nickdnk/gatewayapi-php, tests: the token of `GatewayAPI`'s documents, and a shorter one.
#[test]
fn gatewayapi() {
    let dlr = with_dlr(
        "format = \"json\"\nid = \"/id\"\nref = \"/userref\"\nstatus = \"/status\"\n\
         map = { DELIVERED = \"delivered\", UNDELIVERABLE = \"failed\" }\n[dlr.verify]\nkind = \"jwt\"\n\
         secret = \"secret\"\nheader = \"X-Gwapi-Signature\"\nclaims_are_payload = true",
    );
    let dlr = dlr.unwrap_or_else(|error| panic!("{error}")).into_dlr().expect("[dlr]");
    let claims = "eyJpZCI6MjM4MTcwMywibXNpc2RuIjo0NTQyNjA5MDQ1LCJzdGF0dXMiOiJERUxJVkVSRUQiLCJlcnJvciI6bnVsbCwiY29kZSI6bnVsbCwidXNlcnJlZiI6bnVsbCwiY2FsbGJhY2tfdXJsIjoiaHR0cDovL2JiYWY3MTQyLm5ncm9rLmlvIiwiYXBpIjo0fQ";
    let whole = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpZCI6MjM4MTcwMywibXNpc2RuIjo0NTQyNjA5MDQ1LCJ0aW1lIjoxNTIyNzY0MDYyLCJzdGF0dXMiOiJERUxJVkVSRUQiLCJlcnJvciI6ImVycm9yIHRleHQiLCJjb2RlIjoiZXJyb3IgY29kZSIsImNvdW50cnlfcHJlZml4Ijo0NSwiY291bnRyeV9jb2RlIjoiREsiLCJjaGFyZ2Vfc3RhdHVzIjoiQVVUSE9SSVpFRCIsInVzZXJyZWYiOiJhIHJlZmVyZW5jZSJ9.LgbbsxAj61SQhDA0A3dGlcT8OZN2UJsTgBiifNHEeh8";
    let tokens = [
        whole.to_owned(),
        format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.{claims}.6lYoTn05tdJZIke3pxZg-dCxLjCeaOuWgjk7Ln6UQtA"),
    ];
    for token in tokens {
        // Another body: the claims are what counts.
        let signed = call("{\"id\":1,\"status\":\"UNDELIVERABLE\"}").with("x-gwapi-signature", &token);
        verifies(&dlr, "secret", &signed, "x-gwapi-signature", NOW);
        let Ok(Read::Notices { notices, .. }) =
            dlr.read(&settings(&[("secret", "secret")]), &signed, None, at(NOW))
        else {
            panic!("it is read");
        };
        assert_eq!((notices[0].id.as_deref(), notices[0].said), (Some("2381703"), Said::Delivered));
    }
    let unsigned =
        format!("eyJ0eXBlIjoiSldUIiwiYWxnIjoibm9uZSJ9.{claims}.KdfDH65bnQtgxEkFnpAQodOciAJedZFB13r9wEo8t3Y");
    for token in [unsigned.as_str(), "eyJ0eXBlIjoiSldUIiwiYWxnIjoibm9uZSJ9.e30.", "not_valid", "..", ""] {
        assert!(!proved(&dlr, "secret", &call("").with("x-gwapi-signature", token), NOW), "{token}");
    }
}

const BIRD: &str = "36efdd1aace2e26cd490f0d951138253bef2f7c6d34d18981da781555cc4cebb";
const HS256: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// `nbf` of the vectors: 2021-07-05T12:00:00+02:00.
const BIRD_NOW: i64 = 1_625_479_200;

/// messagebird-nodejs, lib/testdata/webhook-signature-jwt-reference.json: each token once (the file repeats most of them
/// for five methods, which nothing covers). Whether it is good; URL, body, token.
const VECTORS: [(bool, &str, &str, &str); 10] = [
    (
        true,
        "https://example.com/",
        "",
        "eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiI1OWEyNDRkYy1lOWFkLTRlMjMtOTc3OC0zNzFmYWEyMzhmNzIiLCJ1cmxfaGFzaCI6IjBmMTE1ZGIwNjJiN2MwZGQwMzBiMTY4NzhjOTlkZWE1YzM1NGI0OWRjMzdiMzhlYjg4NDYxNzljNzc4M2U5ZDcifQ.6Fp0rVOsRr1fj9S2GidXAfkmPVofKr8_RTffC6G6r2E",
    ),
    (
        true,
        "https://example.com/path?bar=1&foo=2",
        "",
        "eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiJjOTQ2YWY3Ny1lMTgyLTRlYWEtYjJmZi0xYTU0NWI1ZTk5MWEiLCJ1cmxfaGFzaCI6IjQxZjA1ZjBkZGQwYTIyYWIyMDlhYzQ2ZjQ3YzQ1NzJkOWNlZmEyNTdlZDc0YjI0MDA0YmFlNzUzZWNlNmMyNjAifQ.huo2ou6JDoDc7sV25d75UMWeYhBeavQlLsqIibSZuac",
    ),
    (
        true,
        "https://example.com/path?bar=1&foo=2",
        "Hello, World!",
        "eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiI5M2U1NTAwNi1hMGU4LTQ1MjYtYTE5MC1mYTVmZjAwZWExMTYiLCJ1cmxfaGFzaCI6IjQxZjA1ZjBkZGQwYTIyYWIyMDlhYzQ2ZjQ3YzQ1NzJkOWNlZmEyNTdlZDc0YjI0MDA0YmFlNzUzZWNlNmMyNjAiLCJwYXlsb2FkX2hhc2giOiJkZmZkNjAyMWJiMmJkNWIwYWY2NzYyOTA4MDllYzNhNTMxOTFkZDgxYzdmNzBhNGIyODY4OGEzNjIxODI5ODZmIn0._H--TOuYFLpeEH39-rg5E3IHVkjHozBcaKVWPRC5m9I",
    ),
    (
        true,
        "https://example.com/?obj%5Bfield1%5D=val1&obj%5Bfield2%5D=val2&param=value+with+spaces",
        "",
        "eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiI1OWEyNDRkYy1lOWFkLTRlMjMtOTc3OC0zNzFmYWEyMzhmNzIiLCJ1cmxfaGFzaCI6IjhhZmYzNzQ4ZDc4OWM0MzMzNTczZTFjMzFmZTViMDA0OTQwY2I1ZmM0NzQ2MGVkM2QwZTY1NGY3ZmM0ZTVmYWUifQ.mJBCMfEjKmN3IMuzqPXPHktWETrcu0iNdF3agE8PDyI",
    ),
    (
        true,
        "https://example.com:8080/",
        "",
        "eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiI1OWEyNDRkYy1lOWFkLTRlMjMtOTc3OC0zNzFmYWEyMzhmNzIiLCJ1cmxfaGFzaCI6IjA3Zjc4NjFhNjliMTNjMjI5YzZhZTU5NmQxOThiMjc2M2IwNTRjZjVlMDAwZDczNmQxYzQ4MTAyZDc3MGNmZmMifQ.vcpa0IicGAbpo064dOjiA2VbVOR2S5uZBEaBOP16sS8",
    ),
    (
        true,
        "https://example.com/",
        "Some text containg & < >, & and \\u0026",
        "eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiI1OWEyNDRkYy1lOWFkLTRlMjMtOTc3OC0zNzFmYWEyMzhmNzIiLCJ1cmxfaGFzaCI6IjBmMTE1ZGIwNjJiN2MwZGQwMzBiMTY4NzhjOTlkZWE1YzM1NGI0OWRjMzdiMzhlYjg4NDYxNzljNzc4M2U5ZDciLCJwYXlsb2FkX2hhc2giOiIyNDMxYmQ5Y2NiNDhlZDAxNmZhZDU2N2IwNzcxMjAzOGI1Y2RkOTQ5YWM5ZDQxZmU0NjkzZDVhMzg0NWNmN2U4In0.IQiKzeEPaO3A48lhKmBDSmxZyCESPCGxdSKFdi0dEJs",
    ),
    (
        false,
        "https://example.com/",
        "",
        "eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ4MjgwMCwiZXhwIjoxNjI1NDgyODYwLCJqdGkiOiJmOWY4YzM4Mi0yNDQ5LTQzMTEtYjcyYi0xZGY3MTY4NzkzMWUiLCJ1cmxfaGFzaCI6IjBmMTE1ZGIwNjJiN2MwZGQwMzBiMTY4NzhjOTlkZWE1YzM1NGI0OWRjMzdiMzhlYjg4NDYxNzljNzc4M2U5ZDcifQ.ZELgDFNGhjZH9CffQKcq3sytBe2I0KciLxpBhcfstHQ",
    ),
    (
        false,
        "https://example.com/",
        "",
        "eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3NTYwMCwiZXhwIjoxNjI1NDc1NjYwLCJqdGkiOiI1ZjAyZjUyMi02MDMwLTQ2YzgtYjVhMy0wMTI0NjQ3OGQ4YmMiLCJ1cmxfaGFzaCI6IjBmMTE1ZGIwNjJiN2MwZGQwMzBiMTY4NzhjOTlkZWE1YzM1NGI0OWRjMzdiMzhlYjg4NDYxNzljNzc4M2U5ZDcifQ.45MSST3B_2PsjNUeiuW54_vUQgVw4rBXrdWrOUEz3lM",
    ),
    (
        false,
        "https://example.com/path?foo=1&bar=2",
        "",
        "eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiJhNzVjOTA5Ni1lODIzLTQ0MmItODVmMi03ZDNjOWQ5YjcyNmIiLCJ1cmxfaGFzaCI6IjZhMDIyZDgzNGMxODMzMGJhYWQ4YTJiZDYxMzUxNzNlZDIxNjEwYTQ1NDUxNmJlMGRmM2YxY2MwMTUxNjEwZWEifQ.z6Sw1XQIM0wuEQGBhXBdawDIIrtMg2XnmA_bpDq53pE",
    ),
    (
        false,
        "https://example.com/",
        "",
        "eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiIyNDNjMjdhZS0yZjAyLTQ2YTAtODg1Mi1jNjZmMzdlYTlmNDYiLCJ1cmxfaGFzaCI6IjBmMTE1ZGIwNjJiN2MwZGQwMzBiMTY4NzhjOTlkZWE1YzM1NGI0OWRjMzdiMzhlYjg4NDYxNzljNzc4M2U5ZDcifQ.JgSeYyOtlEKAXk8bz30iJI4tXgf4lxknoiezawuVhb4",
    ),
];

#[test]
fn messagebird() {
    let dlr = dlr(
        "kind = \"jwt\"\nsecret = \"secret\"\nheader = \"MessageBird-Signature-JWT\"\nissuer = \"MessageBird\"\n\
                   url_hash = \"url_hash\"\npayload_hash = \"payload_hash\"",
    );
    let signed = |url: &str, body: &str, token: &str| {
        call(body).at_url(url).with("messagebird-signature-jwt", &format!("{HS256}.{token}"))
    };
    for (index, (good, url, body, token)) in VECTORS.into_iter().enumerate() {
        let signed_call = signed(url, body, token);
        if good {
            verifies(&dlr, BIRD, &signed_call, "messagebird-signature-jwt", BIRD_NOW);
            assert!(!proved(&dlr, BIRD, &signed(&format!("{url}x"), body, token), BIRD_NOW), "another URL");
            assert!(!proved(&dlr, BIRD, &signed(url, &format!("{body}x"), token), BIRD_NOW), "another body");
        } else {
            assert!(!proved(&dlr, BIRD, &signed_call, BIRD_NOW), "vector {index}");
        }
    }
    // The body was taken away.
    assert!(!proved(&dlr, BIRD, &signed(VECTORS[2].1, "", VECTORS[2].3), BIRD_NOW));
    let hs384 = "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiI1OWEyNDRkYy1lOWFkLTRlMjMtOTc3OC0zNzFmYWEyMzhmNzIiLCJ1cmxfaGFzaCI6IjBmMTE1ZGIwNjJiN2MwZGQwMzBiMTY4NzhjOTlkZWE1YzM1NGI0OWRjMzdiMzhlYjg4NDYxNzljNzc4M2U5ZDcifQ.KNMW-29X77lZeuPmThmHWc_RUAvTkaDkpxIZK6mqE08v8mWKiU9Edh4QXwAJO2nv";
    let signed = call("").at_url("https://example.com/").with("messagebird-signature-jwt", hs384);
    verifies(&dlr, BIRD, &signed, "messagebird-signature-jwt", BIRD_NOW);
}
