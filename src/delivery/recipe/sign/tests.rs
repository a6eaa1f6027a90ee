//! The published vectors, each also with one byte changed wherever a request has bytes.

use reqwest::Method;
use reqwest::header::HeaderMap;

use super::*;
use crate::domain::time::Timestamp;

fn request(method: &str, url: &str, headers: &[(&'static str, &str)], body: &str) -> Request {
    let header = |(name, value): &(&'static str, &str)| {
        (name.parse().expect("a name"), value.parse().expect("a value"))
    };
    Request {
        method: method.parse().expect("a method"),
        url: url.parse().expect("a URL"),
        headers: headers.iter().map(header).collect(),
        proof: HeaderMap::new(),
        body: (!body.is_empty()).then(|| body.as_bytes().to_vec()),
    }
}

fn authorization(proof: &Proof) -> String {
    proof.iter().find(|(name, _)| name == "Authorization").expect("a signature").1.clone()
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

/// Requests that differ from the signed one in one byte.
fn altered(make: &dyn Fn() -> Request) -> Vec<Request> {
    let mut all = Vec::new();
    let mut add = |alter: &dyn Fn(&mut Request)| {
        let mut request = make();
        alter(&mut request);
        all.push(request);
    };
    add(&|request| request.method = Method::PUT);
    add(&|request| request.url.set_host(Some("example.org")).expect("a host"));
    add(&|request| request.url.set_path("/x"));
    add(&|request| request.url.set_query(Some("x=1")));
    add(&|request| request.body = Some(flipped(request.body.take().unwrap_or_default())));
    for name in make().headers.keys() {
        add(&|request| {
            request.headers.insert(name.clone(), "x".parse().expect("a value"));
        });
    }
    all
}

fn flipped(mut body: Vec<u8>) -> Vec<u8> {
    match body.last_mut() {
        Some(last) => *last ^= 1,
        None => body.push(b'x'),
    }
    body
}

const FORM: &str = "application/x-www-form-urlencoded";

fn aws_key(service: &str) -> aws::Key<'_> {
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    aws::Key { service, region: "us-east-1", id: "AKIDEXAMPLE", secret, session_token: "" }
}

/// AWS's own test suite (aws-sig-v4-test-suite), and the example of its documentation.
#[test]
fn awss_vectors_verify_and_each_with_one_byte_changed_does_not() {
    let now = at(1_440_938_160);
    let iam = "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08";
    let plain = "https://example.amazonaws.com/";
    let vectors = [
        ("GET", plain, "service", "", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "POST",
            plain,
            "service",
            "",
            "",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "GET",
            "https://example.amazonaws.com/?Param2=value2&Param1=value1",
            "service",
            "",
            "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "POST",
            plain,
            "service",
            FORM,
            "Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            "GET",
            iam,
            "iam",
            "application/x-www-form-urlencoded; charset=utf-8",
            "",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
    ];
    for (method, url, service, kind, body, signature) in vectors {
        let headers: &[(&str, &str)] = if kind.is_empty() { &[] } else { &[("content-type", kind)] };
        let make = || request(method, url, headers, body);
        let names = if kind.is_empty() { "host;x-amz-date" } else { "content-type;host;x-amz-date" };
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, \
             SignedHeaders={names}, Signature={signature}"
        );
        let signed = |request: &Request, now| authorization(&aws::sign(&aws_key(service), request, now));
        assert_eq!(signed(&make(), now), expected);
        for request in altered(&make) {
            assert_ne!(signed(&request, now), expected, "{} {}", request.method, request.url);
        }
        assert_ne!(signed(&make(), at(1_440_938_161)), expected);
        let other = aws::Key { secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEX", ..aws_key(service) };
        assert_ne!(authorization(&aws::sign(&other, &make(), now)), expected);
    }
}

#[test]
fn a_session_token_of_aws_is_sent_and_signed() {
    let key = aws::Key { session_token: "tok", ..aws_key("service") };
    let proof = aws::sign(&key, &request("GET", "https://example.amazonaws.com/", &[], ""), at(0));
    assert!(proof.contains(&("x-amz-security-token".to_owned(), "tok".to_owned())));
    assert!(authorization(&proof).contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"));
}

/// The example of Tencent's documentation, whose id and key are asterisks.
#[test]
fn tencents_vector_verifies_and_with_one_byte_changed_does_not() {
    let id = format!("AKID{}", "*".repeat(32));
    let secret = "*".repeat(32);
    let key = tencent::Key { service: "cvm", id: &id, secret: &secret };
    let headers = [("content-type", "application/json; charset=utf-8"), ("x-tc-action", "DescribeInstances")];
    let body = r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
    let make = || request("POST", "https://cvm.tencentcloudapi.com/", &headers, body);
    let expected = format!(
        "TC3-HMAC-SHA256 Credential={id}/2019-02-25/cvm/tc3_request, \
         SignedHeaders=content-type;host;x-tc-action, \
         Signature=10b1a37a7301a02ca19a647ad722d5e43b4b3cff309d421d85b46093f6ab6c4f"
    );
    let signed = |request: &Request, now| authorization(&tencent::sign(&key, request, now));
    assert_eq!(signed(&make(), at(1_551_113_065)), expected);
    for request in altered(&make) {
        assert_ne!(signed(&request, at(1_551_113_065)), expected, "{} {}", request.method, request.url);
    }
    assert_ne!(signed(&make(), at(1_551_113_066)), expected);
    let other = tencent::Key { secret: "*", ..key };
    assert_ne!(authorization(&tencent::sign(&other, &make(), at(1_551_113_065))), expected);
}

/// The example of Alibaba's documentation.
#[test]
fn alibabas_vector_verifies_and_with_one_byte_changed_does_not() {
    let key = aliyun::Key {
        id: "YourAccessKeyId",
        secret: "YourAccessKeySecret",
        nonce: "3156853299f313e23d1673dc12e1703d",
    };
    let url = "https://ecs.cn-shanghai.aliyuncs.com/?RegionId=cn-shanghai\
               &ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd";
    let headers = [("x-acs-action", "RunInstances"), ("x-acs-version", "2014-05-26")];
    let make = || request("POST", url, &headers, "");
    let expected = "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;\
                    x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,\
                    Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0";
    let signed =
        |key: &aliyun::Key<'_>, request: &Request, now| authorization(&aliyun::sign(key, request, now));
    assert_eq!(signed(&key, &make(), at(1_698_315_752)), expected);
    for request in altered(&make) {
        assert_ne!(signed(&key, &request, at(1_698_315_752)), expected, "{}", request.url);
    }
    assert_ne!(signed(&key, &make(), at(1_698_315_753)), expected);
    for other in [aliyun::Key { nonce: "other", ..key }, aliyun::Key { secret: "other", ..key }] {
        assert_ne!(signed(&other, &make(), at(1_698_315_752)), expected);
    }
}

/// Microsoft publishes no vector; this one was made by another implementation of its description, in Python.
#[test]
fn azures_signature_is_that_of_another_implementation_and_with_one_byte_changed_is_not() {
    let key = "YSBrZXkgb2YgYW4gQXp1cmUgcmVzb3VyY2U=";
    let url = "https://res.communication.azure.com/sms?api-version=2021-03-07";
    let make = || request("POST", url, &[], r#"{"from":"+14155552672","message":"Your code is 123456"}"#);
    let proof = azure::sign(key, &make(), at(1_698_315_752)).expect("a key");
    let hash = "OAPe1lcQorKOzywF10ORxzHtOAhRfNxwfKmXcCxpxq0=";
    assert!(proof.contains(&("x-ms-date".to_owned(), "Thu, 26 Oct 2023 10:22:32 GMT".to_owned())));
    assert!(proof.contains(&("x-ms-content-sha256".to_owned(), hash.to_owned())));
    let expected = "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&\
                    Signature=bZUzsC7d2ucfKH0sjnrwqC/28Q2TO6LSTC67GAM7w84=";
    assert_eq!(authorization(&proof), expected);
    for request in altered(&make) {
        let proof = azure::sign(key, &request, at(1_698_315_752)).expect("a key");
        assert_ne!(authorization(&proof), expected, "{} {}", request.method, request.url);
    }
    for other in [("YSBrZXkgb2YgYW4gQXp1cmUgcmVzb3VyY2V=", 1_698_315_752), (key, 1_698_315_753)] {
        let proof = azure::sign(other.0, &make(), at(other.1));
        assert!(proof.is_none_or(|proof| authorization(&proof) != expected));
    }
    for no_key in ["", "no base64!"] {
        assert!(azure::sign(no_key, &make(), at(0)).is_none());
    }
}

#[test]
fn the_port_is_signed_where_it_is_sent() {
    assert_eq!(host(&"http://localhost:8080/x".parse().expect("a URL")), "localhost:8080");
    assert_eq!(host(&"https://localhost:443/x".parse().expect("a URL")), "localhost");
}

#[test]
fn a_query_has_one_spelling() {
    let url = "https://a.b/?b=x+y%20%2A~&a=%c3%a9&a=1".parse().expect("a URL");
    assert_eq!(canonical_query(&url), "a=%C3%A9&a=1&b=x%20y%20%2A~");
}
