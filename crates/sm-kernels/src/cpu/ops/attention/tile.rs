//! The operands of attention: a tile of queries with the pages it sees, and the memory that a worker computes it in.

use std::ops::Range;

use sm_tensor::PageId;

use crate::cpu::isa::LANES;
use crate::cpu::kv_element::{HeadPage, KvElement};
use crate::cpu::kv_pool::KvPages;
use crate::cpu::schedule::{AttentionShape, PARTITION_LEN, PARTITION_PAGES};
use crate::plan::PAGE_LEN;

/// Pages between the one that is read and the one that is prefetched: computing with that many takes longer than memory needs
/// to answer. One page ahead was too late; six gain no more than four, and L1 no more than L2.
pub(super) const PAGES_AHEAD: usize = 4;

/// The parameters of an attention, the same in every step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionConfig {
    /// Heads and window.
    pub(crate) shape: AttentionShape,
    /// Values per head.
    pub(crate) head_dim: usize,
    /// Factor on the scores.
    pub(crate) scale: f32,
    /// `cap * tanh(score / cap)` bounds the scores.
    pub(crate) soft_cap: Option<f32>,
}

impl AttentionConfig {
    /// Values of a head in whole vectors.
    pub(super) fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Values of the [`TileBuffers`] of a tile.
    pub(super) fn buffers_len(&self) -> usize {
        let n_queries = self.shape.tile_queries();
        n_queries * (PARTITION_LEN + self.padded_dim()) + PAGE_LEN * self.padded_dim()
    }

    /// Values of the [`SoftmaxState`] of a tile.
    pub(super) fn state_len(&self) -> usize {
        self.shape.tile_queries() * (2 + self.padded_dim())
    }
}

/// A tile: query rows of one key head, and the pages that they see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile<'a, E> {
    /// `[n_rows][stride]`, from the first row and the first query head of the tile on.
    pub(super) q: &'a [f32],
    /// Values from one row to the next.
    pub(super) stride: usize,
    /// Number of rows.
    pub(super) n_rows: usize,
    /// Position of the first row.
    pub(super) position: usize,
    /// The pages of the layer.
    pub(super) kv: KvPages<'a, E>,
    /// The pages of the sequence, in order.
    pub(super) pages: &'a [PageId],
    /// The key head.
    pub(super) kv_head: usize,
    /// What does not depend on the step.
    pub(super) config: AttentionConfig,
}

impl<E: KvElement> Tile<'_, E> {
    /// Number of query vectors; the heads of a row are neighbours.
    pub(super) fn n_queries(&self) -> usize {
        self.n_rows * self.config.shape.heads_per_kv
    }

    /// `[head_dim]`
    #[inline(always)]
    pub(super) fn query(&self, query: usize) -> &[f32] {
        let heads_per_kv = self.config.shape.heads_per_kv;
        let start = query / heads_per_kv * self.stride + query % heads_per_kv * self.config.head_dim;
        &self.q[start..start + self.config.head_dim]
    }

    /// The positions of a partition that a query sees, counted from the partition's start.
    #[inline(always)]
    pub(super) fn visible(&self, query: usize, partition: usize) -> Range<usize> {
        let position = self.position + query / self.config.shape.heads_per_kv;
        let in_partition =
            |position: usize| position.saturating_sub(partition * PARTITION_LEN).min(PARTITION_LEN);
        let start = in_partition(self.config.shape.first_visible(position));
        start..in_partition(position + 1).max(start)
    }

    /// The keys and the values of a page.
    #[inline(always)]
    pub(super) fn page(&self, partition: usize, page: usize) -> (HeadPage<'_, E>, HeadPage<'_, E>) {
        self.kv.page(self.pages[partition * PARTITION_PAGES + page], self.kv_head)
    }

    /// What to prefetch for the time when the keys of all pages before `page` have been read: the keys of `page`, or values if
    /// there are no more keys. A head of a page is too short for the hardware prefetcher to see where reading goes on.
    #[inline(always)]
    pub(super) fn after_keys(&self, partition: usize, page: usize) -> &[[E; LANES]] {
        match page.checked_sub(self.n_pages(partition)) {
            None => self.page(partition, page).0.vectors,
            Some(over) => self.page(partition, over.min(self.n_pages(partition) - 1)).1.vectors,
        }
    }

    /// As [`Tile::after_keys`], while values are read: after the last page come the keys of the next partition.
    #[inline(always)]
    pub(super) fn after_values(&self, partition: usize, page: usize) -> &[[E; LANES]] {
        match self.pages.get(partition * PARTITION_PAGES + page) {
            Some(_) if page < PARTITION_PAGES => self.page(partition, page).1.vectors,
            Some(_) => self.page(partition, page).0.vectors,
            None => self.page(partition, 0).1.vectors,
        }
    }

    /// Pages of a partition.
    #[inline(always)]
    fn n_pages(&self, partition: usize) -> usize {
        (self.pages.len() - partition * PARTITION_PAGES).min(PARTITION_PAGES)
    }
}

/// The state of an online softmax over some positions: `(m, l, o)` of the FlashAttention paper.
#[derive(Debug)]
pub(super) struct SoftmaxState<'a> {
    /// `[n_queries]`: the largest score.
    pub(super) max: &'a mut [f32],
    /// `[n_queries]`: the sum of `exp(score - max)`; 0 if the query sees none of the positions.
    pub(super) sum: &'a mut [f32],
    /// `[n_queries][padded_dim]`: the sum of `exp(score - max) * value`, not yet divided by `sum`.
    pub(super) values: &'a mut [f32],
}

impl<'a> SoftmaxState<'a> {
    /// A state in `memory`, which has [`AttentionConfig::state_len`] values.
    pub(super) fn new(memory: &'a mut [f32], config: &AttentionConfig) -> Self {
        let n_queries = config.shape.tile_queries();
        let (max, rest) = memory.split_at_mut(n_queries);
        let (sum, values) = rest.split_at_mut(n_queries);
        Self { max, sum, values }
    }

    /// Resets to no positions.
    pub(super) fn clear(&mut self) {
        self.sum.fill(0.0);
    }

    /// Copies another state.
    pub(super) fn copy_from(&mut self, other: &SoftmaxState<'_>) {
        self.max.copy_from_slice(other.max);
        self.sum.copy_from_slice(other.sum);
        self.values.copy_from_slice(other.values);
    }
}

/// A worker's memory for one partition of a tile.
#[derive(Debug)]
pub(super) struct TileBuffers<'a> {
    /// `[n_queries][PARTITION_LEN]`: scores, then their exponentials.
    pub(super) scores: &'a mut [f32],
    /// `[n_queries][head_dim]`: the queries, copied together.
    pub(super) queries: &'a mut [f32],
    /// The keys `[head_dim][PAGE_LEN]` or values `[PAGE_LEN][padded_dim]` of a page, widened.
    pub(super) page: &'a mut [f32],
}

impl<'a> TileBuffers<'a> {
    /// Takes the first [`AttentionConfig::buffers_len`] values of `memory`, and returns the rest.
    pub(super) fn new(memory: &'a mut [f32], config: &AttentionConfig) -> (Self, &'a mut [f32]) {
        let n_queries = config.shape.tile_queries();
        let (scores, rest) = memory.split_at_mut(n_queries * PARTITION_LEN);
        let (queries, rest) = rest.split_at_mut(n_queries * config.padded_dim());
        let (page, rest) = rest.split_at_mut(PAGE_LEN * config.padded_dim());
        (Self { scores, queries, page }, rest)
    }
}
