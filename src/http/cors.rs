//! Which web pages may read our answers: those whose origin the app lists.

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderValue, ORIGIN, VARY,
};
use actix_web::{HttpRequest, HttpResponse};

use crate::config::Apps;

/// Lets the page read `response`, when its origin is one of the app's. Where no app is named yet: of those that name
/// the path, and where none does, of any app.
pub(super) fn allow(
    request: &HttpRequest,
    apps: &Apps,
    app_id: Option<&str>,
    mut response: HttpResponse,
) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = request.headers().get(ORIGIN) else { return response };
    if origin.to_str().is_ok_and(|origin| apps.allow_origin(app_id, request.path(), origin)) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After"));
    }
    response
}

/// A browser asks whether it may use one of these methods.
pub(super) fn preflight(request: &HttpRequest, apps: &Apps, methods: &'static str) -> HttpResponse {
    let response = HttpResponse::NoContent()
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, methods))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"))
        .insert_header((ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish();
    allow(request, apps, None, response)
}
