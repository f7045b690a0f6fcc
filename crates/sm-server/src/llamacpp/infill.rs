//! `POST /infill`

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use sm_runtime::model::tokenizer::InfillTokens;
use sm_runtime::{ModelHandle, Prompt};

use super::completion::{model_of, respond};
use crate::app::App;
use crate::documents::respond::object;
use crate::error::ApiError;
use crate::generation::blocking;
use crate::openai::create::warn;
use crate::wire::llamacpp::{InfillCall, InfillPrompt, read};

/// Fills the gap between two texts.
///
/// # Errors
/// If the model has no tokens for it, the body is wrong, or the request fails before its answer begins.
pub(crate) async fn create(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let mut body = object(&body)?;
    let infill = InfillCall::take(&mut body)?;
    let model = model_of(&app, &body).await?;
    let marks = marks(&model)?;
    let defaults = app.defaults(&model);
    let (model, mut call, n_dropped) = blocking(&app, move || {
        // In place of a prompt, which is made once it is known how long the answer may be.
        body.insert("prompt".to_owned(), "".into());
        let tokenizer = model.tokenizer().ok_or(sm_runtime::Error::NoTokenizer)?;
        let mut call = read(&body, defaults, Some(&**tokenizer))?;
        let prompt = infill.prompt(&**tokenizer, marks, &call.options, model.context_len());
        let InfillPrompt { tokens, n_dropped } =
            prompt.map_err(|error| ApiError::invalid("", error.to_string()))?;
        call.prompts = vec![Prompt::Tokens(tokens)];
        // What some models write behind the text that fills the gap, where they should end.
        call.options
            .stop
            .token_ids
            .extend([marks.padding, marks.repository, marks.file].into_iter().flatten());
        Ok((model, call, n_dropped))
    })
    .await?;
    let context_len = model.context_len();
    let prompts = std::mem::take(&mut call.prompts);
    let mut response = respond(&app, model, prompts, call).await?;
    if n_dropped > 0 {
        let left_out = format!(
            "input_extra: the first {n_dropped} chunks were left out; a context of {context_len} tokens does not hold them"
        );
        warn(&mut response, &[left_out]);
    }
    Ok(response)
}

/// The tokens that mark the texts around a gap.
///
/// # Errors
/// If the model lacks one.
fn marks(model: &ModelHandle) -> Result<InfillTokens, ApiError> {
    let marks = model.tokenizer().map(|tokenizer| tokenizer.vocabulary().infill()).unwrap_or_default();
    let needed = [("prefix", marks.prefix), ("suffix", marks.suffix), ("middle", marks.middle)];
    let missing: Vec<&str> = needed.iter().filter(|(_, id)| id.is_none()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(marks);
    }
    let message = format!(
        "{} cannot fill gaps: its vocabulary has no token for {}; use a model of code that was trained for it, such as \
         Qwen2.5-Coder",
        model.name(),
        missing.join(", ")
    );
    Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, message))
}
