//! Gates rows: each is multiplied by the sigmoid of a product.

use std::fmt::{self, Formatter};

use crate::plan::check::{Check, Checker, rows_are, same};
use crate::plan::operation::{IdVisitor, Operation};
use crate::plan::{BufferId, Plan, Read, Store, VectorId, Write};

/// `out[n] = sigmoid(weight · x[n]) * values[n]`: the gate of a shared expert (Qwen2-MoE).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SigmoidGate {
    /// `[rows, in_features]`.
    pub x: BufferId,
    /// `[in_features]`.
    pub weight: VectorId,
    /// `[rows, width]`.
    pub values: BufferId,
    /// Replace or add.
    pub store: Store,
    /// `[rows, width]`.
    pub out: BufferId,
}

impl Operation for SigmoidGate {
    fn name(&self) -> &'static str {
        "sigmoid_gate"
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::values(self.x), Read::values(self.values)]
    }

    fn writes(&self) -> Vec<Write> {
        vec![Write { buffer: self.out, store: self.store }]
    }

    fn check(&self, checker: &mut Checker<'_>) -> Check {
        let x = checker.read(self.x)?;
        let values = checker.read(self.values)?;
        let out = checker.buffer(self.out)?;
        checker.vector("gate", self.weight, x.width)?;
        same("the width of the output", out.width, values.width)?;
        rows_are(values, x.rows)?;
        rows_are(out, x.rows)
    }

    fn text(&self, plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
        let [x, values] = [self.x, self.values].map(|id| &plan.buffer(id).name);
        write!(f, "({x}, {}, {values})", plan.vector(self.weight).name)
    }

    fn visit_ids(&mut self, visitor: &mut dyn IdVisitor) {
        let Self { x, weight, values, store: _, out } = self;
        visitor.buffer(x);
        visitor.vector(weight);
        visitor.buffer(values);
        visitor.buffer(out);
    }
}
