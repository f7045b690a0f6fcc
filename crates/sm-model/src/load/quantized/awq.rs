//! AWQ in its `gemm` layout, as AutoAWQ writes it.
//!
//! ```text
//! qweight  I32 [in, out / 8]           codes of eight outputs to a word, in the order 0 2 4 6 1 3 5 7
//! qzeros   I32 [n_groups, out / 8]     zero points, in the same order; all 8 if the configuration says zero_point: false
//! scales       [n_groups, out]
//!
//! weight[o, i] = scales[g, o] * (code[i, o] - zero[g, o])        g = i / group_size
//! ```
//!
//! Source: `awq/modules/linear/gemm.py`.

use super::codes::{Codes, Packing};
use super::grid::{Grid, Orientation, ZeroPoints};
use super::matrix::{Groups, MatrixParts, Offset};
use super::number::Number;
use super::part::Parts;
use super::settings::{self, Division, GroupSize, INSTEAD};
use crate::LoadError;
use crate::config::{Config, unsupported};

const BITS: usize = 4;

/// The settings of a checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Awq {
    group_size: GroupSize,
    has_zero_points: bool,
}

impl Awq {
    /// The original AWQ has other names for two fields.
    pub(super) fn of(config: &Config) -> Result<Self, LoadError> {
        let version = config.text("version")?.unwrap_or("gemm");
        if !version.eq_ignore_ascii_case("gemm") {
            let reason = format!("supported: \"gemm\"; {INSTEAD}");
            return Err(unsupported("version", format!("{version:?}"), reason));
        }
        let bits_key = if config.value("bits").is_some() { "bits" } else { "w_bit" };
        settings::bits(config, bits_key, &[BITS])?;
        let group_size = match GroupSize::of(config, "group_size")? {
            None => GroupSize::of(config, "q_group_size")?,
            found => found,
        };
        let group_size = group_size.ok_or_else(|| LoadError::MissingKey { key: "group_size".into() })?;
        Ok(Self { group_size, has_zero_points: config.bool("zero_point")?.unwrap_or(true) })
    }

    /// The matrix of a module that has a `qweight`.
    pub(super) fn matrix(&self, parts: &mut Parts, module: &str) -> Result<MatrixParts, LoadError> {
        let qweight = parts.require(module, "qweight", "qweight")?;
        let [n_cols, n_words] = qweight.extents()?;
        let n_rows = n_words * (32 / BITS);
        let Division { group_len, n_groups } = self.group_size.divide(&qweight, n_cols)?;
        let scales = Grid::by_group(parts.require(module, "scales", "qweight")?, n_groups, n_rows)?;
        let qzeros = if self.has_zero_points {
            Some(parts.require(module, "qzeros", "qweight")?)
        } else {
            parts.take(module, "qzeros")
        };
        let zeros = match qzeros {
            None => ZeroPoints::Fixed(8),
            Some(qzeros) => ZeroPoints::Packed {
                codes: Codes::new(qzeros, BITS, [n_groups, n_rows], Packing::LastAwq)?.held()?,
                orientation: Orientation::ColumnsFirst,
                plus: 0,
            },
        };
        Ok(MatrixParts {
            name: format!("{module}.weight"),
            form: format!("awq {BITS}-bit, groups of {group_len}"),
            n_rows,
            n_cols,
            codes: Codes::new(qweight, BITS, [n_cols, n_rows], Packing::LastAwq)?,
            orientation: Orientation::ColumnsFirst,
            number: Number::Unsigned,
            scales,
            offset: Offset::Zero(zeros),
            groups: Groups::Even(group_len),
            n_groups,
        })
    }
}
