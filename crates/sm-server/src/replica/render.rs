//! `POST /v1/chat/completions/render` and `POST /v1/completions/render`: the tokens of the prompts of a request, which is not
//! answered. Routers look up with them who has the prompt in the cache.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::generation::blocking;
use crate::openai::create::{id, invalid, parse, text_field};
use crate::wire::openai::{Endpoint, read};

/// The tokens of a chat.
///
/// # Errors
/// If the body is wrong, or the template refuses the messages.
pub(crate) async fn chat(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let mut rendered = render(&app, &body, Endpoint::ChatCompletions).await?;
    Ok(Json(rendered.pop().unwrap_or_default()))
}

/// The tokens of each prompt.
///
/// # Errors
/// If the body is wrong.
pub(crate) async fn completion(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    Ok(Json(render(&app, &body, Endpoint::Completions).await?.into()))
}

async fn render(app: &App, body: &[u8], endpoint: Endpoint) -> Result<Vec<Value>, ApiError> {
    let body = parse(body)?;
    let model = app.model(text_field(&body, "model")?).await?;
    let mut call = read(endpoint, &body, app.defaults(&model)).map_err(|error| invalid(&error))?;
    let form = app.config().tool_form;
    blocking(app, move || {
        call.prepare(model.model(), form).map_err(|error| invalid(&error))?;
        let rendered = call.requests().into_iter().map(|request| {
            request.options.validate()?;
            let tokens = model.model().tokenize(&request.prompt)?;
            let tokens: Vec<u32> = tokens.iter().map(|token| token.0).collect();
            let id = format!("{}-{}", endpoint.id_prefix(), id());
            Ok(json!({"request_id": id, "model": model.name(), "token_ids": tokens}))
        });
        rendered.collect()
    })
    .await
}
