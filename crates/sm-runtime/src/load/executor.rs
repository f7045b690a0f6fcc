//! Executor sizing.

use sm_kernels::plan::KvDType;
use sm_tensor::{setters, some_setters};

use crate::Error;

/// Sizes an executor: its largest step and its KV cache. Executors of one [`LoadedModel`](crate::LoadedModel) share its
/// weights, whatever their sizes.
///
/// ```
/// use sm_runtime::{ExecutorOptions, KvDType};
///
/// let options = ExecutorOptions::new().n_sequences(4).kv_dtype(KvDType::Q8_0);
/// assert_eq!((options.n_sequences, options.max_step_tokens), (4, 512));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutorOptions {
    /// Data type of the KV cache. F16 by default.
    pub kv_dtype: KvDType,
    /// Maximum sequences per step. 1 by default.
    pub n_sequences: usize,
    /// Further sequences for which a step has room, but the KV cache no contexts of their own. An engine reserves as many as
    /// its batch size, so that [`Engine::reconfigure`](crate::Engine::reconfigure) can double it. 0 by default.
    pub n_reserved_sequences: usize,
    /// Maximum rows per step, and thus the length of prompt chunks. 512 by default.
    pub max_step_tokens: usize,
    /// Maximum rows per step with logits: 1 for generation (the default), more to score text faster.
    pub max_outputs: usize,
    /// Size of the KV cache in bytes, if the limits below leave as much. By default enough for
    /// [`ExecutorOptions::n_sequences`] full contexts.
    pub kv_bytes: Option<u64>,
    /// Limit in bytes for KV cache, activations and scratch together. Unlimited by default.
    pub pool_bytes: Option<u64>,
    /// Limit in bytes for everything: weights, KV cache, activations and scratch. The KV cache is made to fit; if not even one
    /// context does, loading fails up front. By default, it fails if the weights and one context do not fit into available
    /// memory.
    pub memory_limit: Option<u64>,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self {
            kv_dtype: KvDType::default(),
            n_sequences: 1,
            n_reserved_sequences: 0,
            max_step_tokens: 512,
            max_outputs: 1,
            kv_bytes: None,
            pool_bytes: None,
            memory_limit: None,
        }
    }
}

impl ExecutorOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters!(
        kv_dtype: KvDType,
        n_sequences: usize,
        n_reserved_sequences: usize,
        max_step_tokens: usize,
        max_outputs: usize,
    );
    some_setters!(kv_bytes: u64, pool_bytes: u64, memory_limit: u64);

    pub(super) fn validate(&self) -> Result<(), Error> {
        let counts = [
            ("n_sequences", self.n_sequences),
            ("max_step_tokens", self.max_step_tokens),
            ("max_outputs", self.max_outputs),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((field, _)) => Err(Error::validation(field, "0 is not allowed; use at least 1")),
            None => Ok(()),
        }
    }
}
