//! How files store the values of tensors: as one of our data types, as another number that becomes `f32` on load, as codes that
//! mean something only together with other tensors, or as a type that we cannot read.
//!
//! A tensor of the last two kinds is no reason to refuse a file, since most are counters and masks that nothing reads. Only who
//! asks for it gets an error.

use std::ops::Range;

use sm_tensor::DType;

use super::file::FileBytes;
use super::{TensorInfo, checked_size};
use crate::LoadError;

/// How the values of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredAs {
    /// One of our data types.
    Own(DType),
    /// Double precision.
    F64,
    /// Bytes with a sign.
    I8,
    // Codes, group indices and shapes of quantized checkpoints.
    I32,
    U32,
    I64,
    /// FP8 with 4 bits of exponent.
    E4m3,
    /// FP8 with 5 bits of exponent.
    E5m2,
}

/// What may be read from safetensors and GGUF files, for messages.
const SUPPORTED: &str = "F32, F16, BF16, F64, I8, and in GGUF files Q4_0 to Q8_0, Q2_K to Q6_K, IQ1_S to IQ4_XS, TQ1_0, TQ2_0, MXFP4 \
     and Q1_0";

/// The types of safetensors files.
const SAFETENSORS: [(&str, StoredAs); 10] = [
    ("F32", StoredAs::Own(DType::F32)),
    ("F16", StoredAs::Own(DType::F16)),
    ("BF16", StoredAs::Own(DType::Bf16)),
    ("F64", StoredAs::F64),
    ("I8", StoredAs::I8),
    ("I32", StoredAs::I32),
    ("U32", StoredAs::U32),
    ("I64", StoredAs::I64),
    ("F8_E4M3", StoredAs::E4m3),
    ("F8_E5M2", StoredAs::E5m2),
];

impl StoredAs {
    /// By the name of safetensors files.
    ///
    /// # Errors
    /// The name, if values of this type cannot be read.
    pub(super) fn of_safetensors(name: &str) -> Result<Self, String> {
        let row = SAFETENSORS.iter().find(|(of, _)| *of == name);
        row.map(|(_, stored)| *stored).ok_or_else(|| name.to_owned())
    }

    /// By the number of GGUF files (`ggml_type`).
    ///
    /// # Errors
    /// A name for the number, if values of this type cannot be read.
    pub(super) fn of_ggml(id: u32) -> Result<Self, String> {
        match id {
            24 => Ok(Self::I8),
            28 => Ok(Self::F64),
            _ => DType::from_ggml_id(id).map(Self::Own).map_err(|_| format!("ggml type {id}")),
        }
    }

    /// The name in safetensors files, or that of our data type.
    pub(super) fn name(self) -> &'static str {
        let row = SAFETENSORS.iter().find(|(_, stored)| *stored == self);
        match (row, self) {
            (Some((name, _)), _) => name,
            (None, Self::Own(dtype)) => dtype.name(),
            (None, _) => "unknown",
        }
    }

    /// The data type that a tensor has once it is read.
    pub(super) fn dtype(self) -> DType {
        match self {
            Self::Own(dtype) => dtype,
            _ => DType::F32,
        }
    }

    /// Bytes of a value, if that is not one of our data types.
    pub(super) fn value_bytes(self) -> Option<usize> {
        match self {
            Self::Own(_) => None,
            Self::I8 | Self::E4m3 | Self::E5m2 => Some(1),
            Self::I32 | Self::U32 => Some(4),
            Self::F64 | Self::I64 => Some(8),
        }
    }

    /// Bytes in the file of a tensor whose `shape` comes from there.
    pub(super) fn checked_size(self, tensor: &str, shape: &[u64]) -> Result<u64, LoadError> {
        let size = checked_size(tensor, shape, self.dtype())?;
        Ok(match self.value_bytes() {
            None => size,
            Some(value_bytes) => (size / 4).saturating_mul(value_bytes as u64),
        })
    }

    /// Whether values become `f32` when a file is opened.
    fn becomes_f32(self) -> bool {
        matches!(self, Self::F64 | Self::I8)
    }

    /// The values as `f32`, if that is what they become.
    fn converted(self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::F64 => {
                let values = bytes.as_chunks::<8>().0.iter();
                Some(values.flat_map(|&value| (f64::from_le_bytes(value) as f32).to_le_bytes()).collect())
            }
            Self::I8 => {
                Some(bytes.iter().flat_map(|&byte| f32::from(byte.cast_signed()).to_le_bytes()).collect())
            }
            _ => None,
        }
    }
}

/// A tensor that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnreadTensor {
    pub(crate) name: String,
    /// What the file says its values are.
    pub(crate) dtype: String,
    /// Extents, slowest dimension first.
    pub(crate) shape: Vec<u64>,
}

/// The tensors of a file.
#[derive(Debug, Default)]
pub(crate) struct FileTensors {
    /// Those whose bytes are used as they are.
    pub(crate) plain: Vec<TensorInfo>,
    /// Those of other types, with their bytes in the file.
    pub(super) foreign: Vec<(TensorInfo, StoredAs)>,
    /// Those that cannot be read.
    pub(crate) unread: Vec<UnreadTensor>,
}

impl FileTensors {
    /// Adds a tensor; its bytes are those in the file.
    pub(super) fn push(&mut self, info: TensorInfo, stored: StoredAs) {
        match stored {
            StoredAs::Own(_) => self.plain.push(info),
            _ => self.foreign.push((info, stored)),
        }
    }

    pub(super) fn push_unread(&mut self, tensor: UnreadTensor) {
        self.unread.push(tensor);
    }

    /// The names of all tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let foreign = self.foreign.iter().map(|(info, _)| &info.name);
        let read = self.plain.iter().map(|info| &info.name).chain(foreign);
        read.chain(self.unread.iter().map(|tensor| &tensor.name)).map(String::as_str)
    }

    /// Takes the tensors that become `f32`, and their converted bytes, one after the other. The other foreign ones become unread.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn convert(&mut self, file: &FileBytes) -> Result<(Vec<TensorInfo>, Vec<u8>), LoadError> {
        let mut infos = Vec::new();
        let mut converted = Vec::new();
        for (info, stored) in std::mem::take(&mut self.foreign) {
            let start = converted.len();
            // Only those that are converted are read.
            let values = match stored.becomes_f32() {
                true => stored.converted(&file.bytes(info.bytes.clone())?),
                false => None,
            };
            match values {
                Some(values) => {
                    converted.extend(values);
                    let bytes: Range<usize> = start..converted.len();
                    infos.push(TensorInfo { bytes, ..info });
                }
                None => self.push_unread(UnreadTensor {
                    name: info.name,
                    dtype: stored.name().to_owned(),
                    shape: info.shape.iter().map(|&extent| extent as u64).collect(),
                }),
            }
        }
        Ok((infos, converted))
    }
}

/// The error of who needs a tensor that cannot be read.
pub(crate) fn unread_error(tensor: &str, found: &str) -> LoadError {
    LoadError::UnsupportedDType { tensor: tensor.to_owned(), found: found.to_owned(), supported: SUPPORTED }
}
