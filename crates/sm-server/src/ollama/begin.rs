//! What chats and prompts begin with: a body is read, and the model that it names is loaded.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use sm_runtime::{GenerationOptions, ModelHandle};

use super::keep_alive::AfterUse;
use super::{lines, names};
use crate::app::App;
use crate::error::ApiError;
use crate::wire::FieldError;
use crate::wire::ollama::{AnswerHead, Ask, Outcome, Shape, capabilities};

/// A model that a body names.
pub(super) struct Named {
    /// As the body calls it.
    pub(super) given: String,
    /// Its own name.
    pub(super) name: String,
    pub(super) model: ModelHandle,
    /// How long it took to load.
    pub(super) load: Duration,
}

/// Loads the model that a body names.
///
/// # Errors
/// If there is none, or it cannot be loaded.
pub(super) async fn load(app: &App, body: &Map<String, Value>) -> Result<Named, ApiError> {
    let given = names::given(app, body)?;
    let name = names::find(app, &given)?.name;
    let began = Instant::now();
    let model = app.model(Some(&name)).await?;
    Ok(Named { given, name, model, load: began.elapsed() })
}

/// Reads a body, with the options that apply to what it does not set.
type Read<S> = fn(&Map<String, Value>, GenerationOptions) -> Result<Ask<S>, FieldError>;

/// A request that is to be answered.
pub(super) struct Begun<S> {
    pub(super) model: ModelHandle,
    pub(super) head: AnswerHead,
    pub(super) source: S,
    pub(super) is_stream: bool,
    pub(super) after_use: AfterUse,
}

/// Reads a body with `read`. If it asks nothing, the model is loaded or, with `keep_alive: 0`, unloaded, and that is the answer.
///
/// # Errors
/// If the body is wrong, or the model cannot be loaded or asked to think.
pub(super) async fn begin<S>(
    app: &App,
    body: &Map<String, Value>,
    shape: Shape,
    read: Read<S>,
) -> Result<ControlFlow<Response, Begun<S>>, ApiError> {
    let Named { given, name, model, load } = self::load(app, body).await?;
    let Ask { source, is_stream, keep_alive, thinks } = read(body, app.defaults(&model))?;
    let after_use = AfterUse::new(app.expiries().clone(), &name, keep_alive);
    let head = AnswerHead { shape, model: given, load, has_context: shape == Shape::Generate };
    let Some(source) = source else {
        let last = head.last(if after_use.unloads() { Outcome::Unloaded } else { Outcome::Loaded });
        return Ok(ControlFlow::Break(if is_stream {
            lines::of(&[last])
        } else {
            Json(last).into_response()
        }));
    };
    if thinks {
        check_thinking(&head.model, &model)?;
    }
    Ok(ControlFlow::Continue(Begun { model, head, source, is_stream, after_use }))
}

/// As Ollama does, refuses to let a model think that does not.
fn check_thinking(name: &str, model: &ModelHandle) -> Result<(), ApiError> {
    if capabilities(model.chat_template().ok()).contains(&"thinking") {
        return Ok(());
    }
    let message = format!("\"{name}\" does not support thinking; leave think out");
    Err(ApiError::invalid("think", message))
}
