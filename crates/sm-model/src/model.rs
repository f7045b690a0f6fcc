//! Loads a model: description, plan and weights.
//!
//! ```text
//! path ─► kind of file ─► configuration + tensors ─► DecoderSpec ─► Plan + Weights
//!         (detect)        (load/)                    (arch/)        (decoder/, weights/)
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sm_kernels::plan::Plan;
use sm_tensor::DType;

use crate::config::Config;
use crate::load::file::{FileBytes, check_kind};
use crate::load::gguf::Gguf;
use crate::load::quantized::Quantization;
use crate::load::split::model_among;
use crate::load::tensors::Tensors;
use crate::load::{safetensors, smnd};
use crate::metadata::Metadata;
use crate::spec::DecoderSpec;
use crate::weights::{Registry, Weights};
use crate::{LoadError, arch, decoder};

/// The default context length, if the model supports it.
pub const DEFAULT_CONTEXT_LEN: usize = 4096;

/// How a model is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Context length; `usize::MAX` is the model's limit; if `None`, [`DEFAULT_CONTEXT_LEN`] or that limit, whichever is less.
    pub context_len: Option<usize>,
    /// Data type to convert matrices to; if `None`, they keep their stored type.
    pub quant: Option<DType>,
}

/// A model's source, from which its tokenizer, chat template and stop tokens are read.
///
/// Models loaded from memory have empty paths.
#[derive(Clone, Debug)]
pub enum ModelSource {
    /// A Hugging Face directory.
    Directory(PathBuf),
    /// A GGUF file with its metadata.
    Gguf {
        /// The file.
        path: PathBuf,
        /// Its metadata.
        metadata: Box<Metadata>,
    },
    /// A `.smnd` checkpoint.
    Smnd {
        /// The file.
        path: PathBuf,
        /// Additional fields from the training program.
        extra: serde_json::Map<String, serde_json::Value>,
    },
}

/// A model's files in memory.
#[derive(Clone, Debug)]
pub enum ModelBytes {
    /// A Hugging Face directory.
    Directory {
        /// `config.json`.
        config: Vec<u8>,
        /// `model.safetensors`.
        tensors: Vec<u8>,
    },
    /// A GGUF file, owned or built into the program.
    Gguf(Cow<'static, [u8]>),
    /// A `.smnd` file.
    Smnd(Vec<u8>),
}

/// A model ready for a backend. Immutable; can be shared between threads.
#[derive(Debug)]
pub struct Model {
    /// Its description.
    pub spec: DecoderSpec,
    /// The operations of a step.
    pub plan: Plan,
    /// Its tensors, by name in the plan.
    pub weights: Weights,
    /// Its source.
    pub source: ModelSource,
}

impl Model {
    /// The architecture's name.
    pub fn architecture(&self) -> &'static str {
        self.spec.architecture
    }

    /// Number of values in all tensors.
    pub fn n_parameters(&self) -> u64 {
        self.weights.tensors().iter().map(|tensor| tensor.n_values() as u64).sum()
    }

    /// Number of tensors of each data type, as stored.
    pub fn dtypes(&self) -> BTreeMap<DType, usize> {
        let mut counts = BTreeMap::new();
        for tensor in self.weights.tensors() {
            *counts.entry(tensor.dtype).or_default() += 1;
        }
        counts
    }
}

/// Loads a model from a Hugging Face directory (`config.json` and safetensors, sharded or not), from a directory with one
/// GGUF file, or from a `.gguf`, `.safetensors` or `.smnd` file.
///
/// Files are memory-mapped. Weights are read and converted only when a backend requests them.
///
/// ```no_run
/// use sm_model::{LoadOptions, load_model};
///
/// let model = load_model("models/llama".as_ref(), &LoadOptions::default())?;
/// println!("{} with {} parameters", model.architecture(), model.n_parameters());
/// # Ok::<(), sm_model::LoadError>(())
/// ```
///
/// # Errors
/// If a file is missing, damaged or of an unknown kind, if the architecture or one of its features is not supported, or
/// if the tensors contradict the configuration.
pub fn load_model(path: &Path, options: &LoadOptions) -> Result<Model, LoadError> {
    match detect(path)? {
        Kind::Directory(dir) => load_directory(&dir, options),
        Kind::Gguf(path) => load_gguf(&path, options).map_err(|error| error.in_file(&path)),
        Kind::Smnd(path) => load_smnd(&path, options).map_err(|error| error.in_file(&path)),
    }
}

/// Loads a model from memory.
///
/// # Errors
/// As [`load_model`].
pub fn parse_model(bytes: ModelBytes, options: &LoadOptions) -> Result<Model, LoadError> {
    let mut all = Tensors::default();
    let path = PathBuf::new();
    let (spec, source) = match bytes {
        ModelBytes::Directory { config, tensors } => {
            let config = Config::parse(&config)?.text_model()?;
            all = Tensors::parse_safetensors(tensors, &Quantization::of(&config)?)?;
            (arch::from_hf(&config, &all)?, ModelSource::Directory(path))
        }
        ModelBytes::Gguf(bytes) => {
            let (metadata, infos, bytes) = Gguf::parse(bytes)?.into_parts();
            all.add_file(infos, bytes)?;
            (arch::from_gguf(&metadata, &all)?, ModelSource::Gguf { path, metadata: Box::new(metadata) })
        }
        ModelBytes::Smnd(bytes) => {
            let bytes = FileBytes::from(bytes);
            let (config, infos) = smnd::read(&bytes)?;
            all.add(infos, bytes)?;
            (arch::from_smnd(&config)?, ModelSource::Smnd { path, extra: config.extra })
        }
    };
    build(spec, all, source, options)
}

/// The kind of a model's files, and where they are.
pub(crate) enum Kind {
    Directory(PathBuf),
    Gguf(PathBuf),
    Smnd(PathBuf),
}

pub(crate) fn detect(path: &Path) -> Result<Kind, LoadError> {
    let not_a_model = |reason| Err(LoadError::NotAModel { path: path.to_owned(), reason });
    let io_error = |source| LoadError::Io { path: path.to_owned(), source };
    if path.is_dir() {
        let has_config = path.join("config.json").is_file();
        let files = gguf_files(path)?;
        return match model_among(&files) {
            _ if has_config && safetensors::exist_in(path) => Ok(Kind::Directory(path.to_owned())),
            Some(file) => Ok(Kind::Gguf(file)),
            // The reader of directories reports what is missing.
            None if files.is_empty() && has_config => Ok(Kind::Directory(path.to_owned())),
            None if files.is_empty() => {
                not_a_model("the directory has neither a config.json nor a .gguf file")
            }
            None => not_a_model("the directory has several .gguf files; give the path of one"),
        };
    }
    check_kind(path)?;
    let mut magic = Vec::new();
    File::open(path).and_then(|file| file.take(4).read_to_end(&mut magic)).map_err(io_error)?;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match (&magic[..], extension) {
        (b"GGUF", _) | (_, "gguf") => Ok(Kind::Gguf(path.to_owned())),
        (b"SMND", _) | (_, "smnd") => Ok(Kind::Smnd(path.to_owned())),
        (_, "safetensors") => Ok(Kind::Directory(directory_of(path).to_owned())),
        _ => not_a_model("expected a directory with config.json, or a .gguf, .safetensors or .smnd file"),
    }
}

/// The directory of a file.
fn directory_of(file: &Path) -> &Path {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn gguf_files(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let io_error = |source| LoadError::Io { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io_error)? {
        let path = entry.map_err(io_error)?.path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            files.push(path);
        }
    }
    Ok(files)
}

fn load_directory(dir: &Path, options: &LoadOptions) -> Result<Model, LoadError> {
    let config_path = dir.join("config.json");
    let config = Config::open(&config_path)?.text_model().map_err(|error| error.in_file(&config_path))?;
    let tensors = Tensors::open_safetensors(dir, Some(&quantization(dir, &config)?))?;
    let spec = arch::from_hf(&config, &tensors).map_err(|error| error.in_file(&config_path))?;
    build(spec, tensors, ModelSource::Directory(dir.to_owned()), options).map_err(|error| error.in_file(dir))
}

/// How the weights of a directory are quantized.
fn quantization(dir: &Path, config: &Config) -> Result<Quantization, LoadError> {
    let said = Quantization::of(config).map_err(|error| error.in_file(&dir.join("config.json")))?;
    // AutoGPTQ wrote its settings here, before `config.json` had a place for them.
    let own_file = dir.join("quantize_config.json");
    if !said.is_none() || !own_file.is_file() {
        return Ok(said);
    }
    Quantization::of_settings(&Config::open(&own_file)?, "gptq").map_err(|error| error.in_file(&own_file))
}

fn load_gguf(path: &Path, options: &LoadOptions) -> Result<Model, LoadError> {
    let (metadata, tensors) = Tensors::open_gguf(path)?;
    let spec = arch::from_gguf(&metadata, &tensors)?;
    let source = ModelSource::Gguf { path: path.to_owned(), metadata: Box::new(metadata) };
    build(spec, tensors, source, options)
}

fn load_smnd(path: &Path, options: &LoadOptions) -> Result<Model, LoadError> {
    let bytes = FileBytes::open(path)?;
    let (config, infos) = smnd::read(&bytes)?;
    let spec = arch::from_smnd(&config)?;
    let mut tensors = Tensors::default();
    tensors.add(infos, bytes)?;
    let source = ModelSource::Smnd { path: path.to_owned(), extra: config.extra };
    build(spec, tensors, source, options)
}

fn build(
    spec: DecoderSpec,
    tensors: Tensors,
    source: ModelSource,
    options: &LoadOptions,
) -> Result<Model, LoadError> {
    let max = spec.max_context_len;
    let context_len = match options.context_len {
        Some(usize::MAX) => max,
        given => given.unwrap_or(max.min(DEFAULT_CONTEXT_LEN)),
    };
    if !(1..=max).contains(&context_len) {
        return Err(LoadError::ContextLen { requested: context_len, max });
    }
    let mut registry = Registry::new(tensors, spec.naming.clone(), spec.norm.weight_offset, options.quant);
    let plan = decoder::build(&spec, &mut registry, context_len)?;
    let weights = registry.finish(&spec)?;
    Ok(Model { spec, plan, weights, source })
}
