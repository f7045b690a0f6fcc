//! Importance matrices: how much each input of each matrix matters.
//!
//! `llama-imatrix` runs a model on some text and adds up the squares of what each matrix is multiplied with. It writes them as
//! GGUF (since July 2025):
//!
//! ```text
//! general.type = "imatrix", imatrix.datasets, imatrix.chunk_count
//! NAME.in_sum2  [n_matrices, cols]   sums of squares      NAME is the tensor's, such as blk.0.ffn_up.weight;
//! NAME.counts   [n_matrices, 1]      numbers of rows      experts are n_matrices matrices
//! ```
//!
//! or in its older format, little-endian:
//!
//! ```text
//! i32 n_entries;  per entry: i32 name_len, name, i32 n_calls, i32 n_values, f32[n_values] n_calls * mean square
//! i32 n_chunks, i32 dataset_len, dataset                        (missing in the oldest files)
//! ```
//!
//! Source: `tools/imatrix/imatrix.cpp` and `tools/quantize/quantize.cpp` of llama.cpp.

use std::collections::HashMap;
use std::path::Path;

use crate::LoadError;
use crate::load::cursor::Cursor;
use crate::load::gguf::Gguf;
use crate::metadata::{Metadata, Value};

const FORMAT: &str = "imatrix";
/// Of an entry in the older format: lengths and number of calls.
const MIN_ENTRY_BYTES: usize = 12;

/// The mean square of each input of each matrix, over some text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportanceMatrix {
    /// By tensor: `[n_matrices, cols]`.
    entries: HashMap<String, Vec<f32>>,
    /// The file's name.
    file: String,
    datasets: Vec<String>,
    n_chunks: Option<u32>,
}

impl ImportanceMatrix {
    /// Reads a file that `llama-imatrix` wrote, in either of its formats.
    ///
    /// # Errors
    /// If it cannot be read or is none.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let bytes = std::fs::read(path).map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
        let is_gguf = bytes.starts_with(b"GGUF");
        let read =
            if is_gguf { Gguf::parse(bytes).and_then(|gguf| from_gguf(&gguf)) } else { from_entries(&bytes) };
        let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        read.map(|read| Self { file, ..read }).map_err(|error| error.in_file(path))
    }

    /// The importance of the inputs of a tensor's matrices, each of `cols` columns, one after the other; `None` if the text
    /// never reached it.
    ///
    /// # Errors
    /// If it belongs to a tensor of another shape.
    pub(super) fn of(
        &self,
        tensor: &str,
        n_matrices: usize,
        cols: usize,
    ) -> Result<Option<&[f32]>, LoadError> {
        let Some(values) = self.entries.get(tensor) else { return Ok(None) };
        if values.len() == n_matrices * cols {
            return Ok(Some(values));
        }
        Err(LoadError::Unsupported {
            key: self.file.clone(),
            value: format!("{} values for {tensor}", values.len()),
            reason: format!(
                "the tensor has {} inputs; use the importance matrix of this model",
                n_matrices * cols
            ),
        })
    }

    /// Says in the metadata of a file how it was quantized, as `llama-quantize` does.
    pub(super) fn describe(&self, metadata: &mut Metadata) {
        metadata.insert("quantize.imatrix.file", Value::String(self.file.clone()));
        if let Some(dataset) = self.datasets.first() {
            metadata.insert("quantize.imatrix.dataset", Value::String(dataset.clone()));
        }
        metadata.insert("quantize.imatrix.entries_count", Value::U32(self.entries.len() as u32));
        if let Some(n_chunks) = self.n_chunks {
            metadata.insert("quantize.imatrix.chunks_count", Value::U32(n_chunks));
        }
    }
}

fn from_gguf(gguf: &Gguf) -> Result<ImportanceMatrix, LoadError> {
    let metadata = gguf.metadata();
    let kind: Option<&str> = metadata.get("general.type")?;
    if kind != Some("imatrix") {
        return Err(LoadError::Unsupported {
            key: "general.type".into(),
            value: kind.unwrap_or("missing").to_owned(),
            reason: "this is no importance matrix; llama-imatrix writes them".into(),
        });
    }
    let values = |name: &str| -> Result<Option<Vec<f32>>, LoadError> {
        let Some(tensor) = gguf.tensors().iter().find(|tensor| tensor.name == name) else { return Ok(None) };
        let bytes = gguf.tensor_bytes(tensor)?;
        Ok(Some(bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()))
    };
    let mut entries = HashMap::new();
    for tensor in gguf.tensors() {
        let Some(name) = tensor.name.strip_suffix(".in_sum2") else { continue };
        let counts_name = format!("{name}.counts");
        let counts = values(&counts_name)?.ok_or(LoadError::MissingTensor { tensor: counts_name })?;
        let sums = values(&tensor.name)?.unwrap_or_default();
        entries.insert(name.to_owned(), means(name, sums, &counts)?);
    }
    let datasets: Option<&[String]> = metadata.get("imatrix.datasets")?;
    let n_chunks = metadata.get("imatrix.chunk_count")?;
    Ok(ImportanceMatrix {
        entries,
        datasets: datasets.unwrap_or_default().to_vec(),
        n_chunks,
        file: String::new(),
    })
}

/// Divides the sums of each matrix by its count. A matrix that was never used says nothing: all its inputs count the same.
fn means(name: &str, mut sums: Vec<f32>, counts: &[f32]) -> Result<Vec<f32>, LoadError> {
    if counts.is_empty() || !sums.len().is_multiple_of(counts.len()) {
        return Err(LoadError::OutOfRange {
            format: FORMAT,
            what: format!("the number of counts of {name:?}"),
            found: counts.len() as i128,
            expected: "a divisor of its number of sums",
        });
    }
    let cols = sums.len() / counts.len();
    for (sums, &count) in sums.chunks_mut(cols.max(1)).zip(counts) {
        sums.iter_mut().for_each(|sum| *sum = if count > 0.0 { *sum / count } else { 1.0 });
    }
    check(name, &sums)?;
    Ok(sums)
}

fn from_entries(bytes: &[u8]) -> Result<ImportanceMatrix, LoadError> {
    let mut cursor = Cursor::new(FORMAT, bytes);
    let count = |found: i32, what: &str| {
        let expected = "at least 1; this may be no importance matrix";
        let out_of_range =
            || LoadError::OutOfRange { format: FORMAT, what: what.to_owned(), found: found.into(), expected };
        u64::try_from(found).ok().filter(|&found| found > 0).ok_or_else(out_of_range)
    };
    let n_entries = count(cursor.i32("the number of entries")?, "the number of entries")?;
    let n_entries = cursor.count(n_entries, MIN_ENTRY_BYTES, "the entries")?;
    let mut entries = HashMap::with_capacity(n_entries);
    for _ in 0..n_entries {
        let name_len = count(cursor.i32("the length of a name")?, "the length of a name")?;
        let name = cursor.text(name_len, "a name")?.to_owned();
        let n_calls = cursor.i32("a number of calls")?;
        let n_values = count(cursor.i32("a number of values")?, "a number of values")?;
        let values = cursor.bytes(n_values.saturating_mul(4), "the values")?.as_chunks::<4>().0.iter();
        let calls = n_calls.max(1) as f32;
        let values: Vec<f32> = values.map(|&bytes| f32::from_le_bytes(bytes) / calls).collect();
        check(&name, &values)?;
        if entries.insert(name.clone(), values).is_some() {
            return Err(LoadError::Duplicate { format: FORMAT, what: "an entry", name });
        }
    }
    let mut matrix = ImportanceMatrix { entries, ..ImportanceMatrix::default() };
    if cursor.remaining() > 0 {
        matrix.n_chunks = u32::try_from(cursor.i32("the number of chunks")?).ok();
        let len = cursor.i32("the length of the dataset's name")?;
        matrix.datasets.push(cursor.text(len.max(0) as u64, "the dataset's name")?.to_owned());
    }
    Ok(matrix)
}

/// Mean squares are neither negative nor infinite.
fn check(name: &str, values: &[f32]) -> Result<(), LoadError> {
    match values.iter().position(|value| !(0.0..=f32::MAX).contains(value)) {
        None => Ok(()),
        Some(index) => Err(LoadError::Unsupported {
            key: name.to_owned(),
            value: format!("{} at index {index}", values[index]),
            reason: "the importance of an input is a mean square: finite and not negative".into(),
        }),
    }
}

#[cfg(test)]
mod tests;
