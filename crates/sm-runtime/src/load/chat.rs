//! The chat template of a model.

use std::path::Path;

use serde_json::{Map, Value};
use sm_model::chat::{ChatError, ChatTemplate};
use sm_model::{Model, ModelSource};

use super::LoadOptions;
use crate::text::Text;

/// A user-supplied chat template, with the special tokens of the model's vocabulary.
///
/// # Errors
/// If it is malformed, which only fails chat requests.
pub(super) fn given_template(source: &str, text: &Text) -> Result<ChatTemplate, ChatError> {
    let mut special_texts: Map<String, Value> = Map::new();
    if let Some(tokenizer) = text.tokenizer() {
        let vocabulary = tokenizer.vocabulary();
        for (name, id) in [
            ("bos_token", vocabulary.bos()),
            ("eos_token", vocabulary.eos()),
            ("unk_token", vocabulary.unknown()),
            ("pad_token", vocabulary.padding()),
        ] {
            special_texts.insert(name.to_owned(), vocabulary.text_of(id).into());
        }
    }
    ChatTemplate::new(source, special_texts)
}

/// The template with what the options give it.
pub(super) fn with_defaults(template: ChatTemplate, options: &LoadOptions) -> ChatTemplate {
    let template = template.with_variables(options.template_variables.clone());
    if options.template_date { template.with_date() } else { template }
}

/// The chat template in a model's files, or else next to the attached tokenizer.
///
/// # Errors
/// If there is none or it is unusable. This fails chat requests, not loading.
pub(super) fn chat_template(
    model: &Model,
    text: &Text,
    tokenizer_dir: Option<&Path>,
) -> Result<ChatTemplate, ChatError> {
    let own = match (&model.source, text.tokenizer()) {
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
