//! Model sources: a path or a built-in model.

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
#[cfg(feature = "scripted")]
use crate::scripted::Script;

/// The source of a model.
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
    /// The model built into the program with the feature `demo-model`.
    Demo,
    /// A much smaller draft model for [`ModelRef::Demo`], with the same vocabulary.
    DemoDraft,
    /// A model for tests that says what a file tells it, in builds with the feature `scripted`.
    #[cfg(feature = "scripted")]
    Scripted(PathBuf),
}

impl ModelRef {
    /// Parses user input: `demo`, `demo-draft`, or a path. A file called `demo` is `./demo`.
    pub fn named(name: impl AsRef<Path>) -> Self {
        let name = name.as_ref();
        #[cfg(feature = "scripted")]
        if let Some(path) = name.to_str().and_then(|name| name.strip_prefix("scripted:")) {
            return Self::Scripted(path.into());
        }
        match name.to_str() {
            Some("demo") => Self::Demo,
            Some("demo-draft") => Self::DemoDraft,
            _ => Self::Path(name.to_owned()),
        }
    }

    /// Reads the model's configuration. Maps the weights without reading them.
    ///
    /// # Errors
    /// If the model cannot be read, is not supported, or is not included in this build.
    pub fn open(&self, options: &LoadOptions) -> Result<Model, Error> {
        let embedded = |bytes: &'static [u8]| parse_model(ModelBytes::Gguf(bytes.into()), options);
        Ok(match self {
            Self::Path(path) => load_model(path, options)?,
            Self::Demo => embedded(demo::demo()?)?,
            Self::DemoDraft => embedded(demo::draft()?)?,
            #[cfg(feature = "scripted")]
            Self::Scripted(path) => {
                // The script has a context of its own.
                let whole = LoadOptions { context_len: None, ..*options };
                let mut model = parse_model(ModelBytes::Gguf(demo::demo()?.into()), &whole)?;
                Script::read(path)?.fit(&mut model.plan, options.context_len)?;
                model
            }
        })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Demo => f.write_str("demo"),
            Self::DemoDraft => f.write_str("demo-draft"),
            #[cfg(feature = "scripted")]
            Self::Scripted(path) => write!(f, "scripted:{}", path.display()),
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
