//! The supported architectures: their names, and how their configurations become a [`DecoderSpec`].
//!
//! An architecture is one row of [`TABLE`] and one file. The file reads what it shares with Llama through [`hf`] (for
//! `config.json`) and [`gguf`] (for GGUF metadata), then changes the fields that differ. Defaults and semantics follow
//! the architecture's `modeling_*.py` in transformers; names and conversions of GGUF files follow `convert_hf_to_gguf.py` of
//! llama.cpp.

mod apertus;
mod ernie4_5;
mod exaone4;
mod gemma;
mod gguf;
mod glm4;
mod gpt2;
mod granite;
mod hf;
mod hunyuan;
mod llama;
mod mistral;
mod mixtral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod smollm3;

use sm_kernels::plan::Activation;

use self::gguf::GgufConfig;
use crate::LoadError;
use crate::config::{Config, unsupported};
use crate::load::smnd::SmndConfig;
use crate::load::tensors::Tensors;
use crate::metadata::Metadata;
use crate::spec::DecoderSpec;
use crate::xielu::StoredXielu;

/// One row of the table of architectures.
struct Architecture {
    /// Its name in SmallMind.
    name: &'static str,
    /// `architectures` and `model_type` of `config.json`.
    hf_names: &'static [&'static str],
    /// `general.architecture` of a GGUF file; `None` if llama.cpp files it under another architecture.
    gguf_name: Option<&'static str>,
    from_hf: fn(&Config) -> Result<DecoderSpec, LoadError>,
    from_gguf: fn(&GgufConfig<'_>) -> Result<DecoderSpec, LoadError>,
}

const TABLE: &[Architecture] = &[
    Architecture {
        name: "llama",
        hf_names: &["LlamaForCausalLM", "llama"],
        gguf_name: Some("llama"),
        from_hf: llama::from_hf,
        from_gguf: llama::from_gguf,
    },
    Architecture {
        name: "mistral",
        hf_names: &["MistralForCausalLM", "mistral"],
        gguf_name: None,
        from_hf: mistral::from_hf,
        from_gguf: llama::from_gguf,
    },
    Architecture {
        name: "mistral3",
        hf_names: &["Mistral3ForConditionalGeneration", "Ministral3ForCausalLM", "mistral3", "ministral3"],
        gguf_name: Some("mistral3"),
        from_hf: mistral::ministral3_from_hf,
        from_gguf: mistral::mistral3_from_gguf,
    },
    Architecture {
        name: "mixtral",
        hf_names: &["MixtralForCausalLM", "mixtral"],
        gguf_name: None,
        from_hf: mixtral::from_hf,
        from_gguf: llama::from_gguf,
    },
    Architecture {
        name: "smollm3",
        hf_names: &["SmolLM3ForCausalLM", "smollm3"],
        gguf_name: Some("smollm3"),
        from_hf: smollm3::from_hf,
        from_gguf: smollm3::from_gguf,
    },
    Architecture {
        name: "granite",
        hf_names: &["GraniteForCausalLM", "granite"],
        gguf_name: Some("granite"),
        from_hf: granite::from_hf,
        from_gguf: granite::from_gguf,
    },
    Architecture {
        name: "olmo2",
        hf_names: &["Olmo2ForCausalLM", "olmo2"],
        gguf_name: Some("olmo2"),
        from_hf: olmo2::from_hf,
        from_gguf: olmo2::from_gguf,
    },
    Architecture {
        name: "olmo3",
        hf_names: &["Olmo3ForCausalLM", "olmo3"],
        gguf_name: None,
        from_hf: olmo2::olmo3_from_hf,
        from_gguf: olmo2::from_gguf,
    },
    Architecture {
        name: "exaone4",
        hf_names: &["Exaone4ForCausalLM", "exaone4"],
        gguf_name: Some("exaone4"),
        from_hf: exaone4::from_hf,
        from_gguf: exaone4::from_gguf,
    },
    Architecture {
        name: "glm",
        hf_names: &["GlmForCausalLM", "glm"],
        gguf_name: Some("chatglm"),
        from_hf: glm4::glm_from_hf,
        from_gguf: glm4::glm_from_gguf,
    },
    Architecture {
        name: "glm4",
        hf_names: &["Glm4ForCausalLM", "glm4"],
        gguf_name: Some("glm4"),
        from_hf: glm4::from_hf,
        from_gguf: glm4::from_gguf,
    },
    Architecture {
        name: "apertus",
        hf_names: &["ApertusForCausalLM", "apertus"],
        gguf_name: Some("apertus"),
        from_hf: apertus::from_hf,
        from_gguf: apertus::from_gguf,
    },
    Architecture {
        name: "ernie4_5",
        hf_names: &["Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM", "ernie4_5"],
        gguf_name: Some("ernie4_5"),
        from_hf: ernie4_5::from_hf,
        from_gguf: ernie4_5::from_gguf,
    },
    Architecture {
        name: "hunyuan",
        hf_names: &["HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense"],
        gguf_name: Some("hunyuan-dense"),
        from_hf: hunyuan::from_hf,
        from_gguf: hunyuan::from_gguf,
    },
    Architecture {
        name: "qwen2",
        hf_names: &["Qwen2ForCausalLM", "qwen2"],
        gguf_name: Some("qwen2"),
        from_hf: qwen2::from_hf,
        from_gguf: qwen2::from_gguf,
    },
    Architecture {
        name: "qwen2_moe",
        hf_names: &["Qwen2MoeForCausalLM", "qwen2_moe"],
        gguf_name: Some("qwen2moe"),
        from_hf: qwen2_moe::from_hf,
        from_gguf: qwen2_moe::from_gguf,
    },
    Architecture {
        name: "qwen3",
        hf_names: &["Qwen3ForCausalLM", "qwen3"],
        gguf_name: Some("qwen3"),
        from_hf: qwen3::from_hf,
        from_gguf: qwen3::from_gguf,
    },
    Architecture {
        name: "qwen3_moe",
        hf_names: &["Qwen3MoeForCausalLM", "qwen3_moe"],
        gguf_name: Some("qwen3moe"),
        from_hf: qwen3::moe_from_hf,
        from_gguf: qwen3::from_gguf,
    },
    Architecture {
        name: "gemma",
        hf_names: &["GemmaForCausalLM", "gemma"],
        gguf_name: Some("gemma"),
        from_hf: gemma::from_hf,
        from_gguf: gemma::from_gguf,
    },
    Architecture {
        name: "gemma2",
        hf_names: &["Gemma2ForCausalLM", "gemma2"],
        gguf_name: Some("gemma2"),
        from_hf: gemma::gemma2_from_hf,
        from_gguf: gemma::gemma2_from_gguf,
    },
    Architecture {
        name: "gemma3",
        hf_names: &["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", "gemma3_text", "gemma3"],
        gguf_name: Some("gemma3"),
        from_hf: gemma::gemma3_from_hf,
        from_gguf: gemma::gemma3_from_gguf,
    },
    Architecture {
        name: "phi3",
        hf_names: &["Phi3ForCausalLM", "phi3"],
        gguf_name: Some("phi3"),
        from_hf: phi3::from_hf,
        from_gguf: phi3::from_gguf,
    },
    Architecture {
        name: "gpt2",
        hf_names: &["GPT2LMHeadModel", "gpt2"],
        gguf_name: Some("gpt2"),
        from_hf: gpt2::from_hf,
        from_gguf: gpt2::from_gguf,
    },
];

/// The names of the supported architectures.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.name)
}

fn unknown(found: &str) -> LoadError {
    let supported = architectures().collect::<Vec<_>>().join(", ");
    LoadError::UnknownArchitecture { found: found.to_owned(), supported }
}

fn finish(row: &Architecture, mut spec: DecoderSpec) -> Result<DecoderSpec, LoadError> {
    spec.architecture = row.name;
    spec.check()?;
    Ok(spec)
}

/// The decoder described by a `config.json`.
pub(crate) fn from_hf(config: &Config, tensors: &Tensors) -> Result<DecoderSpec, LoadError> {
    let names = config.texts("architectures")?.unwrap_or_default();
    let name = match names.first() {
        Some(name) => name,
        None => {
            config.text("model_type")?.ok_or_else(|| LoadError::MissingKey { key: "architectures".into() })?
        }
    };
    let row = TABLE.iter().find(|row| row.hf_names.contains(&name)).ok_or_else(|| unknown(name))?;
    let mut spec = (row.from_hf)(config)?;
    spec.naming = spec.naming.resolve_prefix(|name| tensors.contains(name))?;
    let naming = &spec.naming;
    for (index, layer) in spec.layers.iter_mut().enumerate() {
        if matches!(layer.ffn.activation, Activation::Xielu(_)) {
            layer.ffn.activation = StoredXielu::read(tensors, naming, index)?.activation();
        }
    }
    finish(row, spec)
}

/// The decoder described by GGUF metadata.
pub(crate) fn from_gguf(metadata: &Metadata, tensors: &Tensors) -> Result<DecoderSpec, LoadError> {
    let name: &str = metadata.require("general.architecture")?;
    if let Some(parts @ 2..) = metadata.get::<u32>("split.count")? {
        return Err(unsupported(
            "split.count",
            parts,
            "join the parts into one file first: llama-gguf-split --merge".into(),
        ));
    }
    let row = TABLE.iter().find(|row| row.gguf_name == Some(name)).ok_or_else(|| unknown(name))?;
    let config = GgufConfig { metadata, tensors, architecture: name };
    finish(row, (row.from_gguf)(&config)?)
}

/// The decoder described by a `.smnd` checkpoint.
pub(crate) fn from_smnd(config: &SmndConfig) -> Result<DecoderSpec, LoadError> {
    let spec = gpt2::from_smnd(config)?;
    spec.check()?;
    Ok(spec)
}
