//! Phases of attention: partial results, then those that several workers have a part in are merged.
//!
//! A tile's heads may be encoded by the worker that has them, if they are whole blocks of the row; else a third phase
//! encodes whole rows.

use super::BoundKernel;
use super::binder::{Binder, KvHeads};
use crate::cpu::activations::int8::BLOCK_LEN;
use crate::cpu::arena::{Access, Footprint, KvUse, RowCount};
use crate::cpu::isa::Isa;
use crate::cpu::ops::attention::{Attention, AttentionConfig, AttentionWorkspace};
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::schedule::AttentionShape;
use crate::cpu::split::By;
use crate::cpu::step::StepContext;
use crate::plan::{self, KvDType, PrepareError, Rows};

/// The first phase, over pages of some data type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attend {
    kernel: Attention,
    kv_dtype: KvDType,
}

/// The second phase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergeAttention(Attention);

pub(super) fn bind(op: &plan::Attention, binder: &mut Binder<'_>) -> Result<(), PrepareError> {
    let &plan::Attention { q, kv, n_heads, scale, window, soft_cap, out } = op;
    let KvHeads { n_kv_heads, head_dim } = binder.kv_heads(kv);
    let shape = AttentionShape { n_kv_heads, heads_per_kv: n_heads / n_kv_heads, window };
    let config = AttentionConfig { shape, head_dim, scale, soft_cap };
    let q = binder.values(q);
    let out = binder.output(out);
    let context_len = binder.plan.context_len;
    let workspace = binder.place_scratch(|layout| AttentionWorkspace::new(layout, &config, context_len))?;
    let schedule = binder.schedule(shape);
    let values = match out.f32 {
        Some(region) => region,
        None => binder.scratch(RowCount::Per(Rows::Tokens, 1), q.stride())?,
    };
    let unit = shape.heads_per_kv * head_dim;
    let whole_blocks = unit.is_multiple_of(BLOCK_LEN);
    let encoded = out.int8.filter(|_| whole_blocks);
    let kernel = Attention { q, out: values, encoded, workspace, schedule, config };

    let limits = binder.limits;
    let write = |footprint: Footprint| {
        let footprint = footprint.write(limits, values, By::AttentionTiles { schedule, tile_cols: unit });
        let footprint = footprint.write(limits, workspace.private, By::Rows(1));
        let Some(encoded) = encoded else { return footprint };
        footprint.write(limits, encoded, By::AttentionTiles { schedule, tile_cols: unit / BLOCK_LEN })
    };
    let footprint = write(Footprint::default().read(limits, q)).write(limits, workspace.shared, By::Rows(1));
    let attend = Attend { kernel, kv_dtype: binder.kv_dtype };
    binder.push(attend, footprint.kv(KvUse::Read { layer: kv.index() }));
    let footprint = write(Footprint::default().read(limits, workspace.shared));
    binder.push(MergeAttention(kernel), footprint);
    if let Some(encoded) = out.int8.filter(|_| !whole_blocks) {
        binder.encode(values, encoded);
    }
    Ok(())
}

impl BoundKernel for Attend {
    fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        _workspace: &mut ProductWorkspace,
    ) {
        let isa = isa.without_dots();
        match self.kv_dtype {
            KvDType::F16 => self.kernel.attend::<_, u16>(isa, step, access),
            KvDType::F32 => self.kernel.attend::<_, f32>(isa, step, access),
            KvDType::Q8_0 => self.kernel.attend::<_, i8>(isa, step, access),
        }
    }
}

impl BoundKernel for MergeAttention {
    fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        _workspace: &mut ProductWorkspace,
    ) {
        self.0.merge(isa.without_dots(), step, access);
    }
}
