//! From the description of a decoder and its weights to a plan.

mod layer;

use std::collections::HashMap;

use sm_kernels::plan::{
    self, BufferId, Embed, Encoding, Epilogue, GatherRows, Linear, MatrixId, MatrixPart, NormKind, Plan,
    PlanBuilder, RopeId, Rows, Store, VectorId,
};

use crate::LoadError;
use crate::config::unsupported;
use crate::names::{Place, Role};
use crate::spec::DecoderSpec;
use crate::weights::{Registry, RowRange};

/// Builds the plan of a decoder for contexts of up to `context_len` positions, and registers the weights it needs.
pub(crate) fn build(
    spec: &DecoderSpec,
    weights: &mut Registry,
    context_len: usize,
) -> Result<Plan, LoadError> {
    let n_layers = spec.layers.len();
    let mut plan = PlanBuilder::new(context_len);
    let mut ropes = Vec::with_capacity(spec.ropes.len());
    for rope in &spec.ropes {
        let table = rope.table(context_len);
        if !(table.scale.is_finite()
            && table.scale > 0.0
            && table.inv_freq.iter().all(|freq| freq.is_finite()))
        {
            let value = format!("base {}, {:?}", rope.theta, rope.scaling);
            return Err(unsupported("rotation", value, "its frequencies are not finite".into()));
        }
        ropes.push(plan.rope(table));
    }
    let x = plan.buffer("x", Rows::Tokens, spec.hidden_size, Encoding::F32);
    let buffers = HashMap::new();
    let mut decoder = Decoder { spec, weights, plan, ropes, buffers, rows: Rows::Tokens, x };
    let table = decoder.embed()?;
    for layer in 0..n_layers {
        decoder.plan.begin_layer();
        decoder.attention(layer)?;
        if layer + 1 == n_layers {
            decoder.gather_rows();
        }
        decoder.ffn(layer)?;
    }
    let logits = decoder.head(table)?;
    Ok(decoder.plan.finish(logits))
}

/// A norm and what it writes.
struct Norm {
    role: Role,
    layer: usize,
    x: BufferId,
    out: BufferId,
    store: Store,
}

/// The embedding's matrix.
struct Table {
    id: MatrixId,
    part: MatrixPart,
}

struct Decoder<'a> {
    spec: &'a DecoderSpec,
    weights: &'a mut Registry,
    plan: PlanBuilder,
    ropes: Vec<RopeId>,
    /// Buffers by purpose; layers share them.
    buffers: HashMap<(&'static str, Rows, usize, Encoding), BufferId>,
    /// The rows that are computed: all tokens, and from the last attention on only those whose logits are wanted.
    rows: Rows,
    /// The residual.
    x: BufferId,
}

impl Decoder<'_> {
    /// A buffer for a purpose, in the encoding that its readers need.
    fn buffer(&mut self, name: &'static str, width: usize, encoding: Encoding) -> BufferId {
        let rows = self.rows;
        *self.buffers.entry((name, rows, width, encoding)).or_insert_with(|| {
            let of_rows = if rows == Rows::Tokens { "" } else { "_out" };
            let of_encoding = match encoding {
                Encoding::F32 => "",
                Encoding::Int8 => "_q8",
                Encoding::F32AndInt8 => "_f32_q8",
            };
            self.plan.buffer(format!("{name}{of_rows}{of_encoding}"), rows, width, encoding)
        })
    }

    fn matrix(&mut self, name: String, cols: usize, part: MatrixPart) -> MatrixId {
        self.plan.matrix(name, cols, vec![part])
    }

    /// A whole tensor `[rows, cols]` as one matrix, and its part.
    fn whole(&mut self, role: Role, layer: usize, shape: [usize; 2]) -> Result<MatrixPart, LoadError> {
        self.weights.matrix(role, Place::layer(layer), RowRange::all(&shape))
    }

    fn vector(&mut self, role: Role, layer: usize, suffix: &str, len: usize) -> Result<VectorId, LoadError> {
        let name = self.weights.vector(role, Place::layer(layer), suffix, len)?;
        Ok(self.plan.vector(name.clone(), len, vec![name]))
    }

    fn norm(&mut self, norm: &Norm) -> Result<(), LoadError> {
        let len = self.spec.hidden_size;
        let weight = self.vector(norm.role, norm.layer, "weight", len)?;
        let bias = match self.spec.norm.kind {
            NormKind::Layer => Some(self.vector(norm.role, norm.layer, "bias", len)?),
            NormKind::Rms => None,
        };
        let (kind, eps) = (self.spec.norm.kind, self.spec.norm.eps);
        self.plan.push(plan::Norm { x: norm.x, kind, weight, bias, eps, store: norm.store, out: norm.out });
        Ok(())
    }

    fn embed(&mut self) -> Result<Table, LoadError> {
        let (spec, hidden) = (self.spec, self.spec.hidden_size);
        let part = self.whole(Role::Embedding, 0, [spec.vocab_size, hidden])?;
        let table = self.matrix("embedding".into(), hidden, part.clone());
        let positions = if spec.embedding.learned_positions {
            let part = self.whole(Role::Positions, 0, [spec.max_context_len, hidden])?;
            Some(self.matrix("positions".into(), hidden, part))
        } else {
            None
        };
        self.plan.push(Embed { table, positions, scale: spec.embedding.scale, out: self.x });
        Ok(Table { id: table, part })
    }

    /// Drops all rows whose logits are not wanted; only the keys and values of the others were needed.
    fn gather_rows(&mut self) {
        let x = self.x;
        self.rows = Rows::Outputs;
        self.x = self.buffer("x", self.spec.hidden_size, Encoding::F32);
        self.plan.push(GatherRows { x, out: self.x });
    }

    fn head(&mut self, table: Table) -> Result<BufferId, LoadError> {
        let (vocab_size, hidden) = (self.spec.vocab_size, self.spec.hidden_size);
        let part =
            if self.spec.head.tied { table.part } else { self.whole(Role::Head, 0, [vocab_size, hidden])? };
        // The hidden state is for others to read, whatever the head needs.
        let normed = self.buffer("normed", hidden, read_encoding([&part]).with_f32());
        self.plan.hidden(normed);
        let (x, out) = (self.x, normed);
        self.norm(&Norm { role: Role::OutputNorm, layer: 0, x, out, store: Store::Write })?;
        let weight = if self.spec.head.tied { table.id } else { self.matrix("head".into(), hidden, part) };
        let logits = self.plan.buffer("logits", self.rows, vocab_size, Encoding::F32);
        let epilogue = self.spec.head.soft_cap.map_or(Epilogue::None, Epilogue::SoftCap);
        self.plan.push(Linear { x: normed, weight, bias: None, epilogue, store: Store::Write, out: logits });
        Ok(logits)
    }
}

/// The encoding of a buffer that is multiplied by these matrices.
fn read_encoding<'a>(parts: impl IntoIterator<Item = &'a MatrixPart>) -> Encoding {
    let (quantized, floats): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.dtype.is_quantized());
    match (quantized.is_empty(), floats.is_empty()) {
        (true, _) => Encoding::F32,
        (false, true) => Encoding::Int8,
        (false, false) => Encoding::F32AndInt8,
    }
}
