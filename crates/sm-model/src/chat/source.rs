//! Where the templates of a model lie, and the variables that come with them.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::ChatError;
use crate::metadata::Metadata;
use crate::tokenizer::{TokenizerError, Vocabulary, read_json, token_text};

/// Templates by name, and the texts of the special tokens.
pub(super) struct Source {
    pub(super) templates: Vec<(String, String)>,
    pub(super) special_texts: Map<String, Value>,
}

const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

impl Source {
    pub(super) fn from_dir(dir: &Path) -> Result<Self, ChatError> {
        let config = read_json(&dir.join("tokenizer_config.json"))?;
        let map = read_json(&dir.join("special_tokens_map.json"))?;
        let mut special_texts = Map::new();
        for role in SPECIAL_TOKENS {
            if let Some(text) = token_text(&config[role]).or_else(|| token_text(&map[role])) {
                special_texts.insert(role.to_owned(), text.into());
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
        let roles = [
            ("bos_token", vocabulary.bos()),
            ("eos_token", vocabulary.eos()),
            ("unk_token", vocabulary.unknown()),
            ("pad_token", vocabulary.padding()),
        ];
        let special_texts = roles
            .into_iter()
            .filter(|(_, id)| id.is_some())
            .map(|(role, id)| (role.to_owned(), vocabulary.text_of(id).into()))
            .collect();
        Ok(Self { templates, special_texts })
    }
}

/// A template is one text, or a list of `{"name", "template"}`.
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
    fn templates_come_alone_or_by_name() {
        let list = serde_json::json!([{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}, 3]);
        let names: Vec<_> = named(&list).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["default", "tool_use"]);
        assert_eq!(named(&"t".into()), [("default".to_owned(), "t".to_owned())]);
        assert!(named(&Value::Null).is_empty());
    }
}
