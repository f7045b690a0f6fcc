//! Guesses of a smaller model, for all sequences of a step together.

use std::collections::HashMap;
use std::time::Instant;

use sm_batching::SequenceId;
use sm_kernels::plan::{ExecError, Executor, OutputRow, PAGE_LEN, Span, StepBatch, StepOutput};
use sm_tensor::{PageId, TokenId};

use crate::{Error, LoadedModel};

/// A sequence that wants guesses, and the guesses.
#[derive(Debug)]
pub(crate) struct Guess {
    pub(crate) id: SequenceId,
    /// Guesses wanted of the draft model.
    pub(crate) max: usize,
    /// The guesses.
    pub(crate) drafts: Vec<TokenId>,
}

/// A smaller model with the same vocabulary. Each sequence has pages of its own in it for a whole context, so there is
/// nothing to schedule; where there are more sequences than that, those that were away longest compute again.
#[derive(Debug)]
pub(crate) struct DraftModel {
    executor: Box<dyn Executor>,
    context_len: usize,
    slots: Vec<Slot>,
    by_id: HashMap<SequenceId, usize>,
    n_calls: u64,
    /// µs to guess one token, averaged.
    token_us: u64,
    rows: Rows,
    output: StepOutput,
}

/// The pages of one sequence, and what is in them.
#[derive(Debug)]
struct Slot {
    id: Option<SequenceId>,
    pages: Vec<PageId>,
    /// The log, then the guesses.
    tokens: Vec<TokenId>,
    n_computed: usize,
    last_call: u64,
}

/// What a step computes, kept to allocate nothing.
#[derive(Debug, Default)]
struct Rows {
    tokens: Vec<TokenId>,
    spans: Vec<Span>,
    page_table: Vec<PageId>,
    outputs: Vec<OutputRow>,
    /// Index of the guess that each output is for.
    owners: Vec<usize>,
}

impl DraftModel {
    /// Makes a loaded model the drafter of `target`.
    ///
    /// # Errors
    /// If their tokens are not the same.
    pub(crate) fn new(draft: LoadedModel, target: &LoadedModel) -> Result<Self, Error> {
        same_vocabulary(&draft, target)?;
        let LoadedModel { executor, context_len, .. } = draft;
        let limits = *executor.limits();
        let n_pages = context_len.div_ceil(PAGE_LEN);
        let n_slots = (limits.n_pages / n_pages.max(1)).min(limits.max_sequences).min(limits.max_outputs);
        let slot = |index: usize| Slot {
            id: None,
            pages: (index * n_pages..(index + 1) * n_pages).map(|page| PageId(page as u32)).collect(),
            tokens: Vec::with_capacity(context_len),
            n_computed: 0,
            last_call: 0,
        };
        let slots = (0..n_slots).map(slot).collect();
        let by_id = HashMap::with_capacity(n_slots);
        let (rows, output) = (Rows::default(), StepOutput::new());
        Ok(Self { executor, context_len, slots, by_id, n_calls: 0, token_us: 0, rows, output })
    }

    /// µs to guess one token, averaged; 0 before the first.
    pub(crate) fn token_us(&self) -> u64 {
        self.token_us
    }

    /// Forgets a sequence that ended.
    pub(crate) fn release(&mut self, id: SequenceId) {
        if let Some(index) = self.by_id.remove(&id) {
            self.slots[index].id = None;
        }
    }

    /// Guesses for all who want some: `log` gives a sequence's tokens, `sample` chooses the token behind some tokens by the
    /// logits `[vocab_size]` of this model, or none. A sequence of which more is new than one step computes gets guesses
    /// later.
    ///
    /// # Errors
    /// If a step fails.
    pub(crate) fn guess<'l>(
        &mut self,
        guesses: &mut [Guess],
        log: impl Fn(SequenceId) -> &'l [TokenId],
        mut sample: impl FnMut(SequenceId, &[TokenId], &mut [f32]) -> Option<TokenId>,
    ) -> Result<(), ExecError> {
        self.n_calls += 1;
        let mut n_served = 0;
        for guess in guesses.iter_mut().filter(|guess| guess.max > 0) {
            n_served += 1;
            if n_served > self.slots.len() {
                // It would take the pages of another one in this step.
                guess.max = 0;
                continue;
            }
            let tokens = log(guess.id);
            let index = self.slot(guess.id);
            self.slots[index].follow(tokens);
            guess.max = guess.max.min(self.context_len.saturating_sub(tokens.len()));
        }
        let mut is_first = true;
        while self.gather(guesses, is_first) {
            is_first = false;
            let (began, n_rows) = (Instant::now(), self.rows.tokens.len());
            self.step(guesses, &mut sample)?;
            // A row for each token: what catches up with a prompt is no measure.
            if n_rows == self.rows.owners.len() {
                let token_us = began.elapsed().as_micros() as u64 / n_rows as u64;
                self.token_us =
                    if self.token_us == 0 { token_us } else { (7 * self.token_us + token_us) / 8 };
            }
        }
        Ok(())
    }

    /// The slot of a sequence, one that is free, or the one that was away longest.
    fn slot(&mut self, id: SequenceId) -> usize {
        let n_calls = self.n_calls;
        let index = self.by_id.get(&id).copied().or_else(|| {
            let rank = |slot: &Slot| (slot.id.is_some(), slot.last_call);
            (0..self.slots.len()).min_by_key(|index| rank(&self.slots[*index]))
        });
        let index = index.unwrap_or_default();
        let slot = &mut self.slots[index];
        slot.last_call = n_calls;
        if slot.id != Some(id) {
            if let Some(old) = slot.id.replace(id) {
                self.by_id.remove(&old);
            }
            self.by_id.insert(id, index);
        }
        index
    }

    /// Gathers what is missing of those who want more; `false` if nobody does. Only a first step takes whole chunks: who
    /// is not ready behind it does without guesses.
    fn gather(&mut self, guesses: &mut [Guess], is_first: bool) -> bool {
        let rows = &mut self.rows;
        rows.clear();
        let mut room = self.executor.limits().max_tokens;
        for (owner, guess) in guesses.iter_mut().enumerate() {
            if guess.drafts.len() >= guess.max || room == 0 {
                continue;
            }
            let slot = &mut self.slots[self.by_id[&guess.id]];
            let n_missing = slot.tokens.len() - slot.n_computed;
            if n_missing > 1 && !is_first {
                continue;
            }
            let n_rows = n_missing.min(room);
            room -= n_rows;
            rows.push(slot, n_rows);
            slot.n_computed += n_rows;
            if n_rows == n_missing {
                rows.outputs.push(OutputRow::logits(rows.tokens.len() as u32 - 1));
                rows.owners.push(owner);
            } else {
                guess.max = 0;
            }
        }
        !rows.spans.is_empty()
    }

    /// Computes the rows that were gathered and takes a guess from each output.
    fn step(
        &mut self,
        guesses: &mut [Guess],
        sample: &mut impl FnMut(SequenceId, &[TokenId], &mut [f32]) -> Option<TokenId>,
    ) -> Result<(), ExecError> {
        if let Err(error) = self.executor.run(&self.rows.batch(), &mut self.output) {
            // What the pages hold is not known.
            self.slots.iter_mut().for_each(|slot| slot.n_computed = 0);
            return Err(error);
        }
        for (output, owner) in self.rows.owners.iter().enumerate() {
            let guess = &mut guesses[*owner];
            let slot = &mut self.slots[self.by_id[&guess.id]];
            match sample(guess.id, &slot.tokens, self.output.logits_mut(output)) {
                Some(token) => {
                    slot.tokens.push(token);
                    guess.drafts.push(token);
                }
                None => guess.max = 0,
            }
        }
        Ok(())
    }
}

impl Slot {
    /// Makes `log` its tokens; what both have in common need not be computed again, but for the last.
    fn follow(&mut self, log: &[TokenId]) {
        let n_common = self.tokens.iter().zip(log).take_while(|(a, b)| a == b).count();
        self.n_computed = self.n_computed.min(n_common).min(log.len().saturating_sub(1));
        self.tokens.truncate(n_common);
        self.tokens.extend_from_slice(&log[n_common..]);
    }
}

impl Rows {
    fn clear(&mut self) {
        self.tokens.clear();
        self.spans.clear();
        self.page_table.clear();
        self.outputs.clear();
        self.owners.clear();
    }

    fn push(&mut self, slot: &Slot, n_rows: usize) {
        let end = slot.n_computed + n_rows;
        let n_pages = end.div_ceil(PAGE_LEN);
        self.spans.push(Span {
            first_row: self.tokens.len() as u32,
            n_rows: n_rows as u32,
            start: slot.n_computed as u32,
            first_page: self.page_table.len() as u32,
            n_pages: n_pages as u32,
            state: None,
        });
        self.tokens.extend_from_slice(&slot.tokens[slot.n_computed..end]);
        self.page_table.extend_from_slice(&slot.pages[..n_pages]);
    }

    fn batch(&self) -> StepBatch<'_> {
        StepBatch {
            tokens: &self.tokens,
            spans: &self.spans,
            page_table: &self.page_table,
            outputs: &self.outputs,
            ..StepBatch::default()
        }
    }
}

/// Refuses a drafter whose tokens are others. Models of one family may pad their logits differently; what counts is what
/// the tokenizers know.
fn same_vocabulary(draft: &LoadedModel, target: &LoadedModel) -> Result<(), Error> {
    let (Some(a), Some(b)) = (draft.tokenizer(), target.tokenizer()) else {
        return match draft.vocab_size == target.vocab_size {
            true => Ok(()),
            false => Err(Error::DraftVocabulary {
                draft: draft.vocab_size,
                target: target.vocab_size,
                token: None,
            }),
        };
    };
    let (a, b) = (a.vocabulary(), b.vocabulary());
    let n_common = a.vocab_size().min(b.vocab_size());
    let differs = |id: &u32| a.token_bytes(TokenId(*id)) != b.token_bytes(TokenId(*id));
    let token = (0..n_common as u32).find(differs);
    if token.is_none() && a.vocab_size() == b.vocab_size() {
        return Ok(());
    }
    Err(Error::DraftVocabulary { draft: a.vocab_size(), target: b.vocab_size(), token })
}
