use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wiremock::matchers::{header, method, path};
use wiremock::{Mock, Request, ResponseTemplate};

use super::*;
use crate::harness::{logs, on_both};

const SECRET: &str = "kustomer-secret-canary-88271";
const API_KEY: &str = "kustomer-key-canary-51937";

on_both! {
    async fn a_login_is_exactly_the_documents_header_and_payload(database) {
        let app = serving(&database, &format!("kind = \"kustomer\"\nsecret = \"{SECRET}\""));
        let answer = log_in(&app, APP, "+18005551234").await;
        let (chat, user) = (chat(&answer), answer.get("user_id"));
        assert_eq!((&chat["provider"], &chat["user_id"], &chat["expires_in"]), (&json!("kustomer"), &user, &json!(900)));
        let [header, claims] = parts(&chat["token"]);
        let header: Value = serde_json::from_str(&header).expect("JSON");
        assert_eq!(header, json!({"alg": "HS256", "typ": "JWT"}));
        assert_eq!(claims, format!(r#"{{"externalId":{user},"iat":1767225600}}"#));
        app.stop().await;
    }
}

on_both! {
    async fn the_secret_is_fetched_at_the_first_login_that_finds_the_endpoint_up_f1(database) {
        let lines = logs::of_this_process();
        let up = Arc::new(AtomicBool::new(false));
        let server = MockServer::start().await;
        let is_up = Arc::clone(&up);
        let respond = move |_: &Request| {
            if !is_up.load(Ordering::SeqCst) {
                return ResponseTemplate::new(500);
            }
            let settings = json!({"data": {"type": "settings", "id": "5f", "attributes": {"secret": SECRET}}});
            ResponseTemplate::new(200).set_body_json(settings)
        };
        Mock::given(method("GET"))
            .and(path("/v1/auth/customer/settings"))
            .and(header("authorization", format!("Bearer {API_KEY}").as_str()))
            .respond_with(respond)
            .mount(&server)
            .await;
        let url = format!("{}/v1/auth/customer/settings", server.uri());
        let app = serving(&database, &format!("kind = \"kustomer\"\nurl = \"{url}\"\napi_key = \"{API_KEY}\""));
        let failed = log_in(&app, APP, "+18005551234").await;
        assert_eq!((failed.status, failed.get("code")), (503, json!("upstream_unavailable")));
        up.store(true, Ordering::SeqCst);
        let finished = complete(&app, &failed).await;
        let [_, claims] = parts(&chat(&finished)["token"]);
        assert!(claims.starts_with(r#"{"externalId":"usr_"#), "{claims}");
        assert_eq!((app.outbox.count(), calls(&server).await), (1, 2));
        for phone in ["+18005551235", "+18005551236"] {
            chat(&log_in(&app, APP, phone).await);
        }
        assert_eq!(calls(&server).await, 2, "never again");
        let said = format!("{failed:?}{finished:?}{}", lines.text());
        assert!(!said.contains(SECRET) && !said.contains(API_KEY));
        app.stop().await;
    }
}
