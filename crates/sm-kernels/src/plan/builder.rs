//! Builds a plan, one verb per operation.

use super::{
    BufferDecl, BufferId, CacheLayout, KvId, MatrixDecl, MatrixId, MatrixPart, Op, Plan, RopeId, RopeTable,
    Rows, StateId, StateLayout, VectorDecl, VectorId,
};

/// Collects the declarations and operations of a [`Plan`].
///
/// Ids are valid only for the builder that gave them.
#[derive(Debug)]
pub struct PlanBuilder {
    plan: Plan,
}

fn next_id<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).expect("a plan has fewer than 2^32 declarations")
}

impl PlanBuilder {
    /// An empty plan for up to `context_len` positions.
    pub fn new(context_len: usize) -> Self {
        let plan = Plan {
            buffers: Vec::new(),
            matrices: Vec::new(),
            vectors: Vec::new(),
            ropes: Vec::new(),
            ops: Vec::new(),
            layer_starts: Vec::new(),
            cache: CacheLayout::default(),
            hidden: None,
            logits: None,
            context_len,
        };
        Self { plan }
    }

    /// Declares a buffer.
    pub fn buffer(&mut self, name: impl Into<String>, rows: Rows, width: usize) -> BufferId {
        let id = BufferId(next_id(&self.plan.buffers));
        self.plan.buffers.push(BufferDecl { name: name.into(), rows, width });
        id
    }

    /// Declares a matrix of stacked parts.
    pub fn matrix(&mut self, name: impl Into<String>, cols: usize, parts: Vec<MatrixPart>) -> MatrixId {
        let id = MatrixId(next_id(&self.plan.matrices));
        self.plan.matrices.push(MatrixDecl { name: name.into(), cols, parts });
        id
    }

    /// Declares a vector of joined parts.
    pub fn vector(&mut self, name: impl Into<String>, len: usize, parts: Vec<String>) -> VectorId {
        let id = VectorId(next_id(&self.plan.vectors));
        self.plan.vectors.push(VectorDecl { name: name.into(), len, parts });
        id
    }

    /// Declares a rotary embedding; an equal one is shared.
    pub fn rope(&mut self, table: RopeTable) -> RopeId {
        if let Some(index) = self.plan.ropes.iter().position(|known| *known == table) {
            return RopeId(index as u32);
        }
        let id = RopeId(next_id(&self.plan.ropes));
        self.plan.ropes.push(table);
        id
    }

    /// Declares the paged keys and values of one more layer. Layers of the same shape that follow each other share a
    /// [`PageGroup`](super::PageGroup).
    pub fn kv(&mut self, n_kv_heads: usize, key_dim: usize, value_dim: usize) -> KvId {
        self.plan.cache.push_layer(n_kv_heads, key_dim, value_dim)
    }

    /// Declares a recurrent state of `len` values per sequence.
    pub fn state(&mut self, name: impl Into<String>, len: usize) -> StateId {
        let id = StateId(next_id(&self.plan.cache.states));
        self.plan.cache.states.push(StateLayout { name: name.into(), len });
        id
    }

    /// The next operation begins a layer: the plan can be cut before it.
    pub fn begin_layer(&mut self) {
        self.plan.layer_starts.push(self.plan.ops.len());
    }

    /// Names the buffer that holds the hidden state behind the final norm.
    pub fn hidden(&mut self, hidden: BufferId) {
        self.plan.hidden = Some(hidden);
    }

    /// Appends an operation.
    pub fn push(&mut self, op: impl Into<Op>) {
        self.plan.ops.push(op.into());
    }

    /// The plan, whose last result is `logits`.
    pub fn finish(mut self, logits: BufferId) -> Plan {
        self.plan.logits = Some(logits);
        self.plan
    }
}
