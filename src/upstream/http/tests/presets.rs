//! The presets, against bodies as the vendors answer them.

use super::*;
use crate::config::http_presets;

fn cometchat(url: &str) -> Http {
    let text = format!(
        "[upstreams.chat]\nkind = \"http\"\npreset = \"cometchat\"\nurl = \"{url}\"\napi_key = \"{KEY}\""
    );
    made(&text).expect("right")
}

fn rocketchat(url: &str) -> Http {
    let text = format!(
        "[upstreams.chat]\nkind = \"http\"\npreset = \"rocketchat\"\nurl = \"{url}\"\nadmin_user_id = \"rbAXPnMktTFbNpwtJ\"\n\
         admin_token = \"admin-canary\"\ntoken_secret = \"{KEY}\"\nemail_domain = \"users.example.com\""
    );
    made(&text).expect("right")
}

#[test]
fn these_are_all_the_presets() {
    assert_eq!(http_presets().collect::<Vec<_>>(), ["cometchat", "rocketchat"]);
}

#[tokio::test]
async fn cometchat_makes_a_user_in_lower_case_and_gives_each_login_a_token_of_its_own() {
    let missing =
        json!({"error": {"code": "ERR_UID_NOT_FOUND", "message": "The UID usr_31 does not exist."}});
    let created = json!({"data": {"uid": "usr_31", "name": "usr_31", "status": "offline"}});
    let minted = json!({"data": {"uid": "usr_31", "authToken": "usr_31_1630306819c3027ce5", "createdAt": 1_630_306_819}});
    let server = answering(vec![answer(404, &missing), answer(200, &created), answer(200, &minted)]).await;
    let http = cometchat(&server.uri());
    let token = http.mint(&subject()).await.expect("a token");
    assert_eq!((token.provider, token.token.as_str()), ("cometchat", "usr_31_1630306819c3027ce5"));
    assert_eq!((token.user_id.as_str(), token.extra.is_empty()), ("usr_31", true));
    assert_eq!(
        calls(&server).await,
        [
            r#"POST /v3/users/usr_31/auth_tokens {"force":true}"#,
            r#"POST /v3/users {"name":"usr_31","uid":"usr_31"}"#,
            r#"POST /v3/users/usr_31/auth_tokens {"force":true}"#,
        ]
    );
    let requests = server.received_requests().await.expect("recorded");
    assert!(requests.iter().all(|request| request.headers["apikey"] == KEY));
    let error = http.mint(&imported("Ann")).await.err().expect("a capital");
    assert!(
        matches!(&error, UpstreamError::Refused(text) if text.contains("a-z, 0-9, _ and -")),
        "{error:?}"
    );
    http.revoke(&subject()).await.expect("nothing to do");
    assert_eq!(calls(&server).await.len(), 3);
}

#[tokio::test]
async fn cometchats_refusals_name_the_key() {
    let refused =
        json!({"error": {"code": "AUTH_ERR_NO_ACCESS", "message": "The API key is not fullAccess."}});
    let server = answering(vec![answer(401, &refused)]).await;
    let error = cometchat(&server.uri()).mint(&subject()).await.err().expect("no token");
    let UpstreamError::Misconfigured(text) = &error else { panic!("{error:?}") };
    assert!(text.contains("AUTH_ERR_NO_ACCESS: The API key"), "{text}");
}

#[tokio::test]
async fn rocketchat_users_are_made_with_a_password_that_nobody_knows() {
    let missing = json!({
        "success": false,
        "error": "The required \"userId\" or \"username\" param provided does not match any users [error-invalid-user]",
        "errorType": "error-invalid-user",
    });
    let created = json!({"user": {"_id": "BsNr28znDkG8aeo7W", "username": "usr_31"}, "success": true});
    let minted = json!({"data": {"userId": "BsNr28znDkG8aeo7W", "authToken": "2jdk99wuSjXPO201XlAks9sj"}, "success": true});
    let server = answering(vec![answer(400, &missing), answer(200, &created), answer(200, &minted)]).await;
    let token = rocketchat(&server.uri()).mint(&subject()).await.expect("a token");
    assert_eq!((token.provider, token.user_id.as_str()), ("rocketchat", "BsNr28znDkG8aeo7W"));
    let sent = calls(&server).await;
    let mint = format!(r#"POST /api/v1/users.createToken {{"secret":"{KEY}","username":"usr_31"}}"#);
    assert_eq!((&sent[0], &sent[2]), (&mint, &mint));
    let body = sent[1].strip_prefix("POST /api/v1/users.create ").expect("a creation");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let password = body["password"].as_str().expect("a text");
    assert_eq!(password.len(), 43);
    assert_eq!(
        body,
        json!({
            "username": "usr_31", "name": "usr_31", "email": "usr_31@users.example.com", "password": password,
            "verified": false, "sendWelcomeEmail": false, "requirePasswordChange": false,
        })
    );
    let requests = server.received_requests().await.expect("recorded");
    let as_admin = |request: &Request| {
        request.headers["x-auth-token"] == "admin-canary"
            && request.headers["x-user-id"] == "rbAXPnMktTFbNpwtJ"
    };
    assert!(requests.iter().all(as_admin));
}

#[tokio::test]
async fn rocketchat_without_its_secret_says_what_to_set() {
    let refused = json!({"success": false, "error": "Not authorized [error-not-authorized]", "errorType": "error-not-authorized"});
    let server = answering(vec![answer(400, &refused)]).await;
    let error = rocketchat(&server.uri()).mint(&subject()).await.err().expect("no token");
    let UpstreamError::Misconfigured(text) = &error else { panic!("{error:?}") };
    assert!(text.contains("error-not-authorized"), "{text}");
}
