//! Drafts with a smaller model, batched over all sequences of a step.
//!
//! ```text
//! sequence   … a b c                 known tokens; the draft model has computed … a b
//! step 1         c → x               the first step catches up with what is new, in chunks
//! step 2             x → y           each further step adds one draft to every sequence that wants more
//! ```
//!
//! The draft model samples with the request's own options and noise. Under the same Gumbel noise, two models that nearly
//! agree nearly always sample the same token, so more drafts are accepted than by comparing probabilities
//! (drafter-invariant speculative decoding by Gumbel coupling, <https://arxiv.org/abs/2408.07978>).
//!
//! Pages and state slots are fixed per sequence: a draft model is small, and losing its state only costs time, so
//! scheduling them is not worth the code.

use std::collections::HashMap;
use std::time::Instant;

use sm_batching::SequenceId;
use sm_kernels::plan::{ExecError, Executor, OutputRow, PAGE_LEN, RopeRange, Span, StepBatch, StepOutput};
use sm_tensor::{PageId, StateSlot, TokenId};

use crate::sequence::state_in_place;
use crate::{Error, LoadError, LoadedModel};

/// The drafts of one sequence in one step.
#[derive(Debug)]
pub(crate) struct Drafts {
    pub(crate) id: SequenceId,
    /// Number of tokens the draft model should propose.
    pub(crate) n_wanted: usize,
    pub(crate) tokens: Vec<TokenId>,
}

/// A smaller model with the same vocabulary. It keeps as many sequences as it has pages for full contexts; beyond that, it
/// evicts the least recently used ones and recomputes them later.
#[derive(Debug)]
pub(crate) struct DraftModel {
    executor: Box<dyn Executor>,
    context_len: usize,
    sequences: Vec<DraftSequence>,
    by_id: HashMap<SequenceId, usize>,
    n_calls: u64,
    /// Mean time per draft, in µs.
    token_us: u64,
    rows: Rows,
    output: StepOutput,
}

/// The memory of one sequence and its contents.
#[derive(Debug)]
struct DraftSequence {
    /// The sequence currently using it.
    id: Option<SequenceId>,
    pages: Vec<PageId>,
    /// Slot of the recurrent state after the computed tokens, if the model has one.
    state: Option<StateSlot>,
    /// Known tokens, then drafts.
    token_ids: Vec<TokenId>,
    n_computed: usize,
    last_call: u64,
}

/// The rows of a step. Lists are reused between steps.
#[derive(Debug, Default)]
struct Rows {
    tokens: Vec<TokenId>,
    spans: Vec<Span>,
    page_table: Vec<PageId>,
    outputs: Vec<OutputRow>,
    /// For each output, the index of its drafts.
    owners: Vec<usize>,
    /// Which frequencies turn the sequences.
    rope_range: RopeRange,
}

impl DraftModel {
    /// Uses a loaded model as the draft model of `target`.
    ///
    /// # Errors
    /// If their vocabularies differ.
    pub(crate) fn new(
        draft: &LoadedModel,
        executor: Box<dyn Executor>,
        target: &LoadedModel,
    ) -> Result<Self, Error> {
        same_vocabulary(draft, target)?;
        let context_len = draft.context_len;
        let limits = *executor.limits();
        let n_pages = context_len.div_ceil(PAGE_LEN);
        let is_stateful = executor.state_bytes() > 0;
        let n_states = if is_stateful { executor.n_state_slots() } else { usize::MAX };
        let n_sequences =
            (limits.n_pages / n_pages.max(1)).min(limits.max_sequences).min(limits.max_outputs).min(n_states);
        let sequence = |index: usize| DraftSequence {
            id: None,
            pages: (index * n_pages..(index + 1) * n_pages).map(|page| PageId(page as u32)).collect(),
            state: is_stateful.then_some(StateSlot(index as u32)),
            token_ids: Vec::with_capacity(context_len),
            n_computed: 0,
            last_call: 0,
        };
        Ok(Self {
            executor,
            context_len,
            sequences: (0..n_sequences).map(sequence).collect(),
            by_id: HashMap::with_capacity(n_sequences),
            n_calls: 0,
            token_us: 0,
            // How long a sequence may become is not known here.
            rows: Rows { rope_range: draft.rope_range(context_len), ..Rows::default() },
            output: StepOutput::new(),
        })
    }

    /// Mean time per draft, in µs; 0 before the first.
    pub(crate) fn token_us(&self) -> u64 {
        self.token_us
    }

    /// Forgets a sequence that ended.
    pub(crate) fn release(&mut self, id: SequenceId) {
        if let Some(index) = self.by_id.remove(&id) {
            self.sequences[index].id = None;
        }
    }

    /// Drafts for all sequences that want some. `token_ids` returns a sequence's known tokens; `sample` samples the token
    /// after given tokens from this model's logits `[vocab_size]`, or none. A sequence with more new tokens than fit into
    /// one step gets drafts in a later call.
    ///
    /// # Errors
    /// If a step fails.
    pub(crate) fn draft<'l>(
        &mut self,
        drafts: &mut [Drafts],
        token_ids: impl Fn(SequenceId) -> &'l [TokenId],
        mut sample: impl FnMut(SequenceId, &[TokenId], &mut [f32]) -> Option<TokenId>,
    ) -> Result<(), ExecError> {
        self.n_calls += 1;
        let mut n_served = 0;
        for drafts in drafts.iter_mut().filter(|drafts| drafts.n_wanted > 0) {
            n_served += 1;
            if n_served > self.sequences.len() {
                // Its memory would have to come from another sequence of this step.
                drafts.n_wanted = 0;
                continue;
            }
            let token_ids = token_ids(drafts.id);
            let index = self.claim(drafts.id);
            self.sequences[index].follow(token_ids);
            drafts.n_wanted = drafts.n_wanted.min(self.context_len.saturating_sub(token_ids.len()));
        }
        let mut is_first = true;
        while self.gather_rows(drafts, is_first) {
            is_first = false;
            let began = Instant::now();
            let n_rows = self.rows.tokens.len();
            self.step(drafts, &mut sample)?;
            // Only measure steps with one row per draft: catching up with a prompt says nothing about the cost of a draft.
            if n_rows == self.rows.owners.len() {
                let token_us = began.elapsed().as_micros() as u64 / n_rows as u64;
                self.token_us =
                    if self.token_us == 0 { token_us } else { (7 * self.token_us + token_us) / 8 };
            }
        }
        Ok(())
    }

    /// Finds memory for a sequence: its own, a free one, or that of the least recently used sequence.
    fn claim(&mut self, id: SequenceId) -> usize {
        let n_calls = self.n_calls;
        let index = self.by_id.get(&id).copied().or_else(|| {
            let rank = |sequence: &DraftSequence| (sequence.id.is_some(), sequence.last_call);
            (0..self.sequences.len()).min_by_key(|index| rank(&self.sequences[*index]))
        });
        let index = index.unwrap_or_default();
        let sequence = &mut self.sequences[index];
        sequence.last_call = n_calls;
        if sequence.id != Some(id) {
            if let Some(old) = sequence.id.replace(id) {
                self.by_id.remove(&old);
            }
            self.by_id.insert(id, index);
        }
        index
    }

    /// Gathers the missing rows of all sequences that want more drafts; `false` if there are none. Only the first step
    /// computes whole chunks; a sequence that has not caught up after it gets no drafts.
    fn gather_rows(&mut self, drafts: &mut [Drafts], is_first: bool) -> bool {
        let rows = &mut self.rows;
        rows.clear();
        let mut room = self.executor.limits().max_tokens;
        for (owner, drafts) in drafts.iter_mut().enumerate() {
            if drafts.tokens.len() >= drafts.n_wanted || room == 0 {
                continue;
            }
            let sequence = &mut self.sequences[self.by_id[&drafts.id]];
            let n_missing = sequence.token_ids.len() - sequence.n_computed;
            if n_missing > 1 && !is_first {
                continue;
            }
            let n_rows = n_missing.min(room);
            room -= n_rows;
            rows.push(sequence, n_rows);
            sequence.n_computed += n_rows;
            if n_rows == n_missing {
                rows.outputs.push(OutputRow::logits(rows.tokens.len() as u32 - 1));
                rows.owners.push(owner);
            } else {
                drafts.n_wanted = 0;
            }
        }
        !rows.spans.is_empty()
    }

    /// Computes the gathered rows and samples a draft from each output.
    fn step(
        &mut self,
        drafts: &mut [Drafts],
        sample: &mut impl FnMut(SequenceId, &[TokenId], &mut [f32]) -> Option<TokenId>,
    ) -> Result<(), ExecError> {
        let output = &mut self.output;
        if let Err(error) = self.executor.run(&self.rows.batch(), output) {
            // A failed step leaves pages and states undefined.
            self.sequences.iter_mut().for_each(|sequence| sequence.n_computed = 0);
            return Err(error);
        }
        for (index, owner) in self.rows.owners.iter().enumerate() {
            let drafts = &mut drafts[*owner];
            let sequence = &mut self.sequences[self.by_id[&drafts.id]];
            match sample(drafts.id, &sequence.token_ids, output.logits_mut(index)) {
                Some(token) => {
                    sequence.token_ids.push(token);
                    drafts.tokens.push(token);
                }
                None => drafts.n_wanted = 0,
            }
        }
        Ok(())
    }
}

impl DraftSequence {
    /// Sets its tokens. The common prefix with the old ones is not recomputed, except for the last token, whose logits are
    /// needed.
    fn follow(&mut self, token_ids: &[TokenId]) {
        let n_common = self.token_ids.iter().zip(token_ids).take_while(|(a, b)| a == b).count();
        let n_kept = self.n_computed.min(n_common).min(token_ids.len().saturating_sub(1));
        // A recurrent state exists only after the last computed token.
        let is_lost = self.state.is_some() && n_kept < self.n_computed;
        self.n_computed = if is_lost { 0 } else { n_kept };
        self.token_ids.truncate(n_common);
        self.token_ids.extend_from_slice(&token_ids[n_common..]);
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

    fn push(&mut self, sequence: &DraftSequence, n_rows: usize) {
        let start = sequence.n_computed;
        let end = start + n_rows;
        let n_pages = end.div_ceil(PAGE_LEN);
        self.spans.push(Span {
            first_row: self.tokens.len() as u32,
            n_rows: n_rows as u32,
            start: start as u32,
            first_page: self.page_table.len() as u32,
            n_pages: n_pages as u32,
            state: sequence.state.map(|slot| state_in_place(slot, start)),
            rope_range: self.rope_range,
        });
        self.tokens.extend_from_slice(&sequence.token_ids[start..end]);
        self.page_table.extend_from_slice(&sequence.pages[..n_pages]);
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

/// Checks that two models have the same vocabulary. Models of one family may pad their logits differently, so if both have
/// tokenizers, those are compared.
fn same_vocabulary(draft: &LoadedModel, target: &LoadedModel) -> Result<(), LoadError> {
    let (Some(a), Some(b)) = (draft.tokenizer(), target.tokenizer()) else {
        return match draft.vocab_size == target.vocab_size {
            true => Ok(()),
            false => Err(LoadError::DraftVocabulary {
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
    Err(LoadError::DraftVocabulary { draft: a.vocab_size(), target: b.vocab_size(), token })
}
