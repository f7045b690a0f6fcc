//! Proposes guesses for the sequences of the next step.

use std::collections::HashMap;

use sm_batching::{DraftLength, DraftLimits, RequestId, Scheduler, SequenceId, StepLoad};
use sm_cache::KvCache;
use sm_kernels::plan::ExecError;

use super::active_request::{ActiveRequest, Scratch};
use crate::speculate::{DraftModel, Guess, SpeculationConfig, SpeculationStats, lookup};

/// What guesses were worth to one choice, and how many it should have.
#[derive(Debug, Default)]
pub(crate) struct ChoiceDrafts {
    lookup: DraftLength,
    model: DraftLength,
    source: Source,
    pub(crate) n_drafted: usize,
    pub(crate) n_accepted: usize,
}

/// Where the last guesses of a choice came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Source {
    #[default]
    Lookup,
    Model,
}

impl ChoiceDrafts {
    /// Of `n_drafts`, the first `n_accepted` were right.
    pub(crate) fn observe(&mut self, n_drafts: usize, n_accepted: usize) {
        self.n_drafted += n_drafts;
        self.n_accepted += n_accepted;
        let length = match self.source {
            Source::Lookup => &mut self.lookup,
            Source::Model => &mut self.model,
        };
        length.observe(n_drafts, n_accepted);
    }
}

/// Finds guesses.
#[derive(Debug)]
pub(crate) struct Speculator {
    config: SpeculationConfig,
    model: Option<DraftModel>,
    /// Of the target: what a drafter knows beyond it is no guess.
    vocab_size: usize,
    /// The first `n_guesses` are of the present step.
    guesses: Vec<Guess>,
    n_guesses: usize,
    pub(crate) stats: SpeculationStats,
}

impl Speculator {
    pub(crate) fn new(config: SpeculationConfig, model: Option<DraftModel>, vocab_size: usize) -> Self {
        let stats = SpeculationStats::default();
        Self { config, model, vocab_size, guesses: Vec::new(), n_guesses: 0, stats }
    }

    /// Proposes guesses for all that decode and want some.
    pub(crate) fn propose(
        &mut self,
        scheduler: &mut Scheduler,
        cache: &KvCache,
        live: &mut HashMap<RequestId, ActiveRequest>,
        scratch: &mut Scratch,
    ) {
        if !self.config.lookup && self.model.is_none() {
            return;
        }
        self.choose(scheduler, cache, live);
        let Self { model, guesses, n_guesses, vocab_size, stats, .. } = self;
        let guesses = &mut guesses[..*n_guesses];
        let mut is_lost = false;
        if let Some(model) = model
            && guesses.iter().any(|guess| guess.max > 0)
        {
            let token_ids = |id| scheduler.token_ids(id).unwrap_or_default();
            let guessed = model.guess(guesses, token_ids, |id, tokens, logits| {
                let n_known = logits.len().min(*vocab_size);
                live.get_mut(&id.request)?.guess(
                    (id.choice as usize, tokens),
                    &mut logits[..n_known],
                    scratch,
                )
            });
            // Drafts are worth no failure: those that exist may still be right.
            stats.failed += u64::from(guessed.is_err());
            is_lost = matches!(guessed, Err(ExecError::DeviceLost { .. }));
        }
        for guess in guesses.iter().filter(|guess| !guess.drafts.is_empty()) {
            scheduler.propose(guess.id, &guess.drafts);
        }
        if is_lost {
            self.model = None;
        }
    }

    /// Forgets a choice that ended.
    pub(crate) fn release(&mut self, id: SequenceId) {
        if let Some(model) = &mut self.model {
            model.release(id);
        }
    }

    /// Sets the guesses: those found in the text, and how many the draft model is asked for.
    fn choose(
        &mut self,
        scheduler: &Scheduler,
        cache: &KvCache,
        live: &mut HashMap<RequestId, ActiveRequest>,
    ) {
        self.n_guesses = 0;
        let mut step = StepLoad::default();
        for decoding in scheduler.decoding(cache) {
            step.n_rows += 1;
            step.context += decoding.token_ids.len() as u64;
        }
        for decoding in scheduler.decoding(cache) {
            let (id, context_len) = (decoding.id, decoding.token_ids.len());
            let max_drafts = decoding.max_drafts.min(self.config.max_draft_len);
            let drafts = live.get_mut(&id.request).and_then(|live| live.drafts(id.choice as usize));
            let Some(choice) = drafts.filter(|_| max_drafts > 0) else {
                continue;
            };
            let guess = next_guess(&mut self.guesses, &mut self.n_guesses, id);
            choice.source = Source::Lookup;
            if self.config.lookup {
                lookup(decoding.token_ids, max_drafts, &mut guess.drafts);
            }
            if !guess.drafts.is_empty() {
                let limits = DraftLimits { max_drafts, context_len, draft_token_us: 0 };
                let n_drafts = choice.lookup.choose(scheduler.cost(), step, limits);
                guess.drafts.truncate(n_drafts);
            }
            if let Some(model) = &self.model
                && guess.drafts.is_empty()
            {
                choice.source = Source::Model;
                let limits = DraftLimits { max_drafts, context_len, draft_token_us: model.token_us() };
                guess.max = choice.model.choose(scheduler.cost(), step, limits);
            }
        }
    }
}

/// An empty guess, whose memory is used again from step to step.
fn next_guess<'g>(guesses: &'g mut Vec<Guess>, n_guesses: &mut usize, id: SequenceId) -> &'g mut Guess {
    if *n_guesses == guesses.len() {
        guesses.push(Guess { id, max: 0, drafts: Vec::new() });
    }
    let guess = &mut guesses[*n_guesses];
    *n_guesses += 1;
    guess.id = id;
    guess.max = 0;
    guess.drafts.clear();
    guess
}
