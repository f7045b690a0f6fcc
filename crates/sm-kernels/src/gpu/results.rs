//! What a step sends back: of logits what is wanted, and hidden states.

use super::binder::stride;
use super::select::{LogitsWanted, MAX_TOP, PICK_BYTES, TOP_BYTES};
use crate::plan::{BufferId, OutputRow, Plan, StepOutput, Wanted};
use sm_tensor::TokenId;

/// Where results lie, in bytes: logits or what was picked of them, then hidden states.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Results {
    pub(crate) logits: LogitsWanted,
    pub(crate) logits_bytes: u64,
    pub(crate) hidden_bytes: u64,
}

impl Results {
    /// All bytes.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.logits_bytes + self.hidden_bytes
    }

    /// Passes on what the device sent.
    pub(crate) fn read(&self, plan: &Plan, outputs: &[OutputRow], bytes: &[u8], output: &mut StepOutput) {
        let stride_bytes =
            |buffer: Option<BufferId>| buffer.map_or(1, |id| 4 * stride(plan.buffer(id).width));
        let (logits_stride, hidden_stride) = (stride_bytes(plan.logits), stride_bytes(plan.hidden));
        let (vocab_size, hidden_size) = (plan.vocab_size(), plan.hidden_size());
        let (logits, hidden) = bytes.split_at(self.logits_bytes as usize);
        for (index, wanted) in outputs.iter().map(|output| output.wanted).enumerate() {
            if wanted == Wanted::Hidden {
                let row = &hidden[index * hidden_stride..][..4 * hidden_size];
                output.push_hidden(bytemuck::cast_slice(row));
            } else if self.logits == LogitsWanted::ArgMax {
                let [token, logit] = *bytemuck::from_bytes(&logits[index * PICK_BYTES as usize..][..8]);
                output.push_arg_max(TokenId(token), f32::from_bits(logit));
            } else if let LogitsWanted::Top(k) = self.logits {
                let row = &logits[index * TOP_BYTES as usize..][..TOP_BYTES as usize];
                push_first(wanted, bytemuck::cast_slice(row), k.min(vocab_size), output);
            } else {
                let row = &logits[index * logits_stride..][..4 * vocab_size];
                output.push_logits(wanted, bytemuck::cast_slice(row));
            }
        }
    }
}

/// Passes on what is wanted of the `n` first tokens of a row, which the device found in no order.
fn push_first(wanted: Wanted, found: &[[u32; 2]], n: usize, output: &mut StepOutput) {
    let mut first = [(TokenId(0), 0.0); MAX_TOP];
    let first = &mut first[..n];
    for (to, &[token, bits]) in first.iter_mut().zip(&found[1..]) {
        *to = (TokenId(token), f32::from_bits(bits));
    }
    first.sort_unstable_by(|a, b| {
        let is_number = |logit: f32| !logit.is_nan();
        let by_logit = b.1.partial_cmp(&a.1).unwrap_or_else(|| is_number(a.1).cmp(&is_number(b.1)));
        by_logit.then(a.0.cmp(&b.0))
    });
    match wanted {
        Wanted::TopK(k) => {
            let [largest, sum] = found[0].map(f32::from_bits);
            // The sum is no number beside an infinity.
            let log_sum = if largest.is_finite() { f64::from(sum).ln() } else { 0.0 };
            let log_sum_exp = f64::from(largest) + log_sum;
            output.push_top(&first[..n.min(k as usize)], log_sum_exp);
        }
        _ => output.push_arg_max(first[0].0, first[0].1),
    }
}

/// Bytes of all logits, or of the first tokens of a small vocabulary, and hidden states of a step.
pub(crate) fn result_bytes(plan: &Plan, max_outputs: usize) -> u64 {
    let row_bytes =
        |buffer: Option<BufferId>| buffer.map_or(0, |id| 4 * stride(plan.buffer(id).width) as u64);
    let logits_bytes = plan.logits.map_or(0, |_| row_bytes(plan.logits).max(TOP_BYTES));
    (logits_bytes + row_bytes(plan.hidden)) * max_outputs as u64
}
