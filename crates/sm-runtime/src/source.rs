//! Where a model comes from: a path, or the program itself.

#[cfg(feature = "demo-model")]
#[path = "source/embedded.rs"]
mod demo;
#[cfg(not(feature = "demo-model"))]
#[path = "source/not_embedded.rs"]
mod demo;

use std::path::{Path, PathBuf};

use sm_model::{LoadOptions, Model, ModelBytes, load_model, parse_model};

use crate::Error;

/// Where a model comes from.
///
/// ```
/// use std::path::{Path, PathBuf};
///
/// use sm_runtime::ModelRef;
///
/// assert_eq!(ModelRef::named(Path::new("demo")), ModelRef::Demo);
/// assert_eq!(ModelRef::named(Path::new("./demo")), ModelRef::Path(Path::new("./demo")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelRef<'a> {
    /// A Hugging Face directory, a GGUF, safetensors or `.smnd` file.
    Path(&'a Path),
    /// The model that comes with the program, under the feature `demo-model`.
    Demo,
    /// A much smaller model with the vocabulary of [`ModelRef::Demo`], which drafts for it.
    DemoDraft,
}

impl<'a> ModelRef<'a> {
    /// The model that a user names: `demo`, `demo-draft`, or a path. A file called `demo` is `./demo`.
    pub fn named(name: &'a Path) -> Self {
        match name.to_str() {
            Some("demo") => Self::Demo,
            Some("demo-draft") => Self::DemoDraft,
            _ => Self::Path(name),
        }
    }

    /// Reads what the model is; its weights stay where they are.
    ///
    /// # Errors
    /// If it cannot be read or is not supported, or this build comes without it.
    pub fn open(self, options: &LoadOptions) -> Result<Model, Error> {
        let embedded = |bytes: &'static [u8]| parse_model(ModelBytes::Gguf(bytes.into()), options);
        Ok(match self {
            Self::Path(path) => load_model(path, options)?,
            Self::Demo => embedded(demo::demo()?)?,
            Self::DemoDraft => embedded(demo::draft()?)?,
        })
    }
}

/// A [`ModelRef`] that goes to another thread.
#[derive(Debug)]
pub(crate) enum OwnedModelRef {
    Path(PathBuf),
    Demo,
    DemoDraft,
}

impl OwnedModelRef {
    pub(crate) fn borrow(&self) -> ModelRef<'_> {
        match self {
            Self::Path(path) => ModelRef::Path(path),
            Self::Demo => ModelRef::Demo,
            Self::DemoDraft => ModelRef::DemoDraft,
        }
    }
}

impl From<ModelRef<'_>> for OwnedModelRef {
    fn from(model: ModelRef<'_>) -> Self {
        match model {
            ModelRef::Path(path) => Self::Path(path.to_owned()),
            ModelRef::Demo => Self::Demo,
            ModelRef::DemoDraft => Self::DemoDraft,
        }
    }
}

impl<'a> From<&'a Path> for ModelRef<'a> {
    fn from(path: &'a Path) -> Self {
        Self::Path(path)
    }
}
