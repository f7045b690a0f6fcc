//! Inspecting, reconfiguring and shutting down a running engine.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use sm_batching::{BatchingConfig, Recommendations};
use sm_cache::MemoryPlan;
use sm_kernels::plan::ExecutorInfo;
use sm_model::chat::{ChatError, ChatTemplate};
use sm_model::tokenizer::Tokenizer;

use super::engine_loop::{Core, Message};
use super::reply::{Reply, reply};
use super::{Engine, EngineStats};
use crate::{EngineConfig, Error, LoadedModel};

impl Engine {
    /// Current statistics. Never waits for a step: the engine publishes after each step and whenever it receives a
    /// message. A request is counted by the time its caller has the response. After shutdown, returns the last numbers.
    pub fn stats(&self) -> EngineStats {
        self.0.admission.stats()
    }

    /// Changes batching from the next step on. Running requests continue. Blocks until the current step is over.
    ///
    /// # Errors
    /// If a value is invalid, or the executor has no room for as many sequences or rows: there is room for twice the batch size
    /// that the engine started with, and for more with
    /// [`ExecutorOptions::n_reserved_sequences`](crate::ExecutorOptions::n_reserved_sequences). Nothing changes then.
    /// [`Error::ShutDown`], [`Error::EngineThread`].
    pub fn reconfigure(&self, batching: BatchingConfig) -> Result<(), Error> {
        self.call(|core| core.reconfigure(batching))?
    }

    /// As [`Engine::reconfigure`], without blocking. It takes effect whether or not the future is awaited.
    ///
    /// # Errors
    /// As [`Engine::reconfigure`].
    pub fn reconfigure_async(
        &self,
        batching: BatchingConfig,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let reply = self.call_async(|core| core.reconfigure(batching));
        async { reply.await? }
    }

    /// How requests are batched now. Blocks until the current step is over.
    ///
    /// # Errors
    /// [`Error::ShutDown`], [`Error::EngineThread`].
    pub fn batching(&self) -> Result<BatchingConfig, Error> {
        self.call(|core| core.scheduler.config().clone())
    }

    /// Changes the context length, prompt and output together. Running requests continue.
    ///
    /// # Errors
    /// If the model was prepared for a shorter context; [`Error::ShutDown`].
    pub fn set_context_len(&self, context_len: usize) -> Result<(), Error> {
        let most = self.0.model.context_len;
        if !(1..=most).contains(&context_len) {
            let message = format!("{context_len} is out of range; the model was prepared for 1 to {most}");
            return Err(Error::validation("context_len", message));
        }
        self.call(move |core| {
            core.bounds.context_len = context_len;
            core.admission.context_len.store(context_len, Ordering::Relaxed);
        })
    }

    /// Changes the byte limit of the KV cache. Running requests keep their pages; one that grows beyond the new limit
    /// fails with [`Error::ResourceLimit`].
    ///
    /// # Errors
    /// If not even one page fits; [`Error::ShutDown`].
    pub fn set_kv_bytes(&self, max_bytes: u64) -> Result<(), Error> {
        Ok(self.call(move |core| core.cache.set_max_bytes_total(max_bytes))??)
    }

    /// Tuning recommendations from the batches so far.
    ///
    /// # Errors
    /// [`Error::ShutDown`].
    pub fn recommendations(&self) -> Result<Recommendations, Error> {
        self.call(|core| core.advice.recommendations())
    }

    /// Drops cached pages until at most `max_bytes` of the KV cache are in use, frees buffers, and returns the memory
    /// of empty pages to the operating system. Running requests keep their pages. Returns the bytes still in use.
    /// Blocks until the current step is over.
    ///
    /// # Errors
    /// If the executor fails; [`Error::ShutDown`], [`Error::EngineThread`].
    pub fn trim_memory(&self, max_bytes: u64) -> Result<u64, Error> {
        Ok(self.call(move |core| core.trim(max_bytes))??)
    }

    /// As [`Engine::trim_memory`], without blocking. It takes effect whether or not the future is awaited.
    ///
    /// # Errors
    /// As [`Engine::trim_memory`].
    pub fn trim_memory_async(
        &self,
        max_bytes: u64,
    ) -> impl Future<Output = Result<u64, Error>> + Send + use<> {
        let reply = self.call_async(move |core| core.trim(max_bytes));
        async { Ok(reply.await??) }
    }

    /// Rejects new requests, gives running ones `grace` to finish, then cancels the rest. Every request is answered.
    /// Blocks until the engine has released all its resources. Idempotent.
    ///
    /// # Errors
    /// [`Error::EngineThread`], without starting to shut down; use [`Engine::shut_down_async`] on that thread.
    pub fn shut_down(&self, grace: Duration) -> Result<(), Error> {
        if self.is_own_thread() {
            return Err(Error::EngineThread);
        }
        self.drain(deadline(grace)).wait();
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // If the thread panicked, dropping its state has answered every request.
            let _ = thread.join();
        }
        Ok(())
    }

    /// As [`Engine::shut_down`], without blocking. It takes effect whether or not the future is awaited.
    pub fn shut_down_async(&self, grace: Duration) -> impl Future<Output = ()> + Send + use<> {
        let end = self.drain(deadline(grace));
        async { _ = end.await }
    }

    /// Rejects new requests and gives running ones until the deadline. The reply closes when the engine's thread is
    /// gone.
    pub(crate) fn drain(&self, until: Instant) -> Reply<()> {
        let (replier, reply) = reply();
        let begin = move |core: &mut Core| {
            core.drain(until);
            core.waiting_for_end.push(replier);
        };
        // If the thread is gone, the message is dropped, which closes the reply.
        let _ = self.0.messages.send(Message::Call(Box::new(begin)));
        reply
    }

    /// The configuration with which the engine started, with the values in use where they were left to the model, the machine
    /// or a default. Prints as one line per value.
    ///
    /// ```
    /// # #[cfg(all(feature = "cpu", feature = "demo-model"))] {
    /// let engine = sm_runtime::Engine::builder().load(sm_runtime::ModelRef::Demo)?;
    /// let config = engine.config();
    /// assert_eq!((config.load.context_len, config.executor.n_reserved_sequences), (Some(1024), 8));
    /// # }
    /// # Ok::<(), sm_runtime::Error>(())
    /// ```
    pub fn config(&self) -> &EngineConfig {
        &self.0.config
    }

    /// The backend, its kernel set, workers and memory.
    pub fn info(&self) -> &ExecutorInfo {
        &self.0.info
    }

    /// Memory this engine needs for `n_sequences` concurrent sequences of `context_len` positions each.
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

    /// The model. Engines started on its clones share the weights.
    pub fn model(&self) -> &LoadedModel {
        &self.0.model
    }

    /// The tokenizer, if the model has one.
    pub fn tokenizer(&self) -> Option<&Arc<dyn Tokenizer>> {
        self.0.model.tokenizer()
    }

    /// The model's chat templates.
    ///
    /// # Errors
    /// If there are none, or they are unusable.
    pub fn chat_template(&self) -> Result<&ChatTemplate, &ChatError> {
        self.0.model.chat_template()
    }

    /// Maximum positions per sequence.
    pub fn context_len(&self) -> usize {
        self.0.admission.context_len.load(Ordering::Relaxed)
    }

    /// Maximum number of running sequences.
    pub(super) fn max_batch_size(&self) -> usize {
        self.0.admission.max_batch_size.load(Ordering::Relaxed)
    }
}

impl Core {
    fn reconfigure(&mut self, batching: BatchingConfig) -> Result<(), Error> {
        let limit = batching.max_queued_requests;
        self.scheduler.reconfigure(batching)?;
        let max_batch_size = self.scheduler.batch_size();
        self.advice.resize(max_batch_size);
        self.admission.limit.store(limit, Ordering::Relaxed);
        self.admission.max_batch_size.store(max_batch_size, Ordering::Relaxed);
        Ok(())
    }
}

/// The instant `grace` from now; far in the future if the clock cannot represent it.
pub(crate) fn deadline(grace: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(grace.min(CENTURY)).unwrap_or(now)
}
