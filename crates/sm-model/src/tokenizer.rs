//! Tokenizers: one trait for all sources.
//!
//! | tokenizer | read from | algorithm |
//! |---|---|---|
//! | [`HfTokenizer`] | `tokenizer.json` | byte-pair encoding by our own code; other kinds as specified by the file, run by the crate `tokenizers` |
//! | [`GgufTokenizer`] | GGUF metadata | SentencePiece-style BPE (`llama`) or byte-level BPE (`gpt2`), as in llama.cpp |
//! | [`CharTokenizer`] | a text | one token per character |
//!
//! All three decode the same way: a [`Vocabulary`] holds the bytes of each token, and text is their concatenation. This
//! makes streaming exact ([`TextStream`]).
//!
//! ```
//! use sm_model::tokenizer::{CharTokenizer, EncodeOptions, SpecialTokens, Tokenizer, UnknownCharacter};
//!
//! let tokenizer = CharTokenizer::new("hello world", UnknownCharacter::Error)?;
//! let ids = tokenizer.encode("low", EncodeOptions::PROMPT)?;
//! assert_eq!(tokenizer.decode(&ids, SpecialTokens::Skip), "low");
//! # Ok::<(), sm_model::tokenizer::TokenizerError>(())
//! ```

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sm_tensor::TokenId;
use thiserror::Error;

use crate::LoadError;
use crate::error::cut;

mod bpe;
mod byte_level;
mod char;
mod encoder;
mod gguf;
mod guard;
mod hf;
mod infill;
mod special;
mod split;
mod stream;
mod vocabulary;

pub use char::{CharTokenizer, UnknownCharacter};
pub use gguf::GgufTokenizer;
pub(crate) use gguf::gguf_pre_tokenizer;
pub use guard::{Guard, GuardedText};
pub(crate) use guard::{Sealer, is_mark};
pub use hf::HfTokenizer;
pub(crate) use hf::{read_json, token_text};
pub use infill::InfillTokens;
pub use stream::TextStream;
pub use vocabulary::{TokenKind, Vocabulary};

/// Whether to add the model's sequence markers (BOS, EOS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceMarks {
    /// As configured by the model's files.
    Add,
    /// Never: for text that continues other text or already has them, such as a rendered chat.
    Omit,
}

/// How to encode a special token written in a text, such as `<|im_end|>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialText {
    /// As the special token.
    Parse,
    /// As plain characters, so that users' text cannot forge control tokens.
    Plain,
}

/// How to encode a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// BOS and EOS.
    pub marks: SequenceMarks,
    /// Special tokens written in the text.
    pub special_text: SpecialText,
}

impl EncodeOptions {
    /// For a plain prompt: adds sequence markers and recognizes special tokens.
    pub const PROMPT: Self = Self { marks: SequenceMarks::Add, special_text: SpecialText::Parse };
    /// For a rendered chat, which has its own markers: only recognizes special tokens.
    pub const RENDERED_CHAT: Self = Self { marks: SequenceMarks::Omit, special_text: SpecialText::Parse };
    /// For plain text: no markers, no special tokens.
    pub const PLAIN: Self = Self { marks: SequenceMarks::Omit, special_text: SpecialText::Plain };
}

/// How to decode control tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpecialTokens {
    /// Include their text.
    Keep,
    /// Omit them.
    #[default]
    Skip,
}

/// Converts between text and the token ids of a vocabulary.
pub trait Tokenizer: Debug + Send + Sync {
    /// The ids of `text`.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownCharacter`] or [`TokenizerError::Encode`] if the vocabulary has no token for part of the text.
    fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<TokenId>, TokenizerError>;

    /// The ids of `text`, if there are at most `limit`. The tokenizers of this crate stop at the limit: what a text costs that is
    /// too long does not depend on its length.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], and [`TokenizerError::TooManyTokens`].
    fn encode_within(
        &self,
        text: &str,
        options: EncodeOptions,
        limit: usize,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        let ids = self.encode(text, options)?;
        within(limit, text.len(), &ids)?;
        Ok(ids)
    }

    /// The ids of a text with its own marks, in which a special token is recognized unless the text is cut within it.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    fn encode_guarded(&self, text: &GuardedText) -> Result<Vec<TokenId>, TokenizerError> {
        self.encode_guarded_within(text, usize::MAX)
    }

    /// As [`Tokenizer::encode_guarded`], if there are at most `limit` ids.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_within`].
    fn encode_guarded_within(
        &self,
        text: &GuardedText,
        limit: usize,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        let mut ids = Vec::new();
        let mut from = 0;
        for &end in text.cuts.iter().chain([&text.text.len()]) {
            let part = &text.text[from..end];
            ids.extend(self.encode_within(part, EncodeOptions::RENDERED_CHAT, limit)?);
            within(limit, text.text.len(), &ids)?;
            from = end;
        }
        Ok(ids)
    }

    /// The tokens, their bytes, and which of them are special.
    fn vocabulary(&self) -> &Vocabulary;

    /// Decodes `ids`. Invalid UTF-8 becomes U+FFFD. Ids beyond the vocabulary, which exist because models pad their logits,
    /// are ignored.
    fn decode(&self, ids: &[TokenId], specials: SpecialTokens) -> String {
        stream::decode(self.vocabulary(), ids, specials)
    }
}

/// Whether a text of `n_bytes` has no more tokens than it may.
fn within(limit: usize, n_bytes: usize, ids: &[TokenId]) -> Result<(), TokenizerError> {
    if ids.len() <= limit {
        return Ok(());
    }
    Err(TokenizerError::TooManyTokens { limit, n_bytes, at_least: ids.len() })
}

/// Why a tokenizer could not be loaded, or could not encode a text.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A directory has no supported tokenizer.
    #[error("no tokenizer.json in {dir}; {remedy}")]
    NoTokenizer {
        /// The directory searched.
        dir: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// A file is malformed.
    #[error("{file} is not a valid {what}: {}", cut(.reason))]
    Invalid {
        /// The file, or the metadata.
        file: String,
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A kind of tokenizer is not supported.
    #[error("{part} {:?} is not supported; supported: {supported}", cut(.found))]
    Unsupported {
        /// What is not supported: an algorithm, a decoder, a pre-tokenizer.
        part: &'static str,
        /// Its name in the file.
        found: String,
        /// The names that are supported.
        supported: String,
    },
    /// An id is beyond the vocabulary.
    #[error("{token} has id {id}, but the vocabulary has only {vocab_size} tokens")]
    IdOutOfRange {
        /// Which token.
        token: String,
        /// Its id.
        id: u64,
        /// Number of tokens in the vocabulary.
        vocab_size: usize,
    },
    /// A character is not in the vocabulary of a [`CharTokenizer`].
    #[error(
        "character {character:?} at byte {offset} is not in the vocabulary of {vocab_size} characters; \
         remove it or skip unknown characters"
    )]
    UnknownCharacter {
        /// The character.
        character: char,
        /// Its byte offset in the text.
        offset: usize,
        /// Number of characters in the vocabulary.
        vocab_size: usize,
    },
    /// A text has more tokens than it may.
    #[error(
        "a text of {n_bytes} bytes has more than {limit} tokens, at least {at_least}; shorten it or raise the limit"
    )]
    TooManyTokens {
        /// How many tokens it may have.
        limit: usize,
        /// Length of the text in bytes.
        n_bytes: usize,
        /// How many it has at least.
        at_least: usize,
    },
    /// GGUF metadata is missing or has the wrong type.
    #[error(transparent)]
    Metadata(Box<LoadError>),
    /// A text cannot be encoded.
    #[error("cannot encode a text of {n_bytes} bytes: {}", cut(.reason))]
    Encode {
        /// Length of the text in bytes.
        n_bytes: usize,
        /// Why not.
        reason: String,
    },
}

impl From<LoadError> for TokenizerError {
    fn from(error: LoadError) -> Self {
        Self::Metadata(Box::new(error))
    }
}

/// Loads the tokenizer of a Hugging Face model: `tokenizer.json`, with special tokens from `tokenizer_config.json`,
/// `special_tokens_map.json`, `generation_config.json` and `config.json`, if present.
///
/// `path` is the directory, or a `tokenizer.json` in it. For a GGUF file, use [`GgufTokenizer::from_metadata`].
///
/// # Errors
/// If a file is missing, malformed or of an unsupported kind.
pub fn load_tokenizer(path: &Path) -> Result<Arc<dyn Tokenizer>, TokenizerError> {
    Ok(Arc::new(HfTokenizer::load(path)?))
}
