//! Why a model could not be loaded.

use std::io;
use std::path::PathBuf;

use sm_kernels::plan::WeightError;
use sm_tensor::{DType, UnknownDType};

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The error lies in this file.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<LoadError>,
    },
    /// The path leads to no model.
    #[error("{} is no model: {reason}", path.display())]
    NotAModel {
        /// The path that was given.
        path: PathBuf,
        /// What was looked for.
        reason: &'static str,
    },
    /// The file does not start as its format demands.
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
        /// What was to be read.
        what: String,
        /// Where it starts.
        offset: usize,
        /// Bytes it takes.
        needed: u64,
        /// Bytes that remain.
        available: usize,
    },
    /// A count or length is out of its range.
    #[error("{format} file is corrupt: {what} is {found}, expected {expected}")]
    OutOfRange {
        /// The format.
        format: &'static str,
        /// What was counted.
        what: String,
        /// The value in the file.
        found: i128,
        /// The allowed values.
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
        /// What the name stands for.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A tensor lies outside of the data of its file.
    #[error("tensor {tensor:?} takes bytes {start}..{end} of the data, which has only {available}")]
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
    /// A tensor's size does not follow from its shape and data type.
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
    /// A tensor is stored in a way that is not supported.
    #[error("tensor {tensor:?}: {source}")]
    TensorDType {
        /// The tensor.
        tensor: String,
        /// The data type.
        source: UnknownDType,
    },
    /// A tensor is stored in a way that its format does not allow or we do not read.
    #[error("tensor {tensor:?} is stored as {found}, which cannot be read; supported: {supported}")]
    UnsupportedDType {
        /// The tensor.
        tensor: String,
        /// The data type as the file names it.
        found: String,
        /// The supported ones.
        supported: &'static str,
    },
    /// The model lacks a tensor that its architecture needs.
    #[error("the model has no tensor {tensor:?}, which its architecture needs")]
    MissingTensor {
        /// The tensor.
        tensor: String,
    },
    /// The model has a tensor that its configuration gives no place.
    #[error("tensor {tensor:?} has no place in the model that the configuration describes")]
    UnusedTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {tensor:?} has shape {found:?} but the configuration needs {expected:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that follows from the configuration.
        expected: Vec<usize>,
    },
    /// A file that the index names is missing.
    #[error("shard {} is missing: the index places {n_tensors} tensors in it", path.display())]
    MissingShard {
        /// The shard.
        path: PathBuf,
        /// How many tensors it should hold.
        n_tensors: usize,
    },
    /// A JSON file is malformed.
    #[error("malformed JSON: {source}")]
    Json {
        /// Where and what.
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
    /// A field or key has another type.
    #[error("{key:?} is {found}, expected {expected}")]
    KeyType {
        /// The field of the configuration or the metadata key.
        key: String,
        /// What is there.
        found: String,
        /// What is needed.
        expected: &'static str,
    },
    /// A field has a value that makes no sense or is not supported.
    #[error("{key:?} = {value} is not supported: {reason}")]
    Unsupported {
        /// The field of the configuration or the metadata key.
        key: String,
        /// Its value.
        value: String,
        /// Why not, and what is supported.
        reason: String,
    },
    /// No supported architecture has this name.
    #[error("unknown architecture {found:?}; supported: {supported}")]
    UnknownArchitecture {
        /// The name in the file.
        found: String,
        /// The supported names.
        supported: String,
    },
    /// The requested context is longer than the model allows.
    #[error(
        "context length {requested} is not within 1..={max}, what the model allows; choose a smaller one"
    )]
    ContextLen {
        /// What was asked for.
        requested: usize,
        /// The longest.
        max: usize,
    },
    /// A weight could not be delivered.
    #[error(transparent)]
    Weight(#[from] WeightError),
}

impl LoadError {
    /// Says in which file the error lies.
    pub(crate) fn in_file(self, path: &std::path::Path) -> Self {
        match self {
            Self::Io { .. } | Self::InFile { .. } => self,
            other => Self::InFile { path: path.to_owned(), source: Box::new(other) },
        }
    }
}
