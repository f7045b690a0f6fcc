//! Byte-pair encoding of a text without special tokens: split, then merged piece by piece.

use super::TokenizerError;
use super::bpe::{Bpe, Output, Scratch};
use super::split::{SplitError, Splitter};

/// How a byte-pair vocabulary writes text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A printable character for each byte, as in GPT-2.
    ByteLevel,
    /// Characters, with bytes for unknown ones.
    Plain,
    /// The same, with `▁` for a space, as in SentencePiece.
    Underscored,
}

/// What the vocabulary puts before a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    Nothing,
    Underscore,
}

/// Splits and merges.
#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) splitter: Splitter,
    pub(super) bpe: Bpe,
    pub(super) form: Form,
}

impl Encoder {
    /// Appends the ids of `text`.
    ///
    /// # Errors
    /// [`TokenizerError::TooManyTokens`]; [`TokenizerError::Encode`] if part of the text has no token, or an expression takes too
    /// many steps.
    pub(super) fn encode(
        &self,
        text: &str,
        prefix: Prefix,
        scratch: &mut Scratch,
        output: &mut Output,
    ) -> Result<(), TokenizerError> {
        let mut take = |piece: &str| match self.form {
            Form::ByteLevel => self.bpe.encode(piece.as_bytes(), scratch, output),
            Form::Plain => self.bpe.encode_characters(piece.chars(), scratch, output),
            Form::Underscored => {
                let first = (prefix == Prefix::Underscore).then_some('▁');
                let rest = piece.chars().map(|character| if character == ' ' { '▁' } else { character });
                self.bpe.encode_characters(first.into_iter().chain(rest), scratch, output)
            }
        };
        self.splitter.split(text, &mut take).map_err(|error| match error {
            SplitError::Receiver(error) => error,
            SplitError::Engine(error) => TokenizerError::Encode {
                n_bytes: text.len(),
                reason: format!("the expression that splits it fails: {error}"),
            },
        })
    }
}
