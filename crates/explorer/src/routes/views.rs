//! Saved views.

use atalaya_store::View;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;

use super::events::{now_ms, reading};
use super::{Answer, Shared};
use crate::error::ApiError;

#[derive(Serialize)]
pub(super) struct Views {
    views: Vec<View>,
}

pub(super) async fn all(State(explorer): State<Shared>) -> Answer<Views> {
    let views = reading(explorer, |explorer| Ok(explorer.state.views()?)).await?;
    Ok(Json(Views { views }))
}

pub(super) async fn save(
    State(explorer): State<Shared>,
    body: Result<Json<View>, JsonRejection>,
) -> Answer<View> {
    let Json(mut view) = body?;
    let name = view.name.trim();
    if name.is_empty() || name.chars().count() > 100 {
        return Err(ApiError::bad("a view has a name of at most 100 characters"));
    }
    view.name = name.to_owned();
    view.created = now_ms();
    // One that cannot be asked is of no use.
    atalaya_store::Query::parse(&view.query, view.created)?;
    let saved = reading(explorer, move |explorer| {
        Ok(explorer.state.save_view(&view)?)
    })
    .await?;
    saved.map(Json).ok_or_else(|| {
        ApiError::new(StatusCode::CONFLICT, "too_many", "there are too many views")
            .hint("remove one first")
    })
}

pub(super) async fn remove(
    State(explorer): State<Shared>,
    Path(id): Path<i64>,
) -> Result<StatusCode, ApiError> {
    match reading(explorer, move |explorer| {
        Ok(explorer.state.delete_view(id)?)
    })
    .await?
    {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found("there is no such view")),
    }
}
