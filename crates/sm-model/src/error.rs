//! Why a model could not be loaded.

use std::io;
use std::path::PathBuf;

use sm_kernels::plan::WeightError;
use sm_tensor::{DType, UnknownDType};

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
        "{format} file is truncated: {what} at byte {offset} needs {needed} bytes but {available} are left"
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
    #[error("{format} file is corrupt: {what} is {found}, expected {expected}")]
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
    #[error("{format} file is corrupt: {what} at byte {offset} is not UTF-8")]
    NotUtf8 {
        /// The format.
        format: &'static str,
        /// Which text.
        what: String,
        /// Where it starts.
        offset: usize,
    },
    /// A name occurs twice.
    #[error("{format} file is corrupt: {what} {name:?} occurs twice")]
    Duplicate {
        /// The format.
        format: &'static str,
        /// What is named: a tensor, a metadata key.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A tensor's bytes are outside its file's data.
    #[error("tensor {tensor:?} occupies bytes {start}..{end} of the data, which has only {available}")]
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
    #[error("tensor {tensor:?} of shape {shape:?} cannot be stored as {dtype}: {reason}")]
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
    /// A tensor has an unknown data type.
    #[error("tensor {tensor:?}: {source}")]
    TensorDType {
        /// The tensor.
        tensor: String,
        /// The data type.
        source: UnknownDType,
    },
    /// A tensor has a data type that is not supported in this file format.
    #[error("tensor {tensor:?} is stored as {found}, which is not supported here; supported: {supported}")]
    UnsupportedDType {
        /// The tensor.
        tensor: String,
        /// The data type as the file names it.
        found: String,
        /// The supported ones.
        supported: &'static str,
    },
    /// The model lacks a required tensor.
    #[error("the model has no tensor {tensor:?}, which its architecture needs; the file may be incomplete")]
    MissingTensor {
        /// The tensor.
        tensor: String,
    },
    /// The model has a tensor that its configuration does not account for; one of the two is wrong.
    #[error("tensor {tensor:?} is not part of the model that the configuration describes")]
    UnusedTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor's shape contradicts the configuration.
    #[error("tensor {tensor:?} has shape {found:?} but the configuration implies {expected:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// A file that the index names is missing.
    #[error("shard {} is missing: the index lists {n_tensors} tensors in it; download that file as well", path.display())]
    MissingShard {
        /// The shard.
        path: PathBuf,
        /// Tensors that the index lists in it.
        n_tensors: usize,
    },
    /// A JSON file is malformed.
    #[error("malformed JSON: {source}")]
    Json {
        /// The parser's error, with line and column.
        source: serde_json::Error,
    },
    /// A safetensors header is malformed.
    #[error("malformed safetensors header: {reason}")]
    SafetensorsHeader {
        /// What is wrong.
        reason: String,
    },
    /// A required field or key is missing.
    #[error("{key:?} is missing")]
    MissingKey {
        /// The field of the configuration or the metadata key.
        key: String,
    },
    /// A field or key has the wrong type.
    #[error("{key:?} is {found}, expected {expected}")]
    KeyType {
        /// The field of the configuration or the metadata key.
        key: String,
        /// The type or value found.
        found: String,
        /// The type needed.
        expected: &'static str,
    },
    /// A field has a value that is invalid or not supported.
    #[error("{key:?} = {value} is not supported: {reason}")]
    Unsupported {
        /// The field of the configuration or the metadata key.
        key: String,
        /// Its value.
        value: String,
        /// Why, and what is supported.
        reason: String,
    },
    /// The model's architecture is not supported.
    #[error("unknown architecture {found:?}; supported: {supported}")]
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
            Self::Io { .. } | Self::InFile { .. } => self,
            other => Self::InFile { path: path.to_owned(), source: Box::new(other) },
        }
    }
}
