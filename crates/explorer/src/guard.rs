//! What every request from a browser must be: for this host by its own name, from this page, and, for the API, in a session.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::Explorer;
use crate::error::ApiError;

/// Nothing from elsewhere, nothing that was not written by us.
const CONTENT: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
    font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A name for this host, so that no page of another name, which points to this host, is answered.
pub(crate) async fn own_names(request: Request, next: Next) -> Response {
    let mut response = match foreign(request.headers()) {
        Some(why) => ApiError::new(StatusCode::FORBIDDEN, "forbidden", why)
            .hint("open it by http://127.0.0.1 or http://localhost")
            .into_response(),
        None => next.run(request).await,
    };
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let name = header::HeaderName::from_static("cross-origin-resource-policy");
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static("same-origin"));
    response
}

/// Why a request is none of this page's.
fn foreign(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let Some(host) = text("host") else {
        return Some("a request without the header Host".into());
    };
    if !is_own(host) {
        return Some("this is not the name of this host".into());
    }
    if text("origin").is_some_and(|origin| origin.strip_prefix("http://") != Some(host)) {
        return Some("a request of another page".into());
    }
    let from = text("sec-fetch-site").unwrap_or("none");
    if !matches!(from, "none" | "same-origin") {
        return Some("a request of another page".into());
    }
    None
}

/// An address, or `localhost`, with or without a port: names can be made to point anywhere.
fn is_own(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        },
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Only for who has a session.
pub(crate) async fn in_session(
    State(explorer): State<Arc<Explorer>>,
    request: Request,
    next: Next,
) -> Response {
    if session(request.headers()).is_some_and(|session| explorer.sessions.knows(session)) {
        let mut response = next.run(request).await;
        let never = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, never);
        return response;
    }
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "there is no such session",
    )
    .hint("get a new address with `security-agent explorer url`")
    .into_response()
}

pub(crate) fn session(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = all.iter();
        pairs
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn requests_of_other_pages_are_foreign() {
        for own in [
            headers(&[("host", "127.0.0.1:5012")]),
            headers(&[
                ("host", "localhost:9999"),
                ("origin", "http://localhost:9999"),
                ("sec-fetch-site", "same-origin"),
            ]),
            headers(&[("host", "[::1]:5012"), ("sec-fetch-site", "none")]),
        ] {
            assert_eq!(foreign(&own), None, "{own:?}");
        }
        for other in [
            headers(&[]),
            headers(&[("host", "evil.example:5012")]),
            headers(&[("host", "127.0.0.1.nip.io")]),
            headers(&[("host", "localhost.evil.example")]),
            headers(&[
                ("host", "127.0.0.1:5012"),
                ("origin", "http://evil.example"),
            ]),
            headers(&[("host", "127.0.0.1:5012"), ("origin", "null")]),
            headers(&[
                ("host", "127.0.0.1:5012"),
                ("origin", "http://127.0.0.1:8000"),
            ]),
            headers(&[("host", "127.0.0.1:5012"), ("sec-fetch-site", "cross-site")]),
            headers(&[("host", "127.0.0.1:5012"), ("sec-fetch-site", "same-site")]),
        ] {
            assert!(foreign(&other).is_some(), "{other:?}");
        }
    }
}
