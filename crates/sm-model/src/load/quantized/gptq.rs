//! GPTQ, as AutoGPTQ and GPTQModel write it.
//!
//! ```text
//! qweight  I32 [in * bits / 32, out]           codes of a column, lowest bits first
//! qzeros   I32 [n_groups, out * bits / 32]     zero points, less one in checkpoint_format gptq
//! scales       [n_groups, out]
//! g_idx    I32 [in]                            the group of each input
//!
//! weight[o, i] = scales[g, o] * (code[i, o] - zero[g, o])        g = g_idx[i]
//! ```
//!
//! Zero points less one are kept within their bits: 0 is stored as all ones. Some writers store zero points as they are without saying
//! so (vLLM pull request 38966); symmetric quantization gives them away, since it has all zero points in the middle.
//!
//! Source: `auto_gptq/nn_modules/qlinear/qlinear_cuda.py`.

use super::codes::{Codes, HeldCodes, Packing};
use super::grid::{Grid, Orientation, ZeroPoints};
use super::matrix::{Groups, MatrixParts, Offset};
use super::number::Number;
use super::part::Parts;
use super::settings::{self, Division, GroupSize, INSTEAD};
use crate::LoadError;
use crate::config::{Config, unsupported};

/// The settings of a checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Gptq {
    bits: usize,
    group_size: GroupSize,
    /// How much less than they are zero points are stored.
    zeros_less: u8,
    is_symmetric: bool,
    /// Matrices whose zero points contradict the settings.
    n_as_stored: usize,
}

impl Gptq {
    pub(super) fn of(config: &Config) -> Result<Self, LoadError> {
        config.refuse("is_marlin_format", &format!("the Marlin layout is made for GPUs; {INSTEAD}"))?;
        let zeros_less = match config.text("checkpoint_format")? {
            None | Some("gptq") => 1,
            Some("gptq_v2") => 0,
            Some(other) => {
                let reason = format!("supported: gptq, gptq_v2; {INSTEAD}");
                return Err(unsupported("checkpoint_format", format!("{other:?}"), reason));
            }
        };
        if let Some(rules) = config.object("dynamic")?.filter(|rules| !rules.is_empty()) {
            let reason = format!("settings of single modules are not supported; {INSTEAD}");
            return Err(unsupported("dynamic", rules.names().join(", "), reason));
        }
        let group_size = GroupSize::of(config, "group_size")?;
        Ok(Self {
            bits: settings::bits(config, "bits", &[4, 8])?,
            group_size: group_size.ok_or_else(|| LoadError::MissingKey { key: "group_size".into() })?,
            zeros_less,
            is_symmetric: config.bool("sym")?.unwrap_or(false),
            n_as_stored: 0,
        })
    }

    /// Matrices whose zero points were read as they are stored, against what the configuration says.
    pub(super) fn n_as_stored(&self) -> usize {
        self.n_as_stored
    }

    /// The matrix of a module that has a `qweight`.
    pub(super) fn matrix(&mut self, parts: &mut Parts, module: &str) -> Result<MatrixParts, LoadError> {
        let bits = self.bits;
        let qweight = parts.require(module, "qweight", "qweight")?;
        let [n_words, n_rows] = qweight.extents()?;
        let n_cols = n_words * (32 / bits);
        let Division { group_len, n_groups } = self.group_size.divide(&qweight, n_cols)?;
        let scales = Grid::by_group(parts.require(module, "scales", "qweight")?, n_groups, n_rows)?;
        let qzeros = parts.require(module, "qzeros", "qweight")?;
        let zeros = Codes::new(qzeros, bits, [n_groups, n_rows], Packing::Last)?.held()?;
        let groups = match parts.take(module, "g_idx") {
            Some(g_idx) => Groups::of(settings::group_indices(&g_idx, n_cols, n_groups)?, group_len),
            None => Groups::Even(group_len),
        };
        Ok(MatrixParts {
            name: format!("{module}.weight"),
            form: format!("gptq {bits}-bit, groups of {group_len}"),
            n_rows,
            n_cols,
            codes: Codes::new(qweight, bits, [n_cols, n_rows], Packing::First)?,
            orientation: Orientation::ColumnsFirst,
            number: Number::Unsigned,
            scales,
            offset: Offset::Zero(self.zero_points(zeros, n_rows, n_groups)),
            groups,
            n_groups,
        })
    }

    fn zero_points(&mut self, codes: HeldCodes, n_rows: usize, n_groups: usize) -> ZeroPoints {
        let middle = 1 << (self.bits - 1);
        let as_stored = ZeroPoints::Packed { codes, orientation: Orientation::ColumnsFirst, plus: 0 };
        let is_contradiction =
            self.is_symmetric && self.zeros_less > 0 && as_stored.is_everywhere(middle, n_rows, n_groups);
        match as_stored {
            ZeroPoints::Packed { codes, orientation, .. } if !is_contradiction => {
                ZeroPoints::Packed { codes, orientation, plus: self.zeros_less }
            }
            as_stored => {
                self.n_as_stored += 1;
                as_stored
            }
        }
    }
}
