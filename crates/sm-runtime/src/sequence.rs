//! A single sequence on an executor, without a scheduler or cache.

use sm_kernels::plan::{Executor, OutputRow, PAGE_LEN, RopeRange, Span, StateSpan, StepBatch, StepOutput};
use sm_tensor::{PageId, StateSlot, TokenId};

use crate::Error;

/// A sequence: the tokens whose keys and values are in its pages, in order.
#[derive(Debug)]
pub(crate) struct Sequence {
    computed: Vec<TokenId>,
    page_table: Vec<PageId>,
    /// Slot of the recurrent state after the computed tokens, if the model has one.
    state: Option<StateSlot>,
    /// Which frequencies turned the keys.
    rope_range: RopeRange,
    outputs: Vec<OutputRow>,
    output: StepOutput,
}

/// Which rows of a step get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outputs {
    None,
    Last,
    All,
}

impl Sequence {
    /// An empty sequence of up to `context_len` tokens that owns the executor's first pages and first state slot.
    pub(crate) fn new(context_len: usize, executor: &dyn Executor) -> Self {
        Self {
            computed: Vec::with_capacity(context_len),
            page_table: (0..context_len.div_ceil(PAGE_LEN) as u32).map(PageId).collect(),
            state: (executor.state_bytes() > 0).then_some(StateSlot(0)),
            rope_range: RopeRange::default(),
            outputs: Vec::with_capacity(1),
            output: StepOutput::new(),
        }
    }

    /// The tokens whose keys and values are computed.
    pub(crate) fn computed(&self) -> &[TokenId] {
        &self.computed
    }

    /// Takes the frequencies of a sequence to come. Keys that were turned by others are lost.
    pub(crate) fn set_rope_range(&mut self, rope_range: RopeRange) {
        if self.rope_range != rope_range {
            self.rope_range = rope_range;
            self.computed.clear();
        }
    }

    /// Forgets what does not lead to `tokens`, and returns how many of them need not be computed again. At least one
    /// is left to compute, since only a computed row has logits.
    pub(crate) fn keep_common_prefix(&mut self, tokens: &[TokenId]) -> usize {
        let n_common = self.computed.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let n_kept = n_common.min(tokens.len().saturating_sub(1));
        // A recurrent state exists only after the last computed token.
        let is_lost = self.state.is_some() && n_kept < self.computed.len();
        self.computed.truncate(if is_lost { 0 } else { n_kept });
        self.computed.len()
    }

    /// Appends `tokens` in one step.
    pub(crate) fn step(
        &mut self,
        executor: &mut dyn Executor,
        tokens: &[TokenId],
        outputs: Outputs,
    ) -> Result<&mut StepOutput, Error> {
        let start = self.computed.len();
        let n_rows = tokens.len() as u32;
        let n_pages = (start + tokens.len()).div_ceil(PAGE_LEN) as u32;
        let state = self.state.map(|slot| state_in_place(slot, start));
        let rope_range = self.rope_range;
        let span = Span { n_rows, start: start as u32, n_pages, state, rope_range, ..Span::default() };
        self.outputs.clear();
        match outputs {
            Outputs::None => {}
            Outputs::Last => self.outputs.push(OutputRow::logits(n_rows - 1)),
            Outputs::All => self.outputs.extend((0..n_rows).map(OutputRow::logits)),
        }
        let batch = StepBatch {
            tokens,
            spans: &[span],
            page_table: &self.page_table,
            outputs: &self.outputs,
            ..StepBatch::default()
        };
        if let Err(error) = executor.run(&batch, &mut self.output) {
            // A failed step leaves the pages from `start` on and the state undefined.
            if self.state.is_some() {
                self.computed.clear();
            }
            return Err(error.into());
        }
        self.computed.extend_from_slice(tokens);
        Ok(&mut self.output)
    }
}

/// A state span that updates a slot in place.
pub(crate) fn state_in_place(slot: StateSlot, start: usize) -> StateSpan {
    StateSpan { read: (start > 0).then_some(slot), write: slot, first_kept: 0, n_kept: 0 }
}
