//! Looking at a running engine, changing and ending it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use sm_batching::{BatchingConfig, Recommendations};
use sm_cache::MemoryPlan;
use sm_kernels::plan::ExecutorInfo;
use sm_model::chat::{ChatError, ChatTemplate};
use sm_model::tokenizer::Tokenizer;

use super::engine_loop::Message;
use super::{Engine, EngineStats};
use crate::{Error, LoadedModel};
use crate::kv_disk::DiskTier;

impl Engine {
    /// What it does and has done; waits for the step that runs.
    ///
    /// # Errors
    /// [`Error::ShutDown`].
    pub fn stats(&self) -> Result<EngineStats, Error> {
        self.call(|core| EngineStats {
            live_requests: core.n_live(),
            running: core.scheduler.n_running(),
            waiting: core.scheduler.n_waiting(),
            max_running: (!core.scheduler.config().is_unlimited()).then(|| core.scheduler.batch_size()),
            batch_size: core.scheduler.current_batch_size(),
            batching: core.scheduler.stats(),
            cache: core.cache.stats(),
            speculation: core.speculator.stats,
            kv_disk: core.disk.as_ref().map(DiskTier::stats).unwrap_or_default(),
        })
    }

    /// Changes how requests are batched, from the next step on. Those that run stay.
    ///
    /// # Errors
    /// If a value cannot be used, or steps can have fewer sequences or rows than asked for, because the model was made ready for
    /// no more ([`LoadOptions::n_sequences`](crate::LoadOptions::n_sequences) leaves room); nothing changes then.
    /// [`Error::ShutDown`].
    pub fn reconfigure(&self, batching: BatchingConfig) -> Result<(), Error> {
        self.call(move |core| {
            let limit = batching.max_queued_requests;
            core.scheduler.reconfigure(batching)?;
            let max_batch_size = core.scheduler.batch_size();
            core.advice.resize(max_batch_size);
            core.gate.limit.store(limit, Ordering::Relaxed);
            core.gate.max_batch_size.store(max_batch_size, Ordering::Relaxed);
            Ok(())
        })?
    }

    /// Changes how many positions a sequence may have, prompt and output together. Requests that are under way stay.
    ///
    /// # Errors
    /// If the model was made ready for fewer; [`Error::ShutDown`].
    pub fn set_context_len(&self, context_len: usize) -> Result<(), Error> {
        let most = self.0.model.context_len;
        if !(1..=most).contains(&context_len) {
            let message = format!("{context_len} is not possible; the model was made ready for 1 to {most}");
            return Err(Error::validation("context_len", message));
        }
        self.call(move |core| {
            core.bounds.context_len = context_len;
            core.gate.context_len.store(context_len, Ordering::Relaxed);
        })
    }

    /// Changes how many bytes keys and values may take. What runs keeps its pages; a request that comes to need more than the new
    /// limit fails with [`Error::ResourceLimit`].
    ///
    /// # Errors
    /// If not even one page fits; [`Error::ShutDown`].
    pub fn set_kv_bytes(&self, max_bytes: u64) -> Result<(), Error> {
        Ok(self.call(move |core| core.cache.set_max_bytes_total(max_bytes))??)
    }

    /// What the batches so far say about the settings.
    ///
    /// # Errors
    /// [`Error::ShutDown`].
    pub fn recommendations(&self) -> Result<Recommendations, Error> {
        self.call(|core| core.advice.recommendations())
    }

    /// Lets go of cached pages until at most `max_bytes` are held, of scratch, and of the memory of all pages that hold nothing,
    /// which goes back to the system; what runs keeps its own. Gives the bytes that are still held.
    ///
    /// # Errors
    /// [`Error::ShutDown`]; if the executor fails.
    pub fn trim_memory(&self, max_bytes: u64) -> Result<u64, Error> {
        Ok(self.call(move |core| core.trim(max_bytes))??)
    }

    /// Takes no more requests, gives those that run `grace` to end, ends the rest, and waits for that, unless it is called by
    /// the engine itself, in a callback. Everybody is answered. A second call finds nothing to do.
    pub fn shut_down(&self, grace: Duration) {
        self.drain(deadline(grace));
        if self.0.is_own_thread() {
            return;
        }
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the thread has answered everybody too, by the drop of their answers.
            let _ = thread.join();
        }
    }

    /// Takes no more requests; those that run have until then.
    pub(crate) fn drain(&self, until: Instant) {
        // A thread that is gone already has answered everybody.
        let _ = self.0.messages.send(Message::Call(Box::new(move |core| core.drain(until))));
    }

    /// The backend, its kernels, workers and memory.
    pub fn info(&self) -> &ExecutorInfo {
        &self.0.info
    }

    /// What this engine takes with `n_sequences` sequences at a time of `context_len` positions each.
    pub fn memory_plan(&self, n_sequences: u64, context_len: u64) -> MemoryPlan {
        let ExecutorInfo { weight_bytes, activation_bytes, .. } = self.0.info;
        MemoryPlan {
            weight_bytes: weight_bytes as u64,
            workspace_bytes: activation_bytes as u64,
            n_sequences,
            context_len,
            pool: self.0.pool,
        }
    }

    /// The model. Engines that start on clones of it share its weights.
    pub fn model(&self) -> &LoadedModel {
        &self.0.model
    }

    /// The tokenizer, if the model has one.
    pub fn tokenizer(&self) -> Option<&Arc<dyn Tokenizer>> {
        self.0.model.tokenizer()
    }

    /// The chat templates that come with the model.
    ///
    /// # Errors
    /// If there are none, or they cannot be used.
    pub fn chat_template(&self) -> Result<&ChatTemplate, &ChatError> {
        self.0.model.chat_template()
    }

    /// Positions per sequence.
    pub fn context_len(&self) -> usize {
        self.0.gate.context_len.load(Ordering::Relaxed)
    }

    /// Sequences that can run at a time.
    pub(super) fn max_batch_size(&self) -> usize {
        self.0.gate.max_batch_size.load(Ordering::Relaxed)
    }
}

/// The end of a time that begins now; as good as never if no clock goes so far.
pub(crate) fn deadline(grace: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(grace.min(CENTURY)).unwrap_or(now)
}
