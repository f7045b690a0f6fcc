//! A model's optional tokenizer.

mod token_texts;

use std::sync::{Arc, OnceLock};

use sm_model::tokenizer::{EncodeOptions, GuardedText, SpecialTokens, TextStream, TokenKind, Tokenizer};
use sm_tensor::TokenId;

use crate::Error;

pub(crate) use token_texts::TokenTexts;

/// A model's tokenizer, if any; without one, it can still continue token ids.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    tokenizer: Option<Arc<dyn Tokenizer>>,
    /// Built from the vocabulary on first use, shared by clones.
    made: Arc<Made>,
}

/// Indices built from a vocabulary.
#[derive(Debug, Default)]
struct Made {
    texts: OnceLock<Arc<TokenTexts>>,
    controls: OnceLock<Vec<(TokenId, String)>>,
}

impl Text {
    pub(crate) fn new(tokenizer: Option<Arc<dyn Tokenizer>>) -> Self {
        Self { tokenizer, made: Arc::default() }
    }

    /// The tokenizer, if there is one.
    pub(crate) fn tokenizer(&self) -> Option<&Arc<dyn Tokenizer>> {
        self.tokenizer.as_ref()
    }

    /// The texts of all tokens.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`].
    pub(crate) fn token_texts(&self) -> Result<Arc<TokenTexts>, Error> {
        let tokenizer = self.tokenizer.as_ref().ok_or(Error::NoTokenizer)?;
        Ok(Arc::clone(self.made.texts.get_or_init(|| Arc::new(TokenTexts::new(tokenizer.vocabulary())))))
    }

    /// The special tokens left out of outputs, and their text.
    pub(crate) fn controls(&self) -> &[(TokenId, String)] {
        let Some(tokenizer) = &self.tokenizer else { return &[] };
        self.made.controls.get_or_init(|| {
            let vocabulary = tokenizer.vocabulary();
            let ids = (0..vocabulary.vocab_size() as u32).map(TokenId);
            let controls = ids.filter(|id| vocabulary.kind(*id) == TokenKind::Control);
            let written = controls.map(|id| (id, vocabulary.text_of(Some(id))));
            written.filter(|(_, text)| !text.is_empty()).collect()
        })
    }

    pub(crate) fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<TokenId>, Error> {
        let tokenizer = self.tokenizer.as_ref().ok_or(Error::NoTokenizer)?;
        Ok(tokenizer.encode(text, options)?)
    }

    /// The ids of a prompt, unless there are more than `max_tokens`.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`]; [`Error::Tokenizer`] with the tokens that the prompt has at least.
    pub(crate) fn encode_prompt(
        &self,
        text: &str,
        options: EncodeOptions,
        max_tokens: usize,
    ) -> Result<Vec<TokenId>, Error> {
        let tokenizer = self.tokenizer.as_ref().ok_or(Error::NoTokenizer)?;
        Ok(tokenizer.encode_within(text, options, max_tokens)?)
    }

    /// The ids of a chat, unless there are more than `max_tokens`.
    ///
    /// # Errors
    /// As [`Text::encode_prompt`].
    pub(crate) fn encode_chat(&self, text: &GuardedText, max_tokens: usize) -> Result<Vec<TokenId>, Error> {
        let tokenizer = self.tokenizer.as_ref().ok_or(Error::NoTokenizer)?;
        Ok(tokenizer.encode_guarded_within(text, max_tokens)?)
    }

    pub(crate) fn decode(&self, tokens: &[TokenId]) -> Result<String, Error> {
        let tokenizer = self.tokenizer.as_ref().ok_or(Error::NoTokenizer)?;
        Ok(tokenizer.decode(tokens, SpecialTokens::Skip))
    }

    /// The control token with this written form.
    pub(crate) fn special_token(&self, written: &str) -> Option<TokenId> {
        let tokenizer = self.tokenizer.as_ref()?;
        match tokenizer.encode(written, EncodeOptions::RENDERED_CHAT).ok()?[..] {
            [id] => (tokenizer.vocabulary().kind(id) == TokenKind::Control).then_some(id),
            _ => None,
        }
    }

    /// The beginning-of-sequence token, if there is one.
    pub(crate) fn bos(&self) -> Option<TokenId> {
        self.tokenizer.as_ref().and_then(|tokenizer| tokenizer.vocabulary().bos())
    }

    /// The tokens that end an output.
    pub(crate) fn eos(&self) -> &[TokenId] {
        self.tokenizer.as_ref().map_or(&[], |tokenizer| tokenizer.vocabulary().end_of_generation())
    }

    /// A streaming decoder for the output.
    pub(crate) fn stream(&self, start: TextStart, specials: SpecialTokens) -> Option<TextStream> {
        let tokenizer = self.tokenizer.clone()?;
        Some(match start {
            TextStart::New => TextStream::new(tokenizer, specials),
            TextStart::Continued => TextStream::after_text(tokenizer, specials),
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
