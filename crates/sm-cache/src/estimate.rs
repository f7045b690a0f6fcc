//! Memory estimates, before anything is allocated.

use std::fmt;

use crate::bytes::ByteSize;
use crate::config::PagePool;

/// Why an estimate is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EstimateError {
    /// A size is zero.
    #[error("{field} must be at least 1")]
    Zero {
        /// The size.
        field: &'static str,
    },
    /// The number of bytes does not fit 64 bits.
    #[error("the estimate does not fit 64 bits; check the sizes of the model and the batch")]
    Overflow,
}

fn product(factors: &[u64]) -> Result<u64, EstimateError> {
    factors
        .iter()
        .try_fold(1u64, |product, factor| product.checked_mul(*factor))
        .ok_or(EstimateError::Overflow)
}

fn sum(terms: &[u64]) -> Result<u64, EstimateError> {
    terms.iter().try_fold(0u64, |sum, term| sum.checked_add(*term)).ok_or(EstimateError::Overflow)
}

fn positive(field: &'static str, value: u64) -> Result<u64, EstimateError> {
    if value == 0 { Err(EstimateError::Zero { field }) } else { Ok(value) }
}

/// Rough estimates from model sizes, using the formulas documented for the systems that SmallMind replaces. They assume as
/// many key heads as query heads; [`MemoryPlan`] does not.
///
/// ```
/// use sm_cache::{ByteSize, MemoryEstimator};
///
/// let model = MemoryEstimator { n_params: 10_000, hidden_size: 32, n_layers: 3, n_heads: 4, vocab_size: 256 };
/// assert_eq!(model.session_bytes(512)?, 633_920);
/// assert_eq!(ByteSize(model.kv_bytes(512)?).to_string(), "384.00 KB");
/// # Ok::<(), sm_cache::EstimateError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryEstimator {
    /// Parameters.
    pub n_params: u64,
    /// Width of the hidden state.
    pub hidden_size: u64,
    /// Transformer layers.
    pub n_layers: u64,
    /// Attention heads per layer.
    pub n_heads: u64,
    /// Vocabulary size.
    pub vocab_size: u64,
}

/// The size of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// Sequences.
    pub n_sequences: u64,
    /// Positions per sequence.
    pub n_tokens: u64,
    /// Bytes per element: 2 for half precision, 4 for single.
    pub element_bytes: u64,
}

impl MemoryEstimator {
    /// Bytes of the keys and values of `context_len` positions in single precision:
    ///
    /// ```text
    /// 2 · context · heads · (hidden / heads) · 4 · layers
    /// ```
    ///
    /// # Errors
    /// If a size is zero or the result is too large.
    pub fn kv_bytes(&self, context_len: u64) -> Result<u64, EstimateError> {
        let context_len = positive("context_len", context_len)?;
        let n_heads = positive("n_heads", self.n_heads)?;
        product(&[2, context_len, n_heads, self.hidden_size / n_heads, 4, self.n_layers])
    }

    /// Bytes of the model with one session:
    ///
    /// ```text
    /// 4 · params + kv + 12 · context · hidden + 2 · 4 · vocab + 4 · context
    /// ```
    ///
    /// # Errors
    /// If a size is zero or the result is too large.
    pub fn session_bytes(&self, context_len: u64) -> Result<u64, EstimateError> {
        sum(&[self.weight_bytes()?, self.own_bytes(context_len)?])
    }

    /// Bytes of the model with `n_sessions` sessions.
    ///
    /// # Errors
    /// If a size is zero or the result is too large.
    pub fn engine_bytes(&self, context_len: u64, n_sessions: u64) -> Result<u64, EstimateError> {
        sum(&[self.weight_bytes()?, product(&[n_sessions, self.own_bytes(context_len)?])?])
    }

    fn weight_bytes(&self) -> Result<u64, EstimateError> {
        product(&[4, self.n_params])
    }

    /// Bytes of a session alone.
    fn own_bytes(&self, context_len: u64) -> Result<u64, EstimateError> {
        sum(&[
            self.kv_bytes(context_len)?,
            product(&[12, context_len, self.hidden_size])?,
            product(&[2, 4, self.vocab_size])?,
            product(&[4, context_len])?,
        ])
    }

    /// Bytes of a batch, weights excluded, plus 20 % for safety, rounded down:
    ///
    /// ```text
    /// activations = batch · tokens · hidden · element · (4 + 2 · layers)
    /// kv          = batch · tokens · hidden · element · 2 · layers
    /// scores      = batch · heads · tokens² · element
    /// total       = 1.2 · (activations + kv + scores)
    /// ```
    ///
    /// # Errors
    /// If the result is too large.
    pub fn batch_bytes(&self, batch: BatchSize) -> Result<u64, EstimateError> {
        let BatchSize { n_sequences, n_tokens, element_bytes } = batch;
        let per_layer = product(&[n_sequences, n_tokens, self.hidden_size, element_bytes])?;
        let layers = sum(&[4, product(&[4, self.n_layers])?])?;
        let scores = product(&[n_sequences, self.n_heads, n_tokens, n_tokens, element_bytes])?;
        let exact = sum(&[product(&[per_layer, layers])?, scores])?;
        Ok(product(&[exact, 6])? / 5)
    }

    /// The largest batch of sequences like `one`, at most `max_batch`, that fits `limit_bytes`; 0 if none does.
    /// `one.n_sequences` is ignored.
    pub fn optimal_batch_size(&self, one: BatchSize, limit_bytes: u64, max_batch: u64) -> u64 {
        let fits = |n_sequences| {
            self.batch_bytes(BatchSize { n_sequences, ..one }).is_ok_and(|bytes| bytes <= limit_bytes)
        };
        // Memory grows with the batch, so bisection finds the largest that fits.
        let mut fitting = 0;
        let mut above = max_batch.saturating_add(1);
        while above - fitting > 1 {
            let middle = fitting + (above - fitting) / 2;
            if fits(middle) { fitting = middle } else { above = middle }
        }
        fitting
    }
}

/// Memory of an engine: weights as stored, whole KV pages, state slots, and the workspace reported by the executor.
/// Displays as a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Bytes of the packed weights.
    pub weight_bytes: u64,
    /// Bytes of activations and scratch buffers, measured when the model is prepared.
    pub workspace_bytes: u64,
    /// Concurrent sequences.
    pub n_sequences: u64,
    /// Positions per sequence.
    pub context_len: u64,
    /// Page length and shape (the number of pages is estimated), and state slots.
    pub pool: PagePool,
}

impl MemoryPlan {
    /// Pages of all sequences.
    ///
    /// # Errors
    /// If a size is zero or the result is too large.
    pub fn n_pages(&self) -> Result<u64, EstimateError> {
        let page_len = positive("page_len", self.pool.page_len as u64)?;
        product(&[self.n_sequences, positive("context_len", self.context_len)?.div_ceil(page_len)])
    }

    /// Bytes of the pages.
    ///
    /// # Errors
    /// If a size is zero or the result is too large.
    pub fn kv_bytes(&self) -> Result<u64, EstimateError> {
        product(&[self.n_pages()?, self.pool.page_bytes().ok_or(EstimateError::Overflow)?])
    }

    /// Bytes of the state slots; 0 if the model has no recurrent state.
    ///
    /// # Errors
    /// If the result is too large.
    pub fn state_bytes(&self) -> Result<u64, EstimateError> {
        self.pool.states_bytes().ok_or(EstimateError::Overflow)
    }

    /// Bytes of everything.
    ///
    /// # Errors
    /// If a size is zero or the result is too large.
    pub fn total_bytes(&self) -> Result<u64, EstimateError> {
        sum(&[self.weight_bytes, self.workspace_bytes, self.state_bytes()?, self.kv_bytes()?])
    }

    /// Maximum number of sequences that fit into `limit_bytes` and, if the pool has state slots, have one each.
    pub fn max_sequences(&self, limit_bytes: u64) -> u64 {
        let one = Self { n_sequences: 1, ..*self };
        let fixed = sum(&[self.weight_bytes, self.workspace_bytes, self.state_bytes().unwrap_or(u64::MAX)]);
        let n_fitting = match (fixed, one.kv_bytes()) {
            (Ok(fixed), Ok(bytes)) if fixed <= limit_bytes => {
                (limit_bytes - fixed).checked_div(bytes).unwrap_or(self.pool.n_state_slots as u64)
            }
            _ => 0,
        };
        match self.pool.n_state_slots {
            0 => n_fitting,
            n_slots => n_fitting.min(n_slots as u64),
        }
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Ok(kv_bytes), Ok(total_bytes)) = (self.kv_bytes(), self.total_bytes()) else {
            return f.write_str("more than 64 bits of memory");
        };
        writeln!(f, "weights    {:>12}", ByteSize(self.weight_bytes).to_string())?;
        writeln!(f, "workspace  {:>12}", ByteSize(self.workspace_bytes).to_string())?;
        if let Ok(state_bytes @ 1..) = self.state_bytes() {
            writeln!(f, "states     {:>12}", ByteSize(state_bytes).to_string())?;
        }
        let size = ByteSize(kv_bytes).to_string();
        writeln!(f, "KV cache   {size:>12}  ({} × {} tokens)", self.n_sequences, self.context_len)?;
        write!(f, "total      {:>12}", ByteSize(total_bytes).to_string())
    }
}

#[cfg(test)]
mod tests;
