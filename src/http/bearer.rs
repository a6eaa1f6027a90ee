//! The access token of a request.

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use zeroize::Zeroizing;

/// RFC 6750 §2.1: one header, `Bearer`, one token. Whether it is a good one is not decided here.
pub(super) fn of(request: &HttpRequest) -> Option<Zeroizing<String>> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let (Some(only), None) = (headers.next(), headers.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| Zeroizing::new(token.trim().to_owned()))
}
