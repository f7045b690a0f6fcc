//! Names of models with tags: `demo` is `demo:latest`.

use axum::http::StatusCode;
use serde_json::{Map, Value};
use sm_runtime::ModelInfo;

use crate::app::App;
use crate::error::ApiError;

/// What a name without a tag means.
const LATEST: &str = ":latest";

/// The name with its tag.
pub(super) fn tagged(name: &str) -> String {
    if name.contains(':') { name.to_owned() } else { format!("{name}{LATEST}") }
}

/// The name in a body: `model`, or `name` in old clients'. Without one, the default model is meant.
///
/// # Errors
/// If it is no text.
pub(super) fn given(app: &App, body: &Map<String, Value>) -> Result<String, ApiError> {
    let value =
        ["model", "name"].into_iter().filter_map(|field| body.get(field)).find(|value| !value.is_null());
    match value {
        None => Ok(app.config().default_model.clone()),
        Some(Value::String(name)) if name.is_empty() => Ok(app.config().default_model.clone()),
        Some(Value::String(name)) => Ok(name.clone()),
        Some(other) => Err(ApiError::invalid("model", format!("model: must be a text, not {other}"))),
    }
}

/// The model with a name or alias, with or without the tag.
///
/// # Errors
/// If there is none.
pub(super) fn find(app: &App, name: &str) -> Result<ModelInfo, ApiError> {
    let models = app.models().list();
    let is_called = |model: &&ModelInfo, name: &str| {
        model.name == name || model.aliases.iter().any(|alias| alias == name)
    };
    let exact = models.iter().find(|model| is_called(model, name));
    let untagged = name.strip_suffix(LATEST);
    let found =
        exact.or_else(|| models.iter().find(|model| untagged.is_some_and(|name| is_called(model, name))));
    found.cloned().ok_or_else(|| not_found(name))
}

/// Ollama's words, which some clients look for.
fn not_found(name: &str) -> ApiError {
    let message = format!("model '{name}' not found; GET /api/tags lists those that exist");
    ApiError::new(StatusCode::NOT_FOUND, message)
}
