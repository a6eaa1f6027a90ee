use std::collections::BTreeMap;
use std::sync::Mutex;

use wiremock::matchers::any;
use wiremock::{Mock, Request, ResponseTemplate};

use super::*;
use crate::harness::{logs, on_both};

const KEY: &str = "http-key-canary-40518";

fn said(status: u16, body: &Value) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(body)
}

/// As the documents of that backend describe it: users have to exist, and their ids have no capitals.
async fn cometchat() -> MockServer {
    let users: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let respond = move |request: &Request| {
        let error = |status, code: &str| said(status, &json!({"error": {"code": code, "message": "No."}}));
        if request.headers.get("apikey").is_none_or(|key| key != KEY) {
            return error(401, "AUTH_ERR_APIKEY_NOT_FOUND");
        }
        let mut users = users.lock().expect("no panic");
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        if request.url.path() == "/v3/users" {
            let uid = body["uid"].as_str().expect("a uid").to_lowercase();
            if body["name"].as_str().is_none_or(str::is_empty) {
                return error(400, "ERR_BAD_REQUEST");
            }
            if users.contains_key(&uid) {
                return error(409, "ERR_UID_ALREADY_EXISTS");
            }
            users.insert(uid.clone(), 0);
            return said(200, &json!({"data": {"uid": uid}}));
        }
        let path = request.url.path();
        let uid = path.strip_prefix("/v3/users/").and_then(|rest| rest.strip_suffix("/auth_tokens"));
        let uid = uid.unwrap_or_else(|| panic!("{path}"));
        match users.get_mut(uid) {
            None => error(404, "ERR_UID_NOT_FOUND"),
            Some(tokens) => {
                *tokens += 1;
                let token = format!("{uid}_{tokens}");
                said(200, &json!({"data": {"uid": uid, "authToken": token, "createdAt": 1_767_225_600}}))
            }
        }
    };
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(respond).mount(&server).await;
    server
}

on_both! {
    async fn a_cometchat_user_is_made_at_the_first_login_and_found_at_the_second(database) {
        let lines = logs::of_this_process();
        let server = cometchat().await;
        let app = serving(
            &database,
            &format!("kind = \"http\"\npreset = \"cometchat\"\nurl = \"{}\"\napi_key = \"{KEY}\"", server.uri()),
        );
        let first = log_in(&app, APP, "+18005551234").await;
        assert_eq!(calls(&server).await, 3);
        app.advance(60);
        let second = log_in(&app, APP, "+18005551234").await;
        assert_eq!(calls(&server).await, 4, "one call for whom it knows");
        let other = log_in(&app, APP, "+18005551235").await;
        let [first, second, other] = [first, second, other].map(|answer| chat(&answer));
        assert_eq!((&first["provider"], &first["user_id"]), (&json!("cometchat"), &second["user_id"]));
        assert_ne!(first["user_id"], other["user_id"]);
        let uid = first["user_id"].as_str().expect("an id");
        assert_eq!((&first["token"], &second["token"]), (&json!(format!("{uid}_1")), &json!(format!("{uid}_2"))));
        assert!(!lines.text().contains(KEY));
        app.stop().await;
    }
}

on_both! {
    async fn a_wrong_key_is_the_operators_to_mend_and_says_nothing_to_the_app_f6(database) {
        let server = cometchat().await;
        let wrong = "http-key-canary-wrong";
        let app = serving(
            &database,
            &format!("kind = \"http\"\npreset = \"cometchat\"\nurl = \"{}\"\napi_key = \"{wrong}\"", server.uri()),
        );
        let failed = log_in(&app, APP, "+18005551234").await;
        assert_eq!(failed.get("code"), json!("upstream_misconfigured"));
        assert!(failed.get("grant").is_string());
        assert!(!failed.text.contains("AUTH_ERR") && !failed.text.contains(wrong), "{}", failed.text);
        app.stop().await;
    }
}

/// Rocket.Chat 8: createToken asks for a secret, users.create for a mailbox and a password.
async fn rocketchat() -> MockServer {
    let users: Mutex<BTreeMap<String, String>> = Mutex::default();
    let respond = move |request: &Request| {
        let refused = |error: &str| {
            said(400, &json!({"success": false, "error": format!("No [{error}]"), "errorType": error}))
        };
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        if (header("x-auth-token"), header("x-user-id")) != (Some("admin-canary-7"), Some("adm1n")) {
            return said(401, &json!({"status": "error", "message": "You must be logged in to do this."}));
        }
        let mut users = users.lock().expect("no panic");
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let username = body["username"].as_str().expect("a username").to_owned();
        if request.url.path() == "/api/v1/users.create" {
            let has = |key: &str| body[key].as_str().is_some_and(|text| !text.is_empty());
            if !(has("name") && has("password") && has("email")) {
                return refused("invalid-params");
            }
            if users.contains_key(&username) {
                return refused("error-field-unavailable");
            }
            let id = format!("id{}", users.len());
            users.insert(username, id.clone());
            return said(200, &json!({"user": {"_id": id}, "success": true}));
        }
        assert_eq!(request.url.path(), "/api/v1/users.createToken");
        match users.get(&username) {
            _ if body["secret"] != KEY => refused("error-not-authorized"),
            None => refused("error-invalid-user"),
            Some(id) => {
                said(200, &json!({"data": {"userId": id, "authToken": format!("rc-{id}")}, "success": true}))
            }
        }
    };
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(respond).mount(&server).await;
    server
}

on_both! {
    async fn a_rocketchat_user_is_made_and_known_by_the_id_that_its_clients_send(database) {
        let server = rocketchat().await;
        let upstream = format!(
            "kind = \"http\"\npreset = \"rocketchat\"\nurl = \"{}\"\nadmin_user_id = \"adm1n\"\n\
             admin_token = \"admin-canary-7\"\ntoken_secret = \"{KEY}\"\nemail_domain = \"users.example.com\"",
            server.uri()
        );
        let app = serving(&database, &upstream);
        let first = chat(&log_in(&app, APP, "+18005551234").await);
        assert_eq!((&first["user_id"], &first["token"]), (&json!("id0"), &json!("rc-id0")));
        app.advance(60);
        let again = chat(&log_in(&app, APP, "+18005551234").await);
        assert_eq!((&again["provider"], &again["user_id"]), (&json!("rocketchat"), &json!("id0")));
        assert_eq!(calls(&server).await, 4);
        app.stop().await;
    }
}

on_both! {
    async fn a_backend_of_ones_own_is_configuration_alone(database) {
        let server = MockServer::start().await;
        let minted = json!({"session": {"jwt": "own-token", "ttl": 600}});
        Mock::given(any()).respond_with(said(201, &minted)).mount(&server).await;
        let upstream = format!(
            "kind = \"http\"\nurl = \"{}/api\"\nsecrets.token = \"{KEY}\"\nheaders.x-token = \"{{{{ secrets.token }}}}\"\n\
             mint.path = \"/sessions/{{{{ phone }}}}\"\nmint.body.app = \"{{{{ app_id }}}}\"\nmint.token = \"/session/jwt\"\n\
             mint.expires = \"/session/ttl\"\nmint.expires_unit = \"relative_s\"",
            server.uri()
        );
        let app = serving(&database, &upstream);
        let chat = chat(&log_in(&app, APP, "+18005551234").await);
        assert_eq!((&chat["token"], &chat["expires_in"]), (&json!("own-token"), &json!(600)));
        let request = &server.received_requests().await.expect("recorded")[0];
        assert_eq!(request.url.path(), "/api/sessions/%2B18005551234");
        assert_eq!(request.body, format!(r#"{{"app":"{APP}"}}"#).into_bytes());
        assert!(request.headers["x-token"] == KEY);
        app.stop().await;
    }
}
