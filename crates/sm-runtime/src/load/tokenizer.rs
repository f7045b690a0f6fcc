//! Selects a model's tokenizer: its own or an attached one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sm_model::metadata::Metadata;
use sm_model::tokenizer::{CharTokenizer, GgufTokenizer, Tokenizer, TokenizerError, load_tokenizer};
use sm_model::{Gguf, Model, ModelSource};

use crate::{Error, LoadError};

/// The tokenizer of a model.
///
/// The C# runtime's `.smnd` files have no tokenizer. Attach the characters to generate text with a character-level model:
///
/// ```
/// use sm_runtime::LoadOptions;
/// use sm_runtime::model::tokenizer::{CharTokenizer, UnknownCharacter};
///
/// let characters = CharTokenizer::new("\n abcdefghijklmnopqrstuvwxyz", UnknownCharacter::Error)?;
/// let options = LoadOptions::new().tokenizer(characters);
/// # Ok::<(), sm_runtime::model::tokenizer::TokenizerError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum TokenizerSource {
    /// The model's own, in or next to its files. A model without one can still continue token ids.
    #[default]
    Model,
    /// A `tokenizer.json`, a directory containing one, or a GGUF file with a vocabulary. It must not have more tokens than
    /// the model, but may have fewer, because models pad their vocabulary.
    File(PathBuf),
    /// One token per character, exactly as many as the model has.
    Characters(Arc<CharTokenizer>),
    /// Any other tokenizer. It must not have more tokens than the model.
    Custom(Arc<dyn Tokenizer>),
}

impl PartialEq for TokenizerSource {
    /// Compares in-memory tokenizers by identity.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Model, Self::Model) => true,
            (Self::File(own), Self::File(other)) => own == other,
            (Self::Characters(own), Self::Characters(other)) => Arc::ptr_eq(own, other),
            (Self::Custom(own), Self::Custom(other)) => Arc::ptr_eq(own, other),
            _ => false,
        }
    }
}

impl From<CharTokenizer> for TokenizerSource {
    fn from(tokenizer: CharTokenizer) -> Self {
        Self::Characters(Arc::new(tokenizer))
    }
}

impl From<Arc<dyn Tokenizer>> for TokenizerSource {
    fn from(tokenizer: Arc<dyn Tokenizer>) -> Self {
        Self::Custom(tokenizer)
    }
}

impl From<PathBuf> for TokenizerSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for TokenizerSource {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl TokenizerSource {
    /// The attached tokenizer; `None` to use the model's own.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub(super) fn attached(&self) -> Result<Option<Arc<dyn Tokenizer>>, Error> {
        let tokenizer: Arc<dyn Tokenizer> = match self {
            Self::Model => return Ok(None),
            Self::File(path) => from_file(path).map_err(LoadError::Tokenizer)?,
            Self::Characters(characters) => Arc::clone(characters) as _,
            Self::Custom(tokenizer) => Arc::clone(tokenizer),
        };
        Ok(Some(tokenizer))
    }

    /// The tokenizer of `model`: the attached one, or its own if it has one.
    ///
    /// # Errors
    /// If a file cannot be read, or the attached tokenizer does not fit the model.
    pub(super) fn of_model(&self, model: &Model) -> Result<Option<Arc<dyn Tokenizer>>, Error> {
        let Some(tokenizer) = self.attached()? else {
            return own(model);
        };
        let sizes = (tokenizer.vocabulary().vocab_size(), model.plan.vocab_size());
        let fits = match self {
            Self::Characters(_) => sizes.0 == sizes.1,
            Self::Model | Self::File(_) | Self::Custom(_) => sizes.0 <= sizes.1,
        };
        if fits {
            return Ok(Some(tokenizer));
        }
        Err(LoadError::TokenizerVocabulary { tokenizer: sizes.0, model: sizes.1 }.into())
    }

    /// The directory of an attached file.
    pub(super) fn directory(&self) -> Option<&Path> {
        match self {
            Self::File(path) if path.is_dir() => Some(path),
            Self::File(path) => Some(directory_of(path)),
            Self::Model | Self::Characters(_) | Self::Custom(_) => None,
        }
    }
}

/// Reads the tokenizer in a file or directory.
fn from_file(path: &Path) -> Result<Arc<dyn Tokenizer>, TokenizerError> {
    if is_gguf(path) {
        return Ok(Arc::new(GgufTokenizer::from_metadata(Gguf::open(path)?.metadata())?));
    }
    load_tokenizer(path)
}

/// The tokenizer at the path of a model, without reading the model: there may be none, as in files and directories that hold
/// only a vocabulary. `None` if it takes the model to say where its tokenizer is.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn without_model(path: &Path) -> Result<Option<Arc<dyn Tokenizer>>, Error> {
    if path.is_dir() {
        // A GGUF file in it would have its own.
        let mut entries = path.read_dir().into_iter().flatten().flatten();
        let has_gguf = entries.any(|entry| is_gguf(&entry.path()));
        let is_enough = !has_gguf && path.join("tokenizer.json").is_file();
        let loaded = is_enough.then(|| load_tokenizer(path)).transpose();
        return Ok(loaded.map_err(LoadError::Tokenizer)?);
    }
    if !is_gguf(path) {
        return Ok(None);
    }
    let file = Gguf::open(path)?;
    let loaded =
        has_vocabulary(file.metadata())?.then(|| GgufTokenizer::from_metadata(file.metadata())).transpose();
    Ok(loaded.map_err(LoadError::Tokenizer)?.map(|tokenizer| Arc::new(tokenizer) as _))
}

/// The tokenizer that a model has in its files or beside them, if any.
fn own(model: &Model) -> Result<Option<Arc<dyn Tokenizer>>, Error> {
    let loaded = match &model.source {
        ModelSource::Directory(dir) => load_tokenizer(dir),
        ModelSource::Gguf { metadata, .. } if has_vocabulary(metadata)? => {
            GgufTokenizer::from_metadata(metadata).map(|tokenizer| Arc::new(tokenizer) as Arc<dyn Tokenizer>)
        }
        ModelSource::Gguf { path, .. } | ModelSource::Smnd { path, .. } => load_tokenizer(directory_of(path)),
    };
    match loaded {
        Ok(tokenizer) => Ok(Some(tokenizer)),
        Err(TokenizerError::NoTokenizer { .. }) => Ok(None),
        Err(error) => Err(LoadError::Tokenizer(error).into()),
    }
}

/// Whether a GGUF file has a vocabulary. Files without one omit the key or set it to `none`.
fn has_vocabulary(metadata: &Metadata) -> Result<bool, Error> {
    let kind: Option<&str> = metadata.get("tokenizer.ggml.model")?;
    Ok(!matches!(kind, None | Some("none" | "no_vocab")))
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gguf")
}

fn directory_of(file: &Path) -> &Path {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}
