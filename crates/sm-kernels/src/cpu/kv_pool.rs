//! The pages that hold keys and values.
//!
//! ```text
//! pool    [layer][page]                      a layer's pages lie together: attention walks one layer at a time
//! page    [head] of                          keys [key_dim][16] + scales, values [16][value_dim, padded] + scales
//! ```
//!
//! A page holds [`PAGE_LEN`] positions of all layers. Keys lie transposed, so that one vector holds the same value of 16
//! positions and a score needs no sum over lanes; values lie row by row, padded to whole vectors, because they are added up
//! row by row. Layers may differ in their heads: each has sizes of its own, and a page is those ranges together.
//!
//! Pages instead of one stretch per sequence: nothing is reserved for tokens that never come, sequences share prefixes, and
//! a page is what is evicted, copied and stored. Source: Kwon et al. 2023, "Efficient Memory Management for Large Language
//! Model Serving with PagedAttention", <https://arxiv.org/abs/2309.06180>.
#![allow(unsafe_code, reason = "pages of one allocation become slices of several threads")]

use std::marker::PhantomData;
use std::ops::Range;

use sm_tensor::PageId;

use super::allocation::Allocation;
use super::kv_element::{HeadPage, KvElement};
use super::split::TileTable;
use super::team::Worker;
use crate::cpu::isa::LANES;
use crate::plan::{CacheLayout, KvDType, PAGE_LEN, PageGroup, PrepareError};

/// What an error is about.
const WHAT: &str = "the KV pool";

/// Sizes of a layer, in elements.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    n_kv_heads: usize,
    /// Keys of a page and head, without scales.
    key_codes: usize,
    /// The same of values.
    value_codes: usize,
    /// Keys of a page and head, with scales.
    keys: usize,
    /// Keys and values of a page and head, with scales.
    head: usize,
    /// All pages.
    layer: usize,
}

/// A layer of all pages.
#[derive(Clone, Copy, Debug)]
struct Layer {
    /// Where it begins in the pool, in bytes.
    start: usize,
    sizes: Sizes,
}

impl Sizes {
    /// Of a layer of a group; `None` if they overflow.
    fn new(group: &PageGroup, n_pages: usize, dtype: KvDType) -> Option<Self> {
        let key_codes = group.key_dim.checked_mul(PAGE_LEN)?;
        let value_codes = group.value_dim.checked_next_multiple_of(LANES)?.checked_mul(PAGE_LEN)?;
        let keys = key_codes.checked_add(dtype.scale_bytes(group.key_dim).checked_mul(PAGE_LEN)?)?;
        let values = value_codes.checked_add(dtype.scale_bytes(group.value_dim).checked_mul(PAGE_LEN)?)?;
        let head = keys.checked_add(values)?;
        let layer = head.checked_mul(group.n_kv_heads)?.checked_mul(n_pages)?;
        Some(Self { n_kv_heads: group.n_kv_heads, key_codes, value_codes, keys, head, layer })
    }
}

/// The layers of a pool and its bytes; `None` if they overflow.
fn layers(layout: &CacheLayout, n_pages: usize, dtype: KvDType) -> Option<(Vec<Layer>, usize)> {
    let mut layers = Vec::new();
    let mut n_bytes = 0_usize;
    for group in &layout.pages {
        let sizes = Sizes::new(group, n_pages, dtype)?;
        for _ in 0..group.n_layers {
            layers.push(Layer { start: n_bytes, sizes });
            n_bytes = sizes.layer.checked_mul(dtype.element_bytes())?.checked_add(n_bytes)?;
        }
    }
    Some((layers, n_bytes))
}

const TOO_LARGE: PrepareError = PrepareError::OutOfMemory { what: WHAT, needed_bytes: usize::MAX };

/// All pages.
#[derive(Debug)]
pub(crate) struct KvPool {
    memory: Allocation,
    layers: Vec<Layer>,
    /// Of all layers.
    n_bytes: usize,
    n_pages: usize,
    dtype: KvDType,
}

impl KvPool {
    /// `n_pages` pages of zeros, which take memory when they are first written.
    ///
    /// # Errors
    /// If the system refuses the memory.
    pub(crate) fn new(layout: &CacheLayout, n_pages: usize, dtype: KvDType) -> Result<Self, PrepareError> {
        let (layers, n_bytes) = layers(layout, n_pages, dtype).ok_or(TOO_LARGE)?;
        let memory = Allocation::zeroed(n_bytes, WHAT)?;
        Ok(Self { memory, layers, n_bytes, n_pages, dtype })
    }

    /// Bytes of such a pool.
    ///
    /// # Errors
    /// If the number overflows.
    pub(crate) fn needed_bytes(
        layout: &CacheLayout,
        n_pages: usize,
        dtype: KvDType,
    ) -> Result<usize, PrepareError> {
        Ok(Allocation::needed_bytes(layers(layout, n_pages, dtype).ok_or(TOO_LARGE)?.1))
    }

    /// Number of pages.
    pub(crate) fn n_pages(&self) -> usize {
        self.n_pages
    }

    /// Size in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        self.memory.n_bytes()
    }

    /// Copies a page in all layers.
    ///
    /// # Panics
    /// If a page is out of range.
    pub(crate) fn copy_page(&mut self, from: PageId, to: PageId) {
        for layer in 0..self.layers.len() {
            let from = self.range(layer, from);
            let to = self.range(layer, to);
            self.bytes_mut().copy_within(from, to.start);
        }
    }

    /// Bytes of a page in all layers.
    pub(crate) fn page_bytes(&self) -> usize {
        self.layers.iter().map(|layer| self.layer_page_bytes(layer)).sum()
    }

    /// Copies a page out, layer after layer: `[page_bytes]`.
    ///
    /// # Panics
    /// If the page is out of range or `bytes` has another length.
    pub(crate) fn read_page(&mut self, page: PageId, mut bytes: &mut [u8]) {
        assert_eq!(bytes.len(), self.page_bytes(), "bytes of a page");
        for layer in 0..self.layers.len() {
            let range = self.range(layer, page);
            let (part, rest) = bytes.split_at_mut(range.len());
            part.copy_from_slice(&self.bytes_mut()[range]);
            bytes = rest;
        }
    }

    /// Overwrites a page with what [`KvPool::read_page`] gave.
    ///
    /// # Panics
    /// As [`KvPool::read_page`].
    pub(crate) fn write_page(&mut self, page: PageId, mut bytes: &[u8]) {
        assert_eq!(bytes.len(), self.page_bytes(), "bytes of a page");
        for layer in 0..self.layers.len() {
            let range = self.range(layer, page);
            let (part, rest) = bytes.split_at(range.len());
            self.bytes_mut()[range].copy_from_slice(part);
            bytes = rest;
        }
    }

    /// Returns the memory of pages, ascending, to the operating system until they are written again.
    ///
    /// # Panics
    /// If a page is out of range.
    pub(crate) fn release_pages(&mut self, pages: &[PageId]) {
        for run in pages.chunk_by(|page, next| page.0 + 1 == next.0) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            for layer in 0..self.layers.len() {
                let bytes = self.range(layer, *first).start..self.range(layer, *last).end;
                self.memory.release(bytes);
            }
        }
    }

    fn layer_page_bytes(&self, layer: &Layer) -> usize {
        layer.sizes.head * layer.sizes.n_kv_heads * self.dtype.element_bytes()
    }

    /// Where a page of a layer lies.
    fn range(&self, layer: usize, page: PageId) -> Range<usize> {
        let page = page.0 as usize;
        let layer = &self.layers[layer];
        assert!(page < self.n_pages, "page {page} of {}", self.n_pages);
        let len = self.layer_page_bytes(layer);
        layer.start + page * len..layer.start + (page + 1) * len
    }

    /// The bytes of all layers.
    fn bytes_mut(&mut self) -> &mut [u8] {
        let start = self.memory.values::<u8>(0, self.n_bytes);
        // SAFETY: the bytes are inside the allocation and initialised; `&mut self` is the only way to them.
        unsafe { std::slice::from_raw_parts_mut(start, self.n_bytes) }
    }

    fn layer_start<E: KvElement>(&self, layer: usize) -> *mut E {
        assert!(E::DTYPE == self.dtype, "pages of {:?} as {:?}", self.dtype, E::DTYPE);
        let Layer { start, sizes } = &self.layers[layer];
        self.memory.values(*start, sizes.layer)
    }

    /// The pages of a layer, to read.
    ///
    /// # Panics
    /// If there is no such layer, or it is stored otherwise.
    ///
    /// # Safety
    /// Nobody writes pages of this layer for the lifetime of the result.
    pub(super) unsafe fn pages<E: KvElement>(&self, layer: usize) -> KvPages<'_, E> {
        let start = self.layer_start::<E>(layer).cast_const();
        let sizes = self.layers[layer].sizes;
        // SAFETY: the values are inside the allocation and initialised; the caller answers for the rest.
        let values = unsafe { std::slice::from_raw_parts(start, sizes.layer) };
        KvPages { values, sizes }
    }

    /// The pages of a layer that `worker` writes: those of its tiles of `table`, whose row tiles are the pages of
    /// `written` and whose units are the heads.
    ///
    /// # Panics
    /// If there is no such layer, it is stored otherwise, or the table has other extents.
    ///
    /// # Safety
    /// For the lifetime of the result nobody reads pages of this layer, and each worker of one team takes at most one
    /// share, all with the same arguments.
    pub(super) unsafe fn share<'a, E: KvElement>(
        &'a self,
        layer: usize,
        written: &'a WrittenPages,
        table: &'a TileTable,
        worker: &Worker<'_>,
    ) -> KvShare<'a, E> {
        let sizes = self.layers[layer].sizes;
        assert_eq!(written.pages.len(), table.n_row_tiles(), "one row tile for each page");
        assert_eq!(sizes.n_kv_heads, table.n_col_tiles(), "one unit for each head");
        assert!(written.stamps.len() == self.n_pages, "pages of another pool");
        let start = self.layer_start(layer);
        let tiles = table.of_worker(worker);
        KvShare { start, sizes, written, tiles, _values: PhantomData }
    }
}

/// The pages of one layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvPages<'a, E> {
    values: &'a [E],
    sizes: Sizes,
}

impl<'a, E: KvElement> KvPages<'a, E> {
    /// A page's keys `[head_dim][PAGE_LEN]` and values `[PAGE_LEN][padded head_dim]` of one head.
    #[inline(always)]
    pub(crate) fn page(&self, page: PageId, head: usize) -> (HeadPage<'a, E>, HeadPage<'a, E>) {
        let Sizes { n_kv_heads, key_codes, value_codes, keys, head: len, .. } = self.sizes;
        let start = (page.0 as usize * n_kv_heads + head) * len;
        let (keys, values) = self.values[start..start + len].split_at(keys);
        (HeadPage::new(keys, key_codes), HeadPage::new(values, value_codes))
    }
}

/// The pages that a step writes, without repetition.
#[derive(Debug)]
pub(crate) struct WrittenPages {
    pages: Vec<PageId>,
    /// For each page of the pool, the last step that writes it.
    stamps: Vec<u64>,
    step: u64,
}

impl WrittenPages {
    /// None, of a pool of `n_pages`; with room for `max_pages`.
    pub(crate) fn new(n_pages: usize, max_pages: usize) -> Self {
        Self { pages: Vec::with_capacity(max_pages), stamps: vec![0; n_pages], step: 0 }
    }

    /// Forgets all pages.
    pub(crate) fn clear(&mut self) {
        self.pages.clear();
        self.step += 1;
    }

    /// Appends a page of the pool.
    ///
    /// # Panics
    /// If the page is out of range, or there already: what several workers write rests on it.
    pub(crate) fn push(&mut self, page: PageId) {
        let stamp = &mut self.stamps[page.0 as usize];
        assert!(*stamp != self.step, "page {} is written twice", page.0);
        *stamp = self.step;
        self.pages.push(page);
    }
}

/// The keys and values that one worker writes.
#[derive(Debug)]
pub(crate) struct KvShare<'a, E> {
    start: *mut E,
    sizes: Sizes,
    written: &'a WrittenPages,
    tiles: Range<usize>,
    _values: PhantomData<&'a mut [E]>,
}

impl<E: KvElement> KvShare<'_, E> {
    /// The tiles of this share: page index × number of heads + head.
    pub(crate) fn tiles(&self) -> Range<usize> {
        self.tiles.clone()
    }

    /// A page's keys `[head_dim][PAGE_LEN]` and values `[PAGE_LEN][padded head_dim]` of one head, each with its scales.
    ///
    /// # Panics
    /// If the tile belongs to another worker.
    pub(crate) fn page_mut(&mut self, tile: usize) -> (&mut [E], &mut [E]) {
        assert!(self.tiles.contains(&tile), "tile {tile} is not in the share {:?}", self.tiles);
        let Sizes { n_kv_heads, keys, head: len, .. } = self.sizes;
        let page = self.written.pages[tile / n_kv_heads].0 as usize;
        let offset = (page * n_kv_heads + tile % n_kv_heads) * len;
        // SAFETY: the page is in the pool, for `WrittenPages::push` checks it, so the head lies inside the layer.
        let start = unsafe { self.start.add(offset) };
        // SAFETY: as above; the written pages are distinct, so each tile is another head of another page, each tile
        // belongs to one worker, and `&mut self` makes this the only slice.
        let values = unsafe { std::slice::from_raw_parts_mut(start, len) };
        values.split_at_mut(keys)
    }
}

#[cfg(test)]
mod tests;
