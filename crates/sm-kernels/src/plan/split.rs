//! Cuts a plan in two, so that its layers can run on two devices.
//!
//! ```text
//! first    the ops before the layer, then gather_rows of the joint      hidden = the joint, for every token
//! second   input of the joint, then the ops from the layer on           hidden and logits of the whole plan
//! ```
//!
//! The joint is the one buffer that is written before the cut and used after it: at the start of a layer, the residual.
//! Both halves are plans like any other, with the declarations that their ops name and no others, so that each device
//! loads its own weights and keeps its own pages.

use super::op::Op;
use super::operation::IdVisitor;
use super::ops::{GatherRows, Input};
use super::{
    BufferDecl, BufferId, CacheLayout, KvId, MatrixDecl, MatrixId, Plan, RopeId, RopeTable, Rows, Store,
    VectorDecl, VectorId,
};

/// Why a plan cannot be cut at a layer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// There is no such layer.
    #[error("the plan cannot be cut at layer {layer}: it has {n_layers}")]
    NoSuchLayer {
        /// The layer asked for.
        layer: usize,
        /// Layers of the plan.
        n_layers: usize,
    },
    /// More than one buffer, or one that has no row for each token, crosses the cut.
    #[error(
        "the plan cannot be cut at layer {layer}: {buffers:?} cross the cut, and only one buffer of tokens may"
    )]
    NoJoint {
        /// The layer asked for.
        layer: usize,
        /// Names of the buffers that are written before the cut and used after it.
        buffers: Vec<String>,
    },
    /// A layer after the cut reads pages that one before it writes.
    #[error("the plan cannot be cut at layer {layer}: the keys and values {kv} are used on both sides")]
    SharedPages {
        /// The layer asked for.
        layer: usize,
        /// Index of the keys and values.
        kv: usize,
    },
    /// The plan has recurrent states.
    #[error("plans with recurrent states cannot be cut yet")]
    States,
}

impl Plan {
    /// Cuts the plan before a layer. What [`Wanted::Hidden`](super::Wanted::Hidden) gives for all rows of the first part
    /// is the [`StepBatch::input`](super::StepBatch::input) of the second. The plan must be valid.
    ///
    /// # Errors
    /// If there is no such layer, or more than the residual crosses the cut.
    pub fn split(&self, layer: usize) -> Result<(Self, Self), SplitError> {
        let n_layers = self.layer_starts.len();
        let &cut = self.layer_starts.get(layer).ok_or(SplitError::NoSuchLayer { layer, n_layers })?;
        if !self.cache.states.is_empty() {
            return Err(SplitError::States);
        }
        let crossing = self.crossing(cut);
        let &[joint] = &crossing[..] else { return Err(self.no_joint(layer, &crossing)) };
        if self.buffer(joint).rows != Rows::Tokens {
            return Err(self.no_joint(layer, &crossing));
        }

        let mut first = Part::of(self);
        first.push_all(&self.ops[..cut]);
        let x = first.buffers.new_id(joint.index());
        let name = format!("{}_joint", self.buffer(joint).name);
        first.buffers.list.push(BufferDecl { name, rows: Rows::Outputs, ..self.buffer(joint).clone() });
        let out = BufferId(first.buffers.list.len() as u32 - 1);
        first.ops.push(GatherRows { x: BufferId(x), out }.into());

        let mut second = Part::of(self);
        second.push_all(&[Input { out: joint }.into()]);
        second.push_all(&self.ops[cut..]);
        if let Some(kv) =
            (0..self.cache.n_kv_layers()).find(|&kv| first.kvs[kv].and(second.kvs[kv]).is_some())
        {
            return Err(SplitError::SharedPages { layer, kv });
        }
        let [hidden, logits] =
            [self.hidden, self.logits].map(|id| id.map(|id| BufferId(second.buffers.new_id(id.index()))));
        let starts = self.layer_starts[layer..].iter().map(|start| start - cut + 1).collect();
        Ok((
            first.finish(Some(out), None, self.layer_starts[..layer].to_vec()),
            second.finish(hidden, logits, starts),
        ))
    }

    /// The buffers that are written before the op `cut` and whose values are used from it on.
    fn crossing(&self, cut: usize) -> Vec<BufferId> {
        let (before, after) = self.ops.split_at(cut);
        let is_written =
            |buffer| before.iter().any(|op| op.writes().iter().any(|write| write.buffer == buffer));
        let mut crossing = Vec::new();
        let mut replaced = Vec::new();
        let mut note_use = |buffer, replaced: &[BufferId]| {
            if is_written(buffer) && !replaced.contains(&buffer) && !crossing.contains(&buffer) {
                crossing.push(buffer);
            }
        };
        for op in after {
            op.reads().iter().for_each(|read| note_use(read.buffer, &replaced));
            for write in op.writes() {
                if write.store == Store::Add {
                    note_use(write.buffer, &replaced);
                }
                replaced.push(write.buffer);
            }
        }
        self.hidden.into_iter().chain(self.logits).for_each(|result| note_use(result, &replaced));
        crossing
    }

    fn no_joint(&self, layer: usize, crossing: &[BufferId]) -> SplitError {
        let buffers = crossing.iter().map(|&id| self.buffer(id).name.clone()).collect();
        SplitError::NoJoint { layer, buffers }
    }
}

/// Declarations of a plan that a part of it uses, with new ids in the order of their first use.
struct Kept<'p, T> {
    all: &'p [T],
    list: Vec<T>,
    ids: Vec<Option<u32>>,
}

impl<'p, T: Clone> Kept<'p, T> {
    fn of(all: &'p [T]) -> Self {
        Self { all, list: Vec::new(), ids: vec![None; all.len()] }
    }

    fn new_id(&mut self, old: usize) -> u32 {
        *self.ids[old].get_or_insert_with(|| {
            self.list.push(self.all[old].clone());
            self.list.len() as u32 - 1
        })
    }
}

/// A part of a plan under construction.
struct Part<'p> {
    plan: &'p Plan,
    buffers: Kept<'p, BufferDecl>,
    matrices: Kept<'p, MatrixDecl>,
    vectors: Kept<'p, VectorDecl>,
    ropes: Kept<'p, RopeTable>,
    cache: CacheLayout,
    kvs: Vec<Option<KvId>>,
    ops: Vec<Op>,
}

impl<'p> Part<'p> {
    fn of(plan: &'p Plan) -> Self {
        Self {
            plan,
            buffers: Kept::of(&plan.buffers),
            matrices: Kept::of(&plan.matrices),
            vectors: Kept::of(&plan.vectors),
            ropes: Kept::of(&plan.ropes),
            cache: CacheLayout::default(),
            kvs: vec![None; plan.cache.n_kv_layers()],
            ops: Vec::new(),
        }
    }

    fn push_all(&mut self, ops: &[Op]) {
        for op in ops {
            let mut op = op.clone();
            op.visit_ids(self);
            self.ops.push(op);
        }
    }

    fn finish(self, hidden: Option<BufferId>, logits: Option<BufferId>, layer_starts: Vec<usize>) -> Plan {
        Plan {
            buffers: self.buffers.list,
            matrices: self.matrices.list,
            vectors: self.vectors.list,
            ropes: self.ropes.list,
            ops: self.ops,
            layer_starts,
            cache: self.cache,
            hidden,
            logits,
            context_len: self.plan.context_len,
        }
    }
}

impl IdVisitor for Part<'_> {
    fn buffer(&mut self, id: &mut BufferId) {
        *id = BufferId(self.buffers.new_id(id.index()));
    }

    fn matrix(&mut self, id: &mut MatrixId) {
        *id = MatrixId(self.matrices.new_id(id.index()));
    }

    fn vector(&mut self, id: &mut VectorId) {
        *id = VectorId(self.vectors.new_id(id.index()));
    }

    fn rope(&mut self, id: &mut RopeId) {
        *id = RopeId(self.ropes.new_id(id.index()));
    }

    fn kv(&mut self, id: &mut KvId) {
        let plan = self.plan;
        let cache = &mut self.cache;
        *id = *self.kvs[id.index()].get_or_insert_with(|| {
            let group = plan.cache.group(*id).expect("a valid plan has the layer");
            cache.push_layer(group.n_kv_heads, group.key_dim, group.value_dim)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use sm_tensor::DType;

    #[test]
    fn the_halves_are_valid_and_have_only_what_they_use() {
        let plan = testing::decoder(DType::Q8_0);
        let (first, second) = plan.split(1).unwrap();
        first.validate().unwrap();
        second.validate().unwrap();
        assert_eq!((first.matrices.len(), second.matrices.len()), (6, 6), "the table is in both");
        assert_eq!((first.cache.n_kv_layers(), second.cache.n_kv_layers()), (1, 1));
        assert_eq!([&first.layer_starts[..], &second.layer_starts[..]], [[1], [1]]);
        assert_eq!((first.logits, second.hidden.is_some()), (None, true));
        assert_eq!(second.vocab_size(), plan.vocab_size());
        let text = second.to_string();
        assert!(text.contains("   0 x = input()\n   1 h = norm rms(x, norm)"), "{text}");
        assert!(text.contains("attention(q) layer 0, 4 heads, scale 0.25, window 20"), "{text}");
        let text = first.to_string();
        assert!(text.ends_with("   9 x_joint = gather_rows(x)\nhidden x_joint"), "{text}");
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let plan = testing::decoder(DType::F32);
        assert_eq!(plan.split(2).unwrap_err(), SplitError::NoSuchLayer { layer: 2, n_layers: 2 });
        let mut within = plan.clone();
        within.layer_starts[1] = 5;
        let buffers = vec!["attn".to_owned(), "x".to_owned()];
        assert_eq!(within.split(1).unwrap_err(), SplitError::NoJoint { layer: 1, buffers });
        let mut behind = plan.clone();
        behind.layer_starts[1] = 18;
        let buffers = vec!["out".to_owned()];
        assert_eq!(behind.split(1).unwrap_err(), SplitError::NoJoint { layer: 1, buffers });
        let mut shared = plan;
        for op in &mut shared.ops {
            if let Op::Attention(attention) = op {
                attention.kv = KvId(0);
            }
        }
        assert_eq!(shared.split(1).unwrap_err(), SplitError::SharedPages { layer: 1, kv: 0 });
    }
}
