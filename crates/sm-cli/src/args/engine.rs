//! Options for loading a model and running an engine.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::{Map, Value};
use sm_runtime::{
    ByteSize, Engine, EngineConfig, ExecutorOptions, KvCacheConfig, LoadOptions, ModelRef, ModelSpec, Preset,
    Progress, Threads,
};

use super::kv_disk::KvDiskArgs;
use super::model::note_changes;
use super::speculation::SpeculationArgs;
use super::{ModelArgs, number};
use crate::console::Console;
use crate::failure::Failure;
use crate::hub;
use crate::progress::load_progress;

/// A model with its context length and resource limits.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Worker threads, at most one per processor; N! forces exactly N [default: one per core]
    #[arg(short, long, value_name = "N", value_parser = number::threads, allow_negative_numbers = true)]
    threads: Option<Threads>,
    /// Context length, prompt and output together; 0 is the model's own [default: the model's, at most 4096]
    #[arg(short, long, alias = "ctx-size", value_name = "N", value_parser = number::count, allow_negative_numbers = true)]
    context: Option<usize>,
    /// Keep all memory within N bytes, as in 6G or 1.5GB, in powers of 1024; fail if one context does not fit
    #[arg(long, value_name = "N")]
    memory_limit: Option<ByteSize>,
}

impl LoadArgs {
    /// The options of the loader.
    ///
    /// # Errors
    /// If options contradict each other, or the given tokenizer cannot be used.
    pub(crate) fn options(&self) -> Result<LoadOptions, Failure> {
        let mut options = self.model.options(self.threads)?;
        options.context_len = self.context.map(|n| if n == 0 { LoadOptions::MODEL_CONTEXT } else { n });
        Ok(options)
    }

    /// Executor options set on the command line.
    pub(crate) fn executor(&self) -> ExecutorOptions {
        let mut options = self.model.executor();
        options.memory_limit = self.memory_limit.map(|limit| limit.0);
        options
    }

    /// The configuration of an engine for `n_sequences` concurrent sequences, from one that may have other limits.
    fn config(&self, base: EngineConfig, n_sequences: usize) -> Result<EngineConfig, Failure> {
        let mut config = base;
        config.load = self.options()?;
        config.executor = self.executor();
        let max_queued_requests = config.batching.max_queued_requests.max(2 * n_sequences);
        let max_step_tokens = config.batching.max_step_tokens.max(n_sequences);
        config.batching = config
            .batching
            .max_batch_size(n_sequences)
            // There are no other callers to wait for.
            .max_batch_wait_us(0)
            .max_queued_requests(max_queued_requests)
            .max_step_tokens(max_step_tokens);
        config.cache.max_tokens_per_session = 0;
        Ok(config)
    }

    /// Loads the model, and starts an engine for `n_sequences` concurrent sequences that are not drafted or stored.
    ///
    /// # Errors
    /// If the model cannot be read, is not supported, or does not fit into memory.
    pub(crate) fn start(&self, n_sequences: usize, console: &Console) -> Result<Engine, Failure> {
        let config = self.config(base(), n_sequences)?;
        let builder = Engine::builder().config(config).progress(load_progress(console));
        let engine = builder.load(self.model.model(console)?)?;
        note_changes(engine.model(), console);
        Ok(engine)
    }
}

/// The configuration without a preset: the sequences' context lengths are limit enough.
fn base() -> EngineConfig {
    EngineConfig::new().cache(KvCacheConfig::new().max_bytes_total(u64::MAX))
}

/// The engine of a command.
#[derive(Debug, clap::Args)]
pub(crate) struct EngineArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Start from a preset and print the settings on stderr; other options take precedence
    #[arg(long, value_name = "NAME", value_parser = preset(), help_heading = "Engine")]
    preset: Option<Preset>,
    /// Give a schema, grammar or regular expression N milliseconds to compile
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = number::count, allow_negative_numbers = true, hide_short_help = true, help_heading = "Engine")]
    max_compile_ms: usize,
    #[command(flatten)]
    pub(crate) kv_disk: KvDiskArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
}

/// How many requests an engine serves.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// Sequences that run at a time.
    pub(crate) n_sequences: usize,
    /// Requests that wait.
    pub(crate) max_queued: usize,
    /// Rows of a step, if it was given.
    pub(crate) max_step_tokens: Option<usize>,
    pub(crate) template: ServedTemplate,
}

/// The chat template of served models.
#[derive(Clone, Debug)]
pub(crate) struct ServedTemplate {
    /// Its source, if not the models' own.
    pub(crate) source: Option<String>,
    /// Variables for requests that do not set them.
    pub(crate) variables: Map<String, Value>,
    pub(crate) tells_date: bool,
}

fn preset() -> impl TypedValueParser<Value = Preset> {
    PossibleValuesParser::new(Preset::ALL.map(Preset::name)).try_map(|name| name.parse::<Preset>())
}

impl EngineArgs {
    /// Default number of concurrent requests.
    pub(crate) fn default_parallel(&self) -> usize {
        self.base().batching.max_batch_size
    }

    /// The configuration before other options are applied.
    fn base(&self) -> EngineConfig {
        match self.preset {
            Some(preset) => preset.config(),
            None => base(),
        }
    }

    /// The configuration of an engine for `n_sequences` concurrent sequences. Each may fill its context, unless a preset
    /// limits their shared memory.
    fn config(&self, n_sequences: usize) -> Result<EngineConfig, Failure> {
        let mut config = self.load.config(self.base(), n_sequences)?;
        config.speculation = self.speculation.config(config.speculation);
        config.grammar = config.grammar.max_compile_ms(self.max_compile_ms as u64);
        config.kv_disk = self.kv_disk.config();
        Ok(config)
    }

    /// A model and any draft model, to be loaded into an engine that shares these options with others. `progress` is told how far
    /// loading is.
    ///
    /// # Errors
    /// If options contradict each other.
    pub(crate) fn spec(
        &self,
        model: ModelRef,
        served: &Served,
        console: &Console,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<ModelSpec, Failure> {
        let mut config = self.config(served.n_sequences)?;
        config.load.chat_template.clone_from(&served.template.source);
        config.load.template_variables.clone_from(&served.template.variables);
        config.load.template_date = served.template.tells_date;
        config.batching = config.batching.max_queued_requests(served.max_queued);
        if let Some(max_step_tokens) = served.max_step_tokens {
            config.batching = config.batching.max_step_tokens(max_step_tokens);
        }
        if self.preset.is_some() {
            console.note(format_args!("{config}"));
        }
        let bar = load_progress(console);
        let spec = ModelSpec::new(model).config(config).progress(move |done| {
            bar(done);
            progress(done);
        });
        Ok(match &self.speculation.draft {
            Some(draft) => spec.draft(hub::model(draft, console)?),
            None => spec,
        })
    }

    /// Loads the model and any draft model, and starts an engine for `n_sequences` concurrent sequences.
    ///
    /// # Errors
    /// If a model cannot be read, is not supported, or does not fit into memory.
    pub(crate) fn start(&self, n_sequences: usize, console: &Console) -> Result<Engine, Failure> {
        self.start_with_template(n_sequences, None, console)
    }

    /// As [`EngineArgs::start`], with a chat template instead of the model's own.
    ///
    /// # Errors
    /// As [`EngineArgs::start`].
    pub(crate) fn start_with_template(
        &self,
        n_sequences: usize,
        template: Option<String>,
        console: &Console,
    ) -> Result<Engine, Failure> {
        let mut config = self.config(n_sequences)?;
        config.load.chat_template = template;
        if self.preset.is_some() {
            console.note(format_args!("{config}"));
        }
        let mut builder = Engine::builder().config(config).progress(load_progress(console));
        if let Some(draft) = &self.speculation.draft {
            builder = builder.draft(hub::model(draft, console)?);
        }
        let engine = builder.load(self.load.model.model(console)?)?;
        note_changes(engine.model(), console);
        Ok(engine)
    }
}
