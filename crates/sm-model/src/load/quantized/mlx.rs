//! MLX's affine quantization, as mlx-lm writes it.
//!
//! ```text
//! weight  U32 [out, in * bits / 32]     the codes of a row as one stream of bits, lowest first
//! scales      [out, n_groups]
//! biases      [out, n_groups]
//!
//! weight[o, i] = scales[o, g] * code[o, i] + biases[o, g]        g = i / group_size
//! ```
//!
//! The configuration has settings for all modules, and may have others for single ones, by name; `false` for those that are not
//! quantized.
//!
//! Source: <https://ml-explore.github.io/mlx/build/html/python/_autosummary/mlx.core.quantize.html>.

use std::collections::HashMap;

use serde_json::Value;

use super::codes::{Codes, Packing};
use super::grid::{Grid, Orientation};
use super::matrix::{Groups, MatrixParts, Offset};
use super::number::Number;
use super::part::Parts;
use super::settings::{self, INSTEAD};
use crate::LoadError;
use crate::config::{Config, MAX_EXTENT, unsupported};

/// The settings of a module.
#[derive(Clone, Copy, Debug)]
struct Affine {
    bits: usize,
    group_len: usize,
}

impl Affine {
    fn of(config: &Config) -> Result<Self, LoadError> {
        let mode = config.text("mode")?.unwrap_or("affine");
        if mode != "affine" {
            return Err(unsupported(
                "mode",
                format!("{mode:?}"),
                format!("supported: \"affine\"; {INSTEAD}"),
            ));
        }
        let bits = settings::bits(config, "bits", &[2, 3, 4, 5, 6, 8])?;
        Ok(Self { bits, group_len: config.require_count("group_size", MAX_EXTENT)? })
    }
}

/// The settings of a checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Mlx {
    usual: Affine,
    /// Of single modules; `None` for those that are not quantized.
    modules: HashMap<String, Option<Affine>>,
}

impl Mlx {
    pub(super) fn of(config: &Config) -> Result<Self, LoadError> {
        let usual = Affine::of(config)?;
        let mut modules = HashMap::new();
        for name in config.names() {
            match config.value(&name) {
                Some(Value::Bool(false)) => drop(modules.insert(name, None)),
                Some(Value::Object(_)) => {
                    let of_module =
                        config.object(&name)?.map(|settings| Affine::of(&settings)).transpose()?;
                    modules.insert(name, of_module);
                }
                _ => {}
            }
        }
        Ok(Self { usual, modules })
    }

    /// The matrix of a module that has `scales`.
    pub(super) fn matrix(&self, parts: &mut Parts, module: &str) -> Result<MatrixParts, LoadError> {
        let scales = parts.require(module, "scales", "scales")?;
        let settings = self.modules.get(module).copied().unwrap_or(Some(self.usual));
        let Affine { bits, group_len } = settings
            .ok_or_else(|| scales.error("the configuration says that its module is not quantized".into()))?;
        let [n_rows, n_groups] = scales.extents()?;
        let n_cols = n_groups.saturating_mul(group_len);
        let weight = parts.require(module, "weight", "scales")?;
        let n_bits = n_cols.saturating_mul(bits);
        if weight.shape != [n_rows, n_bits / 32] || !n_bits.is_multiple_of(32) {
            return Err(weight.error(format!(
                "it has shape {:?}, but with {bits} bits and {n_groups} groups of {group_len} a row of words has {n_bits} / 32",
                weight.shape
            )));
        }
        let biases = Grid::by_row(parts.require(module, "biases", "scales")?, n_rows, n_groups)?;
        Ok(MatrixParts {
            name: format!("{module}.weight"),
            form: format!("mlx {bits}-bit, groups of {group_len}"),
            n_rows,
            n_cols,
            codes: Codes::new(weight, bits, [n_rows, n_cols], Packing::Last)?,
            orientation: Orientation::RowsFirst,
            number: Number::Unsigned,
            scales: Grid::by_row(scales, n_rows, n_groups)?,
            offset: Offset::Bias(biases),
            groups: Groups::Even(group_len),
            n_groups,
        })
    }
}
