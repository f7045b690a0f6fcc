//! Quantized Hugging Face checkpoints: FP8, GPTQ, AWQ, compressed-tensors and MLX.
//!
//! ```text
//! config.json ─► Quantization                                      method and settings
//! module.{qweight, scales, …} ─► QuantizedMatrix "module.weight"   codes, scales, zero points
//!                                     └─► rows of one of our data types, when they are asked for
//! ```
//!
//! Which modules are quantized shows in their tensors. The configuration must agree: with no quantized module, with one that it
//! excludes, or with other shapes than its settings imply, the model is refused. `matrix.rs` says which data type a matrix gets.

mod awq;
mod codes;
mod compressed;
mod fp8;
mod gptq;
mod grid;
mod matrix;
mod mlx;
mod note;
mod number;
mod part;
mod settings;

use std::collections::BTreeMap;

pub(crate) use matrix::{QuantizedMatrix, ReadError};
pub use note::{LoadNote, Loss};
pub(crate) use part::OpenFile;

use self::awq::Awq;
use self::compressed::Compressed;
use self::fp8::Fp8;
use self::gptq::Gptq;
use self::matrix::MatrixParts;
use self::mlx::Mlx;
use self::part::{Part, Parts};
use self::settings::INSTEAD;
use super::TensorInfo;
use super::stored::StoredAs;
use crate::LoadError;
use crate::config::{Config, unsupported};

const KEY: &str = "quantization_config";

/// A method, and its settings.
#[derive(Clone, Debug)]
enum Method {
    Fp8(Fp8),
    Gptq(Gptq),
    Awq(Awq),
    Compressed(Compressed),
    Mlx(Mlx),
}

/// How the matrices of a checkpoint are quantized; not at all by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quantization {
    method: Option<Method>,
    /// Modules that the configuration says are not quantized.
    excluded: Vec<String>,
}

/// What was found in the files of a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) matrices: Vec<QuantizedMatrix>,
    pub(crate) notes: Vec<LoadNote>,
}

impl Quantization {
    /// What a `config.json` says.
    ///
    /// # Errors
    /// If the method or one of its settings is not supported.
    pub(crate) fn of(config: &Config) -> Result<Self, LoadError> {
        // mlx-lm writes the same settings under both names, for others to find.
        if let Some(settings) = config.object("quantization")? {
            return Ok(Self { method: Some(Method::Mlx(Mlx::of(&settings)?)), excluded: Vec::new() });
        }
        match config.object(KEY)? {
            Some(settings) => {
                Self::of_settings(&settings, settings.text("quant_method")?.unwrap_or_default())
            }
            None => Ok(Self::default()),
        }
    }

    /// What the file of a quantizer says: `quantize_config.json` of AutoGPTQ, from before `config.json` had a place for it.
    ///
    /// # Errors
    /// As [`Quantization::of`].
    pub(crate) fn of_settings(settings: &Config, method: &str) -> Result<Self, LoadError> {
        let method = match method.to_lowercase().as_str() {
            "fp8" | "fbgemm_fp8" => Method::Fp8(Fp8::of(settings)?),
            "gptq" => Method::Gptq(Gptq::of(settings)?),
            "awq" => Method::Awq(Awq::of(settings)?),
            "compressed-tensors" => Method::Compressed(Compressed::of(settings)?),
            _ => {
                let reason = format!("supported: fp8, gptq, awq, compressed-tensors, and MLX; {INSTEAD}");
                return Err(unsupported("quant_method", format!("{method:?}"), reason));
            }
        };
        let mut excluded = Vec::new();
        for key in ["modules_to_not_convert", "ignored_layers", "ignore"] {
            excluded.extend(settings.texts(key)?.unwrap_or_default().into_iter().map(str::to_owned));
        }
        Ok(Self { method: Some(method), excluded })
    }

    pub(crate) fn is_none(&self) -> bool {
        self.method.is_none()
    }

    /// Whether the configuration says that a module is not quantized: by its name, or the beginning or end of it. Patterns are not
    /// compared.
    fn excludes(&self, module: &str) -> Option<&str> {
        let is_named = |name: &&String| {
            let rest = module.strip_prefix(name.as_str());
            let before = module.strip_suffix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                || before.is_some_and(|before| before.ends_with('.'))
        };
        self.excluded.iter().find(is_named).map(String::as_str)
    }
}

impl Method {
    fn name(&self) -> &'static str {
        match self {
            Self::Fp8(_) => "fp8",
            Self::Gptq(_) => "gptq",
            Self::Awq(_) => "awq",
            Self::Compressed(_) => "compressed-tensors",
            Self::Mlx(_) => "mlx",
        }
    }

    /// The module that a tensor shows to be quantized.
    fn module<'a>(&self, part: &'a Part) -> Option<&'a str> {
        let is_fp8 = matches!(part.stored, StoredAs::E4m3 | StoredAs::E5m2);
        let weight = part.name.strip_suffix(".weight");
        match self {
            Self::Fp8(_) => weight.filter(|_| is_fp8),
            Self::Gptq(_) | Self::Awq(_) => part.name.strip_suffix(".qweight"),
            Self::Compressed(_) => match part.name.strip_suffix(".weight_packed") {
                None => weight.filter(|_| is_fp8 || part.stored == StoredAs::I8),
                packed => packed,
            },
            Self::Mlx(_) => part.name.strip_suffix(".scales"),
        }
    }

    fn matrix(&mut self, parts: &mut Parts, module: &str) -> Result<MatrixParts, LoadError> {
        match self {
            Self::Fp8(method) => method.matrix(parts, module),
            Self::Gptq(method) => method.matrix(parts, module),
            Self::Awq(method) => method.matrix(parts, module),
            Self::Compressed(method) => method.matrix(parts, module),
            Self::Mlx(method) => method.matrix(parts, module),
        }
    }

    fn quantizes_activations(&self) -> bool {
        match self {
            Self::Fp8(_) => true,
            Self::Compressed(method) => method.quantizes_activations,
            Self::Gptq(_) | Self::Awq(_) | Self::Mlx(_) => false,
        }
    }
}

/// Takes the tensors of quantized matrices out of the files of a model.
///
/// # Errors
/// If the tensors of a matrix are incomplete or contradict each other or the configuration.
pub(crate) fn take_matrices(files: &mut [OpenFile], quantization: &Quantization) -> Result<Found, LoadError> {
    let Some(method) = &quantization.method else {
        return refuse_quantized(files).map(|()| Found::default());
    };
    let mut method = method.clone();
    let mut parts = Parts::of(files);
    let sorted = parts.sorted();
    let modules: Vec<String> =
        sorted.iter().filter_map(|part| method.module(part)).map(str::to_owned).collect();
    check_modules(&modules, quantization, method.name(), parts.len())?;
    let mut matrices = Vec::with_capacity(modules.len());
    for module in &modules {
        let matrix = QuantizedMatrix::new(method.matrix(&mut parts, module)?);
        // Choosing its data type has touched scales and zero points.
        matrix.release();
        matrices.push(matrix);
    }
    let mut notes = rounded(&matrices);
    let n_scales = parts.take_all(&[".input_scale", ".input_zero_point", ".activation_scale"]);
    if method.quantizes_activations() || n_scales > 0 {
        notes.push(LoadNote::Activations { n_scales });
    }
    let n_scales = parts.take_all(&[".k_scale", ".v_scale", ".output_scale"]);
    if n_scales > 0 {
        notes.push(LoadNote::CacheScales { n_scales });
    }
    if let Method::Gptq(gptq) = &method
        && gptq.n_as_stored() > 0
    {
        notes.push(LoadNote::ZeroPointsAsStored { n_matrices: gptq.n_as_stored() });
    }
    parts.remove_taken(files);
    Ok(Found { matrices, notes })
}

/// Fails if tensors look quantized although the configuration does not say how.
fn refuse_quantized(files: &[OpenFile]) -> Result<(), LoadError> {
    let is_code = |(info, stored): &&(TensorInfo, StoredAs)| match stored {
        StoredAs::E4m3 | StoredAs::E5m2 => true,
        StoredAs::U32 => info.name.ends_with(".weight"),
        StoredAs::I32 => [".qweight", ".weight_packed"].iter().any(|suffix| info.name.ends_with(suffix)),
        _ => false,
    };
    match files.iter().flat_map(|file| &file.tensors.foreign).find(is_code) {
        None => Ok(()),
        Some((info, stored)) => Err(LoadError::Quantized {
            tensor: info.name.clone(),
            reason: format!(
                "it is stored as {}, but config.json has no {KEY:?} that says how; copy it from the original model",
                stored.name()
            ),
        }),
    }
}

/// Checks that the files have quantized modules, and none that the configuration excludes.
fn check_modules(
    modules: &[String],
    quantization: &Quantization,
    method: &str,
    n_tensors: usize,
) -> Result<(), LoadError> {
    if modules.is_empty() {
        let reason = format!(
            "none of the {n_tensors} tensors is quantized; if they were converted back, remove {KEY:?}"
        );
        return Err(unsupported(KEY, method, reason));
    }
    let excluded: Vec<(&String, &str)> =
        modules.iter().filter_map(|module| Some((module, quantization.excludes(module)?))).collect();
    let Some((module, name)) = excluded.first() else { return Ok(()) };
    let reason = format!(
        "it is listed as not quantized, but {} of the {} quantized modules fall under such names, {module:?} for instance",
        excluded.len(),
        modules.len()
    );
    Err(unsupported(KEY, format!("{name:?}"), reason))
}

/// Notes on matrices whose values are rounded.
fn rounded(matrices: &[QuantizedMatrix]) -> Vec<LoadNote> {
    let mut counts: BTreeMap<(Loss, &str, _), usize> = BTreeMap::new();
    for matrix in matrices {
        if let Some(loss) = matrix.loss() {
            *counts.entry((loss, matrix.form(), matrix.info().dtype)).or_default() += 1;
        }
    }
    let note = |((loss, form, dtype), n_matrices): ((Loss, &str, _), usize)| LoadNote::Rounded {
        form: form.to_owned(),
        n_matrices,
        n_quantized: matrices.len(),
        dtype,
        loss,
    };
    counts.into_iter().map(note).collect()
}

#[cfg(test)]
mod tests;
