//! What a model's files contain, whether or not the model is supported.

use std::path::Path;

use serde_json::{Map, Value as Json};

use crate::load::tensors::Tensors;
use crate::metadata::{Array, Metadata, Value};
use crate::model::{Kind, LoadOptions, Model, ModelSource, detect, load_model};
use crate::{LoadError, json};

/// Elements of an array up to which it is shown whole.
const SHOWN_ELEMENTS: usize = 16;

/// The metadata and tensors of a model's files.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Contents {
    /// GGUF metadata, or the fields of `config.json`. An array of more than 16 elements is an object of its `length` and `first`
    /// elements.
    pub metadata: Map<String, Json>,
    /// The tensors, those of unsupported types last.
    pub tensors: Vec<TensorContents>,
}

/// A tensor of a model's files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorContents {
    /// Its name.
    pub name: String,
    /// The data type, by our name for it, or else by the file's.
    pub dtype: String,
    /// How a quantized checkpoint stores it; `dtype` is what it is read as.
    pub stored: Option<String>,
    /// Extents, slowest dimension first.
    pub shape: Vec<u64>,
    /// Its size in the files; `None` for an unsupported type.
    pub bytes: Option<u64>,
}

impl Contents {
    /// Reads what [`load_model`](crate::load_model) would, but for the meaning of it.
    ///
    /// # Errors
    /// If a file is missing, damaged or of an unknown kind.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        match detect(path)? {
            Kind::Directory(dir) => Ok(Self {
                metadata: configuration(&dir)?,
                tensors: tensors(&Tensors::open_safetensors(&dir, None)?),
            }),
            Kind::Gguf(path) => {
                let opened = Tensors::open_gguf(&path).map_err(|error| error.in_file(&path));
                let (metadata, read) = opened?;
                Ok(Self { metadata: entries(&metadata), tensors: tensors(&read) })
            }
            Kind::Smnd(path) => {
                let model = load_model(&path, &LoadOptions::default())?;
                Self::of_model(&model)
            }
        }
    }

    /// The contents of a model's files.
    ///
    /// # Errors
    /// If the configuration of a directory has become unreadable.
    pub fn of_model(model: &Model) -> Result<Self, LoadError> {
        let metadata = match &model.source {
            ModelSource::Directory(dir) => configuration(dir)?,
            ModelSource::Gguf { metadata, .. } => entries(metadata),
            ModelSource::Smnd { extra, .. } => extra.clone(),
        };
        Ok(Self { metadata, tensors: tensors(model.weights.files()) })
    }
}

/// The fields of a directory's `config.json`.
fn configuration(dir: &Path) -> Result<Map<String, Json>, LoadError> {
    let path = dir.join("config.json");
    let bytes = std::fs::read(&path).map_err(|source| LoadError::Io { path: path.clone(), source })?;
    let fields: Map<String, Json> =
        json::parse(&bytes).map_err(|source| LoadError::Json { source }.in_file(&path))?;
    Ok(fields.into_iter().map(|(key, value)| (key, shortened(value))).collect())
}

fn tensors(tensors: &Tensors) -> Vec<TensorContents> {
    let read = tensors.infos().iter().enumerate().map(|(index, info)| TensorContents {
        name: info.name.clone(),
        dtype: info.dtype.to_string(),
        stored: tensors.quantized(index).map(|matrix| matrix.form().to_owned()),
        shape: info.shape.iter().map(|&extent| extent as u64).collect(),
        bytes: Some(tensors.n_stored_bytes(index) as u64),
    });
    let unread = tensors.all_unread().map(|tensor| TensorContents {
        name: tensor.name.clone(),
        dtype: tensor.dtype.clone(),
        stored: None,
        shape: tensor.shape.clone(),
        bytes: None,
    });
    read.chain(unread).collect()
}

fn entries(metadata: &Metadata) -> Map<String, Json> {
    metadata.iter().map(|(key, value)| (key.to_owned(), to_json(value))).collect()
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Array(array) => array_to_json(array),
        other => other.to_json(),
    }
}

fn array_to_json(array: &Array) -> Json {
    match array {
        Array::U8(list) => list_to_json(list),
        Array::I8(list) => list_to_json(list),
        Array::U16(list) => list_to_json(list),
        Array::I16(list) => list_to_json(list),
        Array::U32(list) => list_to_json(list),
        Array::I32(list) => list_to_json(list),
        Array::U64(list) => list_to_json(list),
        Array::I64(list) => list_to_json(list),
        Array::F32(list) => list_to_json(list),
        Array::F64(list) => list_to_json(list),
        Array::Bool(list) => list_to_json(list),
        Array::String(list) => list_to_json(list),
        Array::Array(list) => {
            let first = list.iter().take(SHOWN_ELEMENTS).map(array_to_json).collect();
            shown(first, list.len())
        }
    }
}

fn list_to_json<T: Clone + Into<Json>>(list: &[T]) -> Json {
    shown(list.iter().take(SHOWN_ELEMENTS).cloned().map(Into::into).collect(), list.len())
}

/// An array of `length` elements, of which `first` are the first.
fn shown(first: Vec<Json>, length: usize) -> Json {
    if first.len() == length {
        Json::Array(first)
    } else {
        serde_json::json!({ "length": length, "first": first })
    }
}

fn shortened(value: Json) -> Json {
    match value {
        Json::Array(list) => {
            let length = list.len();
            shown(list.into_iter().take(SHOWN_ELEMENTS).map(shortened).collect(), length)
        }
        Json::Object(fields) => {
            Json::Object(fields.into_iter().map(|(key, value)| (key, shortened(value))).collect())
        }
        other => other,
    }
}
