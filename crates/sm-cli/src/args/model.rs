//! Options for loading a model.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use sm_runtime::{
    DType, Device, ExecutorOptions, KvDType, LoadOptions, LoadedModel, Loader, ModelRef, Threads,
};

use super::DEMO;
use super::tokenizer::TokenizerArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::hub;
use crate::progress::load_progress;

/// Which model is loaded, and how.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Hugging Face directory, GGUF, safetensors or .smnd file, `demo`, or `ORG/NAME[:QUANT]` of the hub; -hf NAME fetches it
    #[arg(short, long, default_value = DEMO, value_name = "MODEL")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    tokenizer: TokenizerArgs,
    /// Quantize the weight matrices to TYPE while loading
    #[arg(long, value_name = "TYPE", value_parser = dtype())]
    quant: Option<DType>,
    /// Data type of the KV cache
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = KvType::F16)]
    kv_type: KvType,
    /// Cache packed weights in DIR: later runs map them, load fast and share memory
    #[arg(long, value_name = "DIR")]
    packed: Option<PathBuf>,
    /// Device: auto, cpu, cpu:ISA, gpu or gpu:INDEX
    #[arg(long, default_value_t = Device::Auto)]
    device: Device,
    /// Run the last N layers on the GPU and the others on the CPU; `all` runs everything on the GPU
    #[arg(long, value_name = "N", alias = "n-gpu-layers", value_parser = gpu_layers)]
    gpu_layers: Option<usize>,
    /// CPU kernel set, for comparisons [default: the fastest of this machine]
    #[arg(long, value_name = "ISA")]
    isa: Option<String>,
}

/// Parses the name of a data type that can be written.
fn dtype() -> impl TypedValueParser<Value = DType> {
    PossibleValuesParser::new(DType::writable_names()).try_map(|name| name.parse::<DType>())
}

/// Parses a number of layers as llama.cpp knows it: -1 and `all` mean all of them.
fn gpu_layers(text: &str) -> Result<usize, String> {
    match text {
        "all" | "-1" => Ok(usize::MAX),
        _ => text.parse().map_err(|_| format!("{text:?} is not a number of layers; use 0 or more, or all")),
    }
}

impl ModelArgs {
    /// The loader's options. Threads and kernel sets only apply to the CPU.
    ///
    /// # Errors
    /// If options contradict each other, or the tokenizer that was given cannot be used.
    pub(crate) fn options(&self, threads: Option<Threads>) -> Result<LoadOptions, Failure> {
        let mut options = LoadOptions::new();
        options.device = self.device(threads)?;
        options.quant = self.quant;
        options.packed_dir.clone_from(&self.packed);
        options.tokenizer = self.tokenizer.source()?;
        Ok(options)
    }

    fn device(&self, threads: Option<Threads>) -> Result<Device, Failure> {
        if let Some(n_gpu_layers) = self.gpu_layers {
            return self.split(n_gpu_layers, threads);
        }
        if self.isa.is_none() && threads.is_none() {
            return Ok(self.device.clone());
        }
        let (own_isa, own_threads) = match self.device.clone() {
            Device::Auto => (None, Threads::PerCore),
            Device::Cpu { isa, threads } => (isa, threads),
            _ => {
                let message =
                    format!("--isa and -t apply to the CPU only; remove them or --device {}", self.device);
                return Err(Failure::Usage(message));
            }
        };
        Ok(Device::Cpu { isa: self.isa.clone().or(own_isa), threads: threads.unwrap_or(own_threads) })
    }

    /// The last `n_gpu_layers` on the GPU of `--device`, by default the first.
    fn split(&self, n_gpu_layers: usize, threads: Option<Threads>) -> Result<Device, Failure> {
        let gpu = match self.device {
            Device::Auto => 0,
            Device::Gpu(index) => index,
            _ => {
                let message = format!(
                    "--gpu-layers {n_gpu_layers} contradicts --device {}; remove one of them",
                    self.device
                );
                return Err(Failure::Usage(message));
            }
        };
        Ok(Device::Split { isa: self.isa.clone(), threads: threads.unwrap_or_default(), gpu, n_gpu_layers })
    }

    /// Executor options set on the command line.
    pub(crate) fn executor(&self) -> ExecutorOptions {
        ExecutorOptions::new().kv_dtype(self.kv_type.into())
    }

    /// Quantizes the weights, unless a type was given.
    pub(crate) fn quantize(&mut self, quant: DType) {
        self.quant.get_or_insert(quant);
    }

    /// The model, which is fetched from the hub if it is there and the user wants it.
    ///
    /// # Errors
    /// If it is to be fetched and cannot be.
    pub(crate) fn model(&self, console: &Console) -> Result<ModelRef, Failure> {
        hub::model(&self.model, console)
    }

    /// Its path, as given.
    pub(crate) fn path(&self) -> &Path {
        &self.model
    }

    /// Its name on the hub, or the last component of its path.
    pub(crate) fn name(&self) -> String {
        hub::called(&self.model)
    }

    /// Loads the model, with a progress bar.
    ///
    /// # Errors
    /// If it cannot be read, is not supported, or does not fit into memory.
    pub(crate) fn load(
        &self,
        options: LoadOptions,
        executor: ExecutorOptions,
        console: &Console,
    ) -> Result<LoadedModel, Failure> {
        let loader = Loader::new(self.model(console)?).options(options).executor(executor);
        let model = loader.progress(load_progress(console)).load()?;
        note_changes(&model, console);
        Ok(model)
    }
}

/// Notes what was changed or left out to load the model, and which matrices could not be quantized as requested.
pub(super) fn note_changes(model: &LoadedModel, console: &Console) {
    model.notes().iter().for_each(|note| console.note(format_args!("{note}")));
    if let [first, ..] = model.fallbacks() {
        let n_matrices = model.fallbacks().len();
        console.note(format_args!(
            "{n_matrices} matrices do not divide into {} blocks: {} has rows of {} and is stored as {}",
            first.wanted, first.tensor, first.cols, first.used
        ));
    }
}

/// Data type of the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum KvType {
    /// Half precision
    F16,
    /// Single precision, twice the memory
    F32,
    /// One byte per value and one scale per 32 values, a little over half the memory
    #[value(name = "q8_0")]
    Q8_0,
}

impl From<KvType> for KvDType {
    fn from(kv_type: KvType) -> Self {
        match kv_type {
            KvType::F16 => Self::F16,
            KvType::F32 => Self::F32,
            KvType::Q8_0 => Self::Q8_0,
        }
    }
}
