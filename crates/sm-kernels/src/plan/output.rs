//! What a step gave, in memory that its caller owns and reuses.
//!
//! Rows of logits are large: 600 kB at a vocabulary of 152,000 tokens. So they can be handed over instead of copied: a
//! [`StepOutput`] and its executor swap memory, and the executor writes the next logits into what the output held
//! before. That costs a second buffer of logits and no time, and step N + 1 can be computed while step N is sampled. A
//! copy would cost about 60 µs per row at 10 GB/s, on one thread: half a per cent of a fast decode step of one sequence,
//! and several per cent where many sequences share a step.

mod memory;
pub(crate) mod select;

use std::any::Any;
use std::ops::Range;

use sm_tensor::TokenId;

pub use memory::RowMemory;

use super::batch::Wanted;

/// The outputs of a step, in the order of [`StepBatch::outputs`](super::StepBatch::outputs).
///
/// ```
/// use sm_kernels::plan::{StepOutput, Wanted};
/// use sm_tensor::TokenId;
///
/// # let mut output = StepOutput::new();
/// # output.clear();
/// # output.push_logits(Wanted::TopK(2), &[0.5, 2.0, -1.0, 2.0]);
/// // What `Wanted::TopK(2)` gave for a row with the logits 0.5, 2, -1 and 2.
/// assert_eq!(output.top(0), [(TokenId(1), 2.0), (TokenId(3), 2.0)]);
/// let probability = (f64::from(output.top(0)[0].1) - output.log_sum_exp(0)).exp();
/// assert!((probability - 0.439).abs() < 0.001);
/// ```
#[derive(Debug, Default)]
pub struct StepOutput {
    outputs: Vec<Output>,
    /// Logits that were pushed.
    copied: Vec<f32>,
    /// Logits that an executor handed over.
    handed: Option<Box<dyn RowMemory>>,
    top: Vec<(TokenId, f32)>,
    hidden: Vec<f32>,
}

/// Where the output of a row lies.
#[derive(Clone, Debug)]
enum Output {
    Copied(Range<usize>),
    Handed(Range<usize>),
    ArgMax(TokenId, f32),
    TopK { top: Range<usize>, log_sum_exp: f64 },
    Hidden(Range<usize>),
}

impl Output {
    const fn name(&self) -> &'static str {
        match self {
            Self::Copied(_) | Self::Handed(_) => "logits",
            Self::ArgMax(..) => "the arg-max",
            Self::TopK { .. } => "the largest logits",
            Self::Hidden(_) => "the hidden state",
        }
    }

    #[track_caller]
    fn is_not(&self, asked: &str) -> ! {
        panic!("the output is {}, not {asked}", self.name())
    }
}

impl StepOutput {
    /// Without outputs; memory comes with the first step.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of outputs.
    pub fn n_outputs(&self) -> usize {
        self.outputs.len()
    }

    /// The logits of output `i`, `[vocab_size]`.
    ///
    /// # Panics
    /// If there is no such output, or it is not [`Wanted::Logits`].
    pub fn logits(&self, i: usize) -> &[f32] {
        match &self.outputs[i] {
            Output::Copied(range) => &self.copied[range.clone()],
            Output::Handed(range) => {
                &self.handed.as_ref().map_or(&[][..], |memory| memory.values())[range.clone()]
            }
            other => other.is_not("logits"),
        }
    }

    /// The logits of output `i`, `[vocab_size]`, to be changed in place.
    ///
    /// # Panics
    /// As [`StepOutput::logits`].
    pub fn logits_mut(&mut self, i: usize) -> &mut [f32] {
        match &self.outputs[i] {
            Output::Copied(range) => &mut self.copied[range.clone()],
            Output::Handed(range) => {
                &mut self.handed.as_mut().map_or(&mut [][..], |memory| memory.values_mut())[range.clone()]
            }
            other => other.is_not("logits"),
        }
    }

    /// The first token of output `i` in the order of logits, and its logit: the largest, the lowest id among equals, or
    /// the first NaN.
    ///
    /// # Panics
    /// If there is no such output, or it is not [`Wanted::ArgMax`].
    pub fn arg_max(&self, i: usize) -> (TokenId, f32) {
        let Output::ArgMax(token, logit) = self.outputs[i] else { self.outputs[i].is_not("the arg-max") };
        (token, logit)
    }

    /// The K first tokens of output `i` in the order of logits, with their logits.
    ///
    /// # Panics
    /// If there is no such output, or it is not [`Wanted::TopK`].
    pub fn top(&self, i: usize) -> &[(TokenId, f32)] {
        let Output::TopK { top, .. } = &self.outputs[i] else { self.outputs[i].is_not("the largest logits") };
        &self.top[top.clone()]
    }

    /// `ln Σ exp(logit)` over the whole vocabulary; NaN if a logit is.
    ///
    /// # Panics
    /// As [`StepOutput::top`].
    pub fn log_sum_exp(&self, i: usize) -> f64 {
        let Output::TopK { log_sum_exp, .. } = &self.outputs[i] else {
            self.outputs[i].is_not("the largest logits")
        };
        *log_sum_exp
    }

    /// The hidden state of output `i`, `[hidden_size]`.
    ///
    /// # Panics
    /// If there is no such output, or it is not [`Wanted::Hidden`].
    pub fn hidden(&self, i: usize) -> &[f32] {
        let Output::Hidden(range) = &self.outputs[i] else { self.outputs[i].is_not("the hidden state") };
        &self.hidden[range.clone()]
    }
}

/// For executors: how outputs get in.
///
/// Small ones are pushed by value. Logits are copied by [`StepOutput::push_logits`], or the memory that they lie in is
/// handed over and taken back when the next step is waited for.
impl StepOutput {
    /// Forgets all outputs; memory stays.
    pub fn clear(&mut self) {
        self.outputs.clear();
        self.copied.clear();
        self.top.clear();
        self.hidden.clear();
    }

    /// Appends the output of a row by its logits, `[vocab_size]`: copies them, or selects what is wanted. The definition
    /// that every executor's own selection is tested against.
    ///
    /// # Panics
    /// If the hidden state is wanted, or there are no logits.
    pub fn push_logits(&mut self, wanted: Wanted, logits: &[f32]) {
        assert!(!logits.is_empty(), "no logits");
        let output = match wanted {
            Wanted::Logits => {
                let first = self.copied.len();
                self.copied.extend_from_slice(logits);
                Output::Copied(first..self.copied.len())
            }
            Wanted::ArgMax => {
                let (token, logit) = select::arg_max(logits);
                Output::ArgMax(token, logit)
            }
            Wanted::TopK(k) => {
                let first = self.top.len();
                select::top_k(logits, k as usize, &mut self.top);
                Output::TopK { top: first..self.top.len(), log_sum_exp: select::log_sum_exp(logits) }
            }
            Wanted::Hidden => panic!("a hidden state is not made of logits"),
        };
        self.outputs.push(output);
    }

    /// Appends the first token in the order of logits, selected where the logits are.
    pub fn push_arg_max(&mut self, token: TokenId, logit: f32) {
        self.outputs.push(Output::ArgMax(token, logit));
    }

    /// Appends the first tokens in the order of logits with the [`StepOutput::log_sum_exp`], selected where the logits are.
    pub fn push_top(&mut self, top: &[(TokenId, f32)], log_sum_exp: f64) {
        let first = self.top.len();
        self.top.extend_from_slice(top);
        self.outputs.push(Output::TopK { top: first..self.top.len(), log_sum_exp });
    }

    /// Takes memory back that an executor handed over, if it is of this kind, so that the next step can write into it.
    pub fn take_memory<M: RowMemory>(&mut self) -> Option<Box<M>> {
        (self.handed.take()? as Box<dyn Any>).downcast().ok()
    }

    /// Hands memory over, whose rows become outputs by [`StepOutput::push_row`].
    pub fn hand_over(&mut self, memory: Box<dyn RowMemory>) {
        self.handed = Some(memory);
    }

    /// Appends logits that lie in the memory handed over, or to be handed over.
    pub fn push_row(&mut self, row: Range<usize>) {
        self.outputs.push(Output::Handed(row));
    }

    /// Appends a hidden state, `[hidden_size]`.
    pub fn push_hidden(&mut self, hidden: &[f32]) {
        let first = self.hidden.len();
        self.hidden.extend_from_slice(hidden);
        self.outputs.push(Output::Hidden(first..self.hidden.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_keep_their_order_and_memory_is_used_again() {
        let mut output = StepOutput::new();
        for round in 0..3 {
            output.clear();
            let row = |i: usize| [i as f32, round as f32, -1.0];
            output.push_logits(Wanted::Logits, &row(1));
            output.push_logits(Wanted::ArgMax, &row(2));
            output.push_hidden(&[0.5, 0.25]);
            (3..40).for_each(|i| output.push_logits(Wanted::Logits, &row(i)));
            output.push_logits(Wanted::TopK(9), &row(7));
            assert_eq!(output.n_outputs(), 41);
            assert_eq!(output.arg_max(1), (TokenId(0), 2.0));
            assert_eq!(output.hidden(2), [0.5, 0.25]);
            assert_eq!(output.top(40), [(TokenId(0), 7.0), (TokenId(1), round as f32), (TokenId(2), -1.0)]);
            for (output_idx, i) in [(0, 1), (3, 3), (39, 39)] {
                assert_eq!(output.logits(output_idx), row(i));
            }
            output.logits_mut(3).fill(8.0);
            assert_eq!((output.logits(3), output.logits(4)), (&[8.0; 3][..], &row(4)[..]));
        }
    }

    #[test]
    #[should_panic(expected = "the output is the arg-max, not logits")]
    fn what_was_not_asked_for_is_not_there() {
        let mut output = StepOutput::new();
        output.push_arg_max(TokenId(1), 1.0);
        output.logits(0);
    }
}
