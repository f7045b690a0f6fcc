//! Starts an engine on a loaded model.

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use sm_batching::{BatchMemory, Scheduler, StepLimits};
use sm_cache::{KvCache, Namespace, PagePool};
use sm_kernels::plan::{Executor, PAGE_LEN};

use super::admission::Admission;
use super::disk::open_disk;
use super::engine_loop::{Core, Parts};
use super::guard::{GuardedObserver, GuardedSink, LostEvents};
use super::speculation::Speculator;
use super::{Engine, EngineBuilder, Inner, log};
use crate::kv_disk::program_fingerprint;
use crate::load::PreparedExecutor;
use crate::speculate::DraftModel;
use crate::{EngineConfig, Error, LoadError, LoadedModel};

/// The name of the engine's thread.
const THREAD: &str = "sm-engine";

impl Engine {
    pub(super) fn new(
        model: LoadedModel,
        prepared: PreparedExecutor,
        draft: Option<DraftModel>,
        builder: EngineBuilder,
    ) -> Result<Self, Error> {
        let EngineBuilder { config, metrics, observers, clock, .. } = builder;
        let model = model.with_grammar_limits(config.grammar);
        let PreparedExecutor { executor, page_bytes } = prepared;
        let info = executor.info().clone();
        let speculator = Speculator::new(config.speculation, draft, model.vocab_size);
        let bounds = model.bounds();
        let pool = PagePool::from_page_bytes(executor.limits().n_pages, PAGE_LEN, page_bytes)
            .with_states(executor.n_state_slots(), executor.state_bytes());
        let step_limits = step_limits(&*executor, page_bytes);
        let scheduler = Scheduler::new(config.batching.clone(), step_limits)?;
        let resolved = config.resolved(&model, &*executor, &scheduler, &step_limits);
        let mut cache = KvCache::new(config.cache.clone(), pool)?;
        let lost_events = LostEvents::default();
        for observer in observers {
            cache.watch(Box::new(GuardedObserver::new(observer, lost_events.clone())));
        }
        let admission = Arc::new(Admission::new(config.batching.max_queued_requests));
        admission.max_batch_size.store(scheduler.batch_size(), Ordering::Relaxed);
        admission.context_len.store(model.context_len, Ordering::Relaxed);
        let namespace = namespace(&model, &*executor, &config)?;
        let (messages, received) = mpsc::channel();
        let disk = match &config.kv_disk {
            Some(disk) => Some(open_disk(disk, &namespace, &*executor, &mut cache, messages.clone())?),
            None => None,
        };
        let core = Core::new(Parts {
            executor,
            scheduler,
            cache,
            text: model.text.clone(),
            bounds,
            admission: Arc::clone(&admission),
            speculator,
            disk,
            metrics: metrics.map(|sink| GuardedSink::new(sink, lost_events.clone())),
            lost_events,
            clock: clock.clone(),
        });
        core.publish();
        let thread = std::thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || core.run(&received))
            .map_err(|source| LoadError::Thread { name: THREAD, source })?;
        log::started(&info, &resolved);
        Ok(Self(Arc::new(Inner {
            messages,
            thread_id: thread.thread().id(),
            thread: Mutex::new(Some(thread)),
            admission,
            directory: Mutex::default(),
            model,
            info,
            namespace,
            pool,
            config: resolved,
            clock,
        })))
    }
}

/// Capacity and memory cost of the executor's steps.
fn step_limits(executor: &dyn Executor, page_bytes: u64) -> StepLimits {
    let limits = executor.limits();
    let info = executor.info();
    StepLimits::new(limits.max_tokens)
        .max_outputs(limits.max_outputs)
        .max_sequences(limits.max_sequences)
        .row_group(info.row_group)
        .memory(BatchMemory {
            fixed_bytes: info.activation_bytes as u64,
            bytes_per_token: page_bytes / PAGE_LEN as u64,
        })
}

/// Everything that determines a page's content besides its tokens. Within a process, that is the model and its kernels;
/// pages on disk also depend on the weights and the program.
///
/// # Errors
/// If a disk tier is configured and the model or program has no fingerprint.
fn namespace(
    model: &LoadedModel,
    executor: &dyn Executor,
    config: &EngineConfig,
) -> Result<Namespace, Error> {
    let mut fingerprint = executor.info().kernels.clone();
    if config.kv_disk.is_some() {
        let unknown =
            || Error::validation("kv_disk", "the model has no fingerprint; load it with fingerprint = true");
        let weights = model.fingerprint.as_ref().ok_or_else(unknown)?;
        fingerprint = format!("{weights} {fingerprint} {}", program_fingerprint()?);
    }
    Ok(Namespace {
        model: fingerprint,
        kv_dtype: format!("{:?}", executor.limits().kv_dtype),
        ..Namespace::default()
    })
}
