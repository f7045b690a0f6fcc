//! The pages that hold keys and values.
//!
//! A page holds [`PAGE_LEN`] positions of all layers. In each layer and key head, its keys are `[head_dim][PAGE_LEN]`, so
//! that one vector holds the same value of 16 positions, and its values are `[PAGE_LEN][head_dim]`, the rows padded to
//! whole vectors. Scales, if the storage has them, lie behind the keys and behind the values.
#![allow(unsafe_code, reason = "pages of one allocation become slices of several threads")]

use std::marker::PhantomData;
use std::ops::Range;

use sm_tensor::PageId;

use super::allocation::Allocation;
use super::kv_element::{HeadPage, KvElement};
use super::split::TileTable;
use super::team::Worker;
use crate::cpu::isa::LANES;
use crate::plan::{KvDType, PAGE_LEN, PageGroup, PrepareError};

/// What an error is about.
const WHAT: &str = "the KV pool";

/// Sizes, in elements.
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
    /// One layer of all pages.
    layer: usize,
}

impl Sizes {
    /// Of a pool, with its bytes.
    fn new(layout: PageGroup, n_pages: usize, dtype: KvDType) -> Result<(Self, usize), PrepareError> {
        let sizes = || {
            let scales = dtype.scale_bytes(layout.key_dim).checked_mul(PAGE_LEN)?;
            let key_codes = layout.key_dim.checked_mul(PAGE_LEN)?;
            let value_codes = layout.key_dim.checked_next_multiple_of(LANES)?.checked_mul(PAGE_LEN)?;
            let keys = key_codes.checked_add(scales)?;
            let head = keys.checked_add(value_codes)?.checked_add(scales)?;
            let layer = head.checked_mul(layout.n_kv_heads)?.checked_mul(n_pages)?;
            let n_bytes = layer.checked_mul(layout.n_layers)?.checked_mul(dtype.element_bytes())?;
            let n_kv_heads = layout.n_kv_heads;
            Some((Self { n_kv_heads, key_codes, value_codes, keys, head, layer }, n_bytes))
        };
        sizes().ok_or(PrepareError::OutOfMemory { what: WHAT, needed_bytes: usize::MAX })
    }
}

/// All pages.
#[derive(Debug)]
pub(crate) struct KvPool {
    memory: Allocation,
    n_layers: usize,
    n_pages: usize,
    dtype: KvDType,
    sizes: Sizes,
}

impl KvPool {
    /// `n_pages` pages of zeros, which take memory when they are first written.
    ///
    /// # Errors
    /// If the system refuses the memory.
    pub(crate) fn new(layout: PageGroup, n_pages: usize, dtype: KvDType) -> Result<Self, PrepareError> {
        let (sizes, n_bytes) = Sizes::new(layout, n_pages, dtype)?;
        let memory = Allocation::zeroed(n_bytes, WHAT)?;
        Ok(Self { memory, n_layers: layout.n_layers, n_pages, dtype, sizes })
    }

    /// Bytes of such a pool.
    ///
    /// # Errors
    /// If the number overflows.
    pub(crate) fn needed_bytes(
        layout: PageGroup,
        n_pages: usize,
        dtype: KvDType,
    ) -> Result<usize, PrepareError> {
        Ok(Sizes::new(layout, n_pages, dtype)?.1)
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
        let (from, to) = (self.range_in_layer(from), self.range_in_layer(to));
        self.layers_mut().for_each(|layer| layer.copy_within(from.clone(), to.start));
    }

    /// Bytes of a page in all layers.
    pub(crate) fn page_bytes(&self) -> usize {
        self.layer_page_bytes() * self.n_layers
    }

    /// Copies a page out, layer after layer: `[page_bytes]`.
    ///
    /// # Panics
    /// If the page is out of range or `bytes` has another length.
    pub(crate) fn read_page(&mut self, page: PageId, bytes: &mut [u8]) {
        assert_eq!(bytes.len(), self.page_bytes(), "bytes of a page");
        let (range, len) = (self.range_in_layer(page), self.layer_page_bytes());
        let parts = bytes.chunks_exact_mut(len);
        self.layers_mut().zip(parts).for_each(|(layer, part)| part.copy_from_slice(&layer[range.clone()]));
    }

    /// Overwrites a page with what [`KvPool::read_page`] gave.
    ///
    /// # Panics
    /// As [`KvPool::read_page`].
    pub(crate) fn write_page(&mut self, page: PageId, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.page_bytes(), "bytes of a page");
        let (range, len) = (self.range_in_layer(page), self.layer_page_bytes());
        let parts = bytes.chunks_exact(len);
        self.layers_mut().zip(parts).for_each(|(layer, part)| layer[range.clone()].copy_from_slice(part));
    }

    /// Lets the system have the memory of pages, ascending, until they are written again.
    ///
    /// # Panics
    /// If a page is out of range.
    pub(crate) fn release_pages(&mut self, pages: &[PageId]) {
        let layer_bytes = self.layer_page_bytes() * self.n_pages;
        for run in pages.chunk_by(|page, next| page.0 + 1 == next.0) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let (start, end) = (self.range_in_layer(*first).start, self.range_in_layer(*last).end);
            for layer in 0..self.n_layers {
                self.memory.release(layer * layer_bytes + start..layer * layer_bytes + end);
            }
        }
    }

    fn layer_page_bytes(&self) -> usize {
        self.sizes.head * self.sizes.n_kv_heads * self.dtype.element_bytes()
    }

    /// Where a page lies in the bytes of each layer.
    fn range_in_layer(&self, page: PageId) -> Range<usize> {
        let (page, len) = (page.0 as usize, self.layer_page_bytes());
        assert!(page < self.n_pages, "page {page} of {}", self.n_pages);
        page * len..(page + 1) * len
    }

    /// The bytes of each layer's pages.
    fn layers_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let layer = self.layer_page_bytes() * self.n_pages;
        let n_bytes = layer * self.n_layers;
        let start = self.memory.values::<u8>(0, n_bytes);
        // SAFETY: the bytes are inside the allocation and initialised; `&mut self` is the only way to them.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start, n_bytes) };
        bytes.chunks_exact_mut(layer)
    }

    fn layer_start<E: KvElement>(&self, layer: usize) -> *mut E {
        assert!(layer < self.n_layers && E::DTYPE == self.dtype, "layer {layer} as {:?}", E::DTYPE);
        self.memory.values(layer * self.sizes.layer * size_of::<E>(), self.sizes.layer)
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
        // SAFETY: the values are inside the allocation and initialised; the caller answers for the rest.
        let values = unsafe { std::slice::from_raw_parts(start, self.sizes.layer) };
        KvPages { values, sizes: self.sizes }
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
        assert_eq!(written.pages.len(), table.n_row_tiles(), "one row tile for each page");
        assert_eq!(self.sizes.n_kv_heads, table.n_units(), "one unit for each head");
        assert!(written.stamps.len() == self.n_pages, "pages of another pool");
        let (start, tiles) = (self.layer_start(layer), table.of_worker(worker));
        KvShare { start, sizes: self.sizes, written, tiles, _values: PhantomData }
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

    /// Appends a page of the pool; says whether it is new.
    ///
    /// # Panics
    /// If the page is out of range.
    pub(crate) fn insert(&mut self, page: PageId) -> bool {
        let stamp = &mut self.stamps[page.0 as usize];
        let new = *stamp != self.step;
        if new {
            *stamp = self.step;
            self.pages.push(page);
        }
        new
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
        // SAFETY: the page is in the pool, for `WrittenPages::insert` checks it, so the head lies inside the layer.
        let start = unsafe { self.start.add(offset) };
        // SAFETY: as above; the written pages are distinct, so each tile is another head of another page, each tile
        // belongs to one worker, and `&mut self` makes this the only slice.
        let values = unsafe { std::slice::from_raw_parts_mut(start, len) };
        values.split_at_mut(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::team::Team;

    const LAYOUT: PageGroup = PageGroup::uniform(3, 2, 5);

    fn write_all(pool: &KvPool, layer: usize, n_workers: usize, pages: &[u32]) {
        let mut written = WrittenPages::new(pool.n_pages(), 8);
        let mut table = TileTable::with_capacity(8, n_workers);
        written.clear();
        table.reset(LAYOUT.n_kv_heads);
        for &page in pages {
            assert!(written.insert(PageId(page)) && !written.insert(PageId(page)));
            table.push_rows(1);
        }
        table.share_evenly(n_workers);
        let write = |worker: &Worker<'_>| {
            // SAFETY: nobody else uses the pool, and each worker takes one share.
            let mut share = unsafe { pool.share::<f32>(layer, &written, &table, worker) };
            for tile in share.tiles() {
                let name = (layer * 1000 + pages[tile / 2] as usize * 10 + tile % 2) as f32;
                let (keys, values) = share.page_mut(tile);
                assert_eq!((keys.len(), values.len()), (5 * 16, 16 * 16));
                keys.fill(name);
                values.fill(-name);
            }
            worker.barrier()
        };
        Team::new(n_workers).unwrap().run(write).unwrap();
    }

    fn first_key(pool: &KvPool, layer: usize, page: u32, head: usize) -> f32 {
        // SAFETY: nobody writes.
        let pages = unsafe { pool.pages::<f32>(layer) };
        let (keys, values) = pages.page(PageId(page), head);
        let (keys, values) = (keys.vectors.as_flattened(), values.vectors.as_flattened());
        assert!(keys.iter().all(|key| *key == keys[0]) && values.iter().all(|value| *value == -keys[0]));
        keys[0]
    }

    #[test]
    fn pages_are_zero_written_apart_and_copied_in_all_layers() {
        for n_workers in 1..5 {
            let mut pool = KvPool::new(LAYOUT, 6, KvDType::F32).unwrap();
            (0..3).for_each(|layer| write_all(&pool, layer, n_workers, &[4, 1, 5]));
            pool.copy_page(PageId(4), PageId(2));
            for layer in 0..3 {
                for (page, origin) in
                    [(0, None), (1, Some(1)), (2, Some(4)), (3, None), (4, Some(4)), (5, Some(5))]
                {
                    for head in 0..2 {
                        let expected = origin.map_or(0, |origin| layer * 1000 + origin * 10 + head);
                        assert_eq!(first_key(&pool, layer, page, head), expected as f32);
                    }
                }
            }
        }
    }

    #[test]
    fn pages_that_are_released_are_blank_and_others_stay() {
        let layout = PageGroup::uniform(2, 4, 64);
        let mut pool = KvPool::new(layout, 40, KvDType::F16).unwrap();
        assert_eq!(pool.n_bytes(), KvPool::needed_bytes(layout, 40, KvDType::F16).unwrap());
        let mut bytes = vec![7; pool.page_bytes()];
        (0..40).for_each(|page| pool.write_page(PageId(page), &bytes));
        let released: Vec<PageId> = (0..5).chain(8..30).map(PageId).collect();
        pool.release_pages(&released);
        let mut n_blank = 0;
        for page in (0..40).map(PageId) {
            pool.read_page(page, &mut bytes);
            n_blank += usize::from(bytes.iter().all(|byte| *byte == 0));
            assert!(released.contains(&page) || bytes.iter().all(|byte| *byte == 7), "page {}", page.0);
        }
        assert_eq!(n_blank > 0, cfg!(target_os = "linux"), "{n_blank} pages are blank");
    }

    #[test]
    fn a_pool_too_large_is_refused() {
        for n_pages in [usize::MAX, usize::MAX / 10_000] {
            let error = KvPool::new(LAYOUT, n_pages, KvDType::F16).unwrap_err();
            assert!(matches!(error, PrepareError::OutOfMemory { what: "the KV pool", .. }), "{error}");
        }
    }
}
