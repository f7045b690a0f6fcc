//! `GET /v1/models` and `GET /v1/models/{id}`

use axum::Json;
use axum::extract::{Path, State};
use sm_runtime::ModelInfo;

use crate::app::App;
use crate::error::ApiError;
use crate::wire::openai::{ModelList, ModelObject};

/// All models, by name.
pub(crate) async fn list(State(app): State<App>) -> Json<ModelList> {
    let data = app.models().list().into_iter().map(|model| object(&app, model)).collect();
    Json(ModelList { object: "list", data })
}

/// One model, by name or alias.
///
/// # Errors
/// If there is none.
pub(crate) async fn one(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<ModelObject>, ApiError> {
    let mut models = app.models().list().into_iter();
    let model = models.find(|model| model.name == name || model.aliases.contains(&name));
    model.map(|model| Json(object(&app, model))).ok_or_else(|| ApiError::unknown_model(&name))
}

fn object(app: &App, model: ModelInfo) -> ModelObject {
    let ModelInfo { name, mut aliases, .. } = model;
    aliases.insert(0, name.clone());
    let loaded = app.models().loaded().into_iter().find(|(loaded, _)| *loaded == name);
    ModelObject {
        id: name.clone(),
        object: "model",
        created: app.started(),
        aliases,
        tags: app.config().tags.clone(),
        owned_by: "smallmind",
        root: name,
        max_model_len: loaded.map(|(_, engine)| engine.context_len()),
    }
}
