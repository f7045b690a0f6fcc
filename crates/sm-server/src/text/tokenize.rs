//! `POST /tokenize`

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value, json};
use sm_runtime::model::tokenizer::{EncodeOptions, SequenceMarks, SpecialText, Vocabulary};
use sm_runtime::{Error, Prompt, TokenId};

use crate::app::App;
use crate::documents::respond::object;
use crate::error::ApiError;
use crate::generation::blocking;
use crate::wire::text::{Input, TokenizeCall};

/// The tokens of a text, or of messages.
///
/// # Errors
/// If the body is wrong, or the model has no tokenizer.
pub(crate) async fn create(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let call = TokenizeCall::read(&object(&body)?)?;
    let model = app.model(call.model.as_deref()).await?;
    let max_model_len = model.context_len();
    let answer = blocking(&app, move || {
        let tokenizer = model.tokenizer().ok_or(Error::NoTokenizer)?;
        let tokens = match &call.input {
            Input::Text(text) => {
                let marks = if call.adds_special { SequenceMarks::Add } else { SequenceMarks::Omit };
                let special_text = if call.parses_special { SpecialText::Parse } else { SpecialText::Plain };
                tokenizer.encode(text, EncodeOptions { marks, special_text }).map_err(Error::from)?
            }
            Input::Chat(chat) => model.model().tokenize(&Prompt::Messages(chat.clone()))?,
        };
        let vocabulary = tokenizer.vocabulary();
        let pieces = |read: fn(&Vocabulary, TokenId) -> Value| -> Vec<Value> {
            tokens.iter().map(|token| read(vocabulary, *token)).collect()
        };
        let ids: Vec<u32> = tokens.iter().map(|token| token.0).collect();
        let mut answer = json!({"count": ids.len(), "max_model_len": max_model_len, "token_strs": null});
        if call.has_strings {
            answer["token_strs"] = pieces(|vocabulary, token| vocabulary.text_of(Some(token)).into()).into();
        }
        answer["tokens"] = if call.has_pieces { pieces(piece).into() } else { ids.into() };
        Ok(answer)
    });
    Ok(Json(answer.await?))
}

/// A token with its text, or its bytes where they are no text of their own.
fn piece(vocabulary: &Vocabulary, token: TokenId) -> Value {
    let bytes = vocabulary.token_bytes(token);
    let piece = match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => bytes.into(),
    };
    json!({"id": token.0, "piece": piece})
}
