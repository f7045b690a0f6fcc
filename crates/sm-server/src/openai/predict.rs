//! `POST /predict`: several chats in one request, as Vertex AI sends them to containers.
//! <https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements>

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value, json};

use super::create::{Started, parse};
use crate::app::App;
use crate::error::ApiError;
use crate::wire::fields::MAX_PROMPTS;
use crate::wire::openai::{Endpoint, completion};

/// Names the form of an instance, as llama.cpp reads it.
const FORMAT: &str = "@requestFormat";

/// Answers each of `instances`, a body of `/v1/chat/completions` without a stream.
///
/// # Errors
/// If a body is wrong, or a request fails.
pub(crate) async fn create(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let mut body = parse(&body)?;
    let Some(Value::Array(instances)) = body.remove("instances") else {
        return Err(ApiError::invalid("instances", "instances: must be a list of bodies of chats"));
    };
    let wrong = |message: String| ApiError::invalid("instances", format!("instances: {message}"));
    if instances.len() > MAX_PROMPTS {
        let message =
            format!("there are {}, of which {MAX_PROMPTS} are allowed; divide them", instances.len());
        return Err(wrong(message));
    }
    let mut running = Vec::with_capacity(instances.len());
    for (index, instance) in instances.into_iter().enumerate() {
        let Value::Object(mut chat) = instance else {
            return Err(wrong(format!("[{index}] must be an object")));
        };
        match chat.remove(FORMAT) {
            None => {}
            Some(format) if format == "chatCompletions" => {}
            Some(format) => {
                let message = format!("[{index}].{FORMAT} must be \"chatCompletions\", not {format}");
                return Err(wrong(message));
            }
        }
        // There is one answer for all of them.
        if let Some(stream) = chat.remove("stream").filter(|stream| !stream.is_boolean() && !stream.is_null())
        {
            return Err(wrong(format!("[{index}].stream must be true or false, not {stream}")));
        }
        running.push(Started::start(Endpoint::ChatCompletions, &app, chat).await?);
    }
    let mut predictions = Vec::with_capacity(running.len());
    for Started { generation, shape, .. } in running {
        predictions.push(completion(&shape, &generation.finish().await?));
    }
    Ok(Json(json!({ "predictions": predictions })))
}
