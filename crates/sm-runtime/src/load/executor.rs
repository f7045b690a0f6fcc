//! What the executor of a loaded model is sized for.

use sm_kernels::plan::KvDType;
use sm_tensor::{setters, some_setters};

use crate::Error;

/// What the executor of a loaded model is sized for: how large its steps may be, and how many keys and values it can hold.
/// Executors of one [`LoadedModel`](crate::LoadedModel) share its weights, whatever their sizes.
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
    /// How keys and values are stored. F16 by default.
    pub kv_dtype: KvDType,
    /// Sequences in one step. 1 by default.
    pub n_sequences: usize,
    /// Rows in one step, and so the length of a prompt's chunks. 512 by default.
    pub max_step_tokens: usize,
    /// Rows of one step whose logits can be read: 1 to generate (the default), more to score text quickly.
    pub max_outputs: usize,
    /// Bytes for keys and values. By default what [`ExecutorOptions::n_sequences`] full contexts need.
    pub kv_bytes: Option<u64>,
    /// Bytes for keys and values, activations and scratch together. By default not limited.
    pub pool_bytes: Option<u64>,
    /// Bytes for everything: weights, keys and values, activations and scratch. A model that needs more is refused before it
    /// is loaded. Without a limit, a model is refused whose weights and one context do not fit into the memory that the machine
    /// has left.
    pub memory_limit: Option<u64>,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self {
            kv_dtype: KvDType::default(),
            n_sequences: 1,
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

    setters!(kv_dtype: KvDType, n_sequences: usize, max_step_tokens: usize, max_outputs: usize);
    some_setters!(kv_bytes: u64, pool_bytes: u64, memory_limit: u64);

    pub(super) fn validate(&self) -> Result<(), Error> {
        let counts = [
            ("n_sequences", self.n_sequences),
            ("max_step_tokens", self.max_step_tokens),
            ("max_outputs", self.max_outputs),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((field, _)) => Err(Error::validation(field, "0 is not possible; use at least 1")),
            None => Ok(()),
        }
    }
}
