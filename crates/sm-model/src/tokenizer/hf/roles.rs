//! Which tokens have a role, as said by the configuration files beside `tokenizer.json`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;
use sm_tensor::TokenId;

use crate::tokenizer::TokenizerError;

/// Roles as the files give them: some by written form, some by id.
#[derive(Debug, Default)]
pub(super) struct Roles {
    pub(super) bos: Option<String>,
    pub(super) eos: Option<String>,
    pub(super) unknown: Option<String>,
    pub(super) padding: Option<String>,
    pub(super) add_bos: Option<bool>,
    pub(super) add_eos: Option<bool>,
    pub(super) bos_id: Option<TokenId>,
    /// All ids that `generation_config.json` and `config.json` call end of sequence.
    pub(super) end_ids: Vec<TokenId>,
}

impl Roles {
    /// Reads what is there; every file is optional.
    ///
    /// # Errors
    /// Files that are not JSON, and ids that are not numbers.
    pub(super) fn load(dir: &Path) -> Result<Self, TokenizerError> {
        let mut roles = Self::default();
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let config = read_json(&dir.join(name))?;
            let text = |role: &str| token_text(&config[role]);
            roles.bos = roles.bos.or_else(|| text("bos_token"));
            roles.eos = roles.eos.or_else(|| text("eos_token"));
            roles.unknown = roles.unknown.or_else(|| text("unk_token"));
            roles.padding = roles.padding.or_else(|| text("pad_token"));
            roles.add_bos = roles.add_bos.or(config["add_bos_token"].as_bool());
            roles.add_eos = roles.add_eos.or(config["add_eos_token"].as_bool());
        }
        for name in ["generation_config.json", "config.json"] {
            let path = dir.join(name);
            let config = read_json(&path)?;
            roles.bos_id = roles.bos_id.or(ids(&config["bos_token_id"], &path)?.first().copied());
            roles.end_ids.extend(ids(&config["eos_token_id"], &path)?);
            roles.end_ids.extend(ids(&config["text_config"]["eos_token_id"], &path)?);
        }
        Ok(roles)
    }
}

/// A token is written as its text, or as an object with the text in `content`.
pub(crate) fn token_text(token: &Value) -> Option<String> {
    token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
}

/// The file's JSON, or null where there is no file.
pub(crate) fn read_json(path: &Path) -> Result<Value, TokenizerError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Value::Null),
        Err(source) => return Err(TokenizerError::Read { path: path.to_owned(), source }),
    };
    serde_json::from_slice(&bytes).map_err(|error| TokenizerError::Invalid {
        file: path.display().to_string(),
        what: "JSON file",
        reason: error.to_string(),
    })
}

/// One id, a list of ids, or null.
fn ids(value: &Value, path: &Path) -> Result<Vec<TokenId>, TokenizerError> {
    let one = |value: &Value| {
        value.as_u64().and_then(|id| u32::try_from(id).ok()).map(TokenId).ok_or_else(|| {
            TokenizerError::Invalid {
                file: path.display().to_string(),
                what: "model configuration",
                reason: format!("token id {value} is not a number from 0 to {}", u32::MAX),
            }
        })
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(one).collect(),
        _ => Ok(vec![one(value)?]),
    }
}
