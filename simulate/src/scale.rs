//! Scales a trace to a small model: shorter, faster, and with tokens generated for its blocks.

use std::time::Duration;

use sm_batching::TokenId;

use crate::mix;
use crate::trace::{BLOCK_LEN, Recorded};

/// How a trace is scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Lengths are divided by this and rounded up; it divides [`BLOCK_LEN`].
    pub lengths: usize,
    /// Speed-up of the arrival rate.
    pub speed: f64,
    /// The model's context length; longer requests are truncated after the division.
    pub context_len: usize,
    /// The size of the model's vocabulary.
    pub vocab_size: usize,
    /// Number of callers: half of the requests are the first's, a quarter the second's, and so on; the rest are the last's.
    pub n_keys: u64,
}

/// A request to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// When to send it, relative to the start.
    pub at: Duration,
    /// The prompt.
    pub prompt: Vec<TokenId>,
    /// Tokens to generate, at least 1.
    pub n_output: usize,
    /// The caller.
    pub key: u64,
    /// Whether the prompt or output was truncated.
    pub is_cut: bool,
}

impl Scale {
    /// The default divisor: maps a block of Mooncake's traces to a page of 16 positions.
    pub fn usual_divisor(trace: &[Recorded]) -> usize {
        if trace.iter().any(|request| request.blocks.is_some()) { 32 } else { 8 }
    }

    /// Scales a trace.
    pub fn apply(&self, trace: &[Recorded]) -> Vec<Scaled> {
        trace.iter().zip(0..).map(|(request, index)| self.scaled(request, index)).collect()
    }

    /// Scales the request at `index` of a trace.
    pub fn scaled(&self, request: &Recorded, index: u64) -> Scaled {
        let length = |n: usize| n.div_ceil(self.lengths).max(1);
        let n_input = length(request.n_input);
        let n_output = length(request.n_output);
        // An output may fill half of the context, and the prompt the rest.
        let n_output_kept = n_output.min(self.context_len / 2);
        let n_input_kept = n_input.min(self.context_len - n_output_kept);
        let block_len = BLOCK_LEN / self.lengths;
        let token = |position: usize| {
            let block = position / block_len;
            let offset = position % block_len;
            let name = match request.blocks.as_ref().and_then(|blocks| blocks.get(block)) {
                Some(name) => *name,
                // A unique value.
                None => mix(mix(index) ^ block as u64) | 1 << 63,
            };
            TokenId((mix(mix(name) ^ offset as u64) % self.vocab_size as u64) as u32)
        };
        Scaled {
            at: request.at.div_f64(self.speed),
            prompt: (0..n_input_kept).map(token).collect(),
            n_output: n_output_kept,
            key: u64::from(mix(index).trailing_zeros()).min(self.n_keys.saturating_sub(1)),
            is_cut: n_input_kept < n_input || n_output_kept < n_output,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale { lengths: 32, speed: 4.0, context_len: 100, vocab_size: 1000, n_keys: 3 };

    fn recorded(n_input: usize, n_output: usize, blocks: Option<Vec<u64>>) -> Recorded {
        Recorded { at: Duration::from_secs(8), n_input, n_output, blocks }
    }

    #[test]
    fn lengths_and_times_shrink() {
        let [scaled] = &SCALE.apply(&[recorded(1000, 33, None)])[..] else { panic!("one request") };
        assert_eq!((scaled.prompt.len(), scaled.n_output), (32, 2));
        assert_eq!((scaled.at, scaled.is_cut), (Duration::from_secs(2), false));
        let [cut] = &SCALE.apply(&[recorded(32 * 90, 32 * 90, None)])[..] else { panic!("one request") };
        assert_eq!((cut.prompt.len(), cut.n_output, cut.is_cut), (50, 50, true));
        let [least] = &SCALE.apply(&[recorded(0, 0, None)])[..] else { panic!("one request") };
        assert_eq!((least.prompt.len(), least.n_output), (1, 1));
    }

    #[test]
    fn equal_blocks_give_equal_tokens_and_others_do_not() {
        let trace = [
            recorded(1300, 1, Some(vec![5, 6, 7])),
            recorded(1536, 1, Some(vec![5, 6, 8])),
            recorded(1300, 1, None),
            recorded(1300, 1, None),
        ];
        let prompts: Vec<Vec<TokenId>> =
            SCALE.apply(&trace).into_iter().map(|scaled| scaled.prompt).collect();
        assert_eq!(prompts[0].len(), 41, "the last block has 9 tokens of 16");
        assert_eq!(prompts[0][..32], prompts[1][..32]);
        assert_ne!(prompts[0][32..], prompts[1][32..41]);
        assert_ne!(prompts[0][..16], prompts[2][..16]);
        assert_ne!(prompts[2][..16], prompts[3][..16]);
        assert_eq!(SCALE.apply(&trace)[2].prompt, prompts[2], "the same every time");
    }

    #[test]
    fn the_first_key_asks_for_half() {
        let keys: Vec<u64> =
            SCALE.apply(&vec![recorded(1, 1, None); 1000]).into_iter().map(|scaled| scaled.key).collect();
        let count = |key| keys.iter().filter(|other| **other == key).count();
        assert!((400..600).contains(&count(0)) && count(2) > 150 && count(0) + count(1) + count(2) == 1000);
    }
}
