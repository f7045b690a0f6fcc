//! A step, checked, and shared out to the workers.
//!
//! What workers need to know of a step beside its rows is derived once, before they start: positions, which rows go to which
//! page, and how attention is split. All of it lives in tables that are reused from step to step, so that a step allocates
//! nothing.

use std::ops::Range;

use super::arena::{Extents, StepShares};
use super::kv_pool::WrittenPages;
use super::split::TileTable;
use super::weights::PackedWeights;
use crate::cpu::schedule::{AttentionSchedule, AttentionShape};
use crate::plan::{ExecError, Limits, PAGE_LEN, RopeRange, StepBatch, StepRules};

/// All that kernels read besides the arena.
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
    /// Key heads of each table of page runs.
    run_heads: Vec<usize>,
    /// The position of each row.
    pub(crate) positions: Vec<u32>,
    /// Which frequencies turn each row.
    pub(crate) rope_ranges: Vec<RopeRange>,
    /// For each page run, the place of its first row in the page.
    pub(crate) first_slots: Vec<usize>,
    /// How the attentions are shared out, one for each shape.
    pub(crate) schedules: Vec<AttentionSchedule>,
    written: WrittenPages,
    page_runs: Vec<TileTable>,
    attention_tiles: Vec<TileTable>,
    extents: Extents,
}

impl StepTables {
    /// Tables for steps that keep to `rules`, for layers with these numbers of key heads and attentions of these shapes. There
    /// is a table of page runs even if no layer has pages.
    pub(crate) fn new(
        rules: StepRules,
        limits: &Limits,
        max_workers: usize,
        run_heads: &[usize],
        shapes: &[AttentionShape],
    ) -> Self {
        let max_tokens = limits.max_tokens;
        let run_heads = if run_heads.is_empty() { vec![1] } else { run_heads.to_vec() };
        let table = || TileTable::with_capacity(max_tokens, max_workers);
        let schedule = |&shape: &AttentionShape| AttentionSchedule::new(shape, max_tokens, max_workers);
        Self {
            rules,
            positions: Vec::with_capacity(max_tokens),
            rope_ranges: Vec::with_capacity(max_tokens),
            first_slots: Vec::with_capacity(max_tokens),
            schedules: shapes.iter().map(schedule).collect(),
            written: WrittenPages::new(limits.n_pages, max_tokens),
            page_runs: run_heads.iter().map(|_| table()).collect(),
            attention_tiles: shapes.iter().map(|_| table()).collect(),
            run_heads,
            extents: Extents { n_tokens: 0, n_outputs: 0, n_workers: max_workers },
        }
    }

    /// How the step is shared out.
    pub(crate) fn shares(&self) -> StepShares<'_> {
        StepShares {
            extents: self.extents,
            page_runs: &self.page_runs,
            attention_tiles: &self.attention_tiles,
            written: &self.written,
        }
    }

    /// The rows of a tile of a schedule.
    pub(crate) fn attention_rows(&self, schedule: usize, tile: usize) -> Range<usize> {
        let table = &self.attention_tiles[schedule];
        table.rows(tile / table.n_col_tiles())
    }

    /// The rows of a page run: the same in every table.
    pub(crate) fn run_rows(&self, run: usize) -> Range<usize> {
        self.page_runs[0].rows(run)
    }

    /// Derives the tables of `batch`, shared out to `n_workers`, which must be as many as there is room for or fewer.
    ///
    /// # Errors
    /// If the batch breaks a rule.
    pub(crate) fn set(&mut self, batch: &StepBatch<'_>, n_workers: usize) -> Result<(), ExecError> {
        self.rules.check(batch)?;
        self.extents = Extents { n_tokens: batch.tokens.len(), n_outputs: batch.outputs.len(), n_workers };
        self.set_page_runs(batch);
        for (schedule, tiles) in self.schedules.iter_mut().zip(&mut self.attention_tiles) {
            schedule.set(batch.spans, n_workers, tiles);
        }
        Ok(())
    }

    fn set_page_runs(&mut self, batch: &StepBatch<'_>) {
        self.positions.clear();
        self.rope_ranges.clear();
        self.first_slots.clear();
        self.written.clear();
        for (table, &n_kv_heads) in self.page_runs.iter_mut().zip(&self.run_heads) {
            table.reset(n_kv_heads);
        }
        for span in batch.spans {
            let (mut position, end) = (span.start, span.start + span.n_rows);
            self.positions.extend(position..end);
            self.rope_ranges.extend((position..end).map(|_| span.rope_range));
            while position < end {
                let next = end.min((position / PAGE_LEN as u32 + 1) * PAGE_LEN as u32);
                self.written.push(batch.page_table[span.first_page as usize + position as usize / PAGE_LEN]);
                self.first_slots.push(position as usize % PAGE_LEN);
                self.page_runs.iter_mut().for_each(|table| table.push_rows((next - position) as usize));
                position = next;
            }
        }
        self.page_runs.iter_mut().for_each(|table| table.share_evenly(self.extents.n_workers));
    }
}
