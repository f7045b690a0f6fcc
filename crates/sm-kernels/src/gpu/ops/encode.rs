//! Rows as blocks of int8, which products with quantized weights read.
//!
//! Kernels that have a row at hand encode what they write; what others write has a dispatch of its own.

use crate::gpu::binder::{BLOCK_VECTORS, Binder, Phase, RowPhase, params, stride};
use crate::gpu::form::SEGMENT_LEN;
use crate::gpu::kernel::{Binding, KernelSpec, Source};
use crate::plan::{BufferId, PrepareError, Rows};

const BINDINGS: [Binding; 2] = [Binding::Read, Binding::ReadWrite];

/// Values that a workgroup encodes.
const COLUMNS: usize = 64 * SEGMENT_LEN;

/// Adds the function `encode`, which writes blocks to a binding, or does nothing.
pub(super) fn add_to(source: Source, blocks: Option<usize>) -> Source {
    match blocks {
        None => source.line("fn encode(first: u32, n: u32, lane: u32) {}"),
        Some(binding) => source
            .line(&format!(
                "@group(0) @binding({binding}) var<storage, read_write> blocks: array<vec4<u32>>;"
            ))
            .text(include_str!("encode.wgsl")),
    }
}

/// The kernel that only encodes.
pub(super) fn spec() -> KernelSpec {
    let source = Source::default().number("COLUMNS", COLUMNS).text(include_str!("encode_rows.wgsl"));
    KernelSpec { name: "encode", source: add_to(source, Some(1)), bindings: &BINDINGS }
}

/// Encodes a buffer of the plan, if products read it so.
pub(super) fn bind(binder: &Binder<'_>, id: BufferId) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let Some(blocks) = binder.blocks(id) else { return Ok(Vec::new()) };
    let width = binder.plan.buffer(id).width;
    Ok(vec![bind_rows(binder, binder.buffer(id), blocks, width, binder.rows(id), 1)?])
}

/// Encodes rows of some width, of which there are `factor` for each row of the step.
pub(super) fn bind_rows(
    binder: &Binder<'_>,
    values: &wgpu::Buffer,
    blocks: &wgpu::Buffer,
    width: usize,
    rows: Rows,
    factor: usize,
) -> Result<Box<dyn Phase>, PrepareError> {
    let kernel = binder.gpu.kernel(&spec())?;
    let buffers = binder.gpu.bind(&kernel, &[values, blocks]);
    let n_groups = width.div_ceil(COLUMNS);
    let params = params(&[0, width as u32, stride(width) as u32, n_groups as u32, factor as u32]);
    let width = (n_groups * factor) as u32;
    Ok(Box::new(RowPhase { kernel, buffers, rows, width, params }))
}

/// Bytes of the blocks of a row.
pub(crate) fn row_bytes(width: usize) -> u64 {
    16 * (BLOCK_VECTORS * width.div_ceil(SEGMENT_LEN)) as u64
}
