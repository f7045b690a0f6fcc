//! Writes GGUF files, version 3, tensor by tensor.
//!
//! The header (metadata and tensor positions) is written first, from the tensors announced by the caller; their bytes
//! follow in pieces of any size, so a model need not fit in memory.

use std::io::{self, Write};

use sm_tensor::DType;

use super::read_alignment;
use crate::LoadError;
use crate::load::checked_size;
use crate::metadata::{Array, Metadata, Value};

/// A tensor that will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Extents, slowest dimension first: `[out_features, in_features]` for a matrix.
    pub shape: Vec<usize>,
    /// How the values are stored.
    pub dtype: DType,
}

/// Why a GGUF file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file cannot be written.
    #[error("cannot write the GGUF file: {0}")]
    Io(#[from] io::Error),
    /// The metadata or a tensor's shape is invalid.
    #[error(transparent)]
    Content(#[from] LoadError),
}

/// Writes a GGUF file to `W`, which should be buffered.
///
/// ```
/// use sm_model::metadata::{Metadata, Value};
/// use sm_model::{Gguf, GgufWriter, TensorSpec};
/// use sm_tensor::DType;
///
/// let mut metadata = Metadata::default();
/// metadata.insert("general.architecture", Value::String("llama".into()));
/// let ones = TensorSpec { name: "output_norm.weight".into(), shape: vec![2], dtype: DType::F32 };
/// let mut writer = GgufWriter::new(Vec::new(), &metadata, &[ones])?;
/// writer.write(&1.0_f32.to_le_bytes())?;
/// writer.write(&1.0_f32.to_le_bytes())?;
/// let file = Gguf::parse(writer.finish()?)?;
/// assert_eq!(file.tensors()[0].shape, [2]);
/// # Ok::<(), sm_model::WriteError>(())
/// ```
#[derive(Debug)]
pub struct GgufWriter<W> {
    out: W,
    alignment: usize,
    /// Sizes in bytes of the unfinished tensors, in reverse order: the current one is last.
    pending: Vec<u64>,
    /// Bytes written of the current tensor.
    written: u64,
}

impl<W: Write> GgufWriter<W> {
    /// Writes the header. The bytes of `tensors` must follow in this order.
    ///
    /// # Errors
    /// If writing fails, `general.alignment` is invalid, or the rows of a tensor are not whole blocks.
    pub fn new(out: W, metadata: &Metadata, tensors: &[TensorSpec]) -> Result<Self, WriteError> {
        let alignment = read_alignment(metadata)? as usize;
        let sizes = tensors.iter().map(size).collect::<Result<Vec<_>, _>>()?;
        let mut header = b"GGUF".to_vec();
        header.extend(3_u32.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata.iter() {
            put_string(&mut header, key);
            put_value(&mut header, value);
        }
        let mut offset = 0_u64;
        for (tensor, size) in tensors.iter().zip(&sizes) {
            put_tensor(&mut header, tensor, offset);
            offset += size.next_multiple_of(alignment as u64);
        }
        header.resize(header.len().next_multiple_of(alignment), 0);
        let pending = sizes.into_iter().rev().collect();
        let mut writer = Self { out, alignment, pending, written: 0 };
        writer.out.write_all(&header)?;
        writer.end_full_tensors()?;
        Ok(writer)
    }

    /// Appends bytes to the current tensor. Once it is complete, the next one begins.
    ///
    /// # Errors
    /// If writing fails.
    ///
    /// # Panics
    /// If the current tensor needs fewer bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let left = self.pending.last().map_or(0, |size| size - self.written);
        assert!(bytes.len() as u64 <= left, "{} bytes for a tensor that needs {left} more", bytes.len());
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        self.end_full_tensors()
    }

    /// Flushes the output and returns it.
    ///
    /// # Errors
    /// If writing fails.
    ///
    /// # Panics
    /// If tensors are missing.
    pub fn finish(mut self) -> Result<W, WriteError> {
        assert!(self.pending.is_empty(), "{} tensors are incomplete", self.pending.len());
        self.out.flush()?;
        Ok(self.out)
    }

    /// Finishes the current tensor if complete, and any empty ones after it, each with padding.
    fn end_full_tensors(&mut self) -> Result<(), WriteError> {
        while self.pending.pop_if(|size| *size == self.written).is_some() {
            let padding = self.written.next_multiple_of(self.alignment as u64) - self.written;
            io::copy(&mut io::Read::take(io::repeat(0), padding), &mut self.out)?;
            self.written = 0;
        }
        Ok(())
    }
}

fn size(tensor: &TensorSpec) -> Result<u64, LoadError> {
    let shape: Vec<u64> = tensor.shape.iter().map(|&extent| extent as u64).collect();
    checked_size(&tensor.name, &shape, tensor.dtype)
}

fn put_tensor(header: &mut Vec<u8>, tensor: &TensorSpec, offset: u64) {
    put_string(header, &tensor.name);
    header.extend((tensor.shape.len() as u32).to_le_bytes());
    for &extent in tensor.shape.iter().rev() {
        header.extend((extent as u64).to_le_bytes());
    }
    header.extend(tensor.dtype.ggml_id().to_le_bytes());
    header.extend(offset.to_le_bytes());
}

fn put_string(header: &mut Vec<u8>, text: &str) {
    header.extend((text.len() as u64).to_le_bytes());
    header.extend(text.as_bytes());
}

/// A value's type, and the value.
fn put_value(header: &mut Vec<u8>, value: &Value) {
    let mut put = |type_id: u32, bytes: &[u8]| {
        header.extend(type_id.to_le_bytes());
        header.extend(bytes);
    };
    match value {
        Value::U8(v) => put(0, &v.to_le_bytes()),
        Value::I8(v) => put(1, &v.to_le_bytes()),
        Value::U16(v) => put(2, &v.to_le_bytes()),
        Value::I16(v) => put(3, &v.to_le_bytes()),
        Value::U32(v) => put(4, &v.to_le_bytes()),
        Value::I32(v) => put(5, &v.to_le_bytes()),
        Value::F32(v) => put(6, &v.to_le_bytes()),
        Value::Bool(v) => put(7, &[u8::from(*v)]),
        Value::String(v) => {
            put(8, &[]);
            put_string(header, v);
        }
        Value::Array(v) => {
            put(9, &[]);
            put_array(header, v);
        }
        Value::U64(v) => put(10, &v.to_le_bytes()),
        Value::I64(v) => put(11, &v.to_le_bytes()),
        Value::F64(v) => put(12, &v.to_le_bytes()),
    }
}

/// The elements' type, their number, and the elements.
fn put_array(header: &mut Vec<u8>, array: &Array) {
    let mut begin = |type_id: u32, len: usize| {
        header.extend(type_id.to_le_bytes());
        header.extend((len as u64).to_le_bytes());
    };
    macro_rules! numbers {
        ($type_id:literal, $items:expr) => {{
            begin($type_id, $items.len());
            $items.iter().for_each(|item| header.extend(item.to_le_bytes()));
        }};
    }
    match array {
        Array::U8(items) => numbers!(0, items),
        Array::I8(items) => numbers!(1, items),
        Array::U16(items) => numbers!(2, items),
        Array::I16(items) => numbers!(3, items),
        Array::U32(items) => numbers!(4, items),
        Array::I32(items) => numbers!(5, items),
        Array::F32(items) => numbers!(6, items),
        Array::Bool(items) => {
            begin(7, items.len());
            header.extend(items.iter().map(|item| u8::from(*item)));
        }
        Array::String(items) => {
            begin(8, items.len());
            items.iter().for_each(|item| put_string(header, item));
        }
        Array::Array(items) => {
            begin(9, items.len());
            items.iter().for_each(|item| put_array(header, item));
        }
        Array::U64(items) => numbers!(10, items),
        Array::I64(items) => numbers!(11, items),
        Array::F64(items) => numbers!(12, items),
    }
}

#[cfg(test)]
mod tests;
