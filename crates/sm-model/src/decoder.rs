//! Builds a plan from a decoder's description and weights.
//!
//! ```text
//! x = embed(token)
//! for each layer:   x += f(norm(x)) for f = mixer, then feed-forward network
//! logits = head(norm(x))
//! ```
//!
//! One builder serves all architectures: it pushes the ops of each part of the [`DecoderSpec`] and registers the tensors
//! they read. All rows go through every layer but the last; there, only their keys and values are needed, so rows without
//! outputs are dropped right after the last mixer.

mod attention;
mod experts;
mod ffn;

use std::collections::HashMap;

use sm_kernels::plan::{
    BufferId, Embed, Epilogue, GatherRows, Linear, MatrixId, MatrixPart, Norm, NormKind, Plan, PlanBuilder,
    Rows, Store, VectorId,
};

use crate::LoadError;
use crate::names::{TensorKey, TensorKind};
use crate::spec::{DecoderSpec, Mixer, NormPlacement};
use crate::weights::{Registry, RowRange};

/// Builds the plan of a decoder for contexts of up to `context_len` positions, and registers the weights it needs.
pub(crate) fn build(
    spec: &DecoderSpec,
    weights: &mut Registry,
    context_len: usize,
) -> Result<Plan, LoadError> {
    let mut plan = PlanBuilder::new(context_len);
    let x = plan.buffer("x", Rows::Tokens, spec.hidden_size);
    let mut builder =
        Builder { spec, weights, plan, context_len, buffers: HashMap::new(), rows: Rows::Tokens, x };
    let embedding = builder.embed()?;
    for layer in 0..spec.layers.len() {
        builder.plan.begin_layer();
        match &spec.layers[layer].mixer {
            Mixer::Attention(attention) => builder.attention(layer, attention)?,
        }
        if layer + 1 == spec.layers.len() {
            builder.gather_rows();
        }
        builder.ffn(layer)?;
    }
    let logits = builder.head(embedding)?;
    Ok(builder.plan.finish(logits))
}

/// The embedding matrix, possibly shared with the head.
struct Embedding {
    id: MatrixId,
    part: MatrixPart,
}

struct Builder<'a> {
    spec: &'a DecoderSpec,
    weights: &'a mut Registry,
    plan: PlanBuilder,
    context_len: usize,
    /// Buffers by name and shape; layers share them.
    buffers: HashMap<(&'static str, Rows, usize), BufferId>,
    /// The rows computed: all tokens, and after the last mixer only output rows.
    rows: Rows,
    /// The residual stream.
    x: BufferId,
}

impl Builder<'_> {
    /// The buffer of this name and width for the current rows; layers share it.
    fn buffer(&mut self, name: &'static str, width: usize) -> BufferId {
        let rows = self.rows;
        *self.buffers.entry((name, rows, width)).or_insert_with(|| {
            let of_rows = if rows == Rows::Tokens { "" } else { "_out" };
            self.plan.buffer(format!("{name}{of_rows}"), rows, width)
        })
    }

    fn matrix(&mut self, name: String, cols: usize, part: MatrixPart) -> MatrixId {
        self.plan.matrix(name, cols, vec![part])
    }

    /// Registers a whole tensor `[rows, cols]`.
    fn whole(&mut self, key: TensorKey, shape: [usize; 2]) -> Result<MatrixPart, LoadError> {
        self.weights.matrix(key, RowRange::all(&shape))
    }

    fn vector(&mut self, key: TensorKey, suffix: &str, len: usize) -> Result<VectorId, LoadError> {
        let name = self.weights.vector(key, suffix, len)?;
        Ok(self.plan.vector(name.clone(), len, vec![name]))
    }

    /// Normalizes rows of `x` into `out`.
    fn norm(&mut self, key: TensorKey, x: BufferId, out: BufferId, store: Store) -> Result<(), LoadError> {
        let hidden = self.spec.hidden_size;
        let weight = self.vector(key, "weight", hidden)?;
        let bias = match self.spec.norm.kind {
            NormKind::Layer => Some(self.vector(key, "bias", hidden)?),
            NormKind::Rms => None,
        };
        let norm = self.spec.norm;
        self.plan.push(Norm { x, kind: norm.kind, weight, bias, eps: norm.eps, store, out });
        Ok(())
    }

    /// The input of a mixer or feed-forward network: the residual stream, normalized or not.
    fn branch_input(&mut self, norm: TensorKey) -> Result<BufferId, LoadError> {
        match self.spec.layers[norm.layer].norms {
            NormPlacement::Before | NormPlacement::BeforeAndAfter => self.normed(norm),
            NormPlacement::After => Ok(self.x),
        }
    }

    /// The normalized residual stream.
    fn normed(&mut self, norm: TensorKey) -> Result<BufferId, LoadError> {
        let normed = self.buffer("normed", self.spec.hidden_size);
        self.norm(norm, self.x, normed, Store::Write)?;
        Ok(normed)
    }

    /// Destination of a mixer's or feed-forward network's result: the residual stream, or a buffer to be normalized first.
    fn branch_output(&mut self, layer: usize) -> (BufferId, Store) {
        match self.spec.layers[layer].norms {
            NormPlacement::Before => (self.x, Store::Add),
            NormPlacement::BeforeAndAfter | NormPlacement::After => {
                (self.buffer("branch", self.spec.hidden_size), Store::Write)
            }
        }
    }

    /// Normalizes a buffered result and adds it to the residual stream.
    fn end_branch(&mut self, post_norm: TensorKey, out: BufferId) -> Result<(), LoadError> {
        match self.spec.layers[post_norm.layer].norms {
            NormPlacement::Before => Ok(()),
            NormPlacement::BeforeAndAfter | NormPlacement::After => {
                self.norm(post_norm, out, self.x, Store::Add)
            }
        }
    }

    /// The last linear map of a mixer or feed-forward network, into the residual stream.
    fn linear_to_residual(
        &mut self,
        x: BufferId,
        weight: MatrixId,
        bias: Option<VectorId>,
        post_norm: TensorKey,
    ) -> Result<(), LoadError> {
        let (out, store) = self.branch_output(post_norm.layer);
        let epilogue = scale(self.spec.layers[post_norm.layer].residual_scale);
        self.plan.push(Linear { bias, epilogue, store, ..Linear::new(x, weight, out) });
        self.end_branch(post_norm, out)
    }

    fn embed(&mut self) -> Result<Embedding, LoadError> {
        let spec = self.spec;
        let hidden = spec.hidden_size;
        let part = self.whole(TensorKind::Embedding.of_model(), [spec.vocab_size, hidden])?;
        let table = self.matrix("embedding".into(), hidden, part.clone());
        let positions = if spec.embedding.learned_positions {
            let part = self.whole(TensorKind::Positions.of_model(), [spec.max_context_len, hidden])?;
            Some(self.matrix("positions".into(), hidden, part))
        } else {
            None
        };
        self.plan.push(Embed { table, positions, scale: spec.embedding.scale, out: self.x });
        Ok(Embedding { id: table, part })
    }

    /// Drops rows without outputs; only their keys and values were needed.
    fn gather_rows(&mut self) {
        let x = self.x;
        self.rows = Rows::Outputs;
        self.x = self.buffer("x", self.spec.hidden_size);
        self.plan.push(GatherRows { x, out: self.x });
    }

    fn head(&mut self, embedding: Embedding) -> Result<BufferId, LoadError> {
        let spec = self.spec;
        let hidden = spec.hidden_size;
        let part = if spec.head.tied {
            embedding.part
        } else {
            self.whole(TensorKind::Head.of_model(), [spec.vocab_size, hidden])?
        };
        let normed = self.normed(TensorKind::OutputNorm.of_model())?;
        self.plan.hidden(normed);
        let weight = if spec.head.tied { embedding.id } else { self.matrix("head".into(), hidden, part) };
        let logits = self.plan.buffer("logits", self.rows, spec.vocab_size);
        let epilogue = spec.head.soft_cap.map_or_else(|| scale(spec.head.scale), Epilogue::SoftCap);
        self.plan.push(Linear { epilogue, ..Linear::new(normed, weight, logits) });
        Ok(logits)
    }
}

/// A multiplication by `factor`; omitted for 1.
fn scale(factor: f32) -> Epilogue {
    if factor == 1.0 { Epilogue::None } else { Epilogue::Scale(factor) }
}
