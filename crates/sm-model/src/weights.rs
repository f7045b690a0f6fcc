//! A model's weights, provided to a backend in the form declared by the plan.
//!
//! ```text
//! plan's name ─► view (tensor, rows, layout) ─► bytes of the file ─► as stored, transposed, or quantized
//! ```
//!
//! While the plan is built, [`Registry`] maps each name to a tensor; a backend then reads rows through [`WeightSource`] in
//! cache-sized pieces, so that a model is never in memory twice.

mod convert;
mod registry;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::Metadata;
use std::ops::Range;

pub(crate) use registry::{Registry, RowRange, fitting_dtype};
use sm_kernels::plan::{WeightError, WeightSource};
use sm_tensor::DType;

use crate::LoadError;
use crate::load::TensorInfo;
use crate::load::quantized::{LoadNote, QuantizedMatrix, ReadError};
use crate::load::tensors::Tensors;
use crate::names::LinearLayout;

/// A matrix of the plan: some or all rows of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MatrixView {
    /// Index of the tensor.
    tensor: usize,
    layout: LinearLayout,
    /// Rows of the whole tensor, seen as `[out_features, in_features]`.
    tensor_rows: usize,
    /// The first row of the view.
    first_row: usize,
    rows: usize,
    cols: usize,
    /// The data type provided to the backend.
    dtype: DType,
}

/// A vector of the plan: a whole tensor.
#[derive(Clone, Debug, PartialEq)]
struct VectorView {
    /// Index of the tensor.
    tensor: usize,
    /// Added to every value.
    offset: f32,
}

/// A matrix not quantized as requested because its rows are not whole blocks of that format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The tensor.
    pub tensor: String,
    /// Values per row.
    pub cols: usize,
    /// The data type requested.
    pub wanted: DType,
    /// The data type used instead.
    pub used: DType,
}

/// A model's weights, by their names in its files and its plan.
///
/// Rows are read and converted only on request.
#[derive(Debug)]
pub struct Weights {
    tensors: Tensors,
    matrices: HashMap<String, MatrixView>,
    vectors: HashMap<String, VectorView>,
    fallbacks: Vec<Fallback>,
}

impl Weights {
    /// The tensors as stored.
    pub fn tensors(&self) -> &[TensorInfo] {
        self.tensors.infos()
    }

    /// The metadata (size, times) of the tensors' files; `None` if they are not in files.
    ///
    /// # Errors
    /// If the system call fails.
    pub fn file_metadata(&self) -> std::io::Result<Option<Vec<Metadata>>> {
        self.tensors.file_metadata()
    }

    /// The tensors and their files.
    pub(crate) fn files(&self) -> &Tensors {
        &self.tensors
    }

    /// Checks that the files have not been written to since they were opened. If they have, weights that were read may be those
    /// of two models.
    ///
    /// # Errors
    /// [`LoadError::Changed`]
    pub fn check_unchanged(&self) -> Result<(), LoadError> {
        self.tensors.check_unchanged()
    }

    /// The bytes of a tensor as its files store it; of a matrix of a quantized checkpoint, its codes, scales and zero points. Empty
    /// if there is no such tensor.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn stored_bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, LoadError> {
        self.tensors
            .position(name)
            .map_or_else(|| Ok(Cow::default()), |index| self.tensors.stored_bytes(index))
    }

    /// How a quantized checkpoint stores a matrix, for people (`gptq 4-bit, groups of 128`); `None` for tensors that are used as stored.
    pub fn stored_form(&self, name: &str) -> Option<&str> {
        self.tensors.position(name).and_then(|index| self.tensors.quantized(index)).map(QuantizedMatrix::form)
    }

    /// What was changed or left out when the files were opened.
    pub fn notes(&self) -> &[LoadNote] {
        self.tensors.notes()
    }

    /// Matrices that could not be quantized as requested.
    pub fn fallbacks(&self) -> &[Fallback] {
        &self.fallbacks
    }
}

impl WeightSource for Weights {
    fn matrix_rows<'a>(
        &'a self,
        tensor: &str,
        rows: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], WeightError> {
        let view = self.matrices.get(tensor).ok_or_else(|| WeightError::Missing { tensor: tensor.into() })?;
        if rows.start > rows.end || rows.end > view.rows {
            let expected = rows.end.saturating_mul(view.cols);
            let actual = view.rows * view.cols;
            return Err(WeightError::Size { tensor: tensor.into(), expected, actual });
        }
        let unreadable = |reason: String| WeightError::Unreadable { tensor: tensor.into(), reason };
        let unread = |error: ReadError| unreadable(error.to_string());
        let dtype = self.tensors.infos()[view.tensor].dtype;
        let rows = view.first_row + rows.start..view.first_row + rows.end;
        if view.layout == LinearLayout::OutIn && dtype == view.dtype {
            return self.tensors.read_rows(view.tensor, rows, buffer).map_err(unread);
        }
        let values = match view.layout {
            LinearLayout::OutIn => {
                let read = self.tensors.read_rows(view.tensor, rows, buffer).map_err(unread)?;
                convert::rows(dtype, read, view.cols)
            }
            LinearLayout::InOut => {
                let bytes = self.tensors.hold(view.tensor).map_err(unread)?;
                convert::transposed_rows(dtype, &bytes, view.tensor_rows, rows)
            }
        };
        let values = values.map_err(|error| unreadable(error.to_string()))?;
        let stored = convert::store(view.dtype, &values, view.cols);
        *buffer = stored.map_err(|error| unreadable(error.to_string()))?;
        Ok(buffer)
    }

    fn vector(&self, tensor: &str) -> Result<Vec<f32>, WeightError> {
        let view = self.vectors.get(tensor).ok_or_else(|| WeightError::Missing { tensor: tensor.into() })?;
        let info = &self.tensors.infos()[view.tensor];
        let unreadable = |reason: String| WeightError::Unreadable { tensor: tensor.into(), reason };
        let bytes = self.tensors.bytes(view.tensor).map_err(|error| unreadable(error.to_string()))?;
        let values = convert::rows(info.dtype, &bytes, info.n_values());
        let mut values = values.map_err(|error| unreadable(error.to_string()))?;
        values.iter_mut().for_each(|value| *value += view.offset);
        Ok(values)
    }

    fn release(&self, tensor: &str) {
        if let Some(view) = self.matrices.get(tensor) {
            self.tensors.release(view.tensor);
        }
    }
}
