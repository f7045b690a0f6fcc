//! The ops of a feed-forward network.
//!
//! ```text
//! plain     x += linear(activation(linear(norm(x), Wup)), Wdown)
//! gated     x += linear(activation(Wgate norm(x)) * (Wup norm(x)), Wdown)      the inner part is one op, gated_linear
//! experts   x += moe_ffn(norm(x)) + shared expert, if any
//! ```

use sm_kernels::plan::{Epilogue, GatedLinear, Linear, MatrixPart};

use super::Builder;
use crate::LoadError;
use crate::names::TensorKind;
use crate::spec::{FfnKind, FfnSpec};
use crate::weights::RowRange;

impl Builder<'_> {
    /// Pushes the feed-forward network of a layer.
    pub(super) fn ffn(&mut self, layer: usize) -> Result<(), LoadError> {
        let ffn = self.spec.layers[layer].ffn;
        match ffn.kind {
            FfnKind::Plain => self.plain_ffn(layer, &ffn),
            FfnKind::Gated => self.gated_ffn(layer, &ffn),
            FfnKind::Experts(experts) => self.moe_ffn(layer, &ffn, experts),
        }
    }

    fn plain_ffn(&mut self, layer: usize, ffn: &FfnSpec) -> Result<(), LoadError> {
        let hidden = self.spec.hidden_size;
        let ffn_size = ffn.ffn_size;
        let (up, down) = (TensorKind::Up.in_layer(layer), TensorKind::Down.in_layer(layer));
        let up_part = self.whole(up, [ffn_size, hidden])?;
        let bias = ffn.bias.then(|| self.vector(up, "bias", ffn_size)).transpose()?;
        let x = self.branch_input(TensorKind::FfnNorm.in_layer(layer))?;
        let down_part = self.whole(down, [hidden, ffn_size])?;
        let inner = self.buffer("ffn", ffn_size);
        let weight = self.matrix(format!("layer{layer}.up"), hidden, up_part);
        let epilogue = Epilogue::Activation(ffn.activation);
        self.plan.push(Linear { bias, epilogue, ..Linear::new(x, weight, inner) });
        let bias = ffn.bias.then(|| self.vector(down, "bias", hidden)).transpose()?;
        let weight = self.matrix(format!("layer{layer}.down"), ffn_size, down_part);
        self.linear_to_residual(inner, weight, bias, TensorKind::FfnPostNorm.in_layer(layer))
    }

    fn gated_ffn(&mut self, layer: usize, ffn: &FfnSpec) -> Result<(), LoadError> {
        let hidden = self.spec.hidden_size;
        let ffn_size = ffn.ffn_size;
        let (gate_part, up_part) = self.gate_and_up(layer, ffn_size)?;
        let norm = TensorKind::FfnNorm.in_layer(layer);
        let x = self.branch_input(norm)?;
        let down_part = self.whole(TensorKind::Down.in_layer(layer), [hidden, ffn_size])?;
        let inner = self.buffer("ffn", ffn_size);
        let gate = self.matrix(format!("layer{layer}.gate"), hidden, gate_part);
        let up = self.matrix(format!("layer{layer}.up"), hidden, up_part);
        self.plan.push(GatedLinear { x, gate, up, activation: ffn.activation, out: inner });
        let weight = self.matrix(format!("layer{layer}.down"), ffn_size, down_part);
        self.linear_to_residual(inner, weight, None, TensorKind::FfnPostNorm.in_layer(layer))
    }

    /// The gate and up matrices, whether or not the file fuses them.
    fn gate_and_up(&mut self, layer: usize, ffn_size: usize) -> Result<(MatrixPart, MatrixPart), LoadError> {
        let hidden = self.spec.hidden_size;
        let fused = TensorKind::GateUp.in_layer(layer);
        if !self.weights.has(fused) {
            let gate = self.whole(TensorKind::Gate.in_layer(layer), [ffn_size, hidden])?;
            return Ok((gate, self.whole(TensorKind::Up.in_layer(layer), [ffn_size, hidden])?));
        }
        let half = |rows| RowRange { rows, shape: vec![2 * ffn_size, hidden] };
        let gate = self.weights.matrix(fused, half(0..ffn_size))?;
        let up = self.weights.matrix(fused, half(ffn_size..2 * ffn_size))?;
        Ok((gate, up))
    }
}
