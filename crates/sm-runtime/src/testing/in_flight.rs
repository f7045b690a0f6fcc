//! An executor like that of a device far away: several steps can be under way, and it gives the first tokens without the logits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sm_kernels::plan::{ExecError, Executor, ExecutorInfo, Limits, StepBatch, StepOutput};
use sm_tensor::{PageId, TokenId};

use crate::LoadedModel;

/// Steps under way.
const MAX_IN_FLIGHT: usize = 2;

const MAX_TOP_K: usize = 64;

#[derive(Debug)]
struct InFlight {
    inner: Box<dyn Executor>,
    info: ExecutorInfo,
    computed: VecDeque<StepOutput>,
    n_ahead: Arc<AtomicUsize>,
}

/// A model without recurrent states, two of whose steps can be under way; and how many were submitted ahead.
pub(crate) fn two_in_flight(model: LoadedModel) -> (LoadedModel, Arc<AtomicUsize>) {
    let n_ahead = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_ahead);
    let model = model.map_executor(|inner| {
        let info = ExecutorInfo { max_top_k: MAX_TOP_K, ..inner.info().clone() };
        Box::new(InFlight { inner, info, computed: VecDeque::new(), n_ahead: counted })
    });
    (model, n_ahead)
}

impl Executor for InFlight {
    fn info(&self) -> &ExecutorInfo {
        &self.info
    }

    fn limits(&self) -> &Limits {
        self.inner.limits()
    }

    fn submit(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        if self.computed.len() >= MAX_IN_FLIGHT {
            return Err(ExecError::OutOfTurn);
        }
        let mut output = StepOutput::new();
        self.inner.run(batch, &mut output)?;
        self.computed.push_back(output);
        Ok(())
    }

    fn submit_next(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        let last = self.computed.back().ok_or(ExecError::OutOfTurn)?;
        let tokens: Vec<TokenId> = (0..last.n_outputs()).map(|row| last.arg_max(row).0).collect();
        self.n_ahead.fetch_add(1, Ordering::Relaxed);
        self.submit(&StepBatch { tokens: &tokens, ..*batch })
    }

    fn max_in_flight(&self) -> usize {
        MAX_IN_FLIGHT
    }

    fn wait(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        *output = self.computed.pop_front().ok_or(ExecError::OutOfTurn)?;
        Ok(())
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

    fn write_pages(&mut self, pages: &[PageId], bytes: &[u8]) -> Result<(), ExecError> {
        self.inner.write_pages(pages, bytes)
    }

    fn release_pages(&mut self, pages: &[PageId]) -> Result<(), ExecError> {
        self.inner.release_pages(pages)
    }

    fn trace(
        &mut self,
        batch: &StepBatch<'_>,
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), ExecError> {
        self.inner.trace(batch, visit)
    }
}
