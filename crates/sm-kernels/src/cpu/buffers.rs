//! The regions of a plan's buffers: one for each form of their rows, see `forms.rs`.

use super::arena::{Access, ArenaLayout, Extents, Footprint, ProductSize, Region, RowCount};
use super::split::By;
use crate::cpu::activations::bf16::Bf16Slot;
use crate::cpu::activations::int8::{BLOCK_LEN, Int8Block};
use crate::cpu::activations::{InputRows, OutputColumns};
use crate::cpu::forms::{Forms, PlanForms};
use crate::cpu::isa::LANES;
use crate::plan::{BufferId, Plan, PrepareError, lifetime};

/// Columns of the smallest share of a row: an int8 block.
const COLUMN_UNIT: usize = BLOCK_LEN;

/// The forms of a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferRegions {
    /// `[rows, width]`, the rows padded to whole vectors; nothing reads the padding.
    pub(crate) f32: Option<Region<f32>>,
    /// `[rows, width / 32]`
    pub(crate) int8: Option<Region<Int8Block>>,
    /// `[rows, bf16::stride(width)]`, made of the `f32` form by a phase before the products that read it.
    pub(crate) bf16: Option<Region<Bf16Slot>>,
}

impl BufferRegions {
    /// Places some forms.
    ///
    /// # Errors
    /// If the size overflows.
    pub(crate) fn place(
        layout: &mut ArenaLayout,
        rows: RowCount,
        width: usize,
        forms: Forms,
    ) -> Result<Self, PrepareError> {
        let f32 = if forms.f32 { Some(layout.region(rows, width.next_multiple_of(LANES))?) } else { None };
        let int8 = if forms.int8 { Some(layout.region(rows, width / BLOCK_LEN)?) } else { None };
        Ok(Self { f32, int8, bf16: None })
    }

    /// Only the `f32` form.
    pub(crate) fn only_f32(region: Region<f32>) -> Self {
        Self { f32: Some(region), int8: None, bf16: None }
    }

    /// Only some of the forms.
    pub(crate) fn only(self, forms: Forms) -> Self {
        Self { f32: self.f32.filter(|_| forms.f32), int8: self.int8.filter(|_| forms.int8), bf16: None }
    }

    /// `footprint`, which also reads this.
    pub(crate) fn read(&self, mut footprint: Footprint, limits: Extents) -> Footprint {
        if let Some(region) = self.f32 {
            footprint = footprint.read(limits, region);
        }
        if let Some(region) = self.int8 {
            footprint = footprint.read(limits, region);
        }
        if let Some(region) = self.bf16 {
            footprint = footprint.read(limits, region);
        }
        footprint
    }

    /// `footprint`, which also writes this, shared by rows.
    pub(crate) fn write_rows(&self, footprint: Footprint, limits: Extents) -> Footprint {
        self.write(footprint, limits, By::Rows(1), By::Rows(1))
    }

    /// `footprint`, which also writes this, shared by columns.
    pub(crate) fn write_columns(&self, footprint: Footprint, limits: Extents) -> Footprint {
        self.write(footprint, limits, By::Columns(COLUMN_UNIT), By::Columns(COLUMN_UNIT / BLOCK_LEN))
    }

    /// The same, for products that take `depth` multiplications each: they may be cut into more parts.
    pub(crate) fn write_products(&self, footprint: Footprint, limits: Extents, depth: usize) -> Footprint {
        let footprint = self.write_columns(footprint, limits);
        let of_f32 = self.f32.map(|region| (region.rows(), region.stride()));
        let of_int8 = || self.int8.map(|region| (region.rows(), region.stride() * BLOCK_LEN));
        let Some((rows, columns)) = of_f32.or_else(of_int8) else { return footprint };
        footprint.divisible(ProductSize { rows, columns, granularity: COLUMN_UNIT, depth })
    }

    fn write(&self, mut footprint: Footprint, limits: Extents, f32: By, int8: By) -> Footprint {
        if let Some(region) = self.f32 {
            footprint = footprint.write(limits, region, f32);
        }
        if let Some(region) = self.int8 {
            footprint = footprint.write(limits, region, int8);
        }
        footprint
    }

    /// The rows that a product reads.
    pub(crate) fn input<'a>(&self, access: &'a Access<'_>) -> InputRows<'a> {
        let from_int8 = || self.int8.map_or(0, |region| access.n_rows(region));
        InputRows {
            f32: self.f32.map_or(&[], |region| access.read(region)),
            f32_stride: self.f32.map_or(0, Region::stride),
            bf16: self.bf16.map_or(&[], |region| access.read(region)),
            int8: self.int8.map_or(&[], |region| access.read(region)),
            int8_stride: self.int8.map_or(0, Region::stride),
            n_rows: self.f32.map_or_else(from_int8, |region| access.n_rows(region)),
            row_indices: None,
        }
    }

    /// The columns of all rows that belong to a part.
    pub(crate) fn output<'a>(&self, access: &'a Access<'_>) -> OutputColumns<'a> {
        OutputColumns {
            f32: self.f32.map(|region| access.share(region)),
            int8: self.int8.map(|region| access.share(region)),
        }
    }
}

/// The regions of all buffers of a plan.
#[derive(Debug)]
pub(crate) struct PlacedBuffers {
    /// By buffer, every form that an op writes.
    pub(crate) regions: Vec<BufferRegions>,
    /// Bytes of the logits, which come first.
    pub(crate) logits_bytes: usize,
}

impl PlacedBuffers {
    /// Places the logits first, by themselves, because their memory leaves with a step's output; then the other buffers,
    /// those that are not in use at the same time in the same place.
    ///
    /// # Errors
    /// If the size overflows.
    pub(crate) fn place(
        plan: &Plan,
        forms: &PlanForms,
        layout: &mut ArenaLayout,
    ) -> Result<Self, PrepareError> {
        let place = |layout: &mut ArenaLayout, index: usize| {
            let buffer = &plan.buffers[index];
            let forms = forms.kept(BufferId(index as u32));
            BufferRegions::place(layout, RowCount::Per(buffer.rows, 1), buffer.width, forms)
        };
        let mut lifetimes = lifetime::lifetimes(plan);
        let mut logits = None;
        if let Some(id) = plan.logits {
            lifetimes[id.index()] = None;
            logits = Some((id.index(), place(layout, id.index())?));
        }
        let logits_bytes = layout.end();
        let mut sizes = Vec::with_capacity(plan.buffers.len());
        for index in 0..plan.buffers.len() {
            let mut alone = layout.at(0);
            place(&mut alone, index)?;
            sizes.push(alone.end());
        }
        let placement = lifetime::place(&lifetimes, &sizes);
        let placed = placement.offsets.iter().enumerate();
        let regions = placed.map(|(index, offset)| place(&mut layout.at(logits_bytes + offset), index));
        let mut regions: Vec<_> = regions.collect::<Result<_, _>>()?;
        if let Some((index, region)) = logits {
            regions[index] = region;
        }
        *layout = layout.at(logits_bytes + placement.len);
        Ok(Self { regions, logits_bytes })
    }
}
