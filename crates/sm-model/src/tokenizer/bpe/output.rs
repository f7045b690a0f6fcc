//! The ids of a text so far, and how many there may be.

use sm_tensor::TokenId;

use crate::tokenizer::TokenizerError;

/// Collects the ids of a text.
#[derive(Debug)]
pub(in crate::tokenizer) struct Output {
    pub(in crate::tokenizer) ids: Vec<TokenId>,
    limit: usize,
    n_bytes: usize, // of the whole text, for errors
}

impl Output {
    /// No ids yet, for a text of `n_bytes` that may have `limit` tokens.
    pub(in crate::tokenizer) fn new(n_bytes: usize, limit: usize) -> Self {
        Self { ids: Vec::new(), limit, n_bytes }
    }

    /// The limit, enforced.
    ///
    /// # Errors
    /// [`TokenizerError::TooManyTokens`] if there are more ids than that.
    pub(in crate::tokenizer) fn check(&self) -> Result<(), TokenizerError> {
        if self.ids.len() <= self.limit {
            return Ok(());
        }
        Err(TokenizerError::TooManyTokens {
            limit: self.limit,
            n_bytes: self.n_bytes,
            at_least: self.ids.len(),
        })
    }

    /// An error for a part of the text without a token.
    pub(super) fn no_token(&self, part: &[u8], byte: u8) -> TokenizerError {
        let piece = String::from_utf8_lossy(part);
        TokenizerError::Encode {
            n_bytes: self.n_bytes,
            reason: format!(
                "the vocabulary has no token for {piece:?} or byte {byte:#04x}, and no unknown token"
            ),
        }
    }
}
