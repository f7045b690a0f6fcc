//! The operations of one layer.

use sm_kernels::plan::{
    Activation, Attention, BufferId, Encoding, Epilogue, Experts, GatedLinear, KvId, Linear, MatrixId,
    MatrixPart, MoeFfn, RopeStore, Store, VectorId,
};

use super::{Decoder, Norm, read_encoding};
use crate::LoadError;
use crate::names::{Place, Role};
use crate::spec::{FfnKind, FfnSpec, NormPlacement};
use crate::weights::RowRange;

/// A linear map whose result joins the residual.
struct AddToResidual {
    x: BufferId,
    weight: MatrixId,
    bias: Option<VectorId>,
}

/// What the experts of one layer need beside their sizes.
struct ExpertParts {
    gate: Vec<MatrixPart>,
    up: Vec<MatrixPart>,
    down: Vec<MatrixPart>,
}

impl Decoder<'_> {
    /// Norm, q·k·v, rotation, attention, and the output map into the residual.
    pub(super) fn attention(&mut self, layer: usize) -> Result<(), LoadError> {
        let (spec, hidden) = (self.spec.attention, self.spec.hidden_size);
        let (q_width, kv_width) = (spec.n_heads * spec.head_dim, spec.n_kv_heads * spec.head_dim);
        let parts = self.qkv_parts(layer, q_width, kv_width)?;
        let bias = if self.spec.biases.qkv { Some(self.qkv_bias(layer, q_width, kv_width)?) } else { None };
        let normed = self.buffer("normed", hidden, read_encoding(&parts));
        self.norm(&Norm { role: Role::AttentionNorm, layer, x: self.x, out: normed, store: Store::Write })?;
        let weight = self.plan.matrix(format!("layer{layer}.qkv"), hidden, parts);
        let qkv = self.buffer("qkv", q_width + 2 * kv_width, Encoding::F32);
        let (epilogue, store) = (Epilogue::None, Store::Write);
        self.plan.push(Linear { x: normed, weight, bias, epilogue, store, out: qkv });

        let kv = self.plan.kv(spec.n_kv_heads, spec.head_dim, spec.head_dim);
        let q = self.rope_store(layer, kv, qkv, q_width)?;
        let out_part = self.whole(Role::AttentionOut, layer, [hidden, q_width])?;
        let heads = self.buffer("heads", q_width, read_encoding([&out_part]));
        self.plan.push(Attention {
            q,
            kv,
            n_heads: spec.n_heads,
            scale: spec.scale,
            window: self.spec.layers[layer].window,
            soft_cap: spec.soft_cap,
            out: heads,
        });
        let has_bias = self.spec.biases.attention_out;
        let bias = has_bias.then(|| self.vector(Role::AttentionOut, layer, "bias", hidden)).transpose()?;
        let weight = self.matrix(format!("layer{layer}.attention_out"), q_width, out_part);
        self.add_to_residual(&AddToResidual { x: heads, weight, bias }, Role::AttentionPostNorm, layer)
    }

    fn qkv_parts(
        &mut self,
        layer: usize,
        q_width: usize,
        kv_width: usize,
    ) -> Result<Vec<MatrixPart>, LoadError> {
        let hidden = self.spec.hidden_size;
        if self.weights.has(Role::Qkv, Place::layer(layer)) {
            return Ok(vec![self.whole(Role::Qkv, layer, [q_width + 2 * kv_width, hidden])?]);
        }
        let parts = [(Role::Q, q_width), (Role::K, kv_width), (Role::V, kv_width)];
        parts.into_iter().map(|(role, rows)| self.whole(role, layer, [rows, hidden])).collect()
    }

    fn qkv_bias(&mut self, layer: usize, q_width: usize, kv_width: usize) -> Result<VectorId, LoadError> {
        let place = Place::layer(layer);
        let len = q_width + 2 * kv_width;
        let parts = if self.weights.has(Role::Qkv, place) {
            vec![self.weights.vector(Role::Qkv, place, "bias", len)?]
        } else {
            let parts = [(Role::Q, q_width), (Role::K, kv_width), (Role::V, kv_width)];
            let names = parts.into_iter().map(|(role, len)| self.weights.vector(role, place, "bias", len));
            names.collect::<Result<_, _>>()?
        };
        Ok(self.plan.vector(format!("layer{layer}.qkv.bias"), len, parts))
    }

    fn rope_store(
        &mut self,
        layer: usize,
        kv: KvId,
        qkv: BufferId,
        q_width: usize,
    ) -> Result<BufferId, LoadError> {
        let head_dim = self.spec.attention.head_dim;
        let (mut q_norm, mut k_norm) = (None, None);
        if self.spec.attention.qk_norm {
            q_norm = Some(self.vector(Role::QNorm, layer, "weight", head_dim)?);
            k_norm = Some(self.vector(Role::KNorm, layer, "weight", head_dim)?);
        }
        let rope = self.spec.layers[layer].rope.map(|rope| self.ropes[rope]);
        let q = self.buffer("q", q_width, Encoding::F32);
        self.plan.push(RopeStore { qkv, kv, rope, q_norm, k_norm, norm_eps: self.spec.norm.eps, q });
        Ok(q)
    }

    /// Where the result of a branch goes before it reaches the residual: there at once, or to be normalised first.
    fn branch_end(&mut self) -> (BufferId, Store) {
        match self.spec.norm.placement {
            NormPlacement::Before => (self.x, Store::Add),
            NormPlacement::BeforeAndAfter => {
                (self.buffer("branch", self.spec.hidden_size, Encoding::F32), Store::Write)
            }
        }
    }

    /// Adds the normalised result of a branch to the residual, where the result is not there yet.
    fn post_norm(&mut self, role: Role, layer: usize, branch: BufferId) -> Result<(), LoadError> {
        if self.spec.norm.placement == NormPlacement::Before {
            return Ok(());
        }
        self.norm(&Norm { role, layer, x: branch, out: self.x, store: Store::Add })
    }

    fn add_to_residual(
        &mut self,
        map: &AddToResidual,
        post_norm: Role,
        layer: usize,
    ) -> Result<(), LoadError> {
        let &AddToResidual { x, weight, bias } = map;
        let (out, store) = self.branch_end();
        self.plan.push(Linear { x, weight, bias, epilogue: Epilogue::None, store, out });
        self.post_norm(post_norm, layer, out)
    }

    /// Norm and feed-forward network, into the residual.
    pub(super) fn ffn(&mut self, layer: usize) -> Result<(), LoadError> {
        let ffn = self.spec.layers[layer].ffn;
        match ffn.kind {
            FfnKind::Plain => self.plain_ffn(layer, &ffn),
            FfnKind::Gated => self.gated_ffn(layer, &ffn),
            FfnKind::Experts { n_experts, top_k, renormalize } => {
                let parts = self.expert_parts(layer, n_experts, ffn.ffn_size)?;
                let router = self.whole(Role::Router, layer, [n_experts, self.spec.hidden_size])?;
                let all = parts.gate.iter().chain(&parts.up).chain(&parts.down);
                let x = self.ffn_norm(layer, read_encoding(all.chain([&router])))?;
                let (hidden, name) = (self.spec.hidden_size, |part| format!("layer{layer}.{part}"));
                let experts = Experts {
                    router: self.matrix(name("router"), hidden, router),
                    gate: self.plan.matrix(name("experts.gate"), hidden, parts.gate),
                    up: self.plan.matrix(name("experts.up"), hidden, parts.up),
                    down: self.plan.matrix(name("experts.down"), ffn.ffn_size, parts.down),
                    n_experts,
                    top_k,
                    renormalize,
                    activation: ffn.activation,
                };
                let (out, store) = self.branch_end();
                self.plan.push(MoeFfn { x, experts, store, out });
                self.post_norm(Role::FfnPostNorm, layer, out)
            }
        }
    }

    fn ffn_norm(&mut self, layer: usize, encoding: Encoding) -> Result<BufferId, LoadError> {
        let out = self.buffer("normed", self.spec.hidden_size, encoding);
        self.norm(&Norm { role: Role::FfnNorm, layer, x: self.x, out, store: Store::Write })?;
        Ok(out)
    }

    fn plain_ffn(&mut self, layer: usize, ffn: &FfnSpec) -> Result<(), LoadError> {
        let (hidden, ffn_size) = (self.spec.hidden_size, ffn.ffn_size);
        let up_part = self.whole(Role::Up, layer, [ffn_size, hidden])?;
        let has_bias = self.spec.biases.ffn;
        let bias = has_bias.then(|| self.vector(Role::Up, layer, "bias", ffn_size)).transpose()?;
        let x = self.ffn_norm(layer, read_encoding([&up_part]))?;
        let down_part = self.whole(Role::Down, layer, [hidden, ffn_size])?;
        let inner = self.buffer("ffn", ffn_size, read_encoding([&down_part]));
        let weight = self.matrix(format!("layer{layer}.up"), hidden, up_part);
        let (epilogue, store) = (Epilogue::Activation(ffn.activation), Store::Write);
        self.plan.push(Linear { x, weight, bias, epilogue, store, out: inner });
        let bias = has_bias.then(|| self.vector(Role::Down, layer, "bias", hidden)).transpose()?;
        let weight = self.matrix(format!("layer{layer}.down"), ffn_size, down_part);
        self.add_to_residual(&AddToResidual { x: inner, weight, bias }, Role::FfnPostNorm, layer)
    }

    fn gated_ffn(&mut self, layer: usize, ffn: &FfnSpec) -> Result<(), LoadError> {
        let (hidden, ffn_size) = (self.spec.hidden_size, ffn.ffn_size);
        let (gate_part, up_part) = self.gate_and_up(layer, ffn_size)?;
        let x = self.ffn_norm(layer, read_encoding([&gate_part, &up_part]))?;
        let down_part = self.whole(Role::Down, layer, [hidden, ffn_size])?;
        let out = self.buffer("ffn", ffn_size, read_encoding([&down_part]));
        let gate = self.matrix(format!("layer{layer}.gate"), hidden, gate_part);
        let up = self.matrix(format!("layer{layer}.up"), hidden, up_part);
        let activation: Activation = ffn.activation;
        self.plan.push(GatedLinear { x, gate, up, activation, out });
        let weight = self.matrix(format!("layer{layer}.down"), ffn_size, down_part);
        self.add_to_residual(&AddToResidual { x: out, weight, bias: None }, Role::FfnPostNorm, layer)
    }

    fn gate_and_up(&mut self, layer: usize, ffn_size: usize) -> Result<(MatrixPart, MatrixPart), LoadError> {
        let (hidden, place) = (self.spec.hidden_size, Place::layer(layer));
        if !self.weights.has(Role::GateUp, place) {
            let gate = self.whole(Role::Gate, layer, [ffn_size, hidden])?;
            return Ok((gate, self.whole(Role::Up, layer, [ffn_size, hidden])?));
        }
        let shape = vec![2 * ffn_size, hidden];
        let half = |rows| RowRange { rows, shape: shape.clone() };
        let gate = self.weights.matrix(Role::GateUp, place, half(0..ffn_size))?;
        let up = self.weights.matrix(Role::GateUp, place, half(ffn_size..2 * ffn_size))?;
        Ok((gate, up))
    }

    /// The matrices of the experts: stacked, stacked with gate and up of each expert together, or one by one.
    fn expert_parts(
        &mut self,
        layer: usize,
        n_experts: usize,
        ffn_size: usize,
    ) -> Result<ExpertParts, LoadError> {
        let (hidden, place) = (self.spec.hidden_size, Place::layer(layer));
        let (into_ffn, into_hidden) = ([n_experts, ffn_size, hidden], [n_experts, hidden, ffn_size]);
        if self.weights.has(Role::ExpertsGate, place) {
            let mut stacked = |role, shape: &[usize]| self.weights.matrix(role, place, RowRange::all(shape));
            return Ok(ExpertParts {
                gate: vec![stacked(Role::ExpertsGate, &into_ffn)?],
                up: vec![stacked(Role::ExpertsUp, &into_ffn)?],
                down: vec![stacked(Role::ExpertsDown, &into_hidden)?],
            });
        }
        let mut parts = ExpertParts { gate: Vec::new(), up: Vec::new(), down: Vec::new() };
        if self.weights.has(Role::ExpertsGateUp, place) {
            let shape = vec![n_experts, 2 * ffn_size, hidden];
            let half = |start| RowRange { rows: start..start + ffn_size, shape: shape.clone() };
            for expert in 0..n_experts {
                let start = 2 * expert * ffn_size;
                parts.gate.push(self.weights.matrix(Role::ExpertsGateUp, place, half(start))?);
                parts.up.push(self.weights.matrix(Role::ExpertsGateUp, place, half(start + ffn_size))?);
            }
            parts.down.push(self.weights.matrix(Role::ExpertsDown, place, RowRange::all(&into_hidden))?);
            return Ok(parts);
        }
        for expert in 0..n_experts {
            let place = Place { layer, expert };
            let mut one = |role, shape: [usize; 2]| self.weights.matrix(role, place, RowRange::all(&shape));
            parts.gate.push(one(Role::ExpertGate, [ffn_size, hidden])?);
            parts.up.push(one(Role::ExpertUp, [ffn_size, hidden])?);
            parts.down.push(one(Role::ExpertDown, [hidden, ffn_size])?);
        }
        Ok(parts)
    }
}
