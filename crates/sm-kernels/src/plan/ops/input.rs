//! Rows that the caller brings: where the second part of a plan that was split begins.

use std::fmt::{self, Formatter};

use crate::plan::check::{Check, Checker, rows_are};
use crate::plan::operation::{IdVisitor, Operation};
use crate::plan::{BufferId, Plan, Read, Rows, Write};

/// `out[n] = input[n]`, the rows of [`StepBatch::input`](crate::plan::StepBatch::input).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input {
    /// `[tokens, width]`.
    pub out: BufferId,
}

impl Operation for Input {
    fn name(&self) -> &'static str {
        "input"
    }

    fn reads(&self) -> Vec<Read> {
        Vec::new()
    }

    fn writes(&self) -> Vec<Write> {
        vec![Write::new(self.out)]
    }

    fn check(&self, checker: &mut Checker<'_>) -> Check {
        rows_are(checker.buffer(self.out)?, Rows::Tokens)?;
        checker.take_input()
    }

    fn text(&self, _plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("()")
    }

    fn visit_ids(&mut self, visitor: &mut dyn IdVisitor) {
        let Self { out } = self;
        visitor.buffer(out);
    }
}
