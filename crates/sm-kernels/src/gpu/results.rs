//! What a step sends back: of logits what is wanted, and hidden states.

use super::binder::stride;
use super::select::PICK_BYTES;
use crate::plan::{BufferId, OutputRow, Plan, StepOutput, Wanted};
use sm_tensor::TokenId;

/// What is wanted of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogitsWanted {
    Nothing,
    /// The arg-max of each row, found on the device.
    ArgMax,
    /// All of them, for the host to select from.
    All,
}

impl LogitsWanted {
    /// What the outputs of a step want.
    pub(crate) fn of(outputs: &[OutputRow]) -> Self {
        let wanted = || outputs.iter().map(|output| output.wanted).filter(|wanted| *wanted != Wanted::Hidden);
        match wanted().next() {
            None => Self::Nothing,
            Some(_) if wanted().all(|wanted| wanted == Wanted::ArgMax) => Self::ArgMax,
            Some(_) => Self::All,
        }
    }
}

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
            } else {
                let row = &logits[index * logits_stride..][..4 * vocab_size];
                output.push_logits(wanted, bytemuck::cast_slice(row));
            }
        }
    }
}

/// Bytes of all logits and hidden states of a step.
pub(crate) fn result_bytes(plan: &Plan, max_outputs: usize) -> u64 {
    let widths = plan.logits.into_iter().chain(plan.hidden).map(|buffer| stride(plan.buffer(buffer).width));
    4 * widths.sum::<usize>() as u64 * max_outputs as u64
}
