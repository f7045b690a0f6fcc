//! A model's optional tokenizer.

use std::sync::Arc;

use sm_model::tokenizer::{EncodeOptions, GuardedText, SpecialTokens, TextStream, TokenKind, Tokenizer};
use sm_tensor::TokenId;

use crate::Error;

/// A model's tokenizer, if any; without one, it can still continue token ids.
#[derive(Clone, Debug)]
pub(crate) struct Text(pub(crate) Option<Arc<dyn Tokenizer>>);

impl Text {
    pub(crate) fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<TokenId>, Error> {
        let tokenizer = self.0.as_ref().ok_or(Error::NoTokenizer)?;
        Ok(tokenizer.encode(text, options)?)
    }

    pub(crate) fn encode_guarded(&self, text: &GuardedText) -> Result<Vec<TokenId>, Error> {
        let tokenizer = self.0.as_ref().ok_or(Error::NoTokenizer)?;
        Ok(tokenizer.encode_guarded(text)?)
    }

    pub(crate) fn decode(&self, tokens: &[TokenId]) -> Result<String, Error> {
        let tokenizer = self.0.as_ref().ok_or(Error::NoTokenizer)?;
        Ok(tokenizer.decode(tokens, SpecialTokens::Skip))
    }

    /// The control token with this written form.
    pub(crate) fn special_token(&self, written: &str) -> Option<TokenId> {
        let tokenizer = self.0.as_ref()?;
        match tokenizer.encode(written, EncodeOptions::RENDERED_CHAT).ok()?[..] {
            [id] => (tokenizer.vocabulary().kind(id) == TokenKind::Control).then_some(id),
            _ => None,
        }
    }

    /// The written form of a control token that a text holds beside other text.
    pub(crate) fn special_within(&self, text: &str) -> Option<String> {
        let vocabulary = self.0.as_ref()?.vocabulary();
        let ids = self.encode(text, EncodeOptions::RENDERED_CHAT).ok()?;
        let control = ids.iter().find(|&&id| vocabulary.kind(id) == TokenKind::Control && ids.len() > 1)?;
        Some(vocabulary.text_of(Some(*control))).filter(|written| text.contains(written.as_str()))
    }

    /// The beginning-of-sequence token, if there is one.
    pub(crate) fn bos(&self) -> Option<TokenId> {
        self.0.as_ref().and_then(|tokenizer| tokenizer.vocabulary().bos())
    }

    /// The tokens that end an output.
    pub(crate) fn eos(&self) -> &[TokenId] {
        self.0.as_ref().map_or(&[], |tokenizer| tokenizer.vocabulary().end_of_generation())
    }

    /// A streaming decoder for the output.
    pub(crate) fn stream(&self, start: TextStart) -> Option<TextStream> {
        let tokenizer = self.0.clone()?;
        Some(match start {
            TextStart::New => TextStream::new(tokenizer, SpecialTokens::Skip),
            TextStart::Continued => TextStream::after_text(tokenizer, SpecialTokens::Skip),
        })
    }
}

/// Whether the output includes the space that some tokenizers put before the first word of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextStart {
    /// The output is a new text, such as an answer, without the space.
    New,
    /// The output continues the prompt's text, with the space.
    Continued,
}
