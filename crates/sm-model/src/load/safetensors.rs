//! Reads safetensors files, single or in shards.
//!
//! Layout: <https://huggingface.co/docs/safetensors/index#format>. The header is read here because the `safetensors`
//! crate refuses a whole file for one tensor of a type that it does not know, without naming the tensor.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use sm_tensor::DType;

use super::cursor::Cursor;
use super::{TensorInfo, checked_size};
use crate::LoadError;
use crate::names::is_constant;

const FORMAT: &str = "safetensors";
/// The limit of the reference implementation.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The file that names the shards.
const INDEX: &str = "model.safetensors.index.json";
/// The file of a model without shards.
const SINGLE: &str = "model.safetensors";

/// Whether a directory has safetensors.
pub(crate) fn is_there(dir: &Path) -> bool {
    dir.join(INDEX).is_file() || dir.join(SINGLE).is_file()
}

/// The safetensors files of a directory, in order.
pub(crate) fn files(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let index = dir.join(INDEX);
    if index.is_file() {
        return shards(dir, &index);
    }
    let single = dir.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let reason =
        "it has neither model.safetensors nor model.safetensors.index.json; convert other formats first";
    Err(LoadError::NotAModel { path: dir.to_owned(), reason })
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

fn shards(dir: &Path, index: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let bytes = std::fs::read(index).map_err(|source| LoadError::Io { path: index.to_owned(), source })?;
    let index_of: Index =
        serde_json::from_slice(&bytes).map_err(|source| LoadError::Json { source }.in_file(index))?;
    let mut n_tensors: BTreeMap<&str, usize> = BTreeMap::new();
    for file in index_of.weight_map.values() {
        *n_tensors.entry(file).or_default() += 1;
    }
    n_tensors.into_iter().map(|(file, n_tensors)| shard(dir, index, file, n_tensors)).collect()
}

fn shard(dir: &Path, index: &Path, file: &str, n_tensors: usize) -> Result<PathBuf, LoadError> {
    // A name with folders could lead out of the model's directory.
    if Path::new(file).file_name().is_none_or(|name| name != file) {
        let reason = "a shard must be a file beside the index".into();
        let error = LoadError::Unsupported { key: "weight_map".into(), value: format!("{file:?}"), reason };
        return Err(error.in_file(index));
    }
    let path = dir.join(file);
    if path.is_file() { Ok(path) } else { Err(LoadError::MissingShard { path, n_tensors }) }
}

/// The entry of one tensor.
#[derive(Debug, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The tensors of a header in order; `__metadata__` is left out, and a name that occurs twice is an error.
#[derive(Debug)]
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                let mut names = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("{name:?} occurs twice")));
                    }
                    if name == "__metadata__" {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// The tensors of a file, checked against its size.
pub(crate) fn read_header(bytes: &[u8]) -> Result<Vec<TensorInfo>, LoadError> {
    let mut cursor = Cursor::new(FORMAT, bytes);
    let header_len = cursor.u64("header length")?;
    if header_len > MAX_HEADER_BYTES {
        let what = "the header length".into();
        let found = header_len.into();
        return Err(LoadError::OutOfRange { format: FORMAT, what, found, expected: "at most 100000000" });
    }
    let header = cursor.text(header_len, "header")?;
    let Entries(entries) = serde_json::from_str(header)
        .map_err(|source| LoadError::SafetensorsHeader { reason: source.to_string() })?;
    let data_start = cursor.offset();
    // Masks of booleans, which nothing reads, are no reason to refuse a model.
    let is_read = |(name, entry): &(String, Entry)| dtype_of(&entry.dtype).is_some() || !is_constant(name);
    let read = entries.into_iter().filter(is_read);
    read.map(|(name, entry)| place(name, &entry, data_start, cursor.remaining())).collect()
}

fn dtype_of(name: &str) -> Option<DType> {
    match name {
        "F32" => Some(DType::F32),
        "F16" => Some(DType::F16),
        "BF16" => Some(DType::Bf16),
        _ => None,
    }
}

fn place(name: String, entry: &Entry, data_start: usize, available: usize) -> Result<TensorInfo, LoadError> {
    let Some(dtype) = dtype_of(&entry.dtype) else {
        let found = entry.dtype.clone();
        return Err(LoadError::UnsupportedDType { tensor: name, found, supported: "F32, F16, BF16" });
    };
    let size = checked_size(&name, &entry.shape, dtype)?;
    let (start, end) = entry.data_offsets;
    if start > end || end > available as u64 {
        return Err(LoadError::TensorRange { tensor: name, start, end, available });
    }
    if end - start != size {
        let reason = format!("its shape takes {size} bytes but the file gives it {}", end - start);
        return Err(LoadError::TensorLayout { tensor: name, shape: entry.shape.clone(), dtype, reason });
    }
    let bytes = data_start + start as usize..data_start + end as usize;
    let shape = entry.shape.iter().map(|&extent| extent as usize).collect();
    Ok(TensorInfo { name, shape, dtype, bytes })
}

#[cfg(test)]
mod tests;
