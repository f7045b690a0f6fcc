//! llama.cpp's quantization mixtures: the data type of each tensor in a quantized GGUF file.
//!
//! Some matrices are more sensitive to quantization than others. llama.cpp gives the output matrix more bits and, in its
//! "medium" mixtures (`Q4_K_M`, `Q5_K_M`), also half of the value and down projections. The rules are those of
//! `llama_tensor_get_type` in its `llama-quant.cpp`.

use sm_tensor::{DType, UnknownDType};

use crate::weights::fitting_dtype;

/// Which matrices get more bits than the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// None.
    Uniform,
    /// The output matrix.
    Output,
    /// The output matrix, and the value and down projections in the first and last eighth of the layers and every third
    /// layer in between.
    Medium,
}

/// Assigns data types to the tensors of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mixture {
    base: DType,
    rule: Rule,
}

/// The properties of a model that a [`Mixture`] depends on.
#[derive(Clone, Copy, Debug)]
pub struct MixtureModel {
    /// Transformer layers.
    pub n_layers: usize,
    /// Whether the embedding doubles as the output matrix.
    pub is_tied: bool,
}

impl Mixture {
    /// Every matrix in one data type.
    pub const fn uniform(dtype: DType) -> Self {
        Self { base: dtype, rule: Rule::Uniform }
    }

    /// The mixture of `llama-quantize` for a name: a data type, `q4_k_m` or `q5_k_m`.
    ///
    /// # Errors
    /// If the name is not known.
    pub fn named(name: &str) -> Result<Self, UnknownDType> {
        let base = match name.to_ascii_lowercase().as_str() {
            "q4_k_m" => return Ok(Self { base: DType::Q4K, rule: Rule::Medium }),
            "q5_k_m" => return Ok(Self { base: DType::Q5K, rule: Rule::Medium }),
            other => other.parse::<DType>()?,
        };
        Ok(Self { base, rule: if base.is_quantized() { Rule::Output } else { Rule::Uniform } })
    }

    /// The data type of most matrices.
    pub const fn base(&self) -> DType {
        self.base
    }

    /// The `general.file_type` of this mixture (`LLAMA_FTYPE_*` of llama.cpp).
    pub const fn file_type(&self) -> u32 {
        match self.base {
            DType::F32 => 0,
            DType::F16 => 1,
            DType::Bf16 => 32,
            DType::Q4_0 => 2,
            DType::Q4_1 => 3,
            DType::Q8_0 => 7,
            DType::Q5_0 => 8,
            DType::Q5_1 => 9,
            DType::Q2K => 10,
            DType::Q3K => 12,
            DType::Q4K => 15,
            DType::Q5K => 17,
            DType::Q6K => 18,
            DType::Iq4Nl => 25,
            DType::Iq4Xs => 30,
            DType::Iq3S => 26,
            DType::Iq3Xxs => 23,
            DType::Iq2S => 28,
            DType::Iq2Xs => 20,
            DType::Iq2Xxs => 19,
            DType::Iq1M => 31,
            DType::Iq1S => 24,
            DType::Mxfp4 => 38,
            DType::Tq2_0 => 37,
            DType::Tq1_0 => 36,
            DType::Q1_0 => 40,
        }
    }

    /// The data type of a tensor, by its GGUF name; `shape` is slowest dimension first.
    ///
    /// Vectors, norms and routers stay F32. If rows are not whole blocks, uses a related format with shorter blocks.
    pub fn dtype_of(&self, tensor: &str, shape: &[usize], model: MixtureModel) -> DType {
        let is_matrix = shape.len() >= 2 && tensor.ends_with(".weight");
        let [.., cols] = shape else { return DType::F32 };
        if !is_matrix || tensor.contains("_norm.") || tensor.contains("ffn_gate_inp.") {
            return DType::F32;
        }
        let is_output = tensor == "output.weight" || model.is_tied && tensor == "token_embd.weight";
        let more_bits = is_output && self.rule != Rule::Uniform
            || self.rule == Rule::Medium
                && layer_of(tensor, &["attn_v.weight", "ffn_down.weight"])
                    .is_some_and(|layer| is_sensitive(layer, model.n_layers));
        let wanted = if more_bits && self.base != DType::Q8_0 { DType::Q6K } else { self.base };
        fitting_dtype(wanted, *cols)
    }
}

/// The layer of a tensor, if it is one of `parts`.
fn layer_of(tensor: &str, parts: &[&str]) -> Option<usize> {
    let (layer, part) = tensor.strip_prefix("blk.")?.split_once('.')?;
    if parts.contains(&part) { layer.parse().ok() } else { None }
}

/// Whether a layer gets more bits in a medium mixture (`use_more_bits` of llama.cpp).
fn is_sensitive(layer: usize, n_layers: usize) -> bool {
    let eighth = n_layers / 8;
    layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: MixtureModel = MixtureModel { n_layers: 22, is_tied: false };

    #[test]
    fn medium_mixtures_upgrade_the_layers_that_llama_cpp_does() {
        // The layers for which llama-quantize chooses Q6_K in a model of 22 layers.
        let sensitive = [0, 1, 4, 7, 10, 13, 16, 19, 20, 21];
        let mixture = Mixture::named("Q4_K_M").unwrap();
        for layer in 0..22 {
            let expected = if sensitive.contains(&layer) { DType::Q6K } else { DType::Q4K };
            for part in ["attn_v", "ffn_down"] {
                let name = format!("blk.{layer}.{part}.weight");
                assert_eq!(mixture.dtype_of(&name, &[256, 2048], MODEL), expected, "{name}");
            }
            let name = format!("blk.{layer}.attn_k.weight");
            assert_eq!(mixture.dtype_of(&name, &[256, 2048], MODEL), DType::Q4K, "{name}");
        }
    }

    #[test]
    fn data_types_depend_on_the_tensor_and_its_row_length() {
        let tied = MixtureModel { is_tied: true, ..MODEL };
        let cases = [
            ("q4_0", "output.weight", 2048, MODEL, DType::Q6K),
            ("q4_0", "output.weight", 576, MODEL, DType::Q8_0),
            ("q8_0", "output.weight", 2048, MODEL, DType::Q8_0),
            ("f16", "output.weight", 2048, MODEL, DType::F16),
            ("q4_0", "token_embd.weight", 2048, MODEL, DType::Q4_0),
            ("q4_0", "token_embd.weight", 2048, tied, DType::Q6K),
            ("q4_k_m", "blk.2.attn_q.weight", 576, MODEL, DType::Q5_0),
            ("q4_0", "blk.2.attn_q.weight", 33, MODEL, DType::F16),
            ("q4_0", "blk.2.ffn_gate_inp.weight", 2048, MODEL, DType::F32),
            ("q4_0", "blk.2.attn_q_norm.weight", 64, MODEL, DType::F32),
        ];
        for (mixture, tensor, cols, model, expected) in cases {
            let dtype = Mixture::named(mixture).unwrap().dtype_of(tensor, &[8, cols], model);
            assert_eq!(dtype, expected, "{mixture} {tensor} {cols}");
        }
        let uniform = Mixture::uniform(DType::Q4_0);
        assert_eq!(uniform.dtype_of("output.weight", &[8, 2048], MODEL), DType::Q4_0);
        assert_eq!(uniform.dtype_of("output_norm.weight", &[2048], MODEL), DType::F32);
    }
}
