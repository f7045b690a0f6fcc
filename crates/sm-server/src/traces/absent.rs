//! Replaces traces in builds without the feature `otel`.

use axum::http::HeaderMap;

use super::Traced;
use crate::app::App;

/// The span that a request belongs to: none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parent;

impl Parent {
    pub(crate) fn of(_headers: &HeaderMap) -> Self {
        Self
    }
}

pub(crate) fn record(_app: &App, _parent: &Parent, _request: &Traced<'_>) {}
