//! Special tokens declared by the configuration files next to `tokenizer.json`.
//!
//! transformers spreads them over four files: text forms and flags in `tokenizer_config.json` and the older
//! `special_tokens_map.json`, ids in `generation_config.json` and `config.json`. Earlier files in this order win.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;
use sm_tensor::TokenId;
use tokenizers::AddedToken;

use crate::json;
use crate::tokenizer::TokenizerError;

/// The declared special tokens: some by text, some by id.
#[derive(Debug, Default)]
pub(super) struct SpecialConfig {
    pub(super) bos: Option<String>,
    pub(super) eos: Option<String>,
    pub(super) unknown: Option<String>,
    pub(super) padding: Option<String>,
    /// `added_tokens_decoder`, by ascending ids.
    pub(super) added_tokens: Vec<(u32, AddedToken)>,
    pub(super) bos_id: Option<TokenId>,
    /// All end-of-sequence ids in `generation_config.json` and `config.json`.
    pub(super) end_ids: Vec<TokenId>,
}

impl SpecialConfig {
    /// Reads the files of a directory, all of them optional.
    ///
    /// # Errors
    /// If a file is not JSON, or an id is not a number.
    pub(super) fn load(dir: &Path) -> Result<Self, TokenizerError> {
        let mut special = Self::default();
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let config = read_json(&dir.join(name))?;
            let text = |key: &str| token_text(&config[key]);
            special.bos = special.bos.or_else(|| text("bos_token"));
            special.eos = special.eos.or_else(|| text("eos_token"));
            special.unknown = special.unknown.or_else(|| text("unk_token"));
            special.padding = special.padding.or_else(|| text("pad_token"));
            special.added_tokens.extend(added_tokens(&config["added_tokens_decoder"]));
        }
        for name in ["generation_config.json", "config.json"] {
            let path = dir.join(name);
            let config = read_json(&path)?;
            special.bos_id = special.bos_id.or(ids(&config["bos_token_id"], &path)?.first().copied());
            special.end_ids.extend(ids(&config["eos_token_id"], &path)?);
            special.end_ids.extend(ids(&config["text_config"]["eos_token_id"], &path)?);
        }
        Ok(special)
    }
}

/// The tokens that an object has under their ids, by ascending ids.
fn added_tokens(tokens: &Value) -> Vec<(u32, AddedToken)> {
    let Value::Object(tokens) = tokens else { return Vec::new() };
    let mut added: Vec<_> = tokens
        .iter()
        .filter_map(|(id, token)| {
            let flag = |key: &str| token[key].as_bool();
            let special = flag("special").unwrap_or(false);
            let added = AddedToken::from(token["content"].as_str()?, special)
                .single_word(flag("single_word").unwrap_or(false))
                .lstrip(flag("lstrip").unwrap_or(false))
                .rstrip(flag("rstrip").unwrap_or(false))
                .normalized(flag("normalized").unwrap_or(!special));
            Some((id.parse().ok()?, added))
        })
        .collect();
    added.sort_by_key(|&(id, _)| id);
    added
}

/// The text of a token, which is written as a string, or as an object with the string in `content`.
pub(crate) fn token_text(token: &Value) -> Option<String> {
    token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
}

/// The JSON of a file; null if the file does not exist.
pub(crate) fn read_json(path: &Path) -> Result<Value, TokenizerError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Value::Null),
        Err(source) => return Err(TokenizerError::Read { path: path.to_owned(), source }),
    };
    json::parse(&bytes).map_err(|error| TokenizerError::Invalid {
        file: path.display().to_string(),
        what: "JSON file",
        reason: error.to_string(),
    })
}

/// The ids in a value that is one id, a list of ids, or null.
fn ids(value: &Value, path: &Path) -> Result<Vec<TokenId>, TokenizerError> {
    let one = |value: &Value| {
        value.as_u64().and_then(|id| u32::try_from(id).ok()).map(TokenId).ok_or_else(|| {
            TokenizerError::Invalid {
                file: path.display().to_string(),
                what: "model configuration",
                reason: format!("token id {value} is not an integer from 0 to {}", u32::MAX),
            }
        })
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(one).collect(),
        _ => Ok(vec![one(value)?]),
    }
}
