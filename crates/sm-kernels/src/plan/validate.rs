//! Whether a plan keeps the rules of the vocabulary.

#[cfg(test)]
mod tests;

use super::backend::PrepareError;
use super::check::{Check, Checker, ensure, rows_are};
use super::{Op, Plan, Rows, Store};

impl Plan {
    /// Checks every rule of the vocabulary: ids in range, widths that agree, buffers and pages written before they are
    /// read.
    ///
    /// # Errors
    /// The first broken rule with the op that breaks it; the number of ops where it is the plan as a whole.
    pub fn validate(&self) -> Result<(), PrepareError> {
        let mut checker = Checker::new(self);
        for (index, op) in self.ops.iter().enumerate() {
            check_op(op, &mut checker).map_err(|reason| PrepareError::InvalidPlan { op: index, reason })?;
        }
        self.check_whole(&checker).map_err(|reason| PrepareError::InvalidPlan { op: self.ops.len(), reason })
    }

    fn check_whole(&self, checker: &Checker<'_>) -> Check {
        ensure(0 < self.context_len, || "the context length is 0".to_owned())?;
        ensure(self.hidden.or(self.logits).is_some(), || {
            "it has neither a hidden state nor logits".to_owned()
        })?;
        for result in self.hidden.into_iter().chain(self.logits) {
            rows_are(checker.read(result)?, Rows::Outputs)?;
        }
        for state in &self.cache.states {
            ensure(0 < state.len, || format!("state {:?} has no values", state.name))?;
        }
        let starts = &self.layer_starts;
        let n_ops = self.ops.len();
        let ascend = starts.is_sorted_by(|a, b| a < b) && starts.last().is_none_or(|&start| start < n_ops);
        ensure(ascend, || format!("layers begin at ops {starts:?}, which do not ascend within {n_ops}"))
    }
}

/// The rules for all operations, then those of its own.
fn check_op(op: &Op, checker: &mut Checker<'_>) -> Check {
    let writes = op.writes();
    for read in op.reads() {
        let is_written = writes.iter().any(|write| write.buffer == read.buffer);
        ensure(!is_written, || "reads the buffer that it writes".to_owned())?;
    }
    for write in &writes {
        let out = checker.buffer(write.buffer)?;
        if write.store == Store::Add {
            ensure(checker.is_written(write.buffer), || {
                format!("adds to buffer {:?} before it is written", out.name)
            })?;
        }
    }
    op.operation().check(checker)?;
    writes.iter().for_each(|write| checker.set_written(write.buffer));
    Ok(())
}
