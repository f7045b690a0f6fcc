//! Why a model could not be loaded.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use sm_kernels::plan::WeightError;
use sm_tensor::DType;

/// The longest piece of a file that a message repeats, in characters. Names in damaged files can have any length.
const MAX_SHOWN: usize = 200;

/// The beginning of a text from a file, short enough for a message.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file was written to or cut while the model was read from it.
    #[error("{} changed while the model was loaded from it; load it again once it is complete", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// An error in a particular file.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<LoadError>,
    },
    /// There is no model at the path.
    #[error("{} is not a model: {reason}", path.display())]
    NotAModel {
        /// The path as given.
        path: PathBuf,
        /// What is missing, or what was expected.
        reason: &'static str,
    },
    /// The file does not start with its format's magic number.
    #[error("not a {format} file: it starts with {found:02x?}")]
    Magic {
        /// The format.
        format: &'static str,
        /// The first bytes.
        found: Vec<u8>,
    },
    /// The version of the format is not supported.
    #[error("{format} version {found} is not supported; supported: {supported}")]
    Version {
        /// The format.
        format: &'static str,
        /// The file's version.
        found: u32,
        /// The supported ones.
        supported: &'static str,
    },
    /// The file ends too early.
    #[error(
        "{format} file is truncated: {} at byte {offset} needs {needed} bytes but {available} are left",
        cut(.what)
    )]
    Truncated {
        /// The format.
        format: &'static str,
        /// What was being read.
        what: String,
        /// Where it starts.
        offset: usize,
        /// Bytes it needs.
        needed: u64,
        /// Bytes left in the file.
        available: usize,
    },
    /// A count, length or other number is out of range.
    #[error("{format} file is corrupt: {} is {found}, expected {expected}", cut(.what))]
    OutOfRange {
        /// The format.
        format: &'static str,
        /// Which number.
        what: String,
        /// The value in the file.
        found: i128,
        /// The values allowed.
        expected: &'static str,
    },
    /// Text in the file is not UTF-8.
    #[error("{format} file is corrupt: {} at byte {offset} is not UTF-8", cut(.what))]
    NotUtf8 {
        /// The format.
        format: &'static str,
        /// Which text.
        what: String,
        /// Where it starts.
        offset: usize,
    },
    /// A name occurs twice.
    #[error("{format} file is corrupt: {what} {:?} occurs twice", cut(.name))]
    Duplicate {
        /// The format.
        format: &'static str,
        /// What is named: a tensor, a metadata key.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A tensor's bytes are outside its file's data.
    #[error("tensor {:?} occupies bytes {start}..{end} of the data, which has only {available}", cut(.tensor))]
    TensorRange {
        /// The tensor.
        tensor: String,
        /// Its first byte.
        start: u64,
        /// The byte after its last.
        end: u64,
        /// Bytes of data in the file.
        available: usize,
    },
    /// A tensor's shape and data type contradict each other or its size in the file.
    #[error("tensor {:?} of shape {shape:?} cannot be stored as {dtype}: {reason}", cut(.tensor))]
    TensorLayout {
        /// The tensor.
        tensor: String,
        /// Its shape, slowest dimension first.
        shape: Vec<u64>,
        /// How its values are stored.
        dtype: DType,
        /// Which rule is broken.
        reason: String,
    },
    /// A tensor has a data type that we do not read from this kind of file.
    #[error(
        "tensor {:?} is stored as {}, which is not supported here; supported: {supported}",
        cut(.tensor), cut(.found)
    )]
    UnsupportedDType {
        /// The tensor.
        tensor: String,
        /// The data type as the file names it.
        found: String,
        /// The supported ones.
        supported: &'static str,
    },
    /// The model lacks a tensor that its architecture needs.
    #[error("the model has no tensor {:?}, which its architecture needs; the file may be incomplete", cut(.tensor))]
    MissingTensor {
        /// The tensor.
        tensor: String,
    },
    /// The model has a tensor that its configuration does not account for, so one of the two is wrong.
    #[error("tensor {:?} is not part of the model that the configuration describes", cut(.tensor))]
    UnusedTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor's shape contradicts the configuration.
    #[error("tensor {:?} has shape {found:?} but the configuration implies {expected:?}", cut(.tensor))]
    Shape {
        /// The tensor.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A matrix of a quantized checkpoint cannot be read.
    #[error("quantized tensor {:?}: {}", cut(.tensor), cut(.reason))]
    Quantized {
        /// The matrix, or the tensor of its codes, scales or zero points.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that the index names is missing.
    #[error("shard {} is missing: the index lists {n_tensors} tensors in it; download that file as well", path.display())]
    MissingShard {
        /// The shard.
        path: PathBuf,
        /// Tensors that the index lists in it.
        n_tensors: usize,
    },
    /// A part of a split GGUF model is missing.
    #[error("{} is missing: the model is split into {count} files; download all of them", path.display())]
    MissingSplit {
        /// The part.
        path: PathBuf,
        /// Number of parts.
        count: usize,
    },
    /// A JSON file is malformed.
    #[error("malformed JSON: {}", cut(&.source.to_string()))]
    Json {
        /// The parser's error, with line and column.
        source: serde_json::Error,
    },
    /// A safetensors header is malformed.
    #[error("malformed safetensors header: {}", cut(.reason))]
    SafetensorsHeader {
        /// What is wrong.
        reason: String,
    },
    /// A required field or key is missing.
    #[error("{:?} is missing", cut(.key))]
    MissingKey {
        /// The field of the configuration or the metadata key.
        key: String,
    },
    /// A field or key has the wrong type.
    #[error("{:?} is {}, expected {expected}", cut(.key), cut(.found))]
    KeyType {
        /// The field of the configuration or the metadata key.
        key: String,
        /// The type or value found.
        found: String,
        /// The type needed.
        expected: &'static str,
    },
    /// A field has a value that is invalid or not supported.
    #[error("{:?} = {} is not supported: {}", cut(.key), cut(.value), cut(.reason))]
    Unsupported {
        /// The field of the configuration or the metadata key.
        key: String,
        /// Its value.
        value: String,
        /// Why, and what is supported.
        reason: String,
    },
    /// The model's architecture is not supported.
    #[error("unknown architecture {:?}; supported: {supported}", cut(.found))]
    UnknownArchitecture {
        /// The name in the file.
        found: String,
        /// The supported names.
        supported: String,
    },
    /// The requested context is longer than the model supports, or empty.
    #[error("context length {requested} is out of range; the model supports 1 to {max}")]
    ContextLen {
        /// The length requested.
        requested: usize,
        /// The longest supported.
        max: usize,
    },
    /// A weight could not be read.
    #[error(transparent)]
    Weight(#[from] WeightError),
}

impl LoadError {
    /// Adds the file to the error.
    pub(crate) fn in_file(self, path: &std::path::Path) -> Self {
        match self {
            Self::Io { .. } | Self::Changed { .. } | Self::InFile { .. } => self,
            other => Self::InFile { path: path.to_owned(), source: Box::new(other) },
        }
    }
}
