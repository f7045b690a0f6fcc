//! An executor whose steps can be inspected and made to fail.

use std::fmt;

use sm_kernels::plan::{ExecError, Executor, ExecutorInfo, Limits, StepBatch, StepOutput};
use sm_tensor::{PageId, StateSlot, TokenId};

use crate::LoadedModel;

/// Decides whether a step fails.
type Verdict = Box<dyn FnMut(&StepBatch<'_>) -> Result<(), ExecError> + Send>;

/// Inspects each step before it runs, and makes some fail; the outputs of failed steps are undefined.
pub(crate) struct Watched {
    inner: Box<dyn Executor>,
    verdict: Verdict,
    /// The error of the submitted step.
    error: Option<ExecError>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// A model whose steps are inspected: `passes` decides whether a step runs or fails.
pub(crate) fn watched(
    model: LoadedModel,
    mut passes: impl FnMut(&StepBatch<'_>) -> bool + Send + 'static,
) -> LoadedModel {
    let failure = || ExecError::WorkerPanicked { message: "a step that may not pass".into() };
    judged(model, move |batch| if passes(batch) { Ok(()) } else { Err(failure()) })
}

fn judged(
    model: LoadedModel,
    verdict: impl FnMut(&StepBatch<'_>) -> Result<(), ExecError> + Send + 'static,
) -> LoadedModel {
    model.map_executor(|inner| Box::new(Watched { inner, verdict: Box::new(verdict), error: None }))
}

/// A model whose device is lost at the first step with a row of `token`, and stays lost.
pub(crate) fn losing(model: LoadedModel, token: TokenId) -> LoadedModel {
    let mut is_lost = false;
    judged(model, move |batch| {
        is_lost |= batch.tokens.contains(&token);
        if is_lost {
            Err(ExecError::DeviceLost { reason: "somebody pulled the plug".into() })
        } else {
            Ok(())
        }
    })
}

/// A model that fails every step with a row of `token`.
pub(crate) fn failing(model: LoadedModel, token: TokenId) -> LoadedModel {
    watched(model, move |batch| !batch.tokens.contains(&token))
}

impl Executor for Watched {
    fn info(&self) -> &ExecutorInfo {
        self.inner.info()
    }

    fn limits(&self) -> &Limits {
        self.inner.limits()
    }

    fn submit(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        self.error = (self.verdict)(batch).err();
        if self.error.is_some() { Ok(()) } else { self.inner.submit(batch) }
    }

    fn wait(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.inner.wait(output),
        }
    }

    fn copy_pages(&mut self, from_to: &[(PageId, PageId)]) -> Result<(), ExecError> {
        self.inner.copy_pages(from_to)
    }

    fn page_bytes(&self) -> usize {
        self.inner.page_bytes()
    }

    fn read_pages(&mut self, pages: &[PageId], bytes: &mut [u8]) -> Result<(), ExecError> {
        self.inner.read_pages(pages, bytes)
    }

    fn release_pages(&mut self, pages: &[PageId]) -> Result<(), ExecError> {
        self.inner.release_pages(pages)
    }

    fn write_pages(&mut self, pages: &[PageId], bytes: &[u8]) -> Result<(), ExecError> {
        self.inner.write_pages(pages, bytes)
    }

    fn n_state_slots(&self) -> usize {
        self.inner.n_state_slots()
    }

    fn state_bytes(&self) -> usize {
        self.inner.state_bytes()
    }

    fn read_states(&mut self, slots: &[StateSlot], bytes: &mut [u8]) -> Result<(), ExecError> {
        self.inner.read_states(slots, bytes)
    }

    fn write_states(&mut self, slots: &[StateSlot], bytes: &[u8]) -> Result<(), ExecError> {
        self.inner.write_states(slots, bytes)
    }

    fn trace(
        &mut self,
        batch: &StepBatch<'_>,
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), ExecError> {
        self.inner.trace(batch, visit)
    }
}
