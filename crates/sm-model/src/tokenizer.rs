//! Text to token ids and back: one trait, whatever file the vocabulary came from.
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

mod byte_level;
mod char;
mod gguf;
mod hf;
mod special;
mod stream;
mod vocabulary;

pub use char::{CharTokenizer, UnknownCharacter};
pub use gguf::GgufTokenizer;
pub use hf::HfTokenizer;
pub(crate) use hf::{read_json, token_text};
pub use stream::TextStream;
pub use vocabulary::{TokenKind, Vocabulary};

/// Whether the ids that open and close every sequence of this model (BOS, EOS) are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceMarks {
    /// As the model's files ask for.
    Add,
    /// None, for text that continues another or that already holds them, such as a rendered chat.
    Omit,
}

/// What the written form of a special token, such as `<|im_end|>`, means in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialText {
    /// The special token itself.
    Parse,
    /// The characters it is written with: text of a user can then not imitate a control token.
    Plain,
}

/// How to encode a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// BOS and EOS.
    pub marks: SequenceMarks,
    /// The written form of special tokens.
    pub special_text: SpecialText,
}

impl EncodeOptions {
    /// A prompt as typed: sequence marks are added, special tokens are recognized.
    pub const PROMPT: Self = Self { marks: SequenceMarks::Add, special_text: SpecialText::Parse };
    /// A rendered chat: it holds its own marks and special tokens.
    pub const RENDERED_CHAT: Self = Self { marks: SequenceMarks::Omit, special_text: SpecialText::Parse };
    /// Nothing but the characters of the text.
    pub const PLAIN: Self = Self { marks: SequenceMarks::Omit, special_text: SpecialText::Plain };
}

/// Whether control tokens leave a trace in decoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokens {
    /// Their written form is part of the text.
    Keep,
    /// They are left out.
    Skip,
}

/// Turns text into ids of one vocabulary and ids into text.
pub trait Tokenizer: Debug + Send + Sync {
    /// The ids of `text`.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownCharacter`] or [`TokenizerError::Encode`] where the vocabulary has no
    /// token for a part of the text.
    fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<TokenId>, TokenizerError>;

    /// The tokens, what each of them stands for, and which of them have a role.
    fn vocabulary(&self) -> &Vocabulary;

    /// The text of `ids`. Bytes that are not UTF-8 become U+FFFD; ids outside of the vocabulary (models
    /// pad their logits) add nothing.
    fn decode(&self, ids: &[TokenId], specials: SpecialTokens) -> String {
        stream::decode(self.vocabulary(), ids, specials)
    }
}

/// Why a tokenizer could not be loaded, or could not encode.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A directory without a tokenizer that can be read.
    #[error("no tokenizer.json in {dir}; {remedy}")]
    NoTokenizer {
        /// The directory searched.
        dir: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// A file that is not what it should be.
    #[error("{file} is not a valid {what}: {reason}")]
    Invalid {
        /// The file, or the metadata it came from.
        file: String,
        /// What was expected.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A kind of tokenizer that is not implemented.
    #[error("{part} {found:?} is not supported; supported are {supported}")]
    Unsupported {
        /// The part in question.
        part: &'static str,
        /// The name in the file.
        found: String,
        /// The names that work.
        supported: String,
    },
    /// An id beyond the vocabulary.
    #[error("{role} has id {id}, but the vocabulary has {vocab_size} tokens")]
    IdOutOfRange {
        /// The token in question.
        role: String,
        /// Its id.
        id: u64,
        /// The number of tokens.
        vocab_size: usize,
    },
    /// A character that the character tokenizer has not seen.
    #[error(
        "character {character:?} at byte {offset} is not in the vocabulary of {vocab_size} characters; \
         remove it or skip unknown characters"
    )]
    UnknownCharacter {
        /// The character.
        character: char,
        /// Its place in the text.
        offset: usize,
        /// The number of characters known.
        vocab_size: usize,
    },
    /// Metadata of a GGUF file that is missing or has the wrong type.
    #[error(transparent)]
    Metadata(Box<LoadError>),
    /// A text that could not be encoded.
    #[error("cannot encode a text of {n_bytes} bytes: {reason}")]
    Encode {
        /// Length of the text.
        n_bytes: usize,
        /// What went wrong.
        reason: String,
    },
}

impl From<LoadError> for TokenizerError {
    fn from(error: LoadError) -> Self {
        Self::Metadata(Box::new(error))
    }
}

/// Loads the tokenizer of a model in the Hugging Face layout: `tokenizer.json`, with the roles of its tokens from
/// `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json` and `config.json` where present.
///
/// `path` is the directory, or a `tokenizer.json` in it. The vocabulary of a GGUF file is read from its metadata.
///
/// # Errors
/// [`TokenizerError`] for files that are missing, malformed or of an unsupported kind.
pub fn load_tokenizer(path: &Path) -> Result<Arc<dyn Tokenizer>, TokenizerError> {
    Ok(Arc::new(HfTokenizer::load(path)?))
}
