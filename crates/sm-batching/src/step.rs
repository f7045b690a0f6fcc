//! One step: what the executor computes, and for whom.
//!
//! ```text
//! parts        A (decode)    B (decode, 2 drafts)    C (prefill)          D (end of its prompt, n = 2)
//! rows         a             b x y                   c c c c c c          d d d d
//! outputs      0             1 2 3                   –                    4
//! results      1 token       1 to 3 tokens           –                    1 token for each choice
//! ```

use std::ops::Range;

use sm_cache::{KvCache, KvHandle};
use sm_kernels::plan::{KeptState, OutputRow, Span, StateSpan, StepBatch};
use sm_tensor::{PageId, TokenId};

use crate::budget::StepBudget;
use crate::config::StepLimits;
use crate::request::SequenceId;
use crate::sequence::Sequence;

/// The rows of one sequence in a step.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepPart {
    /// The sequence; the first choice of its request while choices share the prompt.
    pub id: SequenceId,
    /// Position of the first row.
    pub start: usize,
    /// Number of rows.
    pub n_rows: usize,
    /// Index of the first output among those of the step.
    pub first_output: usize,
    /// Number of outputs at prompt positions, which come first: logits that score the token after their position, or hidden
    /// states.
    pub n_scored: usize,
    /// Position of the first of these.
    pub scored_start: usize,
    /// Number of outputs to sample from: 0 until the prompt is computed, then 1 plus one per draft.
    pub n_sampled: usize,
    /// Number of choices sampling from these outputs: above 1 if this step completes the prompt and the sequence is then
    /// forked. Each choice has its own result.
    pub n_choices: u32,
}

impl StepPart {
    /// The outputs at the prompt positions from `scored_start` on.
    pub fn scored_outputs(&self) -> Range<usize> {
        self.first_output..self.first_output + self.n_scored
    }

    /// The outputs to sample from, in order: always the first, and each further one only if the previous sample equals the
    /// draft.
    pub fn sampled_outputs(&self) -> Range<usize> {
        let first = self.first_output + self.n_scored;
        first..first + self.n_sampled
    }

    /// Number of results that [`Scheduler::commit`](crate::Scheduler::commit) expects for this part.
    pub fn n_results(&self) -> usize {
        if self.n_sampled == 0 { 0 } else { self.n_choices as usize }
    }
}

/// What the executor computes next. Lists are reused between steps.
#[derive(Debug, Default)]
pub struct Step {
    tokens: Vec<TokenId>,
    spans: Vec<Span>,
    page_table: Vec<PageId>,
    kept_states: Vec<KeptState>,
    outputs: Vec<OutputRow>,
    pub(crate) copies: Vec<(PageId, PageId)>,
    /// Its remaining row budget.
    pub(crate) budget: StepBudget,
    parts: Vec<StepPart>,
    /// Total positions attended to by all rows.
    context: u64,
    n_decoding: usize,
}

impl Step {
    /// An empty step, with capacity for everything the limits allow except pages.
    pub(crate) fn new(limits: &StepLimits) -> Self {
        Self {
            tokens: Vec::with_capacity(limits.max_tokens),
            spans: Vec::with_capacity(limits.max_sequences),
            // One state per draft, each of which has an output, and at most two snapshots per span.
            kept_states: Vec::with_capacity(limits.max_outputs + 2 * limits.max_sequences),
            outputs: Vec::with_capacity(limits.max_outputs),
            copies: Vec::with_capacity(limits.max_sequences),
            parts: Vec::with_capacity(limits.max_sequences),
            ..Self::default()
        }
    }

    /// Reserves capacity for `n_pages` pages, so that sequences grow without allocating.
    pub(crate) fn reserve_pages(&mut self, n_pages: usize) {
        self.page_table.reserve(n_pages.saturating_sub(self.page_table.len()));
    }

    /// What to submit to the executor.
    pub fn batch(&self) -> StepBatch<'_> {
        StepBatch {
            tokens: &self.tokens,
            spans: &self.spans,
            page_table: &self.page_table,
            kept_states: &self.kept_states,
            outputs: &self.outputs,
            ..StepBatch::default()
        }
    }

    /// Pages to copy before the step, `(from, to)` in order.
    pub fn copies(&self) -> &[(PageId, PageId)] {
        &self.copies
    }

    /// The sequences of the step, in the order of their rows.
    pub fn parts(&self) -> &[StepPart] {
        &self.parts
    }

    /// The drafts of [`Step::parts`]`[index]`, one less than its sampled outputs.
    pub fn drafts(&self, index: usize) -> &[TokenId] {
        let span = &self.spans[index];
        let end = (span.first_row + span.n_rows) as usize;
        let n_drafts = self.parts[index].n_sampled.saturating_sub(1);
        &self.tokens[end - n_drafts..end]
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.tokens.len()
    }

    /// Number of decoding sequences.
    pub fn n_decoding(&self) -> usize {
        self.n_decoding
    }

    /// Total positions attended to by all rows: the cost of attention.
    pub fn context(&self) -> u64 {
        self.context
    }

    /// Begins a step with the given row budget.
    pub(crate) fn begin(&mut self, budget: StepBudget) {
        self.clear();
        self.budget = budget;
    }

    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.spans.clear();
        self.page_table.clear();
        self.kept_states.clear();
        self.outputs.clear();
        self.copies.clear();
        self.parts.clear();
        self.context = 0;
        self.n_decoding = 0;
    }

    /// Number of draft rows.
    pub(crate) fn n_draft_rows(&self) -> u64 {
        self.parts.iter().map(|part| part.n_sampled.saturating_sub(1) as u64).sum()
    }

    /// Adds a sequence's rows. Its pages and states must be reserved.
    pub(crate) fn push(&mut self, sequence: &Sequence, cache: &KvCache) {
        let Some(lease) = &sequence.lease else {
            return;
        };
        let start = cache.computed(lease);
        let end = start + sequence.n_rows;
        let n_pages = cache.pages_for(end);
        let n_known = sequence.token_ids.len();
        let first_row = self.tokens.len();
        let state = self.push_states(lease, cache);
        self.spans.push(Span {
            first_row: first_row as u32,
            n_rows: sequence.n_rows as u32,
            start: start as u32,
            first_page: self.page_table.len() as u32,
            n_pages: n_pages as u32,
            state,
            rope_range: sequence.rope_range,
        });
        self.tokens.extend_from_slice(&sequence.token_ids[start..end.min(n_known)]);
        self.tokens.extend_from_slice(&sequence.drafts[..end.saturating_sub(n_known)]);
        self.page_table.extend_from_slice(&cache.pages(lease)[..n_pages]);

        let first_output = self.outputs.len();
        let wanted = (start..end).map(|position| sequence.wanted_at(position)).zip(first_row as u32..);
        self.outputs.extend(wanted.filter_map(|(wanted, row)| Some(OutputRow { row, wanted: wanted? })));
        let n_sampled = if sequence.samples() { (end + 1).saturating_sub(n_known) } else { 0 };
        self.parts.push(StepPart {
            id: sequence.id,
            start,
            n_rows: sequence.n_rows,
            first_output,
            n_scored: self.outputs.len() - first_output - n_sampled,
            scored_start: sequence.n_scored.map_or(start, |n_scored| n_scored.max(start)),
            n_sampled,
            n_choices: sequence.n_choices,
        });
        // The row at position p attends to p + 1 positions.
        self.context += (start + 1..=end).map(|n_positions| n_positions as u64).sum::<u64>();
        self.n_decoding += usize::from(start + 1 == n_known);
    }

    /// Adds the states that a sequence keeps in this step; `None` if sequences have no states.
    fn push_states(&mut self, lease: &KvHandle, cache: &KvCache) -> Option<StateSpan> {
        let plan = cache.state_plan(lease)?;
        let first_kept = self.kept_states.len() as u32;
        let kept = plan.kept.iter();
        self.kept_states
            .extend(kept.map(|kept| KeptState { position: kept.position as u32, slot: kept.slot }));
        Some(StateSpan { read: plan.read, write: plan.write, first_kept, n_kept: plan.kept.len() as u32 })
    }
}
