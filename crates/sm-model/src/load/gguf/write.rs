//! Writes GGUF files, version 3, one tensor after the other.
//!
//! The head (metadata and where each tensor lies) is written first, from what the caller announces;
//! the bytes of the tensors follow in pieces, so that no model has to fit into memory.

use std::io::{self, Write};

use sm_tensor::DType;

use super::read_alignment;
use crate::LoadError;
use crate::load::checked_size;
use crate::metadata::{Array, Metadata, Value};

/// A tensor that is going to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name in the file.
    pub name: String,
    /// Extents, slowest dimension first: `[out_features, in_features]` for a matrix.
    pub shape: Vec<usize>,
    /// How the values are stored.
    pub dtype: DType,
}

/// Why a GGUF file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The system refused to write.
    #[error("cannot write the GGUF file: {0}")]
    Io(#[from] io::Error),
    /// The metadata or a tensor's shape is none that a reader would accept.
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
    /// Bytes of the tensors that are still to come, the current one last.
    pending: Vec<u64>,
    /// Bytes of the current tensor written so far.
    written: u64,
}

impl<W: Write> GgufWriter<W> {
    /// Writes the head. The bytes of `tensors` have to follow in this order.
    ///
    /// # Errors
    /// If writing fails, `general.alignment` is no valid alignment, or rows of a tensor are not
    /// whole blocks.
    pub fn new(out: W, metadata: &Metadata, tensors: &[TensorSpec]) -> Result<Self, WriteError> {
        let alignment = read_alignment(metadata)? as usize;
        let sizes = tensors.iter().map(size).collect::<Result<Vec<_>, _>>()?;
        let mut head = b"GGUF".to_vec();
        head.extend(3_u32.to_le_bytes());
        head.extend((tensors.len() as u64).to_le_bytes());
        head.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata.iter() {
            put_string(&mut head, key);
            put_value(&mut head, value);
        }
        let mut offset = 0_u64;
        for (tensor, size) in tensors.iter().zip(&sizes) {
            put_tensor(&mut head, tensor, offset);
            offset += size.next_multiple_of(alignment as u64);
        }
        head.resize(head.len().next_multiple_of(alignment), 0);
        let pending = sizes.into_iter().rev().collect();
        let mut writer = Self { out, alignment, pending, written: 0 };
        writer.out.write_all(&head)?;
        writer.end_full_tensors()?;
        Ok(writer)
    }

    /// Appends to the current tensor; when it is complete the next one begins.
    ///
    /// # Errors
    /// If writing fails.
    ///
    /// # Panics
    /// If `bytes` are more than the current tensor still takes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let left = self.pending.last().map_or(0, |size| size - self.written);
        assert!(bytes.len() as u64 <= left, "{} bytes for a tensor that takes {left} more", bytes.len());
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        self.end_full_tensors()
    }

    /// Flushes the file and returns what it was written to.
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

    /// Pads after the current tensor if it is complete, and after empty ones that follow.
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

fn put_tensor(head: &mut Vec<u8>, tensor: &TensorSpec, offset: u64) {
    put_string(head, &tensor.name);
    head.extend((tensor.shape.len() as u32).to_le_bytes());
    for &extent in tensor.shape.iter().rev() {
        head.extend((extent as u64).to_le_bytes());
    }
    head.extend(tensor.dtype.ggml_id().to_le_bytes());
    head.extend(offset.to_le_bytes());
}

fn put_string(head: &mut Vec<u8>, text: &str) {
    head.extend((text.len() as u64).to_le_bytes());
    head.extend(text.as_bytes());
}

/// The type and the value.
fn put_value(head: &mut Vec<u8>, value: &Value) {
    let mut put = |type_id: u32, bytes: &[u8]| {
        head.extend(type_id.to_le_bytes());
        head.extend(bytes);
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
            put_string(head, v);
        }
        Value::Array(v) => {
            put(9, &[]);
            put_array(head, v);
        }
        Value::U64(v) => put(10, &v.to_le_bytes()),
        Value::I64(v) => put(11, &v.to_le_bytes()),
        Value::F64(v) => put(12, &v.to_le_bytes()),
    }
}

/// The type of the elements, their number and the elements.
fn put_array(head: &mut Vec<u8>, array: &Array) {
    let mut begin = |type_id: u32, len: usize| {
        head.extend(type_id.to_le_bytes());
        head.extend((len as u64).to_le_bytes());
    };
    macro_rules! numbers {
        ($type_id:literal, $items:expr) => {{
            begin($type_id, $items.len());
            $items.iter().for_each(|item| head.extend(item.to_le_bytes()));
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
            head.extend(items.iter().map(|item| u8::from(*item)));
        }
        Array::String(items) => {
            begin(8, items.len());
            items.iter().for_each(|item| put_string(head, item));
        }
        Array::Array(items) => {
            begin(9, items.len());
            items.iter().for_each(|item| put_array(head, item));
        }
        Array::U64(items) => numbers!(10, items),
        Array::I64(items) => numbers!(11, items),
        Array::F64(items) => numbers!(12, items),
    }
}

#[cfg(test)]
mod tests;
