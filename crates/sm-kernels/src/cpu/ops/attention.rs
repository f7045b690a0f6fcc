//! Causal attention over KV pages.
//!
//! ```text
//! out[n][h] = sum over visible j of softmax_j(scale * q[n][h] · k[j]) * v[j]       visible: j <= n, within the window
//!
//! tile        up to 32 query vectors: rows of a span × the query heads of one key head      schedule.rs
//! partition   256 positions = 16 pages, at fixed places                                     partition.rs
//! page        16 positions: keys [head_dim][16], values [16][head_dim]                      kv_pool.rs
//! ```
//!
//! Nothing of size context × context exists: a tile goes over its partitions, each gives an unnormalised result with
//! its maximum and sum, and results are merged in order. Queries that share a key head share a tile, so that a page is
//! read once for all of them; keys lie transposed, so that a vector holds the scores of 16 positions and no sum over
//! lanes is needed.
//!
//! Two phases. In [`Attention::attend`] a worker computes its partitions; tiles that it has whole go to the output, the
//! others' results to memory that all may read. In [`Attention::merge`] the worker that began a tile adds up what
//! others computed of it. The additions of a row thus depend on its position alone, whatever rows are computed with it
//! and however the work is split.
//!
//! Bounds: decoding reads pages at the speed of memory. Prompts are bound by multiply-adds; on Zen 4 they reach 62 % of
//! the peak, and reached 52 % before bounds checks left the loops and one instruction scaled by powers of two.
//!
//! Sources: FlashAttention (Dao et al. 2022), Flash-Decoding (Dao et al. 2023), PagedAttention (Kwon et al. 2023),
//! grouped queries (Ainslie et al. 2023).

mod large_tile;
mod partition;
mod small_tile;
mod tile;

use crate::cpu::activations::int8::{Int8Block, encode_row};
use crate::cpu::arena::{Access, ArenaLayout, Region, RowCount};
use crate::cpu::isa::Isa;
use crate::cpu::kv_element::KvElement;
use crate::cpu::kv_pool::KvPages;
use crate::cpu::schedule::PARTITION_LEN;
use crate::cpu::split::TileShare;
use crate::cpu::step::StepContext;
use crate::plan::PrepareError;
pub(crate) use tile::AttentionConfig;
use tile::{SoftmaxState, Tile, TileBuffers};

/// An attention with its regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    /// `[n_tokens, n_heads * head_dim]`
    pub(crate) q: Region<f32>,
    /// `[n_tokens, n_heads * head_dim]`, by tiles.
    pub(crate) out: Region<f32>,
    /// The same encoded, by tiles, if the heads of a tile are whole blocks.
    pub(crate) encoded: Option<Region<Int8Block>>,
    /// Memory of the workers.
    pub(crate) workspace: AttentionWorkspace,
    /// Index of the schedule among the step's.
    pub(crate) schedule: usize,
    /// What does not depend on the step.
    pub(crate) config: AttentionConfig,
}

/// Memory of the workers for an attention, a row for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionWorkspace {
    /// [`TileBuffers`], and the states of the tile and of one partition.
    pub(crate) private: Region<f32>,
    /// States of tiles that the worker shares with others: first the merged state of its last tile, then one for each
    /// partition of its first.
    pub(crate) shared: Region<f32>,
}

impl AttentionWorkspace {
    /// Places the memory for attention over up to `context_len` positions.
    ///
    /// # Errors
    /// If the size overflows.
    pub(crate) fn new(
        layout: &mut ArenaLayout,
        config: &AttentionConfig,
        context_len: usize,
    ) -> Result<Self, PrepareError> {
        let state_len = config.state_len();
        let private = config.buffers_len() + 2 * state_len;
        let shared = state_len.saturating_mul(1 + context_len.div_ceil(PARTITION_LEN));
        let rows = RowCount::PerWorker;
        Ok(Self { private: layout.region(rows, private)?, shared: layout.region(rows, shared)? })
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

/// [`partition::attend`], compiled for the instruction set.
fn attend_partition<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    partition: usize,
    buffers: &mut TileBuffers<'_>,
    state: &mut SoftmaxState<'_>,
) {
    isa.enter(
        #[inline(always)]
        || partition::attend(isa, tile, partition, buffers, state),
    );
}

/// [`partition::merge`], compiled for the instruction set.
fn merge_partition<I: Isa>(isa: I, n_queries: usize, state: &mut SoftmaxState<'_>, part: &SoftmaxState<'_>) {
    isa.enter(
        #[inline(always)]
        || partition::merge(isa, n_queries, state, part),
    );
}

/// Where the results of tiles go.
struct Output<'a> {
    values: TileShare<'a, f32>,
    encoded: Option<TileShare<'a, Int8Block>>,
}

impl Attention {
    /// Computes this worker's partitions: whole tiles to the output, others to the shared workspace.
    pub(crate) fn attend<I: Isa, E: KvElement>(&self, isa: I, step: &StepContext<'_>, access: &Access<'_>) {
        let schedule = &step.tables.schedules[self.schedule];
        let q = access.read(self.q);
        let kv = access.kv_pages::<E>();
        let mut private = access.share(self.workspace.private);
        let mut shared = access.share(self.workspace.shared);
        let shared = shared.all_mut();
        let mut out = self.output(access);
        let state_len = self.config.state_len();
        let (mut buffers, states) = TileBuffers::new(private.all_mut(), &self.config);
        let (state, part) = states.split_at_mut(state_len);
        let worker = access.worker().index();
        let (from, to) = schedule.cuts(worker);
        for index in from.tile..=to.tile {
            let partitions =
                if index < schedule.n_tiles() { schedule.partitions(worker, index) } else { 0..0 };
            if partitions.is_empty() {
                continue;
            }
            let tile = self.tile(index, q, kv, step);
            let (row_tile, _) = schedule.tile(index);
            let first = row_tile.first_partition;
            if 0 < partitions.start {
                let records = shared[state_len..].chunks_exact_mut(state_len);
                for (partition, record) in partitions.zip(records) {
                    let mut part = SoftmaxState::new(record, &self.config);
                    attend_partition(isa, &tile, first + partition, &mut buffers, &mut part);
                }
                continue;
            }
            let mut state = SoftmaxState::new(state, &self.config);
            state.clear();
            for partition in partitions.clone() {
                let mut part = SoftmaxState::new(part, &self.config);
                attend_partition(isa, &tile, first + partition, &mut buffers, &mut part);
                merge_partition(isa, tile.n_queries(), &mut state, &part);
            }
            if partitions.end == row_tile.n_partitions {
                self.finish(isa, index, step, &mut state, &mut out);
            } else {
                SoftmaxState::new(&mut shared[..state_len], &self.config).copy_from(&state);
            }
        }
    }

    /// Merges the tile that this worker began and others ended, if there is one.
    pub(crate) fn merge<I: Isa>(&self, isa: I, step: &StepContext<'_>, access: &Access<'_>) {
        let schedule = &step.tables.schedules[self.schedule];
        let worker = access.worker();
        let (_, to) = schedule.cuts(worker.index());
        let begun = if 0 < to.partition { schedule.partitions(worker.index(), to.tile) } else { 0..0 };
        if begun.is_empty() || 0 < begun.start {
            return;
        }
        let shared = access.read(self.workspace.shared);
        let mut private = access.share(self.workspace.private);
        let state_len = self.config.state_len();
        let (state, part) = private.all_mut()[..2 * state_len].split_at_mut(state_len);
        let stride = self.workspace.shared.stride();
        let records = |worker: usize| shared[worker * stride..].chunks_exact(state_len);
        state.copy_from_slice(&shared[worker.index() * stride..][..state_len]);
        let mut state = SoftmaxState::new(state, &self.config);
        let mut out = self.output(access);
        let n_queries = self.n_rows(to.tile, step) * self.config.shape.heads_per_kv;
        for other in worker.index() + 1..worker.count() {
            for (_, record) in schedule.partitions(other, to.tile).zip(records(other).skip(1)) {
                part.copy_from_slice(record);
                merge_partition(isa, n_queries, &mut state, &SoftmaxState::new(part, &self.config));
            }
        }
        self.finish(isa, to.tile, step, &mut state, &mut out);
    }

    fn output<'a>(&self, access: &'a Access<'_>) -> Output<'a> {
        Output { values: access.tiles(self.out), encoded: self.encoded.map(|encoded| access.tiles(encoded)) }
    }

    fn n_rows(&self, tile: usize, step: &StepContext<'_>) -> usize {
        step.tables.attention_rows(self.schedule, tile).len()
    }

    fn tile<'a, E: KvElement>(
        &self,
        index: usize,
        q: &'a [f32],
        kv: KvPages<'a, E>,
        step: &StepContext<'a>,
    ) -> Tile<'a, E> {
        let (row_tile, kv_head) = step.tables.schedules[self.schedule].tile(index);
        let rows = step.tables.attention_rows(self.schedule, index);
        let span = &step.batch.spans[row_tile.span];
        let first_head = kv_head * self.config.shape.heads_per_kv;
        Tile {
            q: &q[rows.start * self.q.stride() + first_head * self.config.head_dim..],
            stride: self.q.stride(),
            n_rows: rows.len(),
            position: row_tile.position,
            kv,
            pages: &step.batch.page_table[span.first_page as usize..][..span.n_pages as usize],
            kv_head,
            config: self.config,
        }
    }

    /// Divides by the sums of the exponentials, and writes the rows of a tile.
    fn finish<I: Isa>(
        &self,
        isa: I,
        tile: usize,
        step: &StepContext<'_>,
        state: &mut SoftmaxState<'_>,
        out: &mut Output<'_>,
    ) {
        let AttentionConfig { shape, head_dim, .. } = self.config;
        let padded_dim = self.config.padded_dim();
        let rows = step.tables.attention_rows(self.schedule, tile);
        let row_values = state.values.chunks_exact_mut(shape.heads_per_kv * padded_dim);
        let row_sums = state.sum.chunks_exact(shape.heads_per_kv);
        for (row, (values, sums)) in rows.zip(row_values.zip(row_sums)) {
            let out_row = out.values.row_mut(tile, row);
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
                let blocks = encoded.row_mut(tile, row);
                isa.enter(
                    #[inline(always)]
                    || encode_row(isa, heads, blocks),
                );
            }
        }
    }
}
