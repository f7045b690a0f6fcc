//! Two matrix products, one gating the other: the first half of a gated feed-forward.

use std::fmt::{self, Formatter};

use crate::plan::check::{Check, Checker, same};
use crate::plan::operation::{IdVisitor, Operation};
use crate::plan::work::{StepWork, Work};
use crate::plan::{Activation, BufferId, MatrixId, Plan, Read, Write};

/// `out[n] = activation(gate * x[n]) * (up * x[n])`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GatedLinear {
    /// `[rows, in_features]`.
    pub x: BufferId,
    /// `[out_features, in_features]`.
    pub gate: MatrixId,
    /// `[out_features, in_features]`.
    pub up: MatrixId,
    /// The non-linearity on the gate.
    pub activation: Activation,
    /// `[rows, out_features]`.
    pub out: BufferId,
}

impl Operation for GatedLinear {
    fn name(&self) -> &'static str {
        "gated_linear"
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::product(self.x, [self.gate, self.up])]
    }

    fn writes(&self) -> Vec<Write> {
        vec![Write::new(self.out)]
    }

    fn check(&self, checker: &mut Checker<'_>) -> Check {
        self.activation.check()?;
        let gate = checker.matrix(self.gate)?;
        let up = checker.matrix(self.up)?;
        same("the rows of up", up.rows(), gate.rows())?;
        let out = checker.buffer(self.out)?;
        checker.multiply(self.x, self.gate, out)?;
        checker.multiply(self.x, self.up, out)
    }

    fn text(&self, plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
        let x = plan.buffer(self.x);
        let gate = plan.matrix(self.gate);
        let up = plan.matrix(self.up);
        write!(f, "({}, {}, {}) {}", x.name, gate.name, up.name, self.activation)
    }

    fn work(&self, step: &StepWork<'_>) -> Work {
        let n_rows = step.n_rows(self.out);
        let mut work = step.product(self.gate, n_rows);
        work += step.product(self.up, n_rows);
        work
    }

    fn main_matrices(&self) -> Vec<MatrixId> {
        vec![self.gate, self.up]
    }

    fn visit_ids(&mut self, visitor: &mut dyn IdVisitor) {
        let Self { x, gate, up, activation: _, out } = self;
        visitor.buffer(x);
        visitor.matrix(gate);
        visitor.matrix(up);
        visitor.buffer(out);
    }
}
