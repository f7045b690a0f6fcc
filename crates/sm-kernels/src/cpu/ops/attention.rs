//! Causal attention over the pages.
//!
//! Scores of a fixed group of positions are turned into weights and the values are mixed with them; the results of the
//! groups are merged in order. So the additions of one row depend on its position alone, whichever rows are computed
//! with it and however the groups are shared out.

mod few;
mod group;
mod many;

pub(crate) use group::Fixed;
use group::{Partial, Tile, Work};

use crate::cpu::activations::int8::{Int8Block, encode_row};
use crate::cpu::arena::{Access, ArenaLayout, Region, RowCount};
use crate::cpu::isa::Isa;
use crate::cpu::kv_element::KvElement;
use crate::cpu::kv_pool::KvPages;
use crate::cpu::schedule::GROUP_LEN;
use crate::cpu::split::TileShare;
use crate::cpu::step::StepContext;
use crate::plan::PrepareError;

/// An attention with its regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    /// `[n_tokens, n_heads * head_dim]`
    pub(crate) q: Region<f32>,
    /// `[n_tokens, n_heads * head_dim]`, by tiles.
    pub(crate) out: Region<f32>,
    /// The same encoded, by tiles, where the heads of a tile are whole blocks.
    pub(crate) encoded: Option<Region<Int8Block>>,
    /// Working memory.
    pub(crate) scratch: Scratch,
    /// Which schedule of the step.
    pub(crate) schedule: usize,
    /// The shape.
    pub(crate) fixed: Fixed,
}

/// The working memory of an attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scratch {
    /// Each worker's [`Work`] and results, a row each.
    pub(crate) work: Region<f32>,
    /// Each worker's results for items that others have a part in, a row each: what is merged of the last item, then
    /// one for each group of the first.
    pub(crate) shared: Region<f32>,
}

impl Scratch {
    /// Places the memory for attentions of a shape over `context_len` positions, in a team of `n_workers`.
    ///
    /// # Errors
    /// If the size overflows.
    pub(crate) fn new(
        layout: &mut ArenaLayout,
        fixed: &Fixed,
        (context_len, n_workers): (usize, usize),
    ) -> Result<Self, PrepareError> {
        let partial_len = fixed.partial_len();
        let work = fixed.work_len() + 2 * partial_len;
        let shared = partial_len.saturating_mul(1 + context_len.div_ceil(GROUP_LEN));
        let rows = RowCount::Fixed(n_workers);
        Ok(Self { work: layout.region(rows, work)?, shared: layout.region(rows, shared)? })
    }
}

/// `values / divisor`
#[inline(always)]
fn divide<I: Isa>(isa: I, values: &mut [f32], divisor: f32) {
    for value in values.as_chunks_mut().0 {
        let quotient = isa.div(isa.load(value), isa.splat(divisor));
        isa.store(value, quotient);
    }
}

/// [`group::attend`], compiled for the instruction set.
fn attend_group<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    work: &mut Work<'_>,
    part: &mut Partial<'_>,
) {
    isa.enter(
        #[inline(always)]
        || group::attend(isa, tile, group, work, part),
    );
}

/// [`group::merge`], compiled for the instruction set.
fn merge_group<I: Isa>(isa: I, n_queries: usize, state: &mut Partial<'_>, part: &Partial<'_>) {
    isa.enter(
        #[inline(always)]
        || group::merge(isa, n_queries, state, part),
    );
}

/// Where the results of an item go.
struct Output<'a> {
    values: TileShare<'a, f32>,
    encoded: Option<TileShare<'a, Int8Block>>,
}

impl Attention {
    /// Computes this worker's units: whole items to the output, the rest to the shared scratch.
    pub(crate) fn attend<I: Isa, E: KvElement>(&self, isa: I, step: &StepContext<'_>, access: &Access<'_>) {
        let schedule = &step.tables.schedules[self.schedule];
        let q = access.read(self.q);
        let kv = access.kv_pages::<E>();
        let mut work = access.share(self.scratch.work);
        let mut shared = access.share(self.scratch.shared);
        let work = work.all_mut();
        let shared = shared.all_mut();
        let mut out = self.output(access);
        let partial_len = self.fixed.partial_len();
        let (mut work, partials) = Work::new(work, &self.fixed);
        let (state, part) = partials.split_at_mut(partial_len);
        let worker = access.worker().index();
        let (from, to) = schedule.units(worker);
        for item in from.item..=to.item {
            let groups = if item < schedule.n_items() { schedule.groups(worker, item) } else { 0..0 };
            if groups.is_empty() {
                continue;
            }
            let tile = self.tile(item, (q, kv), step);
            let (row_tile, _) = schedule.item(item);
            let first_group = row_tile.first_group;
            if 0 < groups.start {
                for (group, record) in groups.zip(shared[partial_len..].chunks_exact_mut(partial_len)) {
                    let mut part = Partial::new(record, &self.fixed);
                    attend_group(isa, &tile, first_group + group, &mut work, &mut part);
                }
                continue;
            }
            let mut state = Partial::new(state, &self.fixed);
            state.clear();
            for group in groups.clone() {
                let mut part = Partial::new(part, &self.fixed);
                attend_group(isa, &tile, first_group + group, &mut work, &mut part);
                merge_group(isa, tile.n_queries(), &mut state, &part);
            }
            if groups.end == row_tile.n_groups {
                self.finish(isa, (item, step), &mut state, &mut out);
            } else {
                Partial::new(&mut shared[..partial_len], &self.fixed).copy_from(&state);
            }
        }
    }

    /// Merges the items that this worker began and others ended.
    pub(crate) fn merge<I: Isa>(&self, isa: I, step: &StepContext<'_>, access: &Access<'_>) {
        let schedule = &step.tables.schedules[self.schedule];
        let worker = access.worker();
        let (_, to) = schedule.units(worker.index());
        let begun = if 0 < to.group { schedule.groups(worker.index(), to.item) } else { 0..0 };
        if begun.is_empty() || 0 < begun.start {
            return;
        }
        let shared = access.read(self.scratch.shared);
        let mut work = access.share(self.scratch.work);
        let partial_len = self.fixed.partial_len();
        let (state, part) = work.all_mut()[..2 * partial_len].split_at_mut(partial_len);
        let records =
            |worker: usize| shared[worker * self.scratch.shared.stride()..].chunks_exact(partial_len);
        state.copy_from_slice(&shared[worker.index() * self.scratch.shared.stride()..][..partial_len]);
        let mut state = Partial::new(state, &self.fixed);
        let mut out = self.output(access);
        let n_queries = self.n_rows(to.item, step) * self.fixed.shape.heads_per_kv;
        for other in worker.index() + 1..worker.count() {
            for (_, record) in schedule.groups(other, to.item).zip(records(other).skip(1)) {
                part.copy_from_slice(record);
                merge_group(isa, n_queries, &mut state, &Partial::new(part, &self.fixed));
            }
        }
        self.finish(isa, (to.item, step), &mut state, &mut out);
    }

    fn output<'a>(&self, access: &'a Access<'_>) -> Output<'a> {
        Output { values: access.tiles(self.out), encoded: self.encoded.map(|encoded| access.tiles(encoded)) }
    }

    fn n_rows(&self, item: usize, step: &StepContext<'_>) -> usize {
        step.tables.attention_rows(self.schedule, item).len()
    }

    fn tile<'a, E: KvElement>(
        &self,
        item: usize,
        (q, kv): (&'a [f32], KvPages<'a, E>),
        step: &StepContext<'a>,
    ) -> Tile<'a, E> {
        let (row_tile, kv_head) = step.tables.schedules[self.schedule].item(item);
        let rows = step.tables.attention_rows(self.schedule, item);
        let span = &step.batch.spans[row_tile.span];
        let first_head = kv_head * self.fixed.shape.heads_per_kv;
        Tile {
            q: &q[rows.start * self.q.stride() + first_head * self.fixed.head_dim..],
            stride: self.q.stride(),
            n_rows: rows.len(),
            position: row_tile.position,
            kv,
            pages: &step.batch.page_table[span.first_page as usize..][..span.n_pages as usize],
            kv_head,
            fixed: self.fixed,
        }
    }

    /// Divides by the sums of the weights, and writes the rows of an item.
    fn finish<I: Isa>(
        &self,
        isa: I,
        (item, step): (usize, &StepContext<'_>),
        state: &mut Partial<'_>,
        out: &mut Output<'_>,
    ) {
        let Fixed { shape, head_dim, .. } = self.fixed;
        let padded_dim = self.fixed.padded_dim();
        let rows = step.tables.attention_rows(self.schedule, item);
        let row_values = state.values.chunks_exact_mut(shape.heads_per_kv * padded_dim);
        let row_sums = state.sum.chunks_exact(shape.heads_per_kv);
        for (row, (values, sums)) in rows.zip(row_values.zip(row_sums)) {
            let out_row = out.values.row_mut(item, row);
            let (heads, padding) = out_row.split_at_mut(shape.heads_per_kv * head_dim);
            padding.fill(0.0);
            let heads_out = heads.chunks_exact_mut(head_dim);
            for (head, (values, sum)) in heads_out.zip(values.chunks_exact_mut(padded_dim).zip(sums)) {
                isa.enter(
                    #[inline(always)]
                    || divide(isa, values, *sum),
                );
                head.copy_from_slice(&values[..head_dim]);
            }
            if let Some(encoded) = &mut out.encoded {
                let blocks = encoded.row_mut(item, row);
                isa.enter(
                    #[inline(always)]
                    || encode_row(isa, heads, blocks),
                );
            }
        }
    }
}
