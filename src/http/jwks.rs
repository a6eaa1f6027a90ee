//! The public keys of our access tokens, for services of the operator's own that verify them.
//!
//! Guarantees: only public halves leave; a cache keeps them for five minutes, which is why a key is published before
//! it signs.

use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use actix_web::{HttpResponse, web};

use super::{Current, document};

/// `/.well-known/jwks.json` (RFC 7517 §5).
pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(document("/.well-known/jwks.json").route(web::get().to(jwks)));
}

async fn jwks(gateway: Current) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/jwk-set+json")
        .insert_header((CACHE_CONTROL, "public, max-age=300"))
        // Anybody may read them, from any page.
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .body(gateway.tokens.jwks().to_string())
}
