//! Where a model comes from: a path, or the program itself.

#[cfg(feature = "demo-model")]
#[path = "source/embedded.rs"]
mod demo;
#[cfg(not(feature = "demo-model"))]
#[path = "source/not_embedded.rs"]
mod demo;

use std::fmt;
use std::path::{Path, PathBuf};

use sm_model::{LoadOptions, Model, ModelBytes, load_model, parse_model};

use crate::Error;

/// Where a model comes from.
///
/// ```
/// use sm_runtime::ModelRef;
///
/// assert_eq!(ModelRef::named("demo"), ModelRef::Demo);
/// assert_eq!(ModelRef::named("./demo"), ModelRef::Path("./demo".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelRef {
    /// A Hugging Face directory, or a GGUF, safetensors or `.smnd` file.
    Path(PathBuf),
    /// The model that is built into the program with the feature `demo-model`.
    Demo,
    /// A much smaller model with the vocabulary of [`ModelRef::Demo`], which can draft for it.
    DemoDraft,
}

impl ModelRef {
    /// The model that a user names: `demo`, `demo-draft`, or a path. A file called `demo` is `./demo`.
    pub fn named(name: impl AsRef<Path>) -> Self {
        let name = name.as_ref();
        match name.to_str() {
            Some("demo") => Self::Demo,
            Some("demo-draft") => Self::DemoDraft,
            _ => Self::Path(name.to_owned()),
        }
    }

    /// Reads the description of the model. Its weights are mapped, not read.
    ///
    /// # Errors
    /// If it cannot be read or is not supported, or this build does not include it.
    pub fn open(&self, options: &LoadOptions) -> Result<Model, Error> {
        let embedded = |bytes: &'static [u8]| parse_model(ModelBytes::Gguf(bytes.into()), options);
        Ok(match self {
            Self::Path(path) => load_model(path, options)?,
            Self::Demo => embedded(demo::demo()?)?,
            Self::DemoDraft => embedded(demo::draft()?)?,
        })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Demo => f.write_str("demo"),
            Self::DemoDraft => f.write_str("demo-draft"),
        }
    }
}

impl From<&Path> for ModelRef {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl From<&PathBuf> for ModelRef {
    fn from(path: &PathBuf) -> Self {
        Self::Path(path.clone())
    }
}

impl From<PathBuf> for ModelRef {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}
