//! One sequence on an executor: which tokens its pages hold, and steps that extend them.

use sm_kernels::plan::{Executor, Logits, PAGE_LEN, Span, StepBatch};
use sm_tensor::{PageId, TokenId};

use crate::Error;

/// The tokens whose keys and values lie in the pages, in order.
#[derive(Debug)]
pub(crate) struct Sequence {
    computed: Vec<TokenId>,
    page_table: Vec<PageId>,
    output_rows: Vec<u32>,
}

/// Which rows of a step get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outputs {
    None,
    Last,
    All,
}

impl Sequence {
    /// An empty sequence that may grow to `context_len` tokens and owns the pages from the first.
    pub(crate) fn new(context_len: usize) -> Self {
        Self {
            computed: Vec::with_capacity(context_len),
            page_table: (0..context_len.div_ceil(PAGE_LEN) as u32).map(PageId).collect(),
            output_rows: Vec::with_capacity(1),
        }
    }

    /// The tokens whose keys and values are there.
    pub(crate) fn computed(&self) -> &[TokenId] {
        &self.computed
    }

    /// Forgets what does not lead to `tokens`, and returns how many of them need not be computed again. At least one
    /// is left to compute, since only a computed row has logits.
    pub(crate) fn keep_common_prefix(&mut self, tokens: &[TokenId]) -> usize {
        let n_common = self.computed.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let n_kept = n_common.min(tokens.len().saturating_sub(1));
        self.computed.truncate(n_kept);
        n_kept
    }

    /// Computes `tokens` behind the others in one step.
    pub(crate) fn step<'e>(
        &mut self,
        executor: &'e mut dyn Executor,
        tokens: &[TokenId],
        outputs: Outputs,
    ) -> Result<Logits<'e>, Error> {
        let start = self.computed.len();
        let n_rows = tokens.len() as u32;
        let span = Span {
            first_row: 0,
            n_rows,
            start: start as u32,
            first_page: 0,
            n_pages: (start + tokens.len()).div_ceil(PAGE_LEN) as u32,
        };
        self.output_rows.clear();
        match outputs {
            Outputs::None => {}
            Outputs::Last => self.output_rows.push(n_rows - 1),
            Outputs::All => self.output_rows.extend(0..n_rows),
        }
        let batch = StepBatch {
            tokens,
            spans: &[span],
            page_table: &self.page_table,
            output_rows: &self.output_rows,
        };
        executor.submit(&batch)?;
        let logits = executor.wait()?;
        // Only now: after a failed step the pages beyond `start` are undefined.
        self.computed.extend_from_slice(tokens);
        Ok(logits)
    }
}
