//! Files with a byte-pair vocabulary, which our own code encodes: byte-level ones as of GPT-2, Llama 3 and Qwen, and those made from
//! SentencePiece models, as of Llama 2, Mistral and Gemma.
//!
//! The crate `tokenizers` keeps the place of every byte in the original text and a copy of every token's text, 60 to 300 bytes per
//! byte of text. Here a text is cut at added tokens, normalized if it needs it, split and merged in one pass that keeps the ids.

use sm_tensor::TokenId;

use super::added::{AddedTokens, Part};
use super::layout::{Layout, Lead, Normal};
use super::nfc::nfc;
use crate::tokenizer::bpe::{Output, Scratch};
use crate::tokenizer::encoder::{Encoder, Prefix};
use crate::tokenizer::{SpecialText, TokenizerError};

/// The parts of a `tokenizer.json` as our code runs them.
#[derive(Debug)]
pub(super) struct BytePair {
    encoder: Encoder,
    normal: Normal,
    /// Found in the text as it is.
    added: AddedTokens,
    /// Found in the normalized text.
    added_normalized: AddedTokens,
}

impl BytePair {
    /// The tokenizer of a layout, with these added tokens; `None` if only the library knows what they mean together.
    pub(super) fn new(layout: Layout, library: &tokenizers::Tokenizer) -> Option<Self> {
        let Layout { encoder, normal } = layout;
        let tokens = library.get_added_tokens_decoder();
        let (normalized, plain): (Vec<_>, Vec<_>) = tokens
            .into_iter()
            .filter(|(_, token)| !token.content.is_empty())
            .partition(|(_, token)| token.normalized);
        // These are prepended to and replaced in like the text. No published model relies on what comes of it.
        if matches!(normal, Normal::Underscores(_)) && !normalized.is_empty() {
            return None;
        }
        let normal_form = |text: &str| match normal {
            Normal::Nfc => nfc(text).into_owned(),
            Normal::AsItIs | Normal::Underscores(_) => text.to_owned(),
        };
        let added = AddedTokens::new(plain, str::to_owned).ok()?;
        let added_normalized = AddedTokens::new(normalized, normal_form).ok()?;
        Some(Self { encoder, normal, added, added_normalized })
    }

    /// The ids of a text whose characters `mark`, if any, are not part of it.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`], [`TokenizerError::TooManyTokens`]
    pub(super) fn encode(
        &self,
        text: &str,
        special_text: SpecialText,
        mark: Option<char>,
        limit: usize,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        let mut output = Output::new(text.len(), limit);
        let mut scratch = Scratch::default();
        self.added.cut(text, special_text, &mut |part, at| match part {
            Part::Added(id) => push(id, &mut output),
            Part::Text(part) => {
                let normal = match self.normal {
                    Normal::Nfc => nfc(part),
                    Normal::AsItIs | Normal::Underscores(_) => part.into(),
                };
                self.added_normalized.cut(&normal, special_text, &mut |part, _| match part {
                    Part::Added(id) => push(id, &mut output),
                    Part::Text(part) => match mark.filter(|&mark| part.contains(mark)) {
                        None => self.plain(part, at, &mut scratch, &mut output),
                        Some(mark) => self.plain(&part.replace(mark, ""), at, &mut scratch, &mut output),
                    },
                })
            }
        })?;
        Ok(output.ids)
    }

    /// Appends the ids of a text without added tokens, which starts at byte `at` of the whole one.
    fn plain(
        &self,
        text: &str,
        at: usize,
        scratch: &mut Scratch,
        output: &mut Output,
    ) -> Result<(), TokenizerError> {
        let is_prefixed = match self.normal {
            Normal::AsItIs | Normal::Nfc => false,
            Normal::Underscores(lead) => match lead {
                Lead::Never => false,
                Lead::Always => true,
                Lead::UnlessThere => !text.starts_with([' ', '▁']),
                Lead::AtTheStart => at == 0 && !text.starts_with([' ', '▁']),
            },
        };
        let prefix = if is_prefixed { Prefix::Underscore } else { Prefix::Nothing };
        self.encoder.encode(text, prefix, scratch, output)
    }
}

fn push(id: u32, output: &mut Output) -> Result<(), TokenizerError> {
    output.ids.push(TokenId(id));
    output.check()
}
