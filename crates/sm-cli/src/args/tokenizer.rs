//! Options for the tokenizer.

use std::path::PathBuf;

use sm_runtime::model::tokenizer::{CharTokenizer, UnknownCharacter};
use sm_runtime::{LoadOptions, Loader, TokenizerSource};

use super::DEMO;
use crate::console::Console;
use crate::failure::Failure;
use crate::hub;

/// A tokenizer that replaces the model's own.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(crate) struct TokenizerArgs {
    /// Use the tokenizer in FILE: a tokenizer.json, a directory with one, or a GGUF file
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Use one token per character; CHARACTERS must contain every character of the vocabulary
    #[arg(long, value_name = "CHARACTERS")]
    char_tokenizer: Option<String>,
}

impl TokenizerArgs {
    /// The loader's option.
    ///
    /// # Errors
    /// If there are no characters.
    pub(crate) fn source(&self) -> Result<TokenizerSource, Failure> {
        match (&self.tokenizer, &self.char_tokenizer) {
            (Some(path), _) => Ok(TokenizerSource::File(path.clone())),
            (None, Some(text)) if text.is_empty() => Err(Failure::Option {
                flag: "--char-tokenizer",
                message: "must not be empty; list every character of the vocabulary".to_owned(),
            }),
            (None, Some(text)) => Ok(CharTokenizer::new(text, UnknownCharacter::Error)?.into()),
            (None, None) => Ok(TokenizerSource::Model),
        }
    }
}

/// The model of a command that only needs its vocabulary.
#[derive(Debug, clap::Args)]
pub(crate) struct VocabularyArgs {
    /// Hugging Face directory, GGUF file, `demo`, or `ORG/NAME[:QUANT]` of the hub; weights are not needed
    #[arg(short, long, default_value = DEMO, value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    tokenizer: TokenizerArgs,
}

impl VocabularyArgs {
    /// A loader for the tokenizer.
    ///
    /// # Errors
    /// If the given tokenizer cannot be used, or the model is to be fetched and cannot be.
    pub(crate) fn loader(&self, console: &Console) -> Result<Loader, Failure> {
        let options = LoadOptions::new().tokenizer(self.tokenizer.source()?);
        Ok(Loader::new(hub::model(&self.model, console)?).options(options))
    }
}
