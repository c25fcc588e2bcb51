//! Ways in.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Answer, Shared};
use crate::error::ApiError;
use crate::{guard, sessions};

#[derive(Deserialize)]
pub(super) struct Begin {
    token: String,
}

#[derive(Serialize)]
pub(super) struct Begun {
    session: String,
    expires_in_seconds: u64,
}

/// A session for a token.
pub(super) async fn begin(
    State(explorer): State<Shared>,
    body: Result<Json<Begin>, JsonRejection>,
) -> Answer<Begun> {
    let Json(Begin { token }) = body?;
    let session = explorer.sessions.begin(&token);
    match session.map_err(|error| ApiError::internal(error.to_string()))? {
        Some(session) => Ok(Json(Begun {
            session,
            expires_in_seconds: sessions::SESSION.as_secs(),
        })),
        None => Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "this address was used already, or is older than ten minutes",
        )
        .hint("get a new one with `security-agent explorer url`")),
    }
}

pub(super) async fn end(State(explorer): State<Shared>, headers: HeaderMap) -> StatusCode {
    if let Some(session) = guard::session(&headers) {
        explorer.sessions.end(session);
    }
    StatusCode::NO_CONTENT
}

#[derive(Serialize)]
pub(super) struct Token {
    token: String,
    port: u16,
}

/// A token, for the command line.
pub(super) async fn token(State(explorer): State<Shared>) -> Answer<Token> {
    let token = explorer.sessions.token();
    Ok(Json(Token {
        token: token.map_err(|error| ApiError::internal(error.to_string()))?,
        port: explorer.port,
    }))
}
