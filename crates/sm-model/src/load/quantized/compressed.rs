//! compressed-tensors, as llm-compressor writes it: formats `pack-quantized`, `int-quantized`, `float-quantized` and
//! `naive-quantized`.
//!
//! ```text
//! weight_packed       I32 [out, ceil(in * bits / 32)]     codes of a row plus 2^(bits - 1), lowest bits first
//! weight_shape        I64 [2]
//! weight_zero_point   I32 [ceil(out * bits / 32), n_groups], packed alike along the other dimension; asymmetric only
//! weight_g_idx        I32 [in]                            the group of each input, with act-order
//!
//! weight              I8 or F8_E4M3 [out, in]
//! weight_zero_point   I8, in the shape of weight_scale
//!
//! weight_scale        one; [out, 1]; [out, n_groups]; or [ceil(out / height), ceil(in / width)] for blocks
//!
//! weight = scale * (code - zero)
//! ```
//!
//! A configuration describes one or several groups of modules. Which one a module belongs to shows in its tensors; they must agree
//! with one of the descriptions.
//!
//! Source: `compressed_tensors/compressors/` of compressed-tensors.

use serde_json::Value;

use super::codes::{Codes, Packing};
use super::fp8::{BlockSize, float_matrix};
use super::grid::{Grid, Orientation, ZeroPoints};
use super::matrix::{Groups, MatrixParts, Offset};
use super::number::Number;
use super::part::{Part, Parts};
use super::settings::{self, INSTEAD};
use crate::LoadError;
use crate::config::{Config, MAX_EXTENT, unsupported};
use crate::load::stored::StoredAs;

/// How many values share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Tensor,
    Channel,
    Group(usize),
    Block(BlockSize),
}

/// The description of a group of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Description {
    bits: usize,
    is_float: bool,
    is_symmetric: bool,
    sharing: Sharing,
}

impl Description {
    fn of(weights: &Config) -> Result<Self, LoadError> {
        let is_float = match weights.text("type")?.unwrap_or("int") {
            "int" => false,
            "float" => true,
            other => {
                let reason = format!("supported: int, float; {INSTEAD}");
                return Err(unsupported("type", format!("{other:?}"), reason));
            }
        };
        let bits = settings::bits(weights, "num_bits", if is_float { &[8][..] } else { &[4, 8] })?;
        let group_len = weights.number("group_size")?.filter(|&len| len > 0.0);
        let strategy = weights.text("strategy")?;
        let sharing = match strategy {
            Some("tensor") => Sharing::Tensor,
            Some("channel") => Sharing::Channel,
            Some("group") | None if group_len.is_some() => {
                Sharing::Group(weights.require_count("group_size", MAX_EXTENT)?)
            }
            Some("block") => {
                let size = BlockSize::of(weights, "block_structure")?;
                Sharing::Block(size.ok_or_else(|| LoadError::MissingKey { key: "block_structure".into() })?)
            }
            None => Sharing::Tensor,
            Some(other) => {
                let reason = format!("supported: tensor, channel, group with group_size, block; {INSTEAD}");
                return Err(unsupported("strategy", format!("{other:?}"), reason));
            }
        };
        let is_symmetric = weights.bool("symmetric")?.unwrap_or(true);
        Ok(Self { bits, is_float, is_symmetric, sharing })
    }

    fn text(&self) -> String {
        let kind = if self.is_float { "float" } else { "int" };
        let sharing = match self.sharing {
            Sharing::Tensor => "one scale".to_owned(),
            Sharing::Channel => "a scale per row".to_owned(),
            Sharing::Group(len) => format!("groups of {len}"),
            Sharing::Block(BlockSize { height, width }) => format!("blocks of {height}×{width}"),
        };
        format!("{kind}{}, {sharing}", self.bits)
    }
}

/// The settings of a checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Compressed {
    descriptions: Vec<Description>,
    /// Whether some modules expect quantized activations.
    pub(super) quantizes_activations: bool,
}

/// The shape of a matrix.
#[derive(Clone, Copy, Debug)]
struct Shape {
    n_rows: usize,
    n_cols: usize,
}

impl Compressed {
    pub(super) fn of(config: &Config) -> Result<Self, LoadError> {
        const FORMATS: [&str; 5] =
            ["pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision"];
        check_format(config, &FORMATS)?;
        if let Some(sparsity) = config.object("sparsity_config")? {
            check_format(&sparsity, &["dense"])?;
        }
        if let Some(rotations) = config.object("transform_config")?.filter(|rotations| !rotations.is_empty())
        {
            let reason = format!("rotated weights are not supported; {INSTEAD}");
            return Err(unsupported("transform_config", rotations.names().join(", "), reason));
        }
        let groups = config
            .object("config_groups")?
            .ok_or_else(|| LoadError::MissingKey { key: "config_groups".into() })?;
        let mut all = Self { descriptions: Vec::new(), quantizes_activations: false };
        for name in groups.names() {
            let group = groups.object(&name)?.ok_or_else(|| LoadError::MissingKey { key: name.clone() })?;
            check_format(&group, &FORMATS)?;
            all.quantizes_activations |= group.value("input_activations").is_some_and(Value::is_object);
            if let Some(weights) = group.object("weights")? {
                all.descriptions.push(Description::of(&weights)?);
            }
        }
        Ok(all)
    }

    /// The matrix of a module that has a `weight_packed`, or a `weight` of bytes.
    pub(super) fn matrix(&self, parts: &mut Parts, module: &str) -> Result<MatrixParts, LoadError> {
        if let Some(packed) = parts.take(module, "weight_packed") {
            return self.packed_matrix(parts, module, packed);
        }
        let weight = parts.require(module, "weight", "weight")?;
        let scale = parts.require(module, "weight_scale", "weight")?;
        let [n_rows, n_cols] = weight.extents()?;
        let is_float = weight.stored != StoredAs::I8;
        let description = self.description(&weight, &scale, Shape { n_rows, n_cols }, |description| {
            description.is_float == is_float
        })?;
        if !is_float {
            return integer_matrix(parts, module, weight, scale, &description);
        }
        let block_size = match description.sharing {
            Sharing::Block(size) => Some(size),
            Sharing::Group(width) => Some(BlockSize { height: 1, width }),
            Sharing::Tensor | Sharing::Channel => None,
        };
        // Floats have no zero points; some writers store zeros all the same.
        parts.take(module, "weight_zero_point");
        float_matrix(module, weight, scale, block_size)
    }

    /// The description that fits the tensors of a module.
    fn description(
        &self,
        weight: &Part,
        scale: &Part,
        shape: Shape,
        fits: impl Fn(&Description) -> bool,
    ) -> Result<Description, LoadError> {
        let Shape { n_rows, n_cols } = shape;
        let fits_scale = |description: &Description| match description.sharing {
            Sharing::Tensor => scale.shape.iter().product::<usize>() == 1,
            Sharing::Channel => scale.shape.iter().product::<usize>() == n_rows,
            Sharing::Group(len) => n_cols.is_multiple_of(len) && scale.shape == [n_rows, n_cols / len],
            Sharing::Block(BlockSize { height, width }) => {
                scale.shape == [n_rows.div_ceil(height), n_cols.div_ceil(width)]
            }
        };
        let found = self.descriptions.iter().find(|description| fits(description) && fits_scale(description));
        found.copied().ok_or_else(|| {
            let described: Vec<String> = self.descriptions.iter().map(Description::text).collect();
            weight.error(format!(
                "stored as {} {:?} for a matrix of [{n_rows}, {n_cols}] with scales {:?}, it fits none of the configuration's groups: {}",
                weight.stored.name(),
                weight.shape,
                scale.shape,
                described.join("; ")
            ))
        })
    }

    fn packed_matrix(&self, parts: &mut Parts, module: &str, packed: Part) -> Result<MatrixParts, LoadError> {
        let [n_rows, n_words] = packed.extents()?;
        let shape = parts.require(module, "weight_shape", "weight_packed")?;
        let in_range = |extent: i64| (1..=MAX_EXTENT as i64).contains(&extent);
        let n_cols = match shape.integers()?[..] {
            [rows, cols] if rows == n_rows as i64 && in_range(cols) => cols as usize,
            ref found => {
                return Err(shape.error(format!("it says {found:?} for {n_rows} rows of packed codes")));
            }
        };
        let scale = parts.require(module, "weight_scale", "weight_packed")?;
        let description = self.description(&packed, &scale, Shape { n_rows, n_cols }, |description| {
            !description.is_float && n_words == (n_cols * description.bits).div_ceil(32)
        })?;
        let Description { bits, is_symmetric, sharing, .. } = description;
        let Scaling { scales, group_len, n_groups } = scaling(scale, n_rows, n_cols, sharing)?;
        let middle = 1 << (bits - 1);
        let zeros = match parts.take(module, "weight_zero_point") {
            Some(zeros) if zeros.stored == StoredAs::I8 => byte_zeros(zeros, n_rows, n_groups, middle)?,
            Some(zeros) => ZeroPoints::Packed {
                codes: Codes::new(zeros, bits, [n_rows, n_groups], Packing::First)?.held()?,
                orientation: Orientation::RowsFirst,
                plus: 0,
            },
            None if is_symmetric => ZeroPoints::Fixed(middle),
            None => return Err(without_zero_points(&packed)),
        };
        let groups = match parts.take(module, "weight_g_idx") {
            // All -1 before the activations were ordered.
            Some(g_idx) if g_idx.integers()?.iter().all(|&index| index == -1) => Groups::Even(group_len),
            Some(g_idx) => Groups::of(settings::group_indices(&g_idx, n_cols, n_groups)?, group_len),
            None => Groups::Even(group_len),
        };
        Ok(MatrixParts {
            name: format!("{module}.weight"),
            form: format!("compressed-tensors {}", description.text()),
            n_rows,
            n_cols,
            codes: Codes::new(packed, bits, [n_rows, n_cols], Packing::Last)?,
            orientation: Orientation::RowsFirst,
            number: Number::Unsigned,
            scales,
            offset: Offset::Zero(zeros),
            groups,
            n_groups,
        })
    }
}

/// Checks the field `format`, if there is one.
fn check_format(config: &Config, supported: &[&str]) -> Result<(), LoadError> {
    match config.text("format")? {
        Some(format) if !supported.contains(&format) => {
            let reason = format!("supported: {}; {INSTEAD}", supported.join(", "));
            Err(unsupported("format", format!("{format:?}"), reason))
        }
        _ => Ok(()),
    }
}

/// The error of codes that need zero points and have none.
fn without_zero_points(codes: &Part) -> LoadError {
    codes.error("its quantization is asymmetric, but there is no \"weight_zero_point\"".into())
}

/// A matrix of signed bytes.
fn integer_matrix(
    parts: &mut Parts,
    module: &str,
    weight: Part,
    scale: Part,
    description: &Description,
) -> Result<MatrixParts, LoadError> {
    let [n_rows, n_cols] = weight.extents()?;
    let Scaling { scales, group_len, n_groups } = scaling(scale, n_rows, n_cols, description.sharing)?;
    let zeros = match parts.take(module, "weight_zero_point") {
        Some(zeros) => byte_zeros(zeros, n_rows, n_groups, 0)?,
        None if description.is_symmetric => ZeroPoints::Fixed(0),
        None => return Err(without_zero_points(&weight)),
    };
    Ok(MatrixParts {
        name: format!("{module}.weight"),
        form: format!("compressed-tensors {}", description.text()),
        n_rows,
        n_cols,
        codes: Codes::new(weight, 8, [n_rows, n_cols], Packing::Last)?,
        orientation: Orientation::RowsFirst,
        number: Number::Signed,
        scales,
        offset: Offset::Zero(zeros),
        groups: Groups::Even(group_len),
        n_groups,
    })
}

/// The scales of a matrix, and the groups of columns that they are for.
struct Scaling {
    scales: Grid,
    group_len: usize,
    n_groups: usize,
}

fn scaling(scale: Part, n_rows: usize, n_cols: usize, sharing: Sharing) -> Result<Scaling, LoadError> {
    Ok(match sharing {
        Sharing::Tensor | Sharing::Channel => {
            Scaling { scales: Grid::by_tensor_or_row(scale, n_rows)?, group_len: n_cols, n_groups: 1 }
        }
        Sharing::Group(group_len) => {
            let n_groups = n_cols / group_len;
            Scaling { scales: Grid::by_row(scale, n_rows, n_groups)?, group_len, n_groups }
        }
        Sharing::Block(BlockSize { height, width }) => {
            let n_groups = n_cols.div_ceil(width);
            Scaling { scales: Grid::by_block(scale, n_rows, height, n_groups)?, group_len: width, n_groups }
        }
    })
}

/// Zero points that are signed bytes, in the shape of the scales; `plus` is what was added to the codes.
fn byte_zeros(part: Part, n_rows: usize, n_groups: usize, plus: i32) -> Result<ZeroPoints, LoadError> {
    part.expect_type(&[StoredAs::I8], "I8")?;
    let bytes = part.bytes()?.into_owned();
    let shape = part.shape.as_slice();
    if matches!(shape, [] | [1] | [1, 1]) {
        return Ok(ZeroPoints::Bytes { part, bytes, row_stride: 0, group_stride: 0, plus });
    }
    if shape == [n_rows] && n_groups == 1 {
        return Ok(ZeroPoints::Bytes { part, bytes, row_stride: 1, group_stride: 0, plus });
    }
    part.expect_shape(&[n_rows, n_groups])?;
    Ok(ZeroPoints::Bytes { part, bytes, row_stride: n_groups, group_stride: 1, plus })
}
