//! A feed-forward of experts: each row goes to a few of them.

use std::fmt::{self, Formatter};

use crate::plan::check::{Check, Checker, ensure, product, rows_are, same};
use crate::plan::operation::{IdVisitor, Operation};
use crate::plan::work::{StepWork, Work};
use crate::plan::{Activation, BufferId, MatrixId, Plan, Read, Store, Write};

/// Routes each row to a few experts and stores the weighted sum of their outputs.
///
/// ```text
/// p      = softmax(router * x)
/// chosen = the top_k experts of the highest p
/// out    = sum over chosen e of p[e] * down[e] * (activation(gate[e] * x) * (up[e] * x))
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MoeFfn {
    /// `[rows, hidden]`.
    pub x: BufferId,
    /// The matrices and how they are chosen.
    pub experts: Experts,
    /// Replace or add.
    pub store: Store,
    /// `[rows, hidden]`.
    pub out: BufferId,
}

/// The feed-forward experts of a layer. Row `e * ffn + i` of a matrix belongs to expert `e`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Experts {
    /// `[n_experts, hidden]`.
    pub router: MatrixId,
    /// `[n_experts * ffn, hidden]`.
    pub gate: MatrixId,
    /// `[n_experts * ffn, hidden]`.
    pub up: MatrixId,
    /// `[n_experts * hidden, ffn]`.
    pub down: MatrixId,
    /// Number of experts.
    pub n_experts: usize,
    /// Experts used per token: those of the highest probability, ties to the lower index.
    pub top_k: usize,
    /// Whether the chosen probabilities are divided by their sum (the softmax is over all experts).
    pub renormalize: bool,
    /// The non-linearity on the gate.
    pub activation: Activation,
}

impl Operation for MoeFfn {
    fn name(&self) -> &'static str {
        "moe_ffn"
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::product(self.x, [self.experts.router, self.experts.gate, self.experts.up])]
    }

    fn writes(&self) -> Vec<Write> {
        vec![Write { buffer: self.out, store: self.store }]
    }

    fn check(&self, checker: &mut Checker<'_>) -> Check {
        let experts = &self.experts;
        experts.activation.check()?;
        let out = checker.buffer(self.out)?;
        let n_experts = experts.n_experts;
        ensure((1..=n_experts).contains(&experts.top_k), || {
            format!("chooses {} of {n_experts} experts", experts.top_k)
        })?;
        let router = checker.matrix(experts.router)?;
        let gate = checker.matrix(experts.gate)?;
        let up = checker.matrix(experts.up)?;
        let down = checker.matrix(experts.down)?;
        let gate_rows = product("the experts' rows", n_experts, down.cols)?;
        same("the rows of the router", router.rows(), n_experts)?;
        same("the rows of gate", gate.rows(), gate_rows)?;
        same("the rows of up", up.rows(), gate_rows)?;
        same("the rows of down", down.rows(), product("the experts' rows", n_experts, out.width)?)?;
        for matrix in [router, gate, up] {
            checker.factor(self.x, matrix)?;
        }
        let x = checker.buffer(self.x)?;
        same("the width of the output", out.width, x.width)?;
        rows_are(out, x.rows)
    }

    fn text(&self, plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
        let Experts { router, gate, up, down, n_experts, top_k, renormalize, activation } = self.experts;
        write!(f, "({}", plan.buffer(self.x).name)?;
        for matrix in [router, gate, up, down] {
            write!(f, ", {}", plan.matrix(matrix).name)?;
        }
        write!(f, ") {activation}, {top_k} of {n_experts} experts")?;
        if renormalize { write!(f, ", renormalized") } else { Ok(()) }
    }

    fn work(&self, step: &StepWork<'_>) -> Work {
        let experts = &self.experts;
        let n_rows = step.n_rows(self.out);
        let n_experts = experts.n_experts as u64;
        let top_k = experts.top_k as u64;
        let mut work = step.product(experts.router, n_rows);
        for matrix in [experts.gate, experts.up, experts.down] {
            // As if every row went through all experts.
            let all = step.product(matrix, n_rows);
            work += Work {
                read_bytes: all.read_bytes * (n_rows * top_k).min(n_experts) / n_experts,
                float_ops: all.float_ops * top_k / n_experts,
                bf16_ops: all.bf16_ops * top_k / n_experts,
                int8_ops: all.int8_ops * top_k / n_experts,
            };
        }
        work
    }

    fn main_matrices(&self) -> Vec<MatrixId> {
        vec![self.experts.gate, self.experts.up, self.experts.down]
    }

    fn visit_ids(&mut self, visitor: &mut dyn IdVisitor) {
        let Self { x, experts, store: _, out } = self;
        let Experts { router, gate, up, down, n_experts: _, top_k: _, renormalize: _, activation: _ } =
            experts;
        visitor.buffer(x);
        [router, gate, up, down].into_iter().for_each(|id| visitor.matrix(id));
        visitor.buffer(out);
    }
}
