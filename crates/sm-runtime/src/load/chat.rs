//! The chat template of a model.

use std::path::Path;

use sm_model::chat::{ChatError, ChatTemplate};
use sm_model::{Model, ModelSource};

use crate::text::Text;

/// The chat template in a model's files, or else next to the attached tokenizer.
///
/// # Errors
/// If there is none or it is unusable. This fails chat requests, not loading.
pub(super) fn chat_template(
    model: &Model,
    text: &Text,
    tokenizer_dir: Option<&Path>,
) -> Result<ChatTemplate, ChatError> {
    let own = match (&model.source, &text.0) {
        (ModelSource::Directory(dir), _) => ChatTemplate::load(dir),
        (ModelSource::Gguf { metadata, .. }, Some(tokenizer)) => {
            ChatTemplate::from_metadata(metadata, tokenizer.vocabulary())
        }
        (ModelSource::Gguf { path, .. } | ModelSource::Smnd { path, .. }, _) => {
            Err(ChatError::NoTemplate { model: path.display().to_string() })
        }
    };
    match (own, tokenizer_dir) {
        (Err(ChatError::NoTemplate { .. }), Some(dir)) => ChatTemplate::load(dir),
        (own, _) => own,
    }
}
