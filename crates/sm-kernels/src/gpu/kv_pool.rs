//! The pages that hold keys and values on the device.
//!
//! ```text
//! a layer     keys, and values: [page][key head][position][words of a head]
//! ```
//!
//! Each layer has two buffers, so that a step that writes the pages of one layer does not order what others read. A page as
//! [`Executor::read_pages`](crate::plan::Executor::read_pages) gives it: layer after layer its keys, then its values.

use super::device::Gpu;
use super::kernel::Source;
use crate::plan::{CacheLayout, ExecError, KvDType, KvId, PAGE_LEN, PageGroup, PrepareError};
use sm_tensor::PageId;

const WHAT: &str = "the keys and values of a layer";

/// Keys and values of a layer.
#[derive(Debug)]
pub(crate) struct KvLayer {
    pub(crate) shape: KvShape,
    pub(crate) keys: wgpu::Buffer,
    pub(crate) values: wgpu::Buffer,
}

/// How a layer's keys and values lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvShape {
    pub(crate) group: PageGroup,
    pub(crate) dtype: KvDType,
}

impl KvShape {
    /// Words of the key or the value of one head and position.
    fn words(self, dim: usize) -> usize {
        match self.dtype {
            KvDType::F16 => dim.div_ceil(2),
            KvDType::F32 => dim.next_multiple_of(2),
            KvDType::Q8_0 => dim.div_ceil(4) + dim.div_ceil(32),
        }
    }

    /// Bytes of a page's keys, and of its values.
    fn page_bytes(self) -> [u64; 2] {
        [self.group.key_dim, self.group.value_dim]
            .map(|dim| 4 * (self.words(dim) * self.group.n_kv_heads * PAGE_LEN) as u64)
    }

    /// The constants by which kernels find keys and values.
    pub(crate) fn constants(self, source: Source) -> Source {
        let PageGroup { n_kv_heads, key_dim, value_dim, .. } = self.group;
        source
            .number("PAGE_LEN", PAGE_LEN)
            .number("N_KV_HEADS", n_kv_heads)
            .number("KEY_DIM", key_dim)
            .number("VALUE_DIM", value_dim)
            .number("KEY_WORDS", self.words(key_dim))
            .number("VALUE_WORDS", self.words(value_dim))
    }

    /// The text of `store_head`.
    pub(crate) fn store_text(self) -> &'static str {
        match self.dtype {
            KvDType::F16 => include_str!("kv/store_f16.wgsl"),
            KvDType::F32 => include_str!("kv/store_f32.wgsl"),
            KvDType::Q8_0 => include_str!("kv/store_q8_0.wgsl"),
        }
    }

    /// The text of `dot_key` and `value_pair`.
    pub(crate) fn read_text(self) -> &'static str {
        match self.dtype {
            KvDType::F16 => include_str!("kv/read_f16.wgsl"),
            KvDType::F32 => include_str!("kv/read_f32.wgsl"),
            KvDType::Q8_0 => include_str!("kv/read_q8_0.wgsl"),
        }
    }
}

/// All pages.
#[derive(Debug)]
pub(crate) struct KvPool {
    pub(crate) layers: Vec<KvLayer>,
    /// Where a page rests on its way from one place to another: WebGPU copies between different buffers only.
    bounce: wgpu::Buffer,
    n_pages: usize,
    page_bytes: usize,
}

/// The shape of each layer.
fn shapes(layout: &CacheLayout, dtype: KvDType) -> impl Iterator<Item = KvShape> {
    layout.pages.iter().flat_map(move |&group| std::iter::repeat_n(KvShape { group, dtype }, group.n_layers))
}

impl KvPool {
    /// `n_pages` pages of zeros.
    ///
    /// # Errors
    /// If the device refuses the memory.
    pub(crate) fn new(
        gpu: &Gpu,
        layout: &CacheLayout,
        n_pages: usize,
        dtype: KvDType,
    ) -> Result<Self, PrepareError> {
        let mut page_bytes = 0;
        let mut layers = Vec::with_capacity(layout.n_kv_layers());
        let mut largest = 0;
        for shape in shapes(layout, dtype) {
            let [key_bytes, value_bytes] = shape.page_bytes();
            let pool = |bytes: u64| gpu.buffer(WHAT, bytes.saturating_mul(n_pages as u64));
            page_bytes += (key_bytes + value_bytes) as usize;
            largest = largest.max(key_bytes).max(value_bytes);
            layers.push(KvLayer { shape, keys: pool(key_bytes)?, values: pool(value_bytes)? });
        }
        Ok(Self { layers, bounce: gpu.buffer(WHAT, largest)?, n_pages, page_bytes })
    }

    /// Bytes of such a pool.
    pub(crate) fn needed_bytes(layout: &CacheLayout, n_pages: usize, dtype: KvDType) -> usize {
        let bytes = shapes(layout, dtype).flat_map(KvShape::page_bytes);
        bytes.map(|bytes| bytes as usize).fold(0, usize::saturating_add).saturating_mul(n_pages)
    }

    /// A layer.
    pub(crate) fn layer(&self, id: KvId) -> &KvLayer {
        &self.layers[id.index()]
    }

    /// Bytes of a page in all layers.
    pub(crate) fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Checks that pages are in the pool.
    ///
    /// # Errors
    /// If one is not.
    pub(crate) fn check(&self, pages: impl IntoIterator<Item = PageId>) -> Result<(), ExecError> {
        pages.into_iter().find(|page| self.n_pages <= page.0 as usize).map_or(Ok(()), |page| {
            let reason = format!("page {} is copied, but the pool has {}", page.0, self.n_pages);
            Err(ExecError::InvalidBatch { reason })
        })
    }

    /// Checks that pages are in the pool and have `n_bytes` bytes together.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn check_copy(&self, pages: &[PageId], n_bytes: usize) -> Result<(), ExecError> {
        self.check(pages.iter().copied())?;
        let (n_pages, page_bytes) = (pages.len(), self.page_bytes);
        if n_pages.checked_mul(page_bytes) == Some(n_bytes) {
            return Ok(());
        }
        let reason = format!("{n_pages} pages of {page_bytes} bytes, but {n_bytes} bytes are to be copied");
        Err(ExecError::InvalidBatch { reason })
    }

    /// The buffers of all layers, each with the bytes of a page in it, in the order in which a page is copied out.
    fn buffers(&self) -> impl Iterator<Item = (&wgpu::Buffer, u64)> {
        self.layers.iter().flat_map(|layer| {
            let [key_bytes, value_bytes] = layer.shape.page_bytes();
            [(&layer.keys, key_bytes), (&layer.values, value_bytes)]
        })
    }

    /// Records the copy of a page.
    pub(crate) fn copy_page(&self, encoder: &mut wgpu::CommandEncoder, from: PageId, to: PageId) {
        for (buffer, bytes) in self.buffers() {
            encoder.copy_buffer_to_buffer(buffer, u64::from(from.0) * bytes, &self.bounce, 0, bytes);
            encoder.copy_buffer_to_buffer(&self.bounce, 0, buffer, u64::from(to.0) * bytes, bytes);
        }
    }

    /// Records the copy of a page to `to`, from byte `at` on.
    pub(crate) fn read_page(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        page: PageId,
        to: &wgpu::Buffer,
        at: u64,
    ) {
        let mut at = at;
        for (buffer, bytes) in self.buffers() {
            encoder.copy_buffer_to_buffer(buffer, u64::from(page.0) * bytes, to, at, bytes);
            at += bytes;
        }
    }

    /// Sends the bytes of a page.
    pub(crate) fn write_page(&self, gpu: &Gpu, page: PageId, bytes: &[u8]) {
        let mut rest = bytes;
        for (buffer, n_bytes) in self.buffers() {
            let (part, others) = rest.split_at(n_bytes as usize);
            gpu.queue.write_buffer(buffer, u64::from(page.0) * n_bytes, part);
            rest = others;
        }
    }
}
