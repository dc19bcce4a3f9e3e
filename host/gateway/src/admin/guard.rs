//! Who may use the admin plane.
//!
//! With a token: whoever sends it as `Authorization: Bearer …`. A browser adds
//! no such header by itself, so pages of other origins cannot use a person's
//! access.
//!
//! Without a token (the configuration allows that on loopback only): whoever
//! is on this machine. That includes every web page that is open in a browser
//! here, so requests are refused unless their `Host` is a loopback name, which
//! stops DNS rebinding, and unless their `Origin`, where they have one, is
//! that same host, which stops cross-site requests.
//!
//! `/livez` and `/readyz` are open, for probes; without access they tell no
//! details.

use super::AdminState;
use super::error::ApiError;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use std::net::IpAddr;

/// Lets a request pass, or says why not.
pub(super) async fn require_access(
    State(state): State<AdminState>,
    request: Request,
    next: Next,
) -> Response {
    match check(&state, request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused,
    }
}

/// True when the request has access.
pub(super) fn has_access(state: &AdminState, headers: &HeaderMap, uri: &Uri) -> bool {
    check(state, headers, uri).is_ok()
}

#[expect(
    clippy::result_large_err,
    reason = "the error is the response, made once for a request that ends with it"
)]
fn check(state: &AdminState, headers: &HeaderMap, uri: &Uri) -> Result<(), Response> {
    match &state.token {
        Some(token) => {
            if bearer(headers).is_some_and(|given| token.matches(given)) {
                return Ok(());
            }
            let mut response = ApiError::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "send the admin token as `Authorization: Bearer TOKEN`",
            )
            .into_response();
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            Err(response)
        }
        None => check_local(headers, uri).map_err(|message| {
            ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", message).into_response()
        }),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

fn check_local(headers: &HeaderMap, uri: &Uri) -> Result<(), &'static str> {
    // HTTP/2 carries the host in the request's target.
    let authority = match headers.get(HOST) {
        Some(host) => host.to_str().ok().and_then(|host| host.parse().ok()),
        None => uri.authority().cloned(),
    };
    let Some(authority) = authority.filter(is_loopback) else {
        return Err(
            "the admin plane has no token and answers to loopback names only; \
             use http://127.0.0.1 or set `server.admin_token`",
        );
    };
    let mut origins = headers.get_all(ORIGIN).iter();
    let same_origin = origins.all(|origin| {
        origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix("http://"))
            .is_some_and(|origin| origin.eq_ignore_ascii_case(authority.as_str()))
    });
    if same_origin {
        Ok(())
    } else {
        Err("the admin plane has no token and refuses requests of other web pages")
    }
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_with(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        check_local(&headers, &Uri::from_static("/")).is_ok()
    }

    #[test]
    fn only_loopback_names_pass_without_a_token() {
        for host in ["127.0.0.1:8081", "localhost", "LOCALHOST:1", "[::1]:8081"] {
            assert!(check_with(host, None), "{host} was refused");
        }
        for host in [
            "evil.example:8081",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "",
        ] {
            assert!(!check_with(host, None), "{host} passed");
        }
    }

    #[test]
    fn other_origins_are_refused_without_a_token() {
        let host = "127.0.0.1:8081";
        assert!(check_with(host, Some("http://127.0.0.1:8081")));
        for origin in [
            "null",
            "http://evil.example",
            "http://127.0.0.1:3000",
            "https://127.0.0.1:8081",
        ] {
            assert!(!check_with(host, Some(origin)), "{origin} passed");
        }
    }
}
