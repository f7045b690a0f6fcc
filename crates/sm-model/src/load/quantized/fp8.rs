//! FP8 matrices with scales, as Qwen3, DeepSeek, Ministral 3 and AutoFP8 checkpoints have them.
//!
//! ```text
//! weight                              F8_E4M3 or F8_E5M2 [out, in]
//! weight_scale_inv or weight_scale    one, one for each row, or [ceil(out / 128), ceil(in / 128)] for blocks
//!
//! weight = value * scale
//! ```
//!
//! Despite its name, `weight_scale_inv` is multiplied: it is the inverse of what the original was multiplied with.
//!
//! Source: `integrations/finegrained_fp8.py` of transformers.

use super::codes::{Codes, Packing};
use super::grid::{Grid, Orientation, ZeroPoints};
use super::matrix::{Groups, MatrixParts, Offset};
use super::number::Number;
use super::part::{Part, Parts};
use crate::LoadError;
use crate::config::{Config, MAX_EXTENT, unsupported};
use crate::load::stored::StoredAs;

/// Extents of blocks that share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockSize {
    pub(super) height: usize,
    pub(super) width: usize,
}

impl BlockSize {
    /// The field `key`, a list of two.
    pub(super) fn of(config: &Config, key: &str) -> Result<Option<Self>, LoadError> {
        let Some(extents) = config.integers(key)? else { return Ok(None) };
        let in_range = |extent: u64| (1..=MAX_EXTENT as u64).contains(&extent);
        match extents[..] {
            [height, width] if in_range(height) && in_range(width) => {
                Ok(Some(Self { height: height as usize, width: width as usize }))
            }
            _ => Err(unsupported(key, format!("{extents:?}"), "expected two positive numbers".into())),
        }
    }
}

/// The settings of a checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Fp8 {
    block_size: Option<BlockSize>,
}

impl Fp8 {
    pub(super) fn of(config: &Config) -> Result<Self, LoadError> {
        Ok(Self { block_size: BlockSize::of(config, "weight_block_size")? })
    }

    /// The matrix of a module that has a `weight` in FP8.
    pub(super) fn matrix(&self, parts: &mut Parts, module: &str) -> Result<MatrixParts, LoadError> {
        let weight = parts.require(module, "weight", "weight")?;
        let scale = match parts.take(module, "weight_scale_inv") {
            Some(scale) => scale,
            None => parts.require(module, "weight_scale", "weight")?,
        };
        float_matrix(module, weight, scale, self.block_size)
    }
}

/// A matrix of FP8 values with one scale, one for each row, or one for each block of `block_size`.
pub(super) fn float_matrix(
    module: &str,
    weight: Part,
    scale: Part,
    block_size: Option<BlockSize>,
) -> Result<MatrixParts, LoadError> {
    let [n_rows, n_cols] = weight.extents()?;
    let (number, type_name) = match weight.stored {
        StoredAs::E5m2 => (Number::E5m2, "e5m2"),
        _ => (Number::E4m3, "e4m3"),
    };
    let (group_len, scaling) = match block_size {
        Some(BlockSize { height, width }) => (width, format!("blocks of {height}×{width}")),
        None if scale.shape.iter().product::<usize>() == 1 => (n_cols, "one scale".to_owned()),
        None => (n_cols, "a scale per row".to_owned()),
    };
    let n_groups = n_cols.div_ceil(group_len);
    let scales = match block_size {
        Some(BlockSize { height, .. }) => Grid::by_block(scale, n_rows, height, n_groups)?,
        None => Grid::by_tensor_or_row(scale, n_rows)?,
    };
    Ok(MatrixParts {
        name: format!("{module}.weight"),
        form: format!("fp8 {type_name}, {scaling}"),
        n_rows,
        n_cols,
        codes: Codes::new(weight, 8, [n_rows, n_cols], Packing::Last)?,
        orientation: Orientation::RowsFirst,
        number,
        scales,
        offset: Offset::Zero(ZeroPoints::Fixed(0)),
        groups: Groups::Even(group_len),
        n_groups,
    })
}
