//! Proposes drafts for the sequences of the next step.

use std::collections::HashMap;

use sm_batching::{DecodingSequence, DraftLimits, RequestId, Scheduler, SequenceId, StepLoad};
use sm_cache::KvCache;

use super::active_request::{ActiveRequest, SamplingBuffers};
use super::choice_drafts::{ChoiceDrafts, DraftOrigin};
use crate::speculate::{DraftModel, Drafts, SpeculationConfig, SpeculationStats, lookup};

/// Finds drafts.
#[derive(Debug)]
pub(crate) struct Speculator {
    config: SpeculationConfig,
    model: Option<DraftModel>,
    /// Of the target model. A draft model may have more logits, for tokens unknown to the target.
    vocab_size: usize,
    drafts: DraftList,
    pub(crate) stats: SpeculationStats,
}

impl Speculator {
    pub(crate) fn new(config: SpeculationConfig, model: Option<DraftModel>, vocab_size: usize) -> Self {
        let stats = SpeculationStats::default();
        Self { config, model, vocab_size, drafts: DraftList::default(), stats }
    }

    /// Whether it proposes drafts to requests that do not refuse them.
    pub(crate) fn is_enabled(&self) -> bool {
        self.config.lookup || self.model.is_some()
    }

    /// Proposes drafts to the scheduler for all decoding sequences that want some.
    pub(crate) fn propose(
        &mut self,
        scheduler: &mut Scheduler,
        cache: &KvCache,
        active: &mut HashMap<RequestId, ActiveRequest>,
        buffers: &mut SamplingBuffers,
    ) {
        if !self.is_enabled() {
            return;
        }
        self.plan_drafts(scheduler, cache, active);
        self.ask_model(scheduler, active, buffers);
        for drafts in self.drafts.iter_mut().filter(|drafts| !drafts.tokens.is_empty()) {
            scheduler.propose(drafts.id, &drafts.tokens);
        }
    }

    /// Forgets a choice that ended.
    pub(crate) fn release(&mut self, id: SequenceId) {
        if let Some(model) = &mut self.model {
            model.release(id);
        }
    }

    /// Looks up drafts in the text; where there are none, sets how many to request from the draft model.
    fn plan_drafts(
        &mut self,
        scheduler: &Scheduler,
        cache: &KvCache,
        active: &mut HashMap<RequestId, ActiveRequest>,
    ) {
        self.drafts.clear();
        let mut load = StepLoad::default();
        for decoding in scheduler.decoding(cache) {
            load.n_rows += 1;
            load.context += decoding.token_ids.len() as u64;
        }
        for decoding in scheduler.decoding(cache) {
            let id = decoding.id;
            let request = active.get_mut(&id.request);
            if let Some(choice) = request.and_then(|request| request.drafts(id.choice as usize)) {
                self.plan_of(choice, &decoding, scheduler, load);
            }
        }
    }

    fn plan_of(
        &mut self,
        choice: &mut ChoiceDrafts,
        decoding: &DecodingSequence<'_>,
        scheduler: &Scheduler,
        load: StepLoad,
    ) {
        let max_drafts = decoding.max_drafts.min(self.config.max_draft_len);
        if max_drafts == 0 {
            return;
        }
        let drafts = self.drafts.push(decoding.id);
        let limits = |draft_token_us| DraftLimits {
            max_drafts,
            context_len: decoding.token_ids.len(),
            draft_token_us,
        };
        choice.origin = DraftOrigin::Lookup;
        if self.config.lookup {
            lookup(decoding.token_ids, max_drafts, &mut drafts.tokens);
        }
        if !drafts.tokens.is_empty() {
            let n_drafts = choice.lookup.choose(scheduler.cost(), load, limits(0));
            drafts.tokens.truncate(n_drafts);
        }
        if let Some(model) = &self.model
            && drafts.tokens.is_empty()
        {
            choice.origin = DraftOrigin::Model;
            drafts.n_wanted = choice.model.choose(scheduler.cost(), load, limits(model.token_us()));
        }
    }

    /// Runs the draft model for the sequences that want drafts from it.
    fn ask_model(
        &mut self,
        scheduler: &Scheduler,
        active: &mut HashMap<RequestId, ActiveRequest>,
        buffers: &mut SamplingBuffers,
    ) {
        let Some(model) = &mut self.model else { return };
        let drafts = self.drafts.as_mut_slice();
        if drafts.iter().all(|drafts| drafts.n_wanted == 0) {
            return;
        }
        let token_ids = |id| scheduler.token_ids(id).unwrap_or_default();
        let vocab_size = self.vocab_size;
        let drafted = model.draft(drafts, token_ids, |id, token_ids, logits| {
            let n_known = logits.len().min(vocab_size);
            let request = active.get_mut(&id.request)?;
            request.draft(id.choice as usize, token_ids, &mut logits[..n_known], buffers)
        });
        // A failure only costs drafts. Existing ones may still be right.
        self.stats.failed += u64::from(drafted.is_err());
        if drafted.is_err_and(|error| error.is_final()) {
            self.model = None;
        }
    }
}

/// The drafts of one step. Entries are reused from step to step.
#[derive(Debug, Default)]
struct DraftList {
    entries: Vec<Drafts>,
    len: usize,
}

impl DraftList {
    fn clear(&mut self) {
        self.len = 0;
    }

    fn push(&mut self, id: SequenceId) -> &mut Drafts {
        if self.len == self.entries.len() {
            self.entries.push(Drafts { id, n_wanted: 0, tokens: Vec::new() });
        }
        let drafts = &mut self.entries[self.len];
        self.len += 1;
        drafts.id = id;
        drafts.n_wanted = 0;
        drafts.tokens.clear();
        drafts
    }

    fn as_mut_slice(&mut self) -> &mut [Drafts] {
        &mut self.entries[..self.len]
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Drafts> {
        self.as_mut_slice().iter_mut()
    }
}
