//! The ops of a mixture of experts, and the three layouts in which files store the experts' matrices.
//!
//! ```text
//! stacked, all apart        gate [n, ffn, hidden], up [n, ffn, hidden], down [n, hidden, ffn]     GGUF
//! stacked, gate·up fused    gate_up [n, 2 ffn, hidden], down [n, hidden, ffn]                     transformers 5
//! one by one                gate [ffn, hidden], up [ffn, hidden], down [hidden, ffn] per expert   transformers 4
//! ```

use sm_kernels::plan::{
    Activation, BufferId, Experts, GatedLinear, Linear, MatrixPart, MoeFfn, SigmoidGate, Store,
};

use super::Builder;
use crate::LoadError;
use crate::names::TensorKind;
use crate::spec::{ExpertsSpec, FfnSpec, SharedExpertSpec};
use crate::weights::RowRange;

/// The parts of the experts' three matrices, each with the experts' rows in order.
struct ExpertParts {
    gate: Vec<MatrixPart>,
    up: Vec<MatrixPart>,
    down: Vec<MatrixPart>,
}

impl Builder<'_> {
    /// Pushes the mixture of experts of a layer.
    pub(super) fn moe_ffn(
        &mut self,
        layer: usize,
        ffn: &FfnSpec,
        experts: ExpertsSpec,
    ) -> Result<(), LoadError> {
        let ExpertsSpec { n_experts, top_k, renormalize, shared } = experts;
        let hidden = self.spec.hidden_size;
        let ffn_size = ffn.ffn_size;
        let parts = self.expert_parts(layer, n_experts, ffn_size)?;
        let router = self.whole(TensorKind::Router.in_layer(layer), [n_experts, hidden])?;
        let x = self.branch_input(TensorKind::FfnNorm.in_layer(layer))?;
        let name = |part| format!("layer{layer}.{part}");
        let experts = Experts {
            router: self.matrix(name("router"), hidden, router),
            gate: self.plan.matrix(name("experts.gate"), hidden, parts.gate),
            up: self.plan.matrix(name("experts.up"), hidden, parts.up),
            down: self.plan.matrix(name("experts.down"), ffn_size, parts.down),
            n_experts,
            top_k,
            renormalize,
            activation: ffn.activation,
        };
        let (out, store) = self.branch_output(layer);
        self.plan.push(MoeFfn { x, experts, store, out });
        if let Some(shared) = shared {
            self.shared_expert(layer, ffn.activation, shared, x, out)?;
        }
        self.end_branch(TensorKind::FfnPostNorm.in_layer(layer), out)
    }

    /// Adds the expert that every token uses to `out`.
    fn shared_expert(
        &mut self,
        layer: usize,
        activation: Activation,
        shared: SharedExpertSpec,
        x: BufferId,
        out: BufferId,
    ) -> Result<(), LoadError> {
        let SharedExpertSpec { ffn_size, is_gated } = shared;
        let hidden = self.spec.hidden_size;
        let gate = self.whole(TensorKind::SharedGate.in_layer(layer), [ffn_size, hidden])?;
        let up = self.whole(TensorKind::SharedUp.in_layer(layer), [ffn_size, hidden])?;
        let down = self.whole(TensorKind::SharedDown.in_layer(layer), [hidden, ffn_size])?;
        let name = |part| format!("layer{layer}.shared_expert.{part}");
        let gate = self.matrix(name("gate"), hidden, gate);
        let up = self.matrix(name("up"), hidden, up);
        let down = self.matrix(name("down"), ffn_size, down);
        let inner = self.buffer("shared_ffn", ffn_size);
        self.plan.push(GatedLinear { x, gate, up, activation, out: inner });
        if !is_gated {
            self.plan.push(Linear { store: Store::Add, ..Linear::new(inner, down, out) });
            return Ok(());
        }
        let values = self.buffer("shared", hidden);
        self.plan.push(Linear::new(inner, down, values));
        let weight = self.vector(TensorKind::SharedExpertGate.in_layer(layer), "weight", hidden)?;
        self.plan.push(SigmoidGate { x, weight, values, store: Store::Add, out });
        Ok(())
    }

    fn expert_parts(
        &mut self,
        layer: usize,
        n_experts: usize,
        ffn_size: usize,
    ) -> Result<ExpertParts, LoadError> {
        if self.weights.has(TensorKind::ExpertsGate.in_layer(layer)) {
            self.stacked_parts(layer, n_experts, ffn_size)
        } else if self.weights.has(TensorKind::ExpertsGateUp.in_layer(layer)) {
            self.fused_parts(layer, n_experts, ffn_size)
        } else {
            self.single_parts(layer, n_experts, ffn_size)
        }
    }

    fn stacked_parts(
        &mut self,
        layer: usize,
        n_experts: usize,
        ffn_size: usize,
    ) -> Result<ExpertParts, LoadError> {
        let hidden = self.spec.hidden_size;
        let mut stacked = |kind: TensorKind, shape: [usize; 3]| {
            self.weights.matrix(kind.in_layer(layer), RowRange::all(&shape))
        };
        Ok(ExpertParts {
            gate: vec![stacked(TensorKind::ExpertsGate, [n_experts, ffn_size, hidden])?],
            up: vec![stacked(TensorKind::ExpertsUp, [n_experts, ffn_size, hidden])?],
            down: vec![stacked(TensorKind::ExpertsDown, [n_experts, hidden, ffn_size])?],
        })
    }

    fn fused_parts(
        &mut self,
        layer: usize,
        n_experts: usize,
        ffn_size: usize,
    ) -> Result<ExpertParts, LoadError> {
        let hidden = self.spec.hidden_size;
        let gate_up = TensorKind::ExpertsGateUp.in_layer(layer);
        let half =
            |start| RowRange { rows: start..start + ffn_size, shape: vec![n_experts, 2 * ffn_size, hidden] };
        let mut parts = ExpertParts { gate: Vec::new(), up: Vec::new(), down: Vec::new() };
        for expert in 0..n_experts {
            let start = 2 * expert * ffn_size;
            parts.gate.push(self.weights.matrix(gate_up, half(start))?);
            parts.up.push(self.weights.matrix(gate_up, half(start + ffn_size))?);
        }
        let down = RowRange::all(&[n_experts, hidden, ffn_size]);
        parts.down.push(self.weights.matrix(TensorKind::ExpertsDown.in_layer(layer), down)?);
        Ok(parts)
    }

    fn single_parts(
        &mut self,
        layer: usize,
        n_experts: usize,
        ffn_size: usize,
    ) -> Result<ExpertParts, LoadError> {
        let hidden = self.spec.hidden_size;
        let mut parts = ExpertParts { gate: Vec::new(), up: Vec::new(), down: Vec::new() };
        for expert in 0..n_experts {
            let mut one = |kind: TensorKind, shape: [usize; 2]| {
                self.weights.matrix(kind.in_expert(layer, expert), RowRange::all(&shape))
            };
            parts.gate.push(one(TensorKind::ExpertGate, [ffn_size, hidden])?);
            parts.up.push(one(TensorKind::ExpertUp, [ffn_size, hidden])?);
            parts.down.push(one(TensorKind::ExpertDown, [hidden, ffn_size])?);
        }
        Ok(parts)
    }
}
