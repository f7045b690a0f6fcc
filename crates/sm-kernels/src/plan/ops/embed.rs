//! Looks up the rows of tokens in a table.

use std::fmt::{self, Formatter};

use super::optional;
use crate::plan::check::{Check, Checker, ensure, rows_are, same};
use crate::plan::operation::{IdVisitor, Operation};
use crate::plan::work::{StepWork, Work};
use crate::plan::{BufferId, MatrixId, Plan, Read, Rows, Write};

/// `out[n] = table[token[n]] * scale + positions[position[n]]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Embed {
    /// `[vocab_size, hidden]`.
    pub table: MatrixId,
    /// Learned positions, `[context_len or more, hidden]`.
    pub positions: Option<MatrixId>,
    /// Factor on the table's row.
    pub scale: f32,
    /// `[tokens, hidden]`.
    pub out: BufferId,
}

impl Operation for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn reads(&self) -> Vec<Read> {
        Vec::new()
    }

    fn writes(&self) -> Vec<Write> {
        vec![Write::new(self.out)]
    }

    fn check(&self, checker: &mut Checker<'_>) -> Check {
        let out = checker.buffer(self.out)?;
        same("the width of the output", out.width, checker.matrix(self.table)?.cols)?;
        if let Some(positions) = self.positions {
            let positions = checker.matrix(positions)?;
            same("the columns of the learned positions", positions.cols, out.width)?;
            let n_rows = positions.rows();
            let context_len = checker.context_len();
            ensure(context_len <= n_rows, || {
                format!("{n_rows} learned positions for a context of {context_len}")
            })?;
        }
        ensure(self.scale.is_finite(), || format!("the scale is {}", self.scale))?;
        rows_are(out, Rows::Tokens)
    }

    fn text(&self, plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "({}", plan.matrix(self.table).name)?;
        optional(f, self.positions.map(|id| &plan.matrix(id).name))?;
        write!(f, ")")?;
        if self.scale == 1.0 { Ok(()) } else { write!(f, " scale {}", self.scale) }
    }

    fn work(&self, step: &StepWork<'_>) -> Work {
        let mut work = Work::default();
        for matrix in [Some(self.table), self.positions].into_iter().flatten() {
            work.read_bytes += step.row_bytes(matrix) * step.n_rows(self.out);
        }
        work
    }

    fn visit_ids(&mut self, visitor: &mut dyn IdVisitor) {
        let Self { table, positions, scale: _, out } = self;
        visitor.matrix(table);
        positions.iter_mut().for_each(|id| visitor.matrix(id));
        visitor.buffer(out);
    }
}
