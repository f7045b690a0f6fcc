//! `POST /detokenize`

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value, json};
use sm_runtime::Error;
use sm_runtime::model::tokenizer::SpecialTokens;

use crate::app::App;
use crate::documents::respond::object;
use crate::error::ApiError;
use crate::generation::blocking;
use crate::wire::text::DetokenizeCall;

/// The text of tokens.
///
/// # Errors
/// If the body is wrong, a token is not in the vocabulary, or the model has no tokenizer.
pub(crate) async fn create(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let call = DetokenizeCall::read(&object(&body)?)?;
    let model = app.model(call.model.as_deref()).await?;
    let answer = blocking(&app, move || {
        let tokenizer = model.tokenizer().ok_or(Error::NoTokenizer)?;
        let vocab_size = tokenizer.vocabulary().vocab_size();
        if let Some(token) = call.tokens.iter().find(|token| token.0 as usize >= vocab_size) {
            let message = format!("tokens: {} is not in the vocabulary of {vocab_size}", token.0);
            return Err(ApiError::invalid("tokens", message));
        }
        let specials = if call.skips_special { SpecialTokens::Skip } else { SpecialTokens::Keep };
        let text = tokenizer.decode(&call.tokens, specials);
        Ok(json!({"content": text, "prompt": text, "text": text}))
    });
    Ok(Json(answer.await?))
}
