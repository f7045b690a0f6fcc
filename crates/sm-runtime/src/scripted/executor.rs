//! The executor of scripted models, whose pages hold the tokens themselves.

use std::fmt;
use std::sync::Arc;

use sm_kernels::plan::{ExecError, Executor, ExecutorInfo, Limits, PAGE_LEN, StepBatch, StepOutput, Wanted};
use sm_model::tokenizer::Tokenizer;
use sm_tensor::{PageId, TokenId};

use super::{Script, next_token};

/// How much likelier the script's token is than any other, so that no usual temperature leaves the script.
const LOGIT: f32 = 100.0;

/// Says what the script tells it.
pub(super) struct ScriptedExecutor {
    script: Arc<Script>,
    tokenizer: Arc<dyn Tokenizer>,
    vocab_size: usize,
    info: ExecutorInfo,
    limits: Limits,
    pages: Vec<[TokenId; PAGE_LEN]>,
    /// What the step gives.
    outputs: Vec<(Wanted, Option<TokenId>)>,
}

impl ScriptedExecutor {
    pub(super) const PAGE_BYTES: usize = PAGE_LEN * size_of::<u32>();

    pub(super) fn new(
        script: Arc<Script>,
        tokenizer: Arc<dyn Tokenizer>,
        vocab_size: usize,
        limits: Limits,
    ) -> Self {
        let info = ExecutorInfo {
            kernels: "scripted".to_owned(),
            n_workers: 1,
            row_group: 1,
            kv_bytes: limits.n_pages * Self::PAGE_BYTES,
            ..ExecutorInfo::default()
        };
        let pages = vec![[TokenId(0); PAGE_LEN]; limits.n_pages];
        Self { script, tokenizer, vocab_size, info, limits, pages, outputs: Vec::new() }
    }

    fn next(&self, history: &[TokenId]) -> Option<TokenId> {
        let end = self.tokenizer.vocabulary().end_of_generation().first().copied();
        next_token(&self.script, &*self.tokenizer, history).or(end)
    }
}

impl fmt::Debug for ScriptedExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedExecutor").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Executor for ScriptedExecutor {
    fn info(&self) -> &ExecutorInfo {
        &self.info
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn submit(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        if batch.outputs.iter().any(|output| output.wanted == Wanted::Hidden) {
            return Err(ExecError::InvalidBatch {
                reason: "a scripted model has no hidden states".to_owned(),
            });
        }
        self.outputs.clear();
        for span in batch.spans {
            let table = &batch.page_table[span.first_page as usize..][..span.n_pages as usize];
            let place = |position: usize| (table[position / PAGE_LEN].0 as usize, position % PAGE_LEN);
            for row in span.first_row..span.first_row + span.n_rows {
                let position = (span.start + row - span.first_row) as usize;
                let (page, offset) = place(position);
                self.pages[page][offset] = batch.tokens[row as usize];
                let Some(output) = batch.outputs.iter().find(|output| output.row == row) else { continue };
                let token = |position| {
                    let (page, offset) = place(position);
                    self.pages[page][offset]
                };
                let history: Vec<TokenId> = (0..=position).map(token).collect();
                self.outputs.push((output.wanted, self.next(&history)));
            }
        }
        Ok(())
    }

    fn wait(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        output.clear();
        let mut logits = vec![0.0; self.vocab_size];
        for (wanted, token) in self.outputs.drain(..) {
            let logit = token.and_then(|token| logits.get_mut(token.0 as usize));
            logit.into_iter().for_each(|logit| *logit = LOGIT);
            output.push_logits(wanted, &logits);
            logits.fill(0.0);
        }
        Ok(())
    }

    fn copy_pages(&mut self, from_to: &[(PageId, PageId)]) -> Result<(), ExecError> {
        for (from, to) in from_to {
            self.pages[to.0 as usize] = self.pages[from.0 as usize];
        }
        Ok(())
    }

    fn page_bytes(&self) -> usize {
        Self::PAGE_BYTES
    }

    fn read_pages(&mut self, pages: &[PageId], bytes: &mut [u8]) -> Result<(), ExecError> {
        let tokens = pages.iter().flat_map(|page| &self.pages[page.0 as usize]);
        for (token, bytes) in tokens.zip(bytes.as_chunks_mut().0) {
            *bytes = token.0.to_le_bytes();
        }
        Ok(())
    }

    fn write_pages(&mut self, pages: &[PageId], bytes: &[u8]) -> Result<(), ExecError> {
        let mut tokens = bytes.as_chunks().0.iter().map(|bytes| TokenId(u32::from_le_bytes(*bytes)));
        for page in pages {
            self.pages[page.0 as usize].iter_mut().zip(&mut tokens).for_each(|(slot, token)| *slot = token);
        }
        Ok(())
    }

    fn trace(
        &mut self,
        batch: &StepBatch<'_>,
        _visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), ExecError> {
        self.submit(batch)
    }
}
