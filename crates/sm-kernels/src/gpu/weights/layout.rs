//! Which matrices of a plan lie on the device for themselves, and which in pairs: a product with both is one dispatch.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::plan::{BufferId, IdVisitor, KvId, MatrixDecl, MatrixId, Op, Plan, RopeId, VectorId};

/// The matrices on the device, by the ids that they have in the plan, in the order of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Matrices for themselves.
    lone: Vec<MatrixId>,
    /// Gates, and what they multiply.
    pairs: Vec<(MatrixId, MatrixId)>,
}

impl Layout {
    /// The layout for the operations of a plan. Both lists are sorted. A matrix that is read in more than one way lies there for
    /// each.
    pub(super) fn of(plan: &Plan) -> Self {
        let mut lone = Matrices::default();
        let mut pairs = BTreeSet::new();
        for op in &plan.ops {
            match op {
                Op::GatedLinear(op) => _ = pairs.insert((op.gate, op.up)),
                op => op.clone().visit_ids(&mut lone),
            }
        }
        Self { lone: lone.0.into_iter().collect(), pairs: pairs.into_iter().collect() }
    }

    /// What lies on the device, as matrices are declared.
    pub(super) fn decls<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = Cow<'a, MatrixDecl>> {
        let lone = self.lone.iter().map(|id| Cow::Borrowed(plan.matrix(*id)));
        let pairs = self.pairs.iter().map(|&(gate, up)| {
            let (gate, up) = (plan.matrix(gate), plan.matrix(up));
            let name = format!("{} and {}", gate.name, up.name);
            let parts = gate.parts.iter().chain(&up.parts).cloned().collect();
            Cow::Owned(MatrixDecl { name, cols: gate.cols, parts })
        });
        lone.chain(pairs)
    }

    /// The place of a matrix.
    pub(super) fn lone(&self, id: MatrixId) -> usize {
        self.lone.binary_search(&id).expect("an operation of the plan reads it")
    }

    /// The place of a pair.
    pub(super) fn pair(&self, gate: MatrixId, up: MatrixId) -> usize {
        self.lone.len() + self.pairs.binary_search(&(gate, up)).expect("an operation of the plan reads it")
    }
}

/// The matrices of operations.
#[derive(Default)]
struct Matrices(BTreeSet<MatrixId>);

impl IdVisitor for Matrices {
    fn buffer(&mut self, _: &mut BufferId) {}
    fn matrix(&mut self, id: &mut MatrixId) {
        self.0.insert(*id);
    }
    fn vector(&mut self, _: &mut VectorId) {}
    fn rope(&mut self, _: &mut RopeId) {}
    fn kv(&mut self, _: &mut KvId) {}
}
