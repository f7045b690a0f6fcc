//! Reads safetensors files, single or sharded.
//!
//! ```text
//! u64 header_len, JSON { name: { dtype, shape, data_offsets }, … }, data
//! ```
//!
//! Format: <https://huggingface.co/docs/safetensors/index#format>. The header is parsed here because the `safetensors`
//! crate rejects a whole file for one tensor of unknown type, without naming it; tests compare the two readers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::TensorInfo;
use super::cursor::Cursor;
use super::file::FileBytes;
use super::stored::{FileTensors, StoredAs, UnreadTensor};
use crate::LoadError;

const FORMAT: &str = "safetensors";
/// The limit of the reference implementation.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The file that lists the shards.
const INDEX: &str = "model.safetensors.index.json";
/// The file of an unsharded model.
const SINGLE: &str = "model.safetensors";

/// Whether a directory contains a safetensors model.
pub(crate) fn exist_in(dir: &Path) -> bool {
    dir.join(INDEX).is_file() || dir.join(SINGLE).is_file()
}

/// The safetensors files of a directory: `model.safetensors`, or the shards that the index lists, by name. An index beside a whole
/// file is left over from before its shards were merged; transformers passes over it too.
pub(crate) fn files(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let single = dir.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = dir.join(INDEX);
    if index.is_file() {
        return shards(dir, &index);
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
    // A path could escape the model's directory.
    if Path::new(file).file_name().is_none_or(|name| name != file) {
        let reason = "a shard must be a file in the same directory as the index".into();
        let error = LoadError::Unsupported { key: "weight_map".into(), value: format!("{file:?}"), reason };
        return Err(error.in_file(index));
    }
    let path = dir.join(file);
    if path.is_file() { Ok(path) } else { Err(LoadError::MissingShard { path, n_tensors }) }
}

/// A header entry.
#[derive(Debug, Deserialize)]
struct TensorHeader {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The tensors of a header, in order, without `__metadata__`. Uses a custom visitor because a map would silently drop
/// duplicates.
#[derive(Debug)]
struct Header(Vec<(String, TensorHeader)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut tensors = Vec::new();
                let mut names = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("{name:?} occurs twice")));
                    }
                    if name == "__metadata__" {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    } else {
                        tensors.push((name, map.next_value()?));
                    }
                }
                Ok(Header(tensors))
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// The tensors of a file, checked against its size.
pub(crate) fn read_header(file: &FileBytes) -> Result<FileTensors, LoadError> {
    let mut cursor = Cursor::in_file(FORMAT, file);
    let header_len = cursor.u64("header length")?;
    if header_len > MAX_HEADER_BYTES {
        let what = "the header length".into();
        let found = header_len.into();
        return Err(LoadError::OutOfRange { format: FORMAT, what, found, expected: "at most 100000000" });
    }
    let header = cursor.text(header_len, "header")?;
    let Header(tensors) = serde_json::from_str(header)
        .map_err(|source| LoadError::SafetensorsHeader { reason: source.to_string() })?;
    let data_start = cursor.offset();
    let mut file = FileTensors::default();
    for (name, tensor) in tensors {
        match StoredAs::of_safetensors(&tensor.dtype) {
            Ok(stored) => {
                file.push(tensor_info(name, &tensor, stored, data_start, cursor.remaining())?, stored);
            }
            Err(dtype) => file.push_unread(UnreadTensor { name, dtype, shape: tensor.shape }),
        }
    }
    Ok(file)
}

/// A tensor, checked against the `available` bytes of data from `data_start`.
fn tensor_info(
    name: String,
    tensor: &TensorHeader,
    stored: StoredAs,
    data_start: usize,
    available: usize,
) -> Result<TensorInfo, LoadError> {
    let size = stored.checked_size(&name, &tensor.shape)?;
    let dtype = stored.dtype();
    let (start, end) = tensor.data_offsets;
    if start > end || end > available as u64 {
        return Err(LoadError::TensorRange { tensor: name, start, end, available });
    }
    if end - start != size {
        let reason = format!("its shape implies {size} bytes but it has {}", end - start);
        return Err(LoadError::TensorLayout { tensor: name, shape: tensor.shape.clone(), dtype, reason });
    }
    let bytes = data_start + start as usize..data_start + end as usize;
    let shape = tensor.shape.iter().map(|&extent| extent as usize).collect();
    Ok(TensorInfo { name, shape, dtype, bytes })
}

#[cfg(test)]
mod tests;
