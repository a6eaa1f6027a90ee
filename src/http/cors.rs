//! Which web pages may read our answers: those whose origin the app lists.

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderValue, ORIGIN, VARY,
};
use actix_web::{HttpRequest, HttpResponse};

use super::Current;
use crate::config::Apps;

/// Lets the page read `response`, when its origin is one of the app's; where no app is named yet, of any app's.
pub(super) fn allow(
    request: &HttpRequest,
    apps: &Apps,
    app_id: Option<&str>,
    mut response: HttpResponse,
) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = request.headers().get(ORIGIN) else { return response };
    if origin.to_str().is_ok_and(|origin| apps.allow_origin(app_id, origin)) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After"));
    }
    response
}

/// A browser asks whether it may.
pub(super) async fn preflight(request: HttpRequest, gateway: Current) -> HttpResponse {
    let response = HttpResponse::NoContent()
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "POST"))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"))
        .insert_header((ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish();
    allow(&request, &gateway.apps, None, response)
}
