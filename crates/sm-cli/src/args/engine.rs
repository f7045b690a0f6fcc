//! Which model, and how it runs.

use std::num::NonZeroUsize;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use sm_runtime::{
    BatchingConfig, ByteSize, Engine, EngineConfig, KvCacheConfig, LoadOptions, LoadedModel, ModelRef, Preset,
};

use super::{KvDiskArgs, ModelArgs, SpeculationArgs, load_model};
use crate::console::Console;
use crate::failure::Failure;

/// Which model, and how it runs.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct EngineArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Worker threads [default: one per core]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<NonZeroUsize>,
    /// Positions to keep, prompt and answer together [default: the model's, at most 4096]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    context: Option<NonZeroUsize>,
    /// Refuse what would need more memory than this: a number, with K, M, G or T behind it for powers of 1024
    #[arg(long, value_name = "N")]
    memory_limit: Option<ByteSize>,
}

/// A starting point for the settings of an engine.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct PresetArgs {
    /// Begin with the settings of a preset, and print all of them on standard error; other options go first
    #[arg(long, value_name = "NAME", value_parser = preset())]
    pub(crate) preset: Option<Preset>,
}

fn preset() -> impl TypedValueParser<Value = Preset> {
    PossibleValuesParser::new(Preset::ALL.map(Preset::name)).map(|name| {
        let named = Preset::ALL.into_iter().find(|preset| preset.name() == name);
        named.unwrap_or_default()
    })
}

impl PresetArgs {
    /// How many requests run at a time, unless `own` says.
    pub(crate) fn n_sequences(&self, own: Option<NonZeroUsize>) -> usize {
        own.map_or_else(|| self.config().batching.max_batch_size, NonZeroUsize::get)
    }

    /// What the other options change.
    fn config(&self) -> EngineConfig {
        match self.preset {
            Some(preset) => preset.config(),
            // The pool of pages, made for the contexts, is limit enough.
            None => EngineConfig {
                cache: KvCacheConfig { max_bytes_total: u64::MAX, ..KvCacheConfig::default() },
                ..EngineConfig::default()
            },
        }
    }
}

impl EngineArgs {
    /// The options of the loader.
    pub(crate) fn options(&self) -> LoadOptions {
        LoadOptions {
            context_len: self.context.map(NonZeroUsize::get),
            n_threads: self.threads.map(NonZeroUsize::get),
            memory_limit: self.memory_limit.map(|limit| limit.0),
            ..self.model.options()
        }
    }

    /// An engine for `n_sequences` at a time: each of them may fill its context, unless a preset says what they share.
    ///
    /// # Errors
    /// If a model cannot be read, is not supported, or does not fit.
    pub(crate) fn start(
        &self,
        n_sequences: usize,
        preset: &PresetArgs,
        (speculation, kv_disk): (&SpeculationArgs, &KvDiskArgs),
        console: &Console,
    ) -> Result<Engine, Failure> {
        let EngineConfig { batching, cache, speculation: guesses, .. } = preset.config();
        let guesses = speculation.config(guesses);
        let n_drafts = if guesses.lookup || speculation.draft.is_some() { guesses.max_draft_len } else { 0 };
        let kv_disk = kv_disk.config();
        let max_step_tokens = batching.max_step_tokens.max(n_sequences);
        let load = LoadOptions {
            n_sequences,
            max_step_tokens,
            max_outputs: n_sequences.saturating_mul(1 + n_drafts),
            kv_bytes: preset.preset.map(|_| cache.max_bytes_total),
            fingerprint: kv_disk.is_some(),
            ..self.options()
        };
        let batching = BatchingConfig {
            max_batch_size: n_sequences,
            // Nobody else is coming.
            max_batch_wait_us: 0,
            max_queued_requests: batching.max_queued_requests.max(2 * n_sequences),
            max_step_tokens,
            ..batching
        };
        let cache = KvCacheConfig { max_tokens_per_session: 0, ..cache };
        let config = EngineConfig { load, batching, cache, speculation: guesses, kv_disk };
        if preset.preset.is_some() {
            console.note(format_args!("{config}"));
        }
        let draft = speculation.draft.as_deref().map(|draft| {
            // Both have to fit before one is loaded.
            let needs = LoadedModel::memory_needs(ModelRef::named(&self.model.model), &config.load)?;
            let options = config.draft_load_options(needs.total_bytes() as u64);
            LoadedModel::memory_needs(ModelRef::named(draft), &options)?;
            Ok::<_, Failure>((draft, options))
        });
        let draft = draft.transpose()?;
        let model = load_model(&self.model.model, &config.load, console)?;
        let draft = draft.map(|(draft, options)| load_model(draft, &options, console));
        Ok(Engine::builder().config(config).start(model, draft.transpose()?)?)
    }
}
