//! An executor that computes nothing, to measure the engine alone.

use std::fmt;
use std::sync::Arc;

use sm_cache::KvShape;
use sm_kernels::plan::{
    ExecError, Executor, ExecutorInfo, KvDType, Limits, OutputRow, PAGE_LEN, StepBatch, StepOutput,
};
use sm_model::tokenizer::{CharTokenizer, TokenizerError, UnknownCharacter};
use sm_runtime::LoadedModel;
use sm_tensor::PageId;

/// Returns the same logits for every step.
pub struct FreeExecutor {
    info: ExecutorInfo,
    limits: Limits,
    /// `[max_outputs, vocab_size]`, row-major.
    logits: Vec<f32>,
    vocab_size: usize,
    outputs: Vec<OutputRow>,
    n_steps: usize,
    on_step: Box<dyn FnMut(usize) + Send>,
}

impl fmt::Debug for FreeExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreeExecutor").field("n_steps", &self.n_steps).finish_non_exhaustive()
    }
}

/// A model of `vocab_size` characters on a [`FreeExecutor`] with room for `n_sequences` sequences of `context_len`
/// positions. `on_step` is called on the engine's thread, before each step, with the number of steps before it.
///
/// # Errors
/// If `vocab_size` exceeds the number of characters.
pub fn free_model(
    vocab_size: usize,
    n_sequences: usize,
    context_len: usize,
    on_step: impl FnMut(usize) + Send + 'static,
) -> Result<LoadedModel, TokenizerError> {
    // Ideographs first: there are many in one range.
    let characters: String = (0x4e00..).filter_map(char::from_u32).take(vocab_size).collect();
    let tokenizer = Arc::new(CharTokenizer::new(&characters, UnknownCharacter::Error)?);
    let limits = Limits {
        max_tokens: 512.max(n_sequences),
        max_outputs: n_sequences,
        max_sequences: n_sequences,
        n_pages: n_sequences * context_len.div_ceil(PAGE_LEN),
        kv_dtype: KvDType::F16,
    };
    let executor = FreeExecutor {
        info: ExecutorInfo { kernels: "none".to_owned(), row_group: 1, ..ExecutorInfo::default() },
        limits,
        logits: logits(n_sequences * vocab_size),
        vocab_size,
        outputs: Vec::with_capacity(n_sequences),
        n_steps: 0,
        on_step: Box::new(on_step),
    };
    let shape = KvShape { n_layers: 1, n_kv_heads: 1, head_bytes: 2 };
    Ok(LoadedModel::from_executor(Box::new(executor), Some(tokenizer), vocab_size, context_len, shape))
}

/// Logits distributed like those of a model: bell-shaped, from -8 to 8.
pub(crate) fn logits(n: usize) -> Vec<f32> {
    (0..n).map(logit).collect()
}

fn logit(index: usize) -> f32 {
    let bits = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
    (sum as f32 / 65_535.0 - 2.0) * 4.0
}

impl Executor for FreeExecutor {
    fn info(&self) -> &ExecutorInfo {
        &self.info
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn submit(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        (self.on_step)(self.n_steps);
        self.n_steps += 1;
        self.outputs.clear();
        self.outputs.extend_from_slice(batch.outputs);
        Ok(())
    }

    fn wait(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        output.clear();
        let rows = self.logits.chunks_exact(self.vocab_size);
        self.outputs.iter().zip(rows).for_each(|(row, logits)| output.push_logits(row.wanted, logits));
        Ok(())
    }

    fn copy_pages(&mut self, _from_to: &[(PageId, PageId)]) -> Result<(), ExecError> {
        Ok(())
    }

    fn page_bytes(&self) -> usize {
        0
    }

    fn read_pages(&mut self, _pages: &[PageId], _bytes: &mut [u8]) -> Result<(), ExecError> {
        Ok(())
    }

    fn write_pages(&mut self, _pages: &[PageId], _bytes: &[u8]) -> Result<(), ExecError> {
        Ok(())
    }

    fn trace(
        &mut self,
        batch: &StepBatch<'_>,
        _visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), ExecError> {
        self.submit(batch)
    }
}
