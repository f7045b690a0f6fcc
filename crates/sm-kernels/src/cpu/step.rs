//! A step, checked, and shared out to the workers.

use std::ops::Range;

use sm_tensor::TokenId;

use super::arena::{Extents, Shares};
use super::kv_pool::WrittenPages;
use super::split::TileTable;
use super::weights::PackedWeights;
use crate::cpu::schedule::{AttentionSchedule, AttentionShape};
use crate::plan::{ExecError, Limits, PAGE_LEN, StepBatch, Wanted};

/// What the plan and the limits allow in a step.
#[derive(Clone, Debug)]
pub(crate) struct StepRules {
    /// How large steps may be.
    pub(crate) limits: Limits,
    /// Positions that the plan was built for.
    pub(crate) context_len: usize,
    /// Token ids from 0 that the plan can embed.
    pub(crate) n_token_ids: usize,
    /// Whether the plan has logits.
    pub(crate) has_logits: bool,
    /// Whether the plan has a hidden state.
    pub(crate) has_hidden: bool,
    /// Key heads per layer.
    pub(crate) n_kv_heads: usize,
    /// Workers of the team.
    pub(crate) n_workers: usize,
}

/// All that the tasks of a step read besides the arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepContext<'a> {
    /// The step.
    pub(crate) batch: &'a StepBatch<'a>,
    /// What is derived from it.
    pub(crate) tables: &'a StepTables,
    /// The weights of the plan.
    pub(crate) weights: &'a PackedWeights,
}

/// What is derived from a [`StepBatch`]; its memory is reused from step to step.
#[derive(Debug)]
pub(crate) struct StepTables {
    rules: StepRules,
    /// The position of each row.
    pub(crate) positions: Vec<u32>,
    /// For each row tile of [`Shares::PAGE_RUNS`], the place of its first row in the page.
    pub(crate) first_slots: Vec<usize>,
    /// How the attentions are shared out, one for each shape; schedule `i` belongs to tile table `i + 1`.
    pub(crate) schedules: Vec<AttentionSchedule>,
    written: WrittenPages,
    tiles: Vec<TileTable>,
    extents: Extents,
}

fn invalid<T>(reason: String) -> Result<T, ExecError> {
    Err(ExecError::InvalidBatch { reason })
}

fn at_most(what: &str, n: usize, limit: usize) -> Result<(), ExecError> {
    if n <= limit {
        Ok(())
    } else {
        invalid(format!("{n} {what}, but the executor was prepared for {limit}"))
    }
}

impl StepTables {
    /// Tables for steps within `rules`, with attentions of these shapes.
    pub(crate) fn new(rules: StepRules, shapes: &[AttentionShape]) -> Self {
        let (max_tokens, n_workers) = (rules.limits.max_tokens, rules.n_workers);
        let schedules: Vec<_> =
            shapes.iter().map(|&shape| AttentionSchedule::new(shape, max_tokens, n_workers)).collect();
        let tiles = (0..=shapes.len()).map(|_| TileTable::with_capacity(max_tokens, n_workers)).collect();
        Self {
            positions: Vec::with_capacity(max_tokens),
            first_slots: Vec::with_capacity(max_tokens),
            schedules,
            written: WrittenPages::new(rules.limits.n_pages, max_tokens),
            tiles,
            extents: Extents { n_tokens: 0, n_outputs: 0 },
            rules,
        }
    }

    /// How the step is shared out.
    pub(crate) fn shares(&self) -> Shares<'_> {
        Shares { extents: self.extents, tiles: &self.tiles, written: &self.written }
    }

    /// The rows of an item of a schedule.
    pub(crate) fn attention_rows(&self, schedule: usize, item: usize) -> Range<usize> {
        let table = &self.tiles[schedule + 1];
        table.rows(item / table.n_units())
    }

    /// The rows of a page run.
    pub(crate) fn run_rows(&self, run: usize) -> Range<usize> {
        self.tiles[Shares::PAGE_RUNS].rows(run)
    }

    /// Derives the tables of `batch`.
    ///
    /// # Errors
    /// If the batch breaks a rule.
    pub(crate) fn set(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        self.check_counts(batch)?;
        self.check_spans(batch)?;
        self.set_page_runs(batch)?;
        self.extents = Extents { n_tokens: batch.tokens.len(), n_outputs: batch.outputs.len() };
        for (schedule, tiles) in self.schedules.iter_mut().zip(&mut self.tiles[1..]) {
            schedule.set(batch.spans, self.rules.n_kv_heads, tiles);
        }
        Ok(())
    }

    fn check_counts(&self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        let limits = &self.rules.limits;
        if batch.tokens.is_empty() {
            return invalid("it has no tokens".to_owned());
        }
        at_most("tokens", batch.tokens.len(), limits.max_tokens)?;
        at_most("spans", batch.spans.len(), limits.max_sequences)?;
        at_most("outputs", batch.outputs.len(), limits.max_outputs)?;
        let n_ids = self.rules.n_token_ids;
        let unknown = |token: &&TokenId| n_ids <= token.0 as usize;
        if let Some(token) = batch.tokens.iter().find(unknown) {
            return invalid(format!("token id {} but the vocabulary has {n_ids}", token.0));
        }
        if let Some(kept) = batch.kept_states.first() {
            return invalid(format!("state slot {} is to be kept, but the plan has no states", kept.slot.0));
        }
        if batch.input.is_some() {
            return invalid("it has an input, but the plan reads none".to_owned());
        }
        self.check_outputs(batch)
    }

    fn check_outputs(&self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        if let Some(pair) = batch.outputs.windows(2).find(|pair| pair[1].row <= pair[0].row) {
            return invalid(format!("output row {} follows {}: they must ascend", pair[1].row, pair[0].row));
        }
        if let Some(last) = batch.outputs.last().filter(|last| batch.tokens.len() <= last.row as usize) {
            return invalid(format!("output row {} of {} rows", last.row, batch.tokens.len()));
        }
        for output in batch.outputs {
            let (is_there, what) = match output.wanted {
                Wanted::Hidden => (self.rules.has_hidden, "hidden state"),
                Wanted::TopK(0) => return invalid(format!("the 0 largest logits of row {}", output.row)),
                Wanted::Logits | Wanted::ArgMax | Wanted::TopK(_) => (self.rules.has_logits, "logits"),
            };
            if !is_there {
                return invalid(format!("row {} is to give {what}, but the plan has none", output.row));
            }
        }
        Ok(())
    }

    fn check_spans(&self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        let (context_len, n_pages) = (self.rules.context_len, self.rules.limits.n_pages);
        let mut n_rows = 0;
        for (index, span) in batch.spans.iter().enumerate() {
            if span.first_row as usize != n_rows || span.n_rows == 0 {
                let (first, count) = (span.first_row, span.n_rows);
                return invalid(format!(
                    "span {index} has {count} rows from row {first}, after {n_rows} rows"
                ));
            }
            n_rows += span.n_rows as usize;
            let end = span.start as usize + span.n_rows as usize;
            if context_len < end {
                return invalid(format!(
                    "span {index} ends at position {end}, but the context is {context_len}"
                ));
            }
            if (span.n_pages as usize) < end.div_ceil(PAGE_LEN) {
                return invalid(format!("span {index} has {} pages for {end} positions", span.n_pages));
            }
            if span.state.is_some() {
                return invalid(format!("span {index} names a state, but the plan has none"));
            }
            let first = span.first_page as usize;
            let Some(pages) = batch.page_table.get(first..first + span.n_pages as usize) else {
                let (count, len) = (span.n_pages, batch.page_table.len());
                return invalid(format!(
                    "span {index} has {count} pages from {first}, but the page table has {len}"
                ));
            };
            if let Some(page) = pages.iter().find(|page| n_pages <= page.0 as usize) {
                return invalid(format!("span {index} names page {}, but the pool has {n_pages}", page.0));
            }
        }
        if n_rows == batch.tokens.len() {
            Ok(())
        } else {
            invalid(format!("the spans have {n_rows} rows for {} tokens", batch.tokens.len()))
        }
    }

    fn set_page_runs(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        self.positions.clear();
        self.first_slots.clear();
        self.written.clear();
        self.tiles[Shares::PAGE_RUNS].reset(self.rules.n_kv_heads);
        for (index, span) in batch.spans.iter().enumerate() {
            let (mut position, end) = (span.start, span.start + span.n_rows);
            self.positions.extend(position..end);
            while position < end {
                let next = end.min((position / PAGE_LEN as u32 + 1) * PAGE_LEN as u32);
                let page = batch.page_table[span.first_page as usize + position as usize / PAGE_LEN];
                if !self.written.insert(page) {
                    return invalid(format!(
                        "span {index} writes page {}, which the step writes already",
                        page.0
                    ));
                }
                self.first_slots.push(position as usize % PAGE_LEN);
                self.tiles[Shares::PAGE_RUNS].push_rows((next - position) as usize);
                position = next;
            }
        }
        self.tiles[Shares::PAGE_RUNS].share_evenly(self.rules.n_workers);
        Ok(())
    }
}
