//! The command line: what all commands share.

mod engine;
mod grammar;
mod kv_disk;
mod speculation;

use std::path::{Path, PathBuf};

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sm_runtime::model::chat::ChatTemplate;
use sm_runtime::{
    DType, Engine, EosRule, GenerationOptions, KvDType, LoadOptions, LoadedModel, ModelRef, SamplingOptions,
    StopRules,
};

pub(crate) use engine::{EngineArgs, PresetArgs};
pub(crate) use grammar::GrammarArgs;
pub(crate) use kv_disk::KvDiskArgs;
pub(crate) use speculation::SpeculationArgs;
use tracing_subscriber::filter::LevelFilter;

use crate::commands::Command;
use crate::console::Console;
use crate::failure::Failure;
use crate::progress::{Progress, Unit};

/// The name of the model that comes with the program.
const DEMO: &str = "demo";

/// Runs language models on this machine.
#[derive(Debug, Parser)]
#[command(name = "sm", version, propagate_version = true, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
MODEL is a Hugging Face directory, a GGUF, safetensors or .smnd file. Without -m it is `demo`, a small model
that comes with the program: short stories, school mathematics, small Python functions, simple facts.

Examples:
  sm generate \"Once upon a time\"
  sm chat
  sm chat -m ./Qwen3-0.6B
  sm batch questions.jsonl answers.jsonl
  sm quantize ./Qwen3-0.6B qwen3.gguf --type q4_k
  sm bench -m qwen3.gguf -p 512 -n 128

Exit codes: 0 done, 1 failed, 2 wrong command line, 130 interrupted.
Results go to standard output, everything else to standard error.";

/// Options of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct GlobalArgs {
    /// No progress and no timings on standard error; errors still show
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// What the log on standard error tells, besides what is more important
    #[arg(long, global = true, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Warn)]
    pub(crate) log_level: LogLevel,
}

/// What a log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogLevel {
    /// Nothing
    Off,
    /// What failed
    Error,
    /// What went wrong, and on
    Warn,
    /// When an engine starts and ends, and what it takes
    Info,
    /// Each request, and each step with its requests, their rows, what they waited and how long it took
    Debug,
    /// Everything
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Which model, and in which form.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// A Hugging Face directory, a GGUF, safetensors or .smnd file, or `demo`
    #[arg(short, long, default_value = DEMO, value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Quantize the weight matrices to TYPE while loading
    #[arg(long, value_name = "TYPE", value_parser = dtype())]
    quant: Option<DType>,
    /// How keys and values are kept
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = KvType::F16)]
    kv_type: KvType,
    /// Keep the weights as they are packed for the processor in a file in DIR, and map that in later runs, which load quickly and
    /// share memory
    #[arg(long, value_name = "DIR")]
    packed: Option<PathBuf>,
    /// The kernel set, for comparisons [default: the best of this machine]
    #[arg(long, value_name = "NAME")]
    isa: Option<String>,
}

/// Which vocabulary.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenizerArgs {
    /// A Hugging Face directory or a GGUF file, or `demo`; weights are not needed
    #[arg(short, long, default_value = DEMO, value_name = "MODEL")]
    model: PathBuf,
}

impl TokenizerArgs {
    /// The model of the vocabulary.
    pub(crate) fn model(&self) -> ModelRef<'_> {
        ModelRef::named(&self.model)
    }
}

/// How the next token is chosen.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Temperature; 0 always takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 0.8, allow_negative_numbers = true)]
    temp: f32,
    /// Keep the K likeliest tokens; 0 keeps all
    #[arg(long, value_name = "K", default_value_t = 40, allow_negative_numbers = true)]
    top_k: usize,
    /// Keep the likeliest tokens that together reach probability P; 1 keeps all
    #[arg(long, value_name = "P", default_value_t = 0.95, allow_negative_numbers = true)]
    top_p: f32,
    /// Drop tokens less likely than P times the likeliest; 0 drops none
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Divide the logits of tokens that occurred by R; 1 changes nothing
    #[arg(long, value_name = "R", default_value_t = 1.0, allow_negative_numbers = true)]
    repeat_penalty: f32,
    /// Subtract P from the logits of tokens that were generated before
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Subtract P from a token's logit for each time it was generated before
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// The seed of the random draws [default: a new one each time, shown at the end]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// The options of the runtime, which checks their values.
    pub(crate) fn options(&self) -> SamplingOptions {
        let mut options = SamplingOptions::new()
            .repetition_penalty(self.repeat_penalty)
            .presence_penalty(self.presence_penalty)
            .frequency_penalty(self.frequency_penalty)
            .temperature(self.temp)
            .top_k(self.top_k)
            .top_p(self.top_p)
            .min_p(self.min_p);
        options.seed = self.seed;
        options
    }
}

/// Where an output ends.
#[derive(Debug, clap::Args)]
pub(crate) struct EndArgs {
    /// Generate at most N tokens
    #[arg(short, long, value_name = "N", default_value_t = 100, allow_negative_numbers = true)]
    n_tokens: usize,
    /// End where the text S appears, without it; may be repeated
    #[arg(long, value_name = "S")]
    stop: Vec<String>,
    /// Go on beyond the model's end-of-sequence token
    #[arg(long)]
    ignore_eos: bool,
}

impl EndArgs {
    /// The options of the runtime, which checks their values.
    ///
    /// # Errors
    /// If the file of a grammar cannot be read.
    pub(crate) fn options(
        &self,
        sampling: &SamplingArgs,
        grammar: &GrammarArgs,
    ) -> Result<GenerationOptions, Failure> {
        let eos = if self.ignore_eos { EosRule::Ignore } else { EosRule::Stop };
        let mut options = GenerationOptions::new()
            .sampling(sampling.options())
            .max_new_tokens(self.n_tokens)
            .stop(StopRules::new().sequences(self.stop.iter().cloned()).eos(eos));
        options.grammar = grammar.read()?;
        Ok(options)
    }
}

/// Reads the name of a data type.
pub(crate) fn dtype() -> impl TypedValueParser<Value = DType> {
    PossibleValuesParser::new(DType::names()).try_map(|name| name.parse::<DType>())
}

impl ModelArgs {
    /// The options of the loader.
    pub(crate) fn options(&self) -> LoadOptions {
        LoadOptions {
            quant: self.quant,
            kv_dtype: self.kv_type.into(),
            isa: self.isa.clone(),
            packed_dir: self.packed.clone(),
            ..LoadOptions::default()
        }
    }

    /// The last part of its path.
    pub(crate) fn name(&self) -> String {
        self.model.file_name().unwrap_or(self.model.as_os_str()).to_string_lossy().into_owned()
    }

    /// Makes the model ready, with a progress bar.
    ///
    /// # Errors
    /// If it cannot be read, is not supported, or does not fit.
    pub(crate) fn load(&self, options: &LoadOptions, console: &Console) -> Result<LoadedModel, Failure> {
        load_model(&self.model, options, console)
    }
}

fn load_model(name: &Path, options: &LoadOptions, console: &Console) -> Result<LoadedModel, Failure> {
    let bar = Progress::new(console, "loading", Unit::Bytes);
    let show = |progress: sm_runtime::Progress| bar.set(progress.done_bytes, progress.total_bytes);
    let model = LoadedModel::load(ModelRef::named(name), options, &show)?;
    drop(bar);
    if let [first, ..] = model.fallbacks() {
        let (n_matrices, wanted, used) = (model.fallbacks().len(), first.wanted, first.used);
        console.note(format_args!(
                "{n_matrices} matrices do not fit {wanted} blocks, as {} with rows of {}; that one is kept as {used}",
                first.tensor, first.cols
            ));
    }
    Ok(model)
}

/// The chat template of a model.
///
/// # Errors
/// If it has none, or one that cannot be used.
pub(crate) fn chat_template(engine: &Engine) -> Result<&ChatTemplate, Failure> {
    engine.chat_template().map_err(|error| Failure::NoChatTemplate { reason: error.to_string() })
}

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KvType {
    /// Half precision
    F16,
    /// Single precision, twice the memory
    F32,
    /// A byte and a scale for each 32 values, a little more than half the memory
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
