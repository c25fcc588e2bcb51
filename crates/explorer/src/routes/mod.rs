//! The API.

mod events;
mod live;
mod node;
mod sessions;
mod tree;
mod views;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use crate::connections::Bounded;
use crate::error::ApiError;
use crate::{Explorer, Listeners, guard, page};

/// What the API is, as OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("../../openapi.json");

/// Connections at once, of browsers and of the command line.
const AT_ONCE: usize = 64;
/// How long a connection may last: a live tail connects again.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long a body may be: a saved view.
const BODY: usize = 64 << 10;

type Shared = Arc<Explorer>;
type Answer<T> = Result<axum::Json<T>, ApiError>;

/// What both browsers and commands may ask.
fn api() -> Router<Shared> {
    Router::new()
        .route("/events", get(events::search))
        .route("/events/{id}", get(events::one))
        .route("/events/{id}/context", get(events::context))
        .route("/events/{id}/tree", get(tree::of_event))
        .route("/facets", get(events::facets))
        .route("/timeline", get(events::timeline))
        .route("/suggest", get(events::suggest))
        .route("/tail", get(live::tail))
        .route("/rules", get(node::rules))
        .route("/status", get(node::status))
        .route("/health", get(node::health))
        .route("/doctor", get(node::doctor))
        .route("/self-test", post(node::self_test))
        .route("/self-tests", get(node::self_tests))
        .route("/views", get(views::all).post(views::save))
        .route("/views/{id}", delete(views::remove))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY))
}

async fn unknown() -> ApiError {
    ApiError::not_found("there is no such part of the API")
        .hint("/api/v1/openapi.json has them all")
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "not with this method",
    )
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// For browsers: nothing without a session but the page, the description, and the way to a session.
pub(crate) fn browsers(explorer: Shared) -> Router {
    let guarded = api()
        .route("/session", delete(sessions::end))
        .layer(from_fn_with_state(Arc::clone(&explorer), guard::in_session));
    Router::new()
        .nest("/api/v1", guarded)
        .route("/api/v1/session", post(sessions::begin))
        .route("/api/v1/openapi.json", get(openapi))
        .fallback(get(page::file))
        .layer(from_fn(guard::own_names))
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(explorer)
}

/// For commands of root and security-agent's user.
pub(crate) fn commands(explorer: Shared) -> Router {
    Router::new()
        .nest(
            "/api/v1",
            api()
                .route("/token", post(sessions::token))
                .route("/openapi.json", get(openapi)),
        )
        .layer(from_fn(known_users))
        .with_state(explorer)
}

/// The user at the other end of a unix socket.
#[derive(Debug, Clone, Copy)]
struct Peer(Option<u32>);

impl axum::extract::connect_info::Connected<IncomingStream<'_, Bounded<UnixListener>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded<UnixListener>>) -> Self {
        Self(stream.io().peer_user())
    }
}

async fn known_users(
    ConnectInfo(Peer(user)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let own = rustix::process::geteuid().as_raw();
    if user.is_some_and(|user| user == 0 || user == own) {
        return next.run(request).await;
    }
    ApiError::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        "only for root and the user of security-agent",
    )
    .into_response()
}

/// Answers for ever.
pub(crate) async fn serve(explorer: Shared, listeners: Listeners) {
    let address = listeners.address();
    let browsing = async {
        let listener = tokio::net::TcpListener::from_std(listeners.browsers)?;
        axum::serve(
            Bounded::new(listener, AT_ONCE, LONGEST),
            browsers(Arc::clone(&explorer)),
        )
        .await
    };
    let commanding = async {
        let listener = UnixListener::from_std(listeners.commands)?;
        let service = commands(Arc::clone(&explorer)).into_make_service_with_connect_info::<Peer>();
        axum::serve(Bounded::new(listener, AT_ONCE, LONGEST), service).await
    };
    tracing::info!("explorer on http://{address} (`security-agent explorer url` for a way in)");
    let (browsing, commanding) = tokio::join!(browsing, commanding);
    for ended in [browsing, commanding] {
        if let Err(error) = ended {
            tracing::error!("the explorer does not answer any more: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::collections::BTreeSet;

    use serde_json::Value;

    /// Routes cannot be listed; so this file is read.
    #[test]
    fn every_route_is_described_and_no_other() {
        let source = include_str!("mod.rs").split("#[cfg(test)]").next().unwrap();
        let routes = source
            .split(".route(")
            .skip(1)
            .map(|rest| rest.trim_start().split('"').nth(1).unwrap());
        let routes: BTreeSet<&str> = routes
            .map(|route| route.strip_prefix("/api/v1").unwrap_or(route))
            .collect();
        let described: Value = serde_json::from_str(super::OPENAPI).unwrap();
        let paths: BTreeSet<&str> = described["paths"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(routes, paths);
    }
}
