//! Two steps in flight: while the host samples a step of a lone greedy sequence, the device computes the next one with the token
//! that it found itself. The scheduler knows nothing of it: what it schedules next is that step, or the work was for nothing.

use sm_batching::{SequenceId, Step, StepPart, Wanted};
use sm_kernels::plan::{ExecError, Executor, OutputRow, PAGE_LEN, Span, StepBatch, StepOutput};
use sm_tensor::{PageId, TokenId};

/// Of the only row of a step that is submitted ahead.
const OUTPUT: OutputRow = OutputRow { row: 0, wanted: Wanted::ArgMax };

/// The step that was submitted before it was scheduled.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Whose it is; None if there is no such step.
    next: Option<(SequenceId, Span)>,
    pages: Vec<PageId>,
}

impl Ahead {
    /// Submits the scheduled step, unless it is under way. Drops what is under way instead of it; `output` is a place for that.
    pub(super) fn submit(
        &mut self,
        executor: &mut dyn Executor,
        step: &Step,
        output: &mut StepOutput,
    ) -> Result<(), ExecError> {
        if self.is(step) {
            self.next = None;
            return Ok(());
        }
        self.discard(executor, output);
        executor.copy_pages(step.copies())?;
        executor.submit(&step.batch())
    }

    fn is(&self, step: &Step) -> bool {
        let StepBatch { spans, page_table, outputs, .. } = step.batch();
        let ([part], Some((id, span))) = (step.parts(), self.next) else { return false };
        // A sequence has one token at a position.
        step.copies().is_empty()
            && part.id == id
            && spans == [span]
            && page_table == self.pages
            && outputs == [OUTPUT]
    }

    /// Submits the step that follows the one of a sequence that was submitted last, if it needs no other pages.
    pub(super) fn submit_next(&mut self, executor: &mut dyn Executor, step: &Step) {
        let StepBatch { spans, page_table, outputs, .. } = step.batch();
        let ([StepPart { id, .. }], [span], [OutputRow { wanted: Wanted::ArgMax, .. }]) =
            (step.parts(), spans, outputs)
        else {
            return;
        };
        let start = span.start + span.n_rows;
        let has_room = (start as usize) < page_table.len() * PAGE_LEN;
        if span.state.is_some() || !has_room {
            return;
        }
        let next = Span { first_row: 0, n_rows: 1, start, first_page: 0, ..*span };
        self.pages.clear();
        self.pages.extend_from_slice(page_table);
        let batch = StepBatch {
            tokens: &[TokenId(0)],
            spans: &[next],
            page_table: &self.pages,
            outputs: &[OUTPUT],
            ..StepBatch::default()
        };
        // Where it is refused, the step is submitted when it is scheduled, and then says why.
        if executor.submit_next(&batch).is_ok() {
            self.next = Some((*id, next));
        }
    }

    /// Drops the step that is under way. What it wrote lies behind the end of its sequence, where nothing is read.
    pub(super) fn discard(&mut self, executor: &mut dyn Executor, output: &mut StepOutput) {
        if self.next.take().is_some() {
            // If the device is lost, the next step says so.
            let _ = executor.wait(output);
        }
    }
}
