//! The ops of an attention mixer.
//!
//! ```text
//! qkv   = linear(norm(x), [Wq; Wk; Wv])      one product, since all three read the same rows
//! q     = rope_store(qkv)                    normalizes and rotates q and k, writes k and v into the pages
//! heads = attention(q, pages)
//! x    += linear(heads, Wo)
//! ```

use sm_kernels::plan::{
    Attention, BufferId, KvId, Linear, MatrixPart, NormOrder, RopeId, RopeRange, RopeStore, VectorId,
};

use super::Builder;
use crate::LoadError;
use crate::config::unsupported;
use crate::names::TensorKind;
use crate::spec::{AttentionSpec, QkNorm, RopeSpec};

impl Builder<'_> {
    /// Pushes the attention of a layer.
    pub(super) fn attention(&mut self, layer: usize, spec: &AttentionSpec) -> Result<(), LoadError> {
        let hidden = self.spec.hidden_size;
        let (q_width, kv_width) = (spec.q_width(), spec.kv_width());
        let parts = self.qkv_parts(layer, spec)?;
        let bias = if spec.bias.qkv { Some(self.qkv_bias(layer, spec)?) } else { None };
        let x = self.branch_input(TensorKind::AttentionNorm.in_layer(layer))?;
        let weight = self.plan.matrix(format!("layer{layer}.qkv"), hidden, parts);
        let qkv = self.buffer("qkv", q_width + 2 * kv_width);
        self.plan.push(Linear { bias, ..Linear::new(x, weight, qkv) });

        let kv = self.plan.kv(spec.n_kv_heads, spec.head_dim, spec.head_dim);
        let q = self.rope_store(layer, spec, qkv, kv)?;
        let out = TensorKind::AttentionOut.in_layer(layer);
        let out_part = self.whole(out, [hidden, q_width])?;
        let heads = self.buffer("heads", q_width);
        self.plan.push(Attention {
            q,
            kv,
            n_heads: spec.n_heads,
            scale: spec.scale,
            window: spec.window,
            soft_cap: spec.soft_cap,
            out: heads,
        });
        let bias = spec.bias.out.then(|| self.vector(out, "bias", hidden)).transpose()?;
        let weight = self.matrix(format!("layer{layer}.attention_out"), q_width, out_part);
        self.linear_to_residual(heads, weight, bias, TensorKind::AttentionPostNorm.in_layer(layer))
    }

    /// The query, key and value matrices, whether or not the file fuses them.
    fn qkv_parts(&mut self, layer: usize, spec: &AttentionSpec) -> Result<Vec<MatrixPart>, LoadError> {
        let hidden = self.spec.hidden_size;
        let (q_width, kv_width) = (spec.q_width(), spec.kv_width());
        let fused = TensorKind::Qkv.in_layer(layer);
        if self.weights.has(fused) {
            return Ok(vec![self.whole(fused, [q_width + 2 * kv_width, hidden])?]);
        }
        let parts = [(TensorKind::Q, q_width), (TensorKind::K, kv_width), (TensorKind::V, kv_width)];
        parts.into_iter().map(|(kind, rows)| self.whole(kind.in_layer(layer), [rows, hidden])).collect()
    }

    fn qkv_bias(&mut self, layer: usize, spec: &AttentionSpec) -> Result<VectorId, LoadError> {
        let (q_width, kv_width) = (spec.q_width(), spec.kv_width());
        let len = q_width + 2 * kv_width;
        let fused = TensorKind::Qkv.in_layer(layer);
        let parts = if self.weights.has(fused) {
            vec![self.weights.vector(fused, "bias", len)?]
        } else {
            let parts = [(TensorKind::Q, q_width), (TensorKind::K, kv_width), (TensorKind::V, kv_width)];
            let name =
                |(kind, len): (TensorKind, usize)| self.weights.vector(kind.in_layer(layer), "bias", len);
            parts.into_iter().map(name).collect::<Result<_, _>>()?
        };
        Ok(self.plan.vector(format!("layer{layer}.qkv.bias"), len, parts))
    }

    fn rope_store(
        &mut self,
        layer: usize,
        spec: &AttentionSpec,
        qkv: BufferId,
        kv: KvId,
    ) -> Result<BufferId, LoadError> {
        let mut q_norm = None;
        let mut k_norm = None;
        if let Some(norm) = spec.qk_norm {
            let (q_len, k_len) = match norm {
                QkNorm::PerHead | QkNorm::PerHeadAfterRope => (spec.head_dim, spec.head_dim),
                QkNorm::AllHeads => (spec.q_width(), spec.kv_width()),
            };
            q_norm = Some(self.vector(TensorKind::QNorm.in_layer(layer), "weight", q_len)?);
            k_norm = Some(self.vector(TensorKind::KNorm.in_layer(layer), "weight", k_len)?);
        }
        let rope = spec.rope.as_ref().map(|rope| self.rope(rope)).transpose()?;
        let q = self.buffer("q", spec.q_width());
        let norm_order = match spec.qk_norm {
            Some(QkNorm::PerHeadAfterRope) => NormOrder::AfterRope,
            None | Some(QkNorm::PerHead | QkNorm::AllHeads) => NormOrder::BeforeRope,
        };
        let norm_eps = self.spec.norm.eps;
        let q_scale = spec.q_scale;
        self.plan.push(RopeStore { qkv, kv, rope, q_norm, k_norm, norm_eps, norm_order, q_scale, q });
        Ok(q)
    }

    /// The rotation for the plan's context length. Layers with equal rotations share one.
    fn rope(&mut self, spec: &RopeSpec) -> Result<RopeId, LoadError> {
        let table = spec.table(self.context_len);
        let frequencies = [RopeRange::Original, RopeRange::Extended].map(|range| table.frequencies(range));
        let is_finite = frequencies.into_iter().flatten().all(|freq| freq.is_finite());
        if !(is_finite && table.scale.is_finite() && table.scale > 0.0) {
            let value = format!("base {}, {:?}", spec.theta, spec.scaling);
            return Err(unsupported("rotation", value, "its frequencies are not finite".into()));
        }
        Ok(self.plan.rope(table))
    }
}
