//! Memory for weights, keys and values, compared with a naive engine.

use sm_cache::ByteSize;
use sm_runtime::{BatchingConfig, Engine, Error, ModelRef, Request, RequestHandle};
use sm_tensor::DType;

use super::{Bound, DOCUMENTS, ExperimentError, Finding, Goal, RandomModel, greedy, prompt, tokens};
use crate::synth::{Shape, n_weights};

/// Prompt lengths of the concurrent sequences.
const PROMPTS: [usize; 8] = [64, 128, 192, 256, 320, 384, 448, 512];
/// Tokens that each generates.
const N_TOKENS: usize = 32;

/// Bytes of weights, and of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    weights: u64,
    keys_and_values: u64,
}

impl Memory {
    /// Computed, not measured: everything in f32, with room for the longest context in every sequence.
    fn naive(shape: &Shape, n_sequences: usize) -> Self {
        let position = 2 * shape.n_layers * shape.n_kv_heads * shape.head_dim() * size_of::<f32>();
        Self {
            weights: (n_weights(shape) * size_of::<f32>()) as u64,
            keys_and_values: (n_sequences * shape.context_len * position) as u64,
        }
    }

    /// Peak memory of an engine serving the sequences.
    fn measured(model: &ModelRef) -> Result<Self, Error> {
        let n_sequences = PROMPTS.len();
        let batching = BatchingConfig::new().max_batch_size(n_sequences);
        let engine = Engine::builder().batching(batching).load(model.clone())?;
        let submit = |(number, n_prompt): (usize, usize)| {
            let prompt = prompt(number, n_prompt, DOCUMENTS.vocab_size);
            engine.submit(Request::new(tokens(&prompt), greedy(N_TOKENS)))
        };
        let handles: Vec<_> = PROMPTS.into_iter().enumerate().map(submit).collect::<Result<_, _>>()?;
        handles.into_iter().try_for_each(|handle: RequestHandle| handle.wait().map(drop))?;
        Ok(Self {
            weights: engine.info().weight_bytes as u64,
            keys_and_values: engine.stats().cache.peak_bytes,
        })
    }

    fn total(&self) -> u64 {
        self.weights + self.keys_and_values
    }
}

/// Runs the experiment on 1.1 billion random weights in Q4_0.
///
/// # Errors
/// If the model cannot be written or run.
pub fn run() -> Result<Vec<Finding>, ExperimentError> {
    let shape = Shape::named("llama-1.1b").unwrap_or(&DOCUMENTS);
    let model = RandomModel::write(shape, DType::Q4_0)?;
    let naive = Memory::naive(shape, PROMPTS.len());
    let ours = Memory::measured(&model.path().into())?;
    let [shortest, .., longest] = PROMPTS.map(|n_prompt| n_prompt + N_TOKENS);
    let ratio = naive.total() as f64 / ours.total() as f64;
    Ok(vec![Finding {
        what: format!(
            "Memory: {}, {} sequences of {shortest} to {longest} tokens; naive (computed): weights, keys and values in \
             f32, room for {} tokens in each sequence; here: q4_0, keys and values in f16, as many as there are",
            shape.name,
            PROMPTS.len(),
            shape.context_len
        ),
        measured: format!(
            "weights {} → {}, keys and values {} → {}: {ratio:.1} ×",
            ByteSize(naive.weights),
            ByteSize(ours.weights),
            ByteSize(naive.keys_and_values),
            ByteSize(ours.keys_and_values)
        ),
        claim: "4 ×, 100 → 25 %; the documents do not say what is naive".to_owned(),
        goals: vec![Goal { ratio, bound: Bound::AtLeast(4.0) }],
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_naive_memory_is_that_of_single_precision() {
        let shape = Shape { is_tied: true, ..DOCUMENTS };
        // Per layer: q, k, v, o; gate, up, down; two norms.
        let layer = 4 * 128 * 128 + 3 * 128 * 512 + 2 * 128;
        let naive = Memory::naive(&shape, 3);
        assert_eq!(naive.weights, 4 * (512 * 128 + 4 * layer + 128));
        assert_eq!(naive.keys_and_values, 3 * 2048 * 2 * 4 * 128 * 4);
    }
}
