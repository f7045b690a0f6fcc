//! `GET /tokenizer_info`

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use sm_runtime::model::tokenizer::Vocabulary;
use sm_runtime::{Error, TokenId};

use crate::app::App;
use crate::error::ApiError;

/// What the tokenizer of the default model marks texts with, as vLLM tells it: lm-eval tokenizes with `/tokenize` where it finds
/// this.
///
/// # Errors
/// If the model cannot be loaded, or has no tokenizer.
pub(crate) async fn get(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let model = app.model(None).await?;
    let vocabulary = model.tokenizer().ok_or(Error::NoTokenizer)?.vocabulary();
    let special =
        |of: fn(&Vocabulary) -> Option<TokenId>| of(vocabulary).map(|token| vocabulary.text_of(Some(token)));
    Ok(Json(json!({
        "tokenizer_class": "smallmind",
        "vocab_size": vocabulary.vocab_size(),
        "model_max_length": model.context_len(),
        "bos_token": special(|vocabulary| vocabulary.bos()),
        "eos_token": special(|vocabulary| vocabulary.eos()),
        "chat_template": model.chat_template().ok().map(|template| template.source(false)),
    })))
}
