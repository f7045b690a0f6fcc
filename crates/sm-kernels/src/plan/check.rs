//! The rules that operations share: declarations that exist and fit, buffers and pages written before they are read.

use super::{
    BufferDecl, BufferId, KvId, MatrixDecl, MatrixId, PageGroup, Plan, RopeId, RopeTable, Rows, VectorId,
};

/// What a check gives, or the rule that is broken.
pub(crate) type Check<T = ()> = Result<T, String>;

pub(crate) fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(reason()) }
}

pub(crate) fn same(what: &str, actual: usize, expected: usize) -> Check {
    ensure(actual == expected, || format!("{what} is {actual} but must be {expected}"))
}

pub(crate) fn positive(what: &str, value: f32) -> Check {
    ensure(value.is_finite() && 0.0 < value, || format!("{what} is {value} but must be finite and positive"))
}

pub(crate) fn product(what: &str, a: usize, b: usize) -> Check<usize> {
    a.checked_mul(b).ok_or_else(|| format!("{what} of {a} x {b} overflows"))
}

pub(crate) fn rows_are(buffer: &BufferDecl, rows: Rows) -> Check {
    ensure(buffer.rows == rows, || format!("the rows of buffer {:?} must be {rows:?}", buffer.name))
}

/// A plan, and what its ops so far have left behind.
pub(crate) struct Checker<'p> {
    plan: &'p Plan,
    written: Vec<bool>,
    stored: Vec<bool>,
    has_input: bool,
}

impl<'p> Checker<'p> {
    /// Before the first op.
    pub(crate) fn new(plan: &'p Plan) -> Self {
        let written = vec![false; plan.buffers.len()];
        let stored = vec![false; plan.cache.n_kv_layers()];
        Self { plan, written, stored, has_input: false }
    }

    /// Positions that the plan is for.
    pub(crate) fn context_len(&self) -> usize {
        self.plan.context_len
    }

    /// A buffer.
    pub(crate) fn buffer(&self, id: BufferId) -> Check<&'p BufferDecl> {
        let buffer =
            self.plan.buffers.get(id.index()).ok_or_else(|| format!("there is no buffer {}", id.index()))?;
        ensure(0 < buffer.width, || format!("buffer {:?} has width 0", buffer.name))?;
        Ok(buffer)
    }

    /// Whether an op has written a buffer.
    pub(crate) fn is_written(&self, id: BufferId) -> bool {
        self.written[id.index()]
    }

    /// An op has written a buffer.
    pub(crate) fn set_written(&mut self, id: BufferId) {
        self.written[id.index()] = true;
    }

    /// A buffer that an op reads.
    pub(crate) fn read(&self, id: BufferId) -> Check<&'p BufferDecl> {
        let buffer = self.buffer(id)?;
        ensure(self.is_written(id), || format!("buffer {:?} is read before it is written", buffer.name))?;
        Ok(buffer)
    }

    /// A matrix whose parts are whole blocks.
    pub(crate) fn matrix(&self, id: MatrixId) -> Check<&'p MatrixDecl> {
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

    /// A vector of `len` values.
    pub(crate) fn vector(&self, what: &str, id: VectorId, len: usize) -> Check {
        let found = self.plan.vectors.get(id.index());
        let vector = found.ok_or_else(|| format!("there is no vector {}", id.index()))?;
        ensure(!vector.parts.is_empty(), || format!("vector {:?} is empty", vector.name))?;
        same(&format!("the length of {what} {:?}", vector.name), vector.len, len)
    }

    /// The weights of an RMS norm of heads: `head_dim` values that all heads share, or `all_heads` values, in which case the
    /// values of all heads are normalised together.
    pub(crate) fn head_norm(&self, id: VectorId, head_dim: usize, all_heads: usize) -> Check {
        let is_of_all = self.plan.vectors.get(id.index()).is_some_and(|vector| vector.len == all_heads);
        self.vector("head norm", id, if is_of_all { all_heads } else { head_dim })
    }

    /// A rotation of heads of `head_dim` values.
    pub(crate) fn rope(&self, id: RopeId, head_dim: usize) -> Check<&'p RopeTable> {
        let rope =
            self.plan.ropes.get(id.index()).ok_or_else(|| format!("there is no rope {}", id.index()))?;
        let rotary_dim = rope.inv_freq.len() * 2;
        ensure((1..=head_dim).contains(&rotary_dim), || {
            format!("the rope turns {rotary_dim} values of heads of {head_dim}")
        })?;
        let extended = rope.extended.as_ref().map_or(&[][..], |extended| &extended.inv_freq);
        ensure(rope.extended.is_none() || extended.len() == rope.inv_freq.len(), || {
            format!(
                "the rope has {} frequencies, and {} for long sequences",
                rope.inv_freq.len(),
                extended.len()
            )
        })?;
        ensure(rope.inv_freq.iter().chain(extended).all(|freq| freq.is_finite()), || {
            "a frequency of the rope is not finite".to_owned()
        })?;
        positive("the scale of the rope", rope.scale)?;
        Ok(rope)
    }

    /// The shape of a layer's keys and values.
    pub(crate) fn kv(&self, kv: KvId) -> Check<PageGroup> {
        let n_layers = self.plan.cache.n_kv_layers();
        let group = self.plan.cache.group(kv);
        let group =
            *group.ok_or_else(|| format!("there is no layer {}: the pages have {n_layers}", kv.index()))?;
        let PageGroup { n_kv_heads, key_dim, value_dim, .. } = group;
        ensure(0 < n_kv_heads && 0 < key_dim && 0 < value_dim, || {
            format!("the pages have {n_kv_heads} heads of {key_dim} and {value_dim} values")
        })?;
        Ok(group)
    }

    /// Whether an op has stored a layer's keys and values.
    pub(crate) fn is_stored(&self, kv: KvId) -> bool {
        self.stored[kv.index()]
    }

    /// An op has stored a layer's keys and values.
    pub(crate) fn store_kv(&mut self, kv: KvId) {
        self.stored[kv.index()] = true;
    }

    /// An op takes the rows that the caller brings.
    pub(crate) fn take_input(&mut self) -> Check {
        let is_first = !std::mem::replace(&mut self.has_input, true);
        ensure(is_first, || "another op takes the step's input already".to_owned())
    }

    /// `x`, whose rows are multiplied with `matrix`.
    pub(crate) fn factor(&self, x: BufferId, matrix: &MatrixDecl) -> Check<&'p BufferDecl> {
        let x = self.read(x)?;
        same(&format!("the width of buffer {:?}", x.name), x.width, matrix.cols)?;
        Ok(x)
    }

    /// The rows of `x`, multiplied with `matrix`, fit `out`.
    pub(crate) fn multiply(&self, x: BufferId, matrix: MatrixId, out: &BufferDecl) -> Check {
        let matrix = self.matrix(matrix)?;
        let x = self.factor(x, matrix)?;
        same(&format!("the width of buffer {:?}", out.name), out.width, matrix.rows())?;
        rows_are(out, x.rows)
    }
}
