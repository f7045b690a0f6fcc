//! The token lists of GGUF metadata, checked for consistency.

use std::collections::HashMap;

use crate::error::cut;
use crate::metadata::{Array, Metadata};
use crate::tokenizer::TokenizerError;
use crate::tokenizer::special::is_known_end;

/// `tokenizer.ggml.token_type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// The tokens of a file by id, and their ids by text.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    pub(super) texts: &'a [String],
    /// `[n_tokens]`, merge priorities; empty if the file has none.
    pub(super) scores: Vec<f32>,
    types: Vec<TokenType>, // [n_tokens]; empty if the file has none
    pub(super) ids: HashMap<&'a str, u32>,
}

impl<'a> Tokens<'a> {
    pub(super) fn read(metadata: &'a Metadata) -> Result<Self, TokenizerError> {
        let texts: &[String] = metadata.require("tokenizer.ggml.tokens")?;
        if u32::try_from(texts.len()).is_err() {
            return Err(invalid(format!("{} tokens are more than 32-bit ids allow", texts.len())));
        }
        let scores = match metadata.get::<&Array>("tokenizer.ggml.scores")? {
            None => Vec::new(),
            Some(Array::F32(scores)) => scores.clone(),
            Some(Array::I32(scores)) => scores.iter().map(|&score| score as f32).collect(),
            Some(other) => return Err(invalid(format!("tokenizer.ggml.scores is {}", other.type_name()))),
        };
        let types: Option<&[i32]> = metadata.get("tokenizer.ggml.token_type")?;
        let mut types: Vec<_> = types.unwrap_or_default().iter().copied().map(token_type).collect();
        for (key, len) in [("scores", scores.len()), ("token_type", types.len())] {
            if len != 0 && len != texts.len() {
                return Err(invalid(format!(
                    "there are {} tokens, but tokenizer.ggml.{key} has {len} entries",
                    texts.len()
                )));
            }
        }
        let mut ids = HashMap::with_capacity(texts.len());
        let mut n_repeated = 0;
        for (id, text) in (0..).zip(texts) {
            if let Some(first) = ids.get(text.as_str()) {
                if n_repeated == 0 {
                    let text = cut(text);
                    tracing::warn!(
                        "token {text:?} occurs twice in the vocabulary; texts get id {first}, never {id}"
                    );
                }
                n_repeated += 1;
                continue;
            }
            ids.insert(text.as_str(), id);
        }
        if n_repeated > 1 {
            tracing::warn!("{n_repeated} tokens of the vocabulary repeat earlier ones");
        }
        // Converters have marked such tokens as text, and models of theirs would then write past the end of their turn.
        for (id, _) in (0..).zip(texts).filter(|(_, text)| is_known_end(text)) {
            types.resize(texts.len(), TokenType::Normal);
            types[id] = TokenType::Control;
        }
        Ok(Self { texts, scores, types, ids })
    }

    pub(super) fn kind(&self, id: u32) -> TokenType {
        self.types.get(id as usize).copied().unwrap_or(TokenType::Normal)
    }
}

pub(super) fn invalid(reason: String) -> TokenizerError {
    TokenizerError::Invalid { file: "the GGUF metadata".to_owned(), what: "tokenizer", reason }
}

fn token_type(number: i32) -> TokenType {
    match number {
        1 => TokenType::Normal,
        2 => TokenType::Unknown,
        3 => TokenType::Control,
        4 => TokenType::UserDefined,
        6 => TokenType::Byte,
        _ => TokenType::Unused,
    }
}
