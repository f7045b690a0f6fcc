//! Between text and tokens, as the generator needs it.

use sm_tensor::TokenId;

use crate::Error;

/// A tokenizer, as the generator needs it.
pub(crate) trait TextCodec: std::fmt::Debug + Send {
    /// Plain text, special tokens not recognised, nothing added.
    fn encode_plain(&self, text: &str) -> Result<Vec<TokenId>, Error>;

    /// Text with the special tokens that the tokenizer adds around a prompt.
    fn encode_prompt(&self, text: &str) -> Result<Vec<TokenId>, Error>;

    /// A rendered chat template: special tokens recognised, the beginning-of-sequence token not doubled.
    fn encode_chat(&self, text: &str) -> Result<Vec<TokenId>, Error>;

    /// The beginning-of-sequence token that prompts get, if any.
    fn bos(&self) -> Option<TokenId>;

    /// Tokens that end an output.
    fn eos(&self) -> &[TokenId];

    /// A decoder that knows nothing of earlier tokens.
    fn stream(&self) -> Box<dyn TextStream + '_>;
}

/// Turns tokens into text as they come, whole characters only.
pub(crate) trait TextStream {
    /// Appends the text that `token` completes.
    fn push(&mut self, token: TokenId, out: &mut String) -> Result<(), Error>;

    /// Appends what is incomplete, with replacement characters.
    fn finish(&mut self, out: &mut String);
}
