//! Phases that rotate heads and store keys and values.

use super::BoundKernel;
use super::binder::{Binder, KvHeads};
use crate::cpu::arena::{Access, Footprint, KvUse};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::ops::rope_store::{HeadNorm, RopeAngles, RopeStore, Rotation};
use crate::cpu::split::By;
use crate::cpu::step::StepContext;
use crate::plan::{self, KvDType, PrepareError};

/// A [`RopeStore`] into pages of some data type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundRopeStore {
    kernel: RopeStore,
    kv_dtype: KvDType,
}

/// Appends the phases that compute the angles of a step's positions, which all layers share.
pub(super) fn bind_angles(binder: &mut Binder<'_>) {
    for (table, out) in binder.plan.ropes.iter().zip(binder.angles.clone()) {
        let footprint = Footprint::default().write(binder.limits, out, By::Rows(1));
        binder.push(RopeAngles { table: table.clone(), out }, footprint);
    }
}

pub(super) fn bind(op: &plan::RopeStore, binder: &mut Binder<'_>) -> Result<(), PrepareError> {
    let &plan::RopeStore { qkv, kv, rope, q_norm, k_norm, norm_eps, norm_order, q_scale, q } = op;
    let [q_norm, k_norm] = [q_norm, k_norm]
        .map(|norm| norm.map(|weight| HeadNorm { weight, len: binder.plan.vector(weight).len }));
    let KvHeads { n_kv_heads, head_dim } = binder.kv_heads(kv);
    let heads_per_kv = binder.plan.buffer(q).width / (head_dim * n_kv_heads);
    let rotation = rope.map(|id| {
        let table = binder.plan.rope(id);
        Rotation { angles: binder.angles[id.index()], n_pairs: table.inv_freq.len(), pairs: table.pairs }
    });
    let qkv = binder.values(qkv);
    let q = binder.output_values(q);
    let work = binder.per_worker(head_dim.next_multiple_of(LANES))?;
    let runs = binder.page_runs(n_kv_heads);
    let tiles = By::PageRuns { runs, tile_cols: heads_per_kv * head_dim };
    let mut footprint = Footprint::default().read(binder.limits, qkv).write(binder.limits, q, tiles);
    footprint = footprint.write(binder.limits, work, By::Rows(1));
    footprint = footprint.kv(KvUse::Write { layer: kv.index(), runs });
    if let Some(rotation) = rotation {
        footprint = footprint.read(binder.limits, rotation.angles);
    }
    let kernel = RopeStore {
        qkv,
        q,
        work,
        rotation,
        q_norm,
        k_norm,
        norm_eps,
        norm_order,
        q_scale,
        n_kv_heads,
        head_dim,
        heads_per_kv,
    };
    binder.push(BoundRopeStore { kernel, kv_dtype: binder.kv_dtype }, footprint);
    Ok(())
}

impl BoundKernel for RopeAngles {
    fn run<I: Isa>(
        &self,
        _isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        _workspace: &mut ProductWorkspace,
    ) {
        self.run(step, access);
    }
}

impl BoundKernel for BoundRopeStore {
    fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        _workspace: &mut ProductWorkspace,
    ) {
        let isa = isa.without_dots();
        match self.kv_dtype {
            KvDType::F16 => self.kernel.run::<_, u16>(isa, step, access),
            KvDType::F32 => self.kernel.run::<_, f32>(isa, step, access),
            KvDType::Q8_0 => self.kernel.run::<_, i8>(isa, step, access),
        }
    }
}
