//! Causal attention over the pages.
//!
//! ```text
//! partition    a workgroup for each row, head and 256 positions      maximum, sum of weights, weighted sum of values
//! merge        a workgroup for each row and head, or a few heads     the partitions, in order
//! ```
//!
//! One row of a long context has work for many workgroups, and many rows have it anyway. The partial results of all rows of a
//! long step would not fit any memory: 512 rows of 32 heads over 32,768 positions have a gigabyte of them. So rows take turns in
//! scratch memory of a fixed size, which changes no result.

use std::sync::Arc;

use super::encode;
use crate::gpu::binder::{Binder, Phase, Recorder, params};
use crate::gpu::form::SEGMENT_LEN;
use crate::gpu::kernel::{Binding, Kernel, KernelSpec, Source};
use crate::gpu::kv_pool::KvShape;
use crate::gpu::step::Extents;
use crate::plan::{Attention, Limits, Op, Plan, PrepareError};

const PARTITION_BINDINGS: [Binding; 6] =
    [Binding::Read, Binding::Read, Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite];
const MERGE_BINDINGS: [Binding; 4] = [Binding::Read, Binding::Read, Binding::ReadWrite, Binding::ReadWrite];

/// Positions of a partition.
const PARTITION: usize = 256;
/// Bytes of partial results, unless a single row needs more.
const SCRATCH_BYTES: u64 = 32 << 20;
/// A score below all others. Not minus infinity, which shaders need not have.
const LOWEST: f32 = -3.0e38;

/// Bytes of the partial results of one row, all heads.
fn row_bytes(plan: &Plan, op: &Attention) -> u64 {
    let value_dim = plan.cache.group(op.kv).map_or(0, |group| group.value_dim);
    4 * (op.n_heads * plan.context_len.div_ceil(PARTITION) * (value_dim + 2)) as u64
}

/// Bytes of scratch memory that the attentions of a plan share.
pub(crate) fn scratch_bytes(plan: &Plan, limits: &Limits) -> u64 {
    let needed = plan.ops.iter().filter_map(|op| match op {
        Op::Attention(op) => Some(row_bytes(plan, op)),
        _ => None,
    });
    let of_row = needed.max().unwrap_or(0);
    of_row.saturating_mul(limits.max_tokens as u64).min(SCRATCH_BYTES.max(of_row))
}

/// The two kernels of an attention.
#[derive(Debug)]
struct AttentionPhase {
    partition: (Arc<Kernel>, wgpu::BindGroup),
    merge: (Arc<Kernel>, wgpu::BindGroup),
    n_heads: u32,
    /// Workgroups that merge a row.
    n_merges: u32,
    /// Values of a partial result.
    partial_len: u32,
    /// Values that the scratch memory holds.
    scratch_len: u64,
    q_stride: u32,
    out_stride: u32,
    window: u32,
    scale: f32,
    soft_cap: f32,
}

impl Phase for AttentionPhase {
    fn record(&self, recorder: &mut Recorder<'_>, extents: &Extents) {
        let n_partitions = extents.max_end.div_ceil(PARTITION as u32);
        let row_len = u64::from(self.n_heads) * u64::from(n_partitions) * u64::from(self.partial_len);
        let n_rows_at_once = (self.scratch_len / row_len.max(1)).clamp(1, 65_535) as u32;
        let mut first_row = 0;
        while first_row < extents.n_tokens {
            let n_rows = n_rows_at_once.min(extents.n_tokens - first_row);
            let partition = params(&[
                first_row,
                n_partitions,
                self.q_stride,
                self.window,
                self.scale.to_bits(),
                self.soft_cap.to_bits(),
            ]);
            let (kernel, buffers) = &self.partition;
            recorder.dispatch(kernel, buffers, &partition, [self.n_heads, n_partitions, n_rows]);
            let merge = params(&[first_row, n_partitions, self.out_stride, self.window]);
            let (kernel, buffers) = &self.merge;
            recorder.dispatch(kernel, buffers, &merge, [self.n_merges, 1, n_rows]);
            first_row += n_rows;
        }
    }
}

/// Heads that a workgroup merges: if it encodes them, as many as fill blocks.
fn heads_merged(value_dim: usize, encodes: bool) -> usize {
    if encodes {
        (1..SEGMENT_LEN).find(|n| (n * value_dim).is_multiple_of(SEGMENT_LEN)).unwrap_or(SEGMENT_LEN)
    } else {
        1
    }
}

/// The kernels of partitions and of their merge.
pub(super) fn specs(shape: KvShape, n_heads: usize, has_soft_cap: bool, encodes: bool) -> [KernelSpec; 2] {
    let group = shape.group;
    let constants = || {
        let constants = Source::default().number("PARTITION", PARTITION).number("N_HEADS", n_heads);
        shape.constants(constants.float("LOWEST", LOWEST))
    };
    let partition = constants()
        .number("HEADS_PER_KV", n_heads / group.n_kv_heads)
        .number("QUERY_LEN", group.key_dim.next_multiple_of(4))
        .number("VALUE_PAIRS", group.value_dim.div_ceil(2))
        .flag("HAS_SOFT_CAP", has_soft_cap)
        .exchanging()
        .text(include_str!("attention.wgsl"))
        .text(shape.read_text());
    let heads = heads_merged(group.value_dim, encodes);
    let merge = constants().number("HEADS", heads).text(include_str!("attention_merge.wgsl"));
    let merge = encode::add_to(merge, encodes.then_some(3));
    let merge_bindings = &MERGE_BINDINGS[..if encodes { 4 } else { 3 }];
    [
        KernelSpec { name: "attention", source: partition, bindings: &PARTITION_BINDINGS },
        KernelSpec { name: "attention merge", source: merge, bindings: merge_bindings },
    ]
}

pub(super) fn bind(binder: &Binder<'_>, op: &Attention) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let layer = binder.kv.layer(op.kv);
    let group = layer.shape.group;
    let blocks = binder.blocks(op.out);
    let [partition, merge] = specs(layer.shape, op.n_heads, op.soft_cap.is_some(), blocks.is_some());
    let partition = binder.gpu.kernel(&partition)?;
    let merge = binder.gpu.kernel(&merge)?;
    let tables = binder.tables;
    let partials = &binder.scratch.partials;
    let partition_buffers = binder.gpu.bind(
        &partition,
        &[binder.buffer(op.q), &tables.rows, &tables.page_table, &layer.keys, &layer.values, partials],
    );
    let mut merge_buffers = vec![partials, &tables.rows, binder.buffer(op.out)];
    merge_buffers.extend(blocks);
    let merge_buffers = binder.gpu.bind(&merge, &merge_buffers);
    Ok(vec![Box::new(AttentionPhase {
        partition: (partition, partition_buffers),
        merge: (merge, merge_buffers),
        n_heads: op.n_heads as u32,
        n_merges: op.n_heads.div_ceil(heads_merged(group.value_dim, blocks.is_some())) as u32,
        partial_len: group.value_dim as u32 + 2,
        scratch_len: scratch_bytes(binder.plan, binder.limits) / 4,
        q_stride: binder.widths(op.q).1,
        out_stride: binder.widths(op.out).1,
        window: op.window.map_or(0, |window| u32::try_from(window).unwrap_or(u32::MAX)),
        scale: op.scale,
        soft_cap: op.soft_cap.unwrap_or(0.0),
    })])
}
