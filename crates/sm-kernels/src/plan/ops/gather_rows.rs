//! Keeps the rows with wanted outputs.
//!
//! Behind the last attention, rows of a prompt that give no output are never read again; dropping them there saves the
//! last feed-forward and the output head for all but the last token of a prompt.

use std::fmt::{self, Formatter};

use crate::plan::check::{Check, Checker, rows_are, same};
use crate::plan::operation::{IdVisitor, Operation};
use crate::plan::{BufferId, Plan, Read, Rows, Write};

/// Keeps only the rows with wanted outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GatherRows {
    /// `[tokens, width]`.
    pub x: BufferId,
    /// `[outputs, width]`.
    pub out: BufferId,
}

impl Operation for GatherRows {
    fn name(&self) -> &'static str {
        "gather_rows"
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::values(self.x)]
    }

    fn writes(&self) -> Vec<Write> {
        vec![Write::new(self.out)]
    }

    fn check(&self, checker: &mut Checker<'_>) -> Check {
        let x = checker.read(self.x)?;
        let out = checker.buffer(self.out)?;
        same("the width of the output", out.width, x.width)?;
        rows_are(x, Rows::Tokens)?;
        rows_are(out, Rows::Outputs)
    }

    fn text(&self, plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "({})", plan.buffer(self.x).name)
    }

    fn visit_ids(&mut self, visitor: &mut dyn IdVisitor) {
        let Self { x, out } = self;
        visitor.buffer(x);
        visitor.buffer(out);
    }
}
