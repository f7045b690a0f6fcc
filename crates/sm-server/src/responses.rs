//! The endpoints of OpenAI's Responses API, one file each.

mod count;
mod create;
mod retrieve;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

/// The endpoints.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/responses", post(create::create))
        .route("/responses", post(create::create))
        .route("/v1/responses/input_tokens", post(count::count))
        .route("/v1/responses/{id}", get(retrieve::one).delete(retrieve::delete))
        .route("/v1/responses/{id}/input_items", get(retrieve::input_items))
}
