//! Takes q, k and v apart, rotates q and k, and stores k and v in the pages.

use crate::gpu::binder::{Binder, Phase, RowPhase, params};
use crate::gpu::kernel::{Binding, KernelSpec, Source};
use crate::gpu::kv_pool::KvShape;
use crate::plan::{NormOrder, PrepareError, RopePairs, RopeStore, Rows, VectorId};

const BINDINGS: [Binding; 8] = [
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::ReadWrite,
];

/// The names of the numbers that [`norm_number`] gives.
const NORMS: [&str; 4] = ["NORM_NONE", "NORM_HEAD", "NORM_ALL", "NORM_AFTER"];

/// How kernels know what is normalised together, and when.
fn norm_number(weights: &[f32], order: NormOrder, key_dim: usize) -> usize {
    match weights.len() {
        0 => 0,
        _ if order == NormOrder::AfterRope => 3,
        len if len == key_dim => 1,
        _ => 2,
    }
}

/// What kernels know of heads beside their keys and values.
struct Heads {
    n_heads: usize,
    n_pairs: usize,
    is_adjacent: bool,
    q_norm: usize,
    k_norm: usize,
    /// Where the weights of k's norm begin, behind those of q's.
    k_norm_at: usize,
    has_scale: bool,
}

fn spec(shape: KvShape, heads: &Heads) -> KernelSpec {
    let group = shape.group;
    let source = shape
        .constants(Source::default())
        .number("MAX_DIM", group.key_dim.max(group.value_dim).next_multiple_of(4))
        .number("N_HEADS", heads.n_heads)
        .number("N_PAIRS", heads.n_pairs)
        .flag("IS_ADJACENT", heads.is_adjacent)
        .names(&NORMS)
        .number("Q_NORM", heads.q_norm)
        .number("K_NORM", heads.k_norm)
        .number("K_NORM_AT", heads.k_norm_at)
        .flag("HAS_SCALE", heads.has_scale)
        .exchanging()
        .text(include_str!("rope_store.wgsl"))
        .text(shape.store_text());
    KernelSpec { name: "rope_store", source, bindings: &BINDINGS }
}

/// The kernels for keys and values of a shape, with each norm.
#[cfg(test)]
pub(super) fn samples(shape: KvShape) -> Vec<KernelSpec> {
    let heads = |norm: usize| Heads {
        n_heads: 4,
        n_pairs: 3 * (norm % 2),
        is_adjacent: norm == 1,
        q_norm: norm,
        k_norm: 3 - norm,
        k_norm_at: 8,
        has_scale: norm == 2,
    };
    (0..NORMS.len()).map(|norm| spec(shape, &heads(norm))).collect()
}

pub(super) fn bind(binder: &Binder<'_>, op: &RopeStore) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let layer = binder.kv.layer(op.kv);
    let group = layer.shape.group;
    let (q_width, q_stride) = binder.widths(op.q);
    let n_heads = q_width as usize / group.key_dim;
    let norm_values = |norm: Option<VectorId>| norm.map_or(&[][..], |norm| binder.weights.values(norm));
    let (q_norm, k_norm) = (norm_values(op.q_norm), norm_values(op.k_norm));
    let norms: Vec<u32> = q_norm.iter().chain(k_norm).map(|value| value.to_bits()).collect();
    let rope = op.rope.map(|rope| binder.plan.rope(rope));
    let heads = Heads {
        n_heads,
        n_pairs: rope.map_or(0, |rope| rope.inv_freq.len()),
        is_adjacent: rope.is_some_and(|rope| rope.pairs == RopePairs::Adjacent),
        q_norm: norm_number(q_norm, op.norm_order, group.key_dim),
        k_norm: norm_number(k_norm, op.norm_order, group.key_dim),
        k_norm_at: q_norm.len(),
        has_scale: op.q_scale.is_some(),
    };
    let kernel = binder.gpu.kernel(&spec(layer.shape, &heads))?;
    let buffers = binder.gpu.bind(
        &kernel,
        &[
            binder.buffer(op.qkv),
            &binder.tables.rows,
            &binder.tables.page_table,
            op.rope.map_or(binder.nothing, |rope| &binder.tables.angles[rope.index()]),
            &binder.gpu.buffer_of("the norms of heads", &norms)?,
            &layer.keys,
            &layer.values,
            binder.buffer(op.q),
        ],
    );
    let (beta, interval) = op.q_scale.map_or((0.0, 1), |scale| (scale.beta, scale.interval));
    let params = params(&[
        0,
        binder.widths(op.qkv).1,
        q_stride,
        op.norm_eps.to_bits(),
        beta.to_bits(),
        u32::try_from(interval).unwrap_or(u32::MAX),
    ]);
    let width = (n_heads + 2 * group.n_kv_heads) as u32;
    Ok(vec![Box::new(RowPhase { kernel, buffers, rows: Rows::Tokens, width, params })])
}
