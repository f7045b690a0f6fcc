//! The endpoints of Anthropic's API, one file each.

mod count_tokens;
mod messages;

use axum::Router;
use axum::routing::post;

use crate::app::App;

/// The endpoints.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/messages", post(messages::create))
        .route("/v1/messages/count_tokens", post(count_tokens::count))
}
