//! The rules that a plan keeps.

#[cfg(test)]
mod tests;

use super::{
    AttentionParams, BufferDecl, BufferId, Encoding, Epilogue, Experts, KvId, MatrixDecl, MatrixId, NormKind,
    Op, PageGroup, Plan, PrepareError, RopeId, RopeTable, Rows, Store, VectorId,
};

/// Values in a block of the int8 form.
const INT8_BLOCK: usize = 32;

type Check<T = ()> = Result<T, String>;

impl Plan {
    /// Checks every rule of the vocabulary: ids in range, widths that agree, encodings that fit the readers, buffers
    /// and pages written before they are read.
    ///
    /// # Errors
    /// The first broken rule with the op that breaks it; the number of ops where it is the plan as a whole.
    pub fn validate(&self) -> Result<(), PrepareError> {
        let mut checker = Checker {
            plan: self,
            written: vec![false; self.buffers.len()],
            stored_layers: vec![false; self.cache.n_kv_layers()],
        };
        for (index, op) in self.ops.iter().enumerate() {
            checker.op(op).map_err(|reason| PrepareError::InvalidPlan { op: index, reason })?;
        }
        checker.whole().map_err(|reason| PrepareError::InvalidPlan { op: self.ops.len(), reason })
    }
}

/// What the ops so far have left behind.
struct Checker<'p> {
    plan: &'p Plan,
    written: Vec<bool>,
    stored_layers: Vec<bool>,
}

/// The form in which an op reads a buffer.
#[derive(Clone, Copy)]
enum Form {
    F32,
    Int8,
}

fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(reason()) }
}

fn same(what: &str, actual: usize, expected: usize) -> Check {
    ensure(actual == expected, || format!("{what} is {actual} but must be {expected}"))
}

fn positive(what: &str, value: f32) -> Check {
    ensure(value.is_finite() && 0.0 < value, || format!("{what} is {value} but must be finite and positive"))
}

fn product(what: &str, a: usize, b: usize) -> Check<usize> {
    a.checked_mul(b).ok_or_else(|| format!("{what} of {a} x {b} overflows"))
}

fn f32_only(buffer: &BufferDecl) -> Check {
    ensure(buffer.encoding == Encoding::F32, || format!("buffer {:?} must be f32 only", buffer.name))
}

fn rows_are(buffer: &BufferDecl, rows: Rows) -> Check {
    ensure(buffer.rows == rows, || format!("the rows of buffer {:?} must be {rows:?}", buffer.name))
}

impl<'p> Checker<'p> {
    fn op(&mut self, op: &Op) -> Check {
        if let Some(input) = op.input() {
            ensure(input != op.output(), || "reads the buffer that it writes".to_owned())?;
        }
        let out = self.output(op)?;
        match op {
            Op::Embed { .. } => self.embed(op, out)?,
            Op::Norm { .. } => self.norm(op, out)?,
            Op::Linear { .. } => self.linear(op, out)?,
            Op::GatedLinear { x, gate, up, .. } => {
                same("the rows of up", self.matrix(*up)?.rows(), self.matrix(*gate)?.rows())?;
                self.multiply(*x, *gate, out)?;
                self.multiply(*x, *up, out)?;
            }
            Op::RopeStore { .. } => self.rope_store(op, out)?,
            Op::Attention { q, kv, params, .. } => self.attention(*q, *kv, params, out)?,
            Op::MoeFfn { x, experts, .. } => self.moe_ffn(*x, experts, out)?,
            Op::GatherRows { x, .. } => {
                let x = self.read(*x, Form::F32)?;
                same("the width of the output", out.width, x.width)?;
                rows_are(x, Rows::Tokens)?;
                rows_are(out, Rows::Outputs)?;
                f32_only(out)?;
            }
        }
        self.written[op.output().index()] = true;
        Ok(())
    }

    fn whole(&self) -> Check {
        ensure(0 < self.plan.context_len, || "the context length is 0".to_owned())?;
        let (hidden, logits) = (self.plan.hidden, self.plan.logits);
        ensure(hidden.or(logits).is_some(), || "it has neither a hidden state nor logits".to_owned())?;
        for result in hidden.into_iter().chain(logits) {
            rows_are(self.read(result, Form::F32)?, Rows::Outputs)?;
        }
        if let Some(logits) = logits {
            f32_only(self.buffer(logits)?)?;
        }
        for state in &self.plan.cache.states {
            ensure(0 < state.len, || format!("state {:?} has no values", state.name))?;
        }
        let starts = &self.plan.layer_starts;
        ensure(
            starts.is_sorted_by(|a, b| a < b)
                && starts.last().is_none_or(|&start| start < self.plan.ops.len()),
            || format!("layers begin at ops {starts:?}, which do not ascend within {}", self.plan.ops.len()),
        )
    }

    fn buffer(&self, id: BufferId) -> Check<&'p BufferDecl> {
        let buffer =
            self.plan.buffers.get(id.index()).ok_or_else(|| format!("there is no buffer {}", id.index()))?;
        ensure(0 < buffer.width, || format!("buffer {:?} has width 0", buffer.name))?;
        if buffer.encoding.has_int8() {
            let (name, width) = (&buffer.name, buffer.width);
            let whole_blocks = width.is_multiple_of(INT8_BLOCK);
            ensure(whole_blocks, || {
                format!("int8 buffer {name:?} has width {width}, no multiple of {INT8_BLOCK}")
            })?;
        }
        Ok(buffer)
    }

    /// A buffer that an op reads in one form.
    fn read(&self, id: BufferId, form: Form) -> Check<&'p BufferDecl> {
        let buffer = self.buffer(id)?;
        ensure(self.written[id.index()], || {
            format!("buffer {:?} is read before it is written", buffer.name)
        })?;
        let (kept, name) = match form {
            Form::F32 => (buffer.encoding.has_f32(), "f32"),
            Form::Int8 => (buffer.encoding.has_int8(), "int8"),
        };
        ensure(kept, || format!("buffer {:?} has no {name} form, which the op reads", buffer.name))?;
        Ok(buffer)
    }

    fn output(&self, op: &Op) -> Check<&'p BufferDecl> {
        let out = self.buffer(op.output())?;
        if op.store() == Store::Add {
            ensure(self.written[op.output().index()], || {
                format!("adds to buffer {:?} before it is written", out.name)
            })?;
            f32_only(out)?;
        }
        Ok(out)
    }

    fn matrix(&self, id: MatrixId) -> Check<&'p MatrixDecl> {
        let found = self.plan.matrices.get(id.index());
        let matrix = found.ok_or_else(|| format!("there is no matrix {}", id.index()))?;
        let name = &matrix.name;
        ensure(0 < matrix.cols && !matrix.parts.is_empty(), || format!("matrix {name:?} is empty"))?;
        let mut n_rows = 0_usize;
        for part in &matrix.parts {
            ensure(0 < part.rows, || format!("part {:?} of matrix {name:?} has no rows", part.tensor))?;
            let bytes = part.dtype.row_bytes(matrix.cols).and_then(|bytes| bytes.checked_mul(part.rows));
            ensure(bytes.is_some(), || {
                format!(
                    "part {:?} of matrix {name:?} cannot have {} {} columns",
                    part.tensor, matrix.cols, part.dtype
                )
            })?;
            n_rows = n_rows
                .checked_add(part.rows)
                .ok_or_else(|| format!("the rows of matrix {name:?} overflow"))?;
        }
        Ok(matrix)
    }

    fn vector(&self, what: &str, id: VectorId, len: usize) -> Check {
        let found = self.plan.vectors.get(id.index());
        let vector = found.ok_or_else(|| format!("there is no vector {}", id.index()))?;
        ensure(!vector.parts.is_empty(), || format!("vector {:?} is empty", vector.name))?;
        same(&format!("the length of {what} {:?}", vector.name), vector.len, len)
    }

    fn rope(&self, id: RopeId, head_dim: usize) -> Check<&'p RopeTable> {
        let rope =
            self.plan.ropes.get(id.index()).ok_or_else(|| format!("there is no rope {}", id.index()))?;
        let rotary_dim = rope.inv_freq.len() * 2;
        ensure((1..=head_dim).contains(&rotary_dim), || {
            format!("the rope turns {rotary_dim} values of heads of {head_dim}")
        })?;
        ensure(rope.inv_freq.iter().all(|freq| freq.is_finite()), || {
            "a frequency of the rope is not finite".to_owned()
        })?;
        positive("the scale of the rope", rope.scale)?;
        Ok(rope)
    }

    fn kv(&self, kv: KvId) -> Check<&'p PageGroup> {
        let n_layers = self.plan.cache.n_kv_layers();
        let group = self.plan.cache.group(kv);
        let group =
            group.ok_or_else(|| format!("there is no layer {}: the pages have {n_layers}", kv.index()))?;
        let &PageGroup { n_kv_heads, key_dim, value_dim, .. } = group;
        ensure(0 < n_kv_heads && 0 < key_dim && 0 < value_dim, || {
            format!("the pages have {n_kv_heads} heads of {key_dim} and {value_dim} values")
        })?;
        Ok(group)
    }

    /// The forms of `x` that a product with `matrix` reads, and its width.
    fn factors(&self, x: BufferId, matrix: &MatrixDecl) -> Check<&'p BufferDecl> {
        if matrix.has_quantized() {
            self.read(x, Form::Int8)?;
        }
        if matrix.has_floats() {
            self.read(x, Form::F32)?;
        }
        let x = self.buffer(x)?;
        same(&format!("the width of buffer {:?}", x.name), x.width, matrix.cols)?;
        Ok(x)
    }

    fn multiply(&self, x: BufferId, matrix: MatrixId, out: &BufferDecl) -> Check {
        let matrix = self.matrix(matrix)?;
        let x = self.factors(x, matrix)?;
        same(&format!("the width of buffer {:?}", out.name), out.width, matrix.rows())?;
        rows_are(out, x.rows)
    }

    fn embed(&self, op: &Op, out: &BufferDecl) -> Check {
        let &Op::Embed { table, positions, scale, .. } = op else { return Ok(()) };
        same("the width of the output", out.width, self.matrix(table)?.cols)?;
        if let Some(positions) = positions {
            let positions = self.matrix(positions)?;
            same("the columns of the learned positions", positions.cols, out.width)?;
            let (n_rows, context_len) = (positions.rows(), self.plan.context_len);
            ensure(context_len <= n_rows, || {
                format!("{n_rows} learned positions for a context of {context_len}")
            })?;
        }
        ensure(scale.is_finite(), || format!("the scale is {scale}"))?;
        rows_are(out, Rows::Tokens)?;
        f32_only(out)
    }

    fn norm(&self, op: &Op, out: &BufferDecl) -> Check {
        let &Op::Norm { x, kind, weight, bias, eps, .. } = op else { return Ok(()) };
        let x = self.read(x, Form::F32)?;
        self.vector("weight", weight, x.width)?;
        if let Some(bias) = bias {
            ensure(kind == NormKind::Layer, || "an RMS norm has no bias".to_owned())?;
            self.vector("bias", bias, x.width)?;
        }
        ensure(eps.is_finite() && 0.0 <= eps, || format!("eps is {eps}"))?;
        same("the width of the output", out.width, x.width)?;
        rows_are(out, x.rows)
    }

    fn linear(&self, op: &Op, out: &BufferDecl) -> Check {
        let &Op::Linear { x, weight, bias, epilogue, .. } = op else { return Ok(()) };
        self.multiply(x, weight, out)?;
        if let Some(bias) = bias {
            self.vector("bias", bias, out.width)?;
        }
        match epilogue {
            Epilogue::None | Epilogue::Activation(_) => Ok(()),
            Epilogue::SoftCap(cap) => positive("the soft cap", cap),
        }
    }

    fn rope_store(&mut self, op: &Op, out: &BufferDecl) -> Check {
        let &Op::RopeStore { qkv, kv, rope, q_norm, k_norm, norm_eps, .. } = op else { return Ok(()) };
        let &PageGroup { n_kv_heads, key_dim: head_dim, value_dim, .. } = self.kv(kv)?;
        let qkv = self.read(qkv, Form::F32)?;
        let kv_width = product("k and v", n_kv_heads, head_dim.saturating_add(value_dim))?;
        ensure(out.width.is_multiple_of(head_dim), || {
            format!("q is {} wide, no multiple of the head dimension {head_dim}", out.width)
        })?;
        ensure(qkv.width.checked_sub(kv_width) == Some(out.width), || {
            format!(
                "buffer {:?} is {} wide, not q's {} and {kv_width} for k and v",
                qkv.name, qkv.width, out.width
            )
        })?;
        if let Some(rope) = rope {
            self.rope(rope, head_dim)?;
        }
        for norm in [q_norm, k_norm].into_iter().flatten() {
            self.vector("head norm", norm, head_dim)?;
            ensure(norm_eps.is_finite() && 0.0 <= norm_eps, || format!("norm_eps is {norm_eps}"))?;
        }
        rows_are(qkv, Rows::Tokens)?;
        rows_are(out, Rows::Tokens)?;
        self.stored_layers[kv.index()] = true;
        f32_only(out)
    }

    fn attention(&self, q: BufferId, kv: KvId, params: &AttentionParams, out: &BufferDecl) -> Check {
        let &PageGroup { n_kv_heads, key_dim, value_dim, .. } = self.kv(kv)?;
        ensure(self.stored_layers[kv.index()], || {
            format!("the pages of layer {} are read before they are written", kv.index())
        })?;
        let q = self.read(q, Form::F32)?;
        let n_heads = params.n_heads;
        ensure(0 < n_heads && n_heads.is_multiple_of(n_kv_heads), || {
            format!("{n_heads} query heads are no multiple of {n_kv_heads} key heads")
        })?;
        same("the width of q", q.width, product("the query heads", n_heads, key_dim)?)?;
        same("the width of the output", out.width, product("the value heads", n_heads, value_dim)?)?;
        ensure(params.scale.is_finite(), || format!("the scale is {}", params.scale))?;
        ensure(params.window != Some(0), || "the window is 0".to_owned())?;
        if let Some(cap) = params.soft_cap {
            positive("the soft cap", cap)?;
        }
        rows_are(q, Rows::Tokens)?;
        rows_are(out, Rows::Tokens)
    }

    fn moe_ffn(&self, x: BufferId, experts: &Experts, out: &BufferDecl) -> Check {
        let n_experts = experts.n_experts;
        ensure((1..=n_experts).contains(&experts.top_k), || {
            format!("chooses {} of {n_experts} experts", experts.top_k)
        })?;
        let [router, gate, up, down] =
            [experts.router, experts.gate, experts.up, experts.down].map(|id| self.matrix(id));
        let (router, gate, up, down) = (router?, gate?, up?, down?);
        let ffn_size = down.cols;
        let gate_rows = product("the experts' rows", n_experts, ffn_size)?;
        same("the rows of the router", router.rows(), n_experts)?;
        same("the rows of gate", gate.rows(), gate_rows)?;
        same("the rows of up", up.rows(), gate_rows)?;
        same("the rows of down", down.rows(), product("the experts' rows", n_experts, out.width)?)?;
        for matrix in [router, gate, up] {
            self.factors(x, matrix)?;
        }
        let x = self.buffer(x)?;
        same("the width of the output", out.width, x.width)?;
        rows_are(out, x.rows)
    }
}
