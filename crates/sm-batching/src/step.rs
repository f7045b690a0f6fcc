//! One step: what the executor computes, and whose rows these are.

use std::ops::Range;

use sm_cache::KvCache;
use sm_kernels::plan::{OutputRow, Span, StepBatch};
use sm_tensor::{PageId, TokenId};

use crate::config::StepLimits;
use crate::sequence::{Sequence, SequenceId};

/// The rows of one sequence in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepPart {
    /// The sequence; the first choice for all of its request while they share the prompt.
    pub id: SequenceId,
    /// Position of the first row.
    pub start: usize,
    /// Rows.
    pub n_rows: usize,
    /// Index of its first row of logits.
    pub first_output: usize,
    /// Rows of logits of prompt positions, which come first: each tells how likely the token after its position was.
    pub n_scored: usize,
    /// Position of the first of these.
    pub scored_start: usize,
    /// Rows of logits to be sampled from: 0 while the prompt is not computed, else 1 and one per draft.
    pub n_sampled: usize,
    /// Sequences that sample from these rows: above 1 for choices that the step separates. Each has its own
    /// result, in the order of choices.
    pub n_choices: u32,
}

impl StepPart {
    /// Rows of logits of prompt positions `scored_start..`.
    pub fn scored_outputs(&self) -> Range<usize> {
        self.first_output..self.first_output + self.n_scored
    }

    /// Rows of logits to be sampled from, in order: the first always; each further one only if the sample before it
    /// equals the draft.
    pub fn sampled_outputs(&self) -> Range<usize> {
        let first = self.first_output + self.n_scored;
        first..first + self.n_sampled
    }

    /// Results that [`Scheduler::commit`](crate::Scheduler::commit) expects for this part.
    pub fn n_results(&self) -> usize {
        if self.n_sampled == 0 { 0 } else { self.n_choices as usize }
    }
}

/// What the executor computes next. Its lists are used again for each step.
#[derive(Debug, Default)]
pub struct Step {
    pub(crate) tokens: Vec<TokenId>,
    spans: Vec<Span>,
    page_table: Vec<PageId>,
    outputs: Vec<OutputRow>,
    pub(crate) copies: Vec<(PageId, PageId)>,
    pub(crate) parts: Vec<StepPart>,
    /// Positions that the rows attend to, summed.
    context: u64,
    n_decoding: usize,
}

impl Step {
    /// An empty step, with room for all that the limits allow but the pages.
    pub(crate) fn new(limits: &StepLimits) -> Self {
        Self {
            tokens: Vec::with_capacity(limits.max_tokens),
            spans: Vec::with_capacity(limits.max_sequences),
            outputs: Vec::with_capacity(limits.max_outputs),
            copies: Vec::with_capacity(limits.max_sequences),
            parts: Vec::with_capacity(limits.max_sequences),
            ..Self::default()
        }
    }

    /// Makes room for `n_pages` pages, so that sequences can grow without an allocation.
    pub(crate) fn reserve_pages(&mut self, n_pages: usize) {
        self.page_table.reserve(n_pages.saturating_sub(self.page_table.len()));
    }

    /// What to submit.
    pub fn batch(&self) -> StepBatch<'_> {
        StepBatch {
            tokens: &self.tokens,
            spans: &self.spans,
            page_table: &self.page_table,
            outputs: &self.outputs,
            ..StepBatch::default()
        }
    }

    /// Pages to be copied before, `(from, to)` in order.
    pub fn copies(&self) -> &[(PageId, PageId)] {
        &self.copies
    }

    /// Whose rows they are, in order.
    pub fn parts(&self) -> &[StepPart] {
        &self.parts
    }

    /// The drafts of [`Step::parts`]`[index]`: its further sampled outputs count only if the sample before equals them.
    pub fn drafts(&self, index: usize) -> &[TokenId] {
        let span = &self.spans[index];
        let end = (span.first_row + span.n_rows) as usize;
        let n_drafts = self.parts[index].n_sampled.saturating_sub(1);
        &self.tokens[end - n_drafts..end]
    }

    /// Rows.
    pub fn n_rows(&self) -> usize {
        self.tokens.len()
    }

    /// Sequences that have one token to compute, drafts not counted.
    pub fn n_decoding(&self) -> usize {
        self.n_decoding
    }

    /// Positions that the rows attend to, summed: what attention costs.
    pub fn context(&self) -> u64 {
        self.context
    }

    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.spans.clear();
        self.page_table.clear();
        self.outputs.clear();
        self.copies.clear();
        self.parts.clear();
        self.context = 0;
        self.n_decoding = 0;
    }

    /// Adds the rows of a sequence, whose pages are reserved.
    pub(crate) fn push(&mut self, sequence: &Sequence, cache: &KvCache) {
        let Some(lease) = &sequence.lease else {
            return;
        };
        let (start, n_rows) = (cache.computed(lease), sequence.n_rows);
        let (first_row, first_page) = (self.tokens.len(), self.page_table.len());
        let (end, n_pages) = (start + n_rows, cache.pages_for(start + n_rows));
        let known = end.min(sequence.token_ids.len());
        self.tokens.extend_from_slice(&sequence.token_ids[start..known]);
        self.tokens.extend_from_slice(&sequence.drafts[..end - known]);
        self.page_table.extend_from_slice(&cache.pages(lease)[..n_pages]);
        self.spans.push(Span {
            first_row: first_row as u32,
            n_rows: n_rows as u32,
            start: start as u32,
            first_page: first_page as u32,
            n_pages: n_pages as u32,
            state: None,
        });
        let first_output = self.outputs.len();
        let outputs = (start..end).filter(|position| sequence.is_output(*position));
        self.outputs.extend(outputs.map(|position| OutputRow::logits((first_row + position - start) as u32)));
        let n_outputs = self.outputs.len() - first_output;
        let n_sampled = if sequence.samples() && end >= sequence.token_ids.len() {
            end + 1 - sequence.token_ids.len()
        } else {
            0
        };
        self.context += (start + 1..=end).map(|n_positions| n_positions as u64).sum::<u64>();
        self.n_decoding += usize::from(start + 1 == sequence.token_ids.len());
        self.parts.push(StepPart {
            id: sequence.id,
            start,
            n_rows,
            first_output,
            n_scored: n_outputs - n_sampled,
            scored_start: sequence.n_scored.map_or(start, |n_scored| n_scored.max(start)),
            n_sampled,
            n_choices: sequence.n_choices,
        });
    }
}
