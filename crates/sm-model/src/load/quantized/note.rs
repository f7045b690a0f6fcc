//! What loading a quantized checkpoint changes or leaves out.

use std::fmt;

use sm_tensor::DType;

/// Why the values of a matrix are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Loss {
    /// FP8: no block format has floats as codes.
    Fp8,
    /// More than 4 bits and zero points, or more than 5 and biases.
    WideCodes,
    /// The columns of a block belong to several groups, as reordered by GPTQ's `desc_act`.
    ActOrder,
    /// Groups are not whole blocks.
    GroupLen,
    /// Rows are not whole blocks.
    RowLen,
    /// Some scale or bias is not exact in f16.
    Scales,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp8 => "no block format has fp8 values",
            Self::WideCodes => "no block format has codes of this size with zero points or biases",
            Self::ActOrder => "act-order mixes groups within blocks of 32 columns",
            Self::GroupLen => "their groups are not whole blocks of 32 columns",
            Self::RowLen => "their rows are not whole blocks of 32 columns",
            Self::Scales => "some of their scales or biases are not exact in f16",
        })
    }
}

/// What loading a quantized checkpoint changes or leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadNote {
    /// The values of some matrices were rounded.
    Rounded {
        /// How the checkpoint stores them.
        form: String,
        /// How many.
        n_matrices: usize,
        /// Quantized matrices in the model.
        n_quantized: usize,
        /// What they became.
        dtype: DType,
        /// Why.
        loss: Loss,
    },
    /// The checkpoint was made for activations of fewer bits; here they are not quantized.
    Activations {
        /// Tensors of their scales that are not used.
        n_scales: usize,
    },
    /// The checkpoint has scales for a KV cache of fewer bits, which are not used.
    CacheScales {
        /// Tensors that are not used.
        n_scales: usize,
    },
    /// The configuration says that zero points are stored less one, and that quantization is symmetric; both are true only if they
    /// are stored as they are.
    ZeroPointsAsStored {
        /// Matrices read that way.
        n_matrices: usize,
    },
}

impl fmt::Display for LoadNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rounded { form, n_matrices, n_quantized, dtype, loss } => write!(
                f,
                "{n_matrices} of {n_quantized} quantized matrices ({form}) became {dtype}, each value rounded once: {loss}"
            ),
            Self::Activations { n_scales: 0 } => {
                f.write_str("the model was made for quantized activations; here they keep their precision")
            }
            Self::Activations { n_scales } => write!(
                f,
                "the model was made for quantized activations; here they keep their precision, and {n_scales} scales are not used"
            ),
            Self::CacheScales { n_scales } => {
                write!(f, "{n_scales} scales for a quantized KV cache are not used")
            }
            Self::ZeroPointsAsStored { n_matrices } => write!(
                f,
                "{n_matrices} matrices have the zero points of checkpoint_format gptq_v2, though the configuration says gptq"
            ),
        }
    }
}
