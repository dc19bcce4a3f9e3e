//! `GET /`: the dashboard, one page without anything from elsewhere.
//!
//! The page holds no data; it asks the API with the token that the operator
//! types in. Whatever guests, providers and callers chose is put into it as
//! text, never as markup, and the content security policy lets no script run
//! but the page's own and lets it talk to nobody but this gateway.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};

const PAGE: &str = include_str!("dashboard.html");
/// Stands in the page for what marks its script and style as its own.
const NONCE: &str = "NONCE_OF_THIS_REPLY";

/// `GET /`.
#[utoipa::path(get, path = "/", tag = "dashboard", summary = "Returns the dashboard",
    responses((status = 200, body = String, content_type = "text/html", description = "A page that asks this API")))]
pub(super) async fn page() -> Response {
    let nonce = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    (
        [
            (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
            (CONTENT_SECURITY_POLICY, policy),
            (CACHE_CONTROL, "no-store".to_owned()),
            (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (http::header::REFERRER_POLICY, "no-referrer".to_owned()),
        ],
        PAGE.replace(NONCE, &nonce),
    )
        .into_response()
}
