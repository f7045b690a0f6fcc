//! Between text and tokens, as the generator needs it.

use std::sync::Arc;

use sm_model::tokenizer::{EncodeOptions, SpecialTokens, TextStream, Tokenizer};
use sm_tensor::TokenId;

use crate::Error;

/// The tokenizer of a model, or none: a model file without one still continues token ids.
#[derive(Clone, Debug)]
pub(crate) struct Text(pub(crate) Option<Arc<dyn Tokenizer>>);

impl Text {
    pub(crate) fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<TokenId>, Error> {
        let tokenizer = self.0.as_ref().ok_or(Error::NoTokenizer)?;
        Ok(tokenizer.encode(text, options)?)
    }

    pub(crate) fn decode(&self, tokens: &[TokenId]) -> Result<String, Error> {
        let tokenizer = self.0.as_ref().ok_or(Error::NoTokenizer)?;
        Ok(tokenizer.decode(tokens, SpecialTokens::Skip))
    }

    /// The token that begins a sequence, if the model has one.
    pub(crate) fn bos(&self) -> Option<TokenId> {
        self.0.as_ref().and_then(|tokenizer| tokenizer.vocabulary().bos())
    }

    /// Tokens that end an output.
    pub(crate) fn eos(&self) -> &[TokenId] {
        self.0.as_ref().map_or(&[], |tokenizer| tokenizer.vocabulary().end_of_generation())
    }

    /// A decoder of the text behind a prompt: a text of its own, or one that goes on.
    pub(crate) fn stream(&self, start: TextStart) -> Option<TextStream> {
        let tokenizer = self.0.clone()?;
        Some(match start {
            TextStart::New => TextStream::new(tokenizer, SpecialTokens::Skip),
            TextStart::Continued => TextStream::after_text(tokenizer, SpecialTokens::Skip),
        })
    }
}

/// Whether the space that some encoders put before the first word of a text belongs to the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextStart {
    /// The output is a text of its own, such as an answer.
    New,
    /// The output goes on in the prompt's text.
    Continued,
}
