//! Finds a model's chat templates and the special tokens they refer to.
//!
//! Templates have moved over the years: a field of `tokenizer_config.json`, with one template or a list of named ones, then
//! separate files (`chat_template.json`, `chat_template.jinja`); GGUF files use metadata keys. Newer locations win, as in
//! transformers.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::ChatError;
use crate::metadata::Metadata;
use crate::tokenizer::{TokenizerError, Vocabulary, read_json, token_text};

/// The templates of a model by name, and the texts of its special tokens.
pub(super) struct ModelTemplates {
    pub(super) templates: Vec<(String, String)>,
    pub(super) special_texts: Map<String, Value>,
}

const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

impl ModelTemplates {
    /// Those of a Hugging Face directory.
    pub(super) fn from_dir(dir: &Path) -> Result<Self, ChatError> {
        let config = read_json(&dir.join("tokenizer_config.json"))?;
        let map = read_json(&dir.join("special_tokens_map.json"))?;
        let mut special_texts = Map::new();
        for token in SPECIAL_TOKENS {
            if let Some(text) = token_text(&config[token]).or_else(|| token_text(&map[token])) {
                special_texts.insert(token.to_owned(), text.into());
            }
        }
        let jinja = dir.join("chat_template.jinja");
        let templates = if jinja.exists() {
            let read = fs::read_to_string(&jinja);
            let text = read.map_err(|source| TokenizerError::Read { path: jinja, source })?;
            vec![("default".to_owned(), text)]
        } else {
            let json = read_json(&dir.join("chat_template.json"))?;
            let json = if json.is_null() { config } else { json };
            named(&json["chat_template"])
        };
        Ok(Self { templates, special_texts })
    }

    /// Those of a GGUF file.
    pub(super) fn from_metadata(metadata: &Metadata, vocabulary: &Vocabulary) -> Result<Self, ChatError> {
        let text = |key: &str| metadata.get::<&str>(key).map_err(TokenizerError::from);
        let mut templates = Vec::new();
        if let Some(template) = text("tokenizer.chat_template")? {
            templates.push(("default".to_owned(), template.to_owned()));
        }
        let names: Option<&[String]> =
            metadata.get("tokenizer.chat_templates").map_err(TokenizerError::from)?;
        for name in names.unwrap_or_default() {
            if let Some(template) = text(&format!("tokenizer.chat_template.{name}"))? {
                templates.push((name.clone(), template.to_owned()));
            }
        }
        let special = [
            ("bos_token", vocabulary.bos()),
            ("eos_token", vocabulary.eos()),
            ("unk_token", vocabulary.unknown()),
            ("pad_token", vocabulary.padding()),
        ];
        let special_texts = special
            .into_iter()
            .filter(|(_, id)| id.is_some())
            .map(|(token, id)| (token.to_owned(), vocabulary.text_of(id).into()))
            .collect();
        Ok(Self { templates, special_texts })
    }
}

/// The templates in a field that is a string or a list of `{"name", "template"}`.
fn named(chat_template: &Value) -> Vec<(String, String)> {
    match chat_template {
        Value::String(text) => vec![("default".to_owned(), text.clone())],
        Value::Array(list) => list
            .iter()
            .filter_map(|entry| {
                Some((entry["name"].as_str()?.to_owned(), entry["template"].as_str()?.to_owned()))
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_one_template_or_named_ones() {
        let list = serde_json::json!([{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}, 3]);
        let names: Vec<_> = named(&list).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["default", "tool_use"]);
        assert_eq!(named(&"t".into()), [("default".to_owned(), "t".to_owned())]);
        assert!(named(&Value::Null).is_empty());
    }
}
