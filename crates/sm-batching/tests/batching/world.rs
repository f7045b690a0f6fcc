//! A scheduler, a cache, a fake executor, and the tokens that each request must get.

use std::collections::HashMap;
use std::sync::Arc;

use sm_batching::{
    BatchingConfig, BatchingError, EndReason, Ended, PromptOutputs, Request, RequestId, Results, Scheduler,
    SequenceId, StepLimits, StepPart, Verdict,
};
use sm_cache::{KvCache, KvCacheConfig, KvShape, Namespace, PagePool, TurnEnd};
use sm_tensor::TokenId;

use crate::memory::{EOS, Memory, Model, PAGE_LEN, sample};

/// What is known of a request.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    model: Model,
    prompt: Vec<TokenId>,
    max_new_tokens: usize,
    pub(crate) seed: u64,
    /// Per prompt position whose logits are wanted: whether they were delivered.
    scored: Vec<bool>,
    pub(crate) n_open: u32,
}

impl Known {
    /// The tokens of a choice that is served alone.
    pub(crate) fn lone_run(&self, choice: u32) -> Vec<TokenId> {
        let mut token_ids = self.prompt.clone();
        while token_ids.len() < self.prompt.len() + self.max_new_tokens {
            let token =
                sample(*self.model.outputs(&token_ids).last().unwrap(), self.seed + u64::from(choice));
            if token == EOS {
                break;
            }
            token_ids.push(token);
        }
        token_ids
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scheduler: Scheduler,
    pub(crate) cache: KvCache,
    memory: Memory,
    pub(crate) known: HashMap<RequestId, Known>,
    n_requests: u64,
    results: Results,
    pub(crate) now_us: u64,
    /// Time of a step.
    pub(crate) step_us: u64,
    pub(crate) n_complete: u64,
    /// The parts of the last step.
    pub(crate) parts: Vec<StepPart>,
}

pub(crate) fn limits() -> StepLimits {
    StepLimits::new(4096).max_outputs(4096).max_sequences(64).row_group(4)
}

/// Tokens by number, none of them EOS.
pub(crate) fn tokens(ids: impl IntoIterator<Item = u32>) -> Vec<TokenId> {
    ids.into_iter().map(|id| TokenId(id + 1)).collect()
}

impl World {
    pub(crate) fn new(config: BatchingConfig, limits: StepLimits, n_pages: usize) -> Self {
        Self::hybrid(config, limits, n_pages, 0)
    }

    /// A world whose model also has a recurrent state, if there are slots for it.
    pub(crate) fn hybrid(
        config: BatchingConfig,
        limits: StepLimits,
        n_pages: usize,
        n_state_slots: usize,
    ) -> Self {
        let shape = KvShape { n_layers: 1, n_kv_heads: 1, head_bytes: 4 };
        let pool = PagePool::new(n_pages, PAGE_LEN, shape).with_states(n_state_slots, 8);
        Self {
            scheduler: Scheduler::new(config, limits).unwrap(),
            cache: KvCache::new(KvCacheConfig::default(), pool).unwrap(),
            memory: Memory::new(n_pages, n_state_slots),
            known: HashMap::new(),
            n_requests: 0,
            results: Results::new(),
            now_us: 0,
            step_us: 100,
            n_complete: 0,
            parts: Vec::new(),
        }
    }

    pub(crate) fn request(prompt: Vec<TokenId>, max_new_tokens: usize) -> Request {
        Request::new(RequestId(0), prompt, Arc::new(Namespace::default()), max_new_tokens)
    }

    /// Submits a request under the next id.
    pub(crate) fn submit(&mut self, mut request: Request, seed: u64) -> Result<RequestId, BatchingError> {
        let id = RequestId(self.n_requests);
        request.id = id;
        let n_scored = match request.prompt_outputs {
            PromptOutputs::All => request.prompt.len().saturating_sub(1),
            PromptOutputs::Hidden => request.prompt.len(),
            PromptOutputs::Last | PromptOutputs::LastHidden => 0,
        };
        let mut scored = vec![false; n_scored];
        if request.prompt_outputs == PromptOutputs::LastHidden {
            scored = vec![true; request.prompt.len()];
            scored[request.prompt.len() - 1] = false;
        }
        let known = Known {
            model: self.memory.model(),
            prompt: request.prompt.clone(),
            max_new_tokens: request.max_new_tokens,
            seed,
            scored,
            n_open: request.n_choices,
        };
        match self.scheduler.submit(request, self.now_us, &self.cache) {
            Ok(()) => {
                self.n_requests += 1;
                self.known.insert(id, known);
                Ok(id)
            }
            Err((error, request)) => {
                if let Some(turn) = request.turn {
                    self.cache.end_turn(turn, None, TurnEnd::Rollback);
                }
                Err(error)
            }
        }
    }

    /// Submits a plain request that must be accepted.
    pub(crate) fn add(&mut self, prompt: Vec<TokenId>, max_new_tokens: usize) -> RequestId {
        self.submit(Self::request(prompt, max_new_tokens), 1).unwrap()
    }

    /// Runs a step. Returns whether there was one.
    pub(crate) fn step(&mut self) -> bool {
        let is_step = self.scheduler.schedule(self.now_us, &mut self.cache).is_some();
        self.parts.clear();
        if is_step {
            self.compute();
        }
        self.settle();
        is_step
    }

    fn compute(&mut self) {
        let step = self.scheduler.step();
        self.memory.copy_pages(step.copies());
        let outputs = self.memory.run(&step.batch());
        self.parts.extend_from_slice(step.parts());
        self.results.clear();
        for part in &self.parts {
            let known = self.known.get_mut(&part.id.request).unwrap();
            for (index, output) in part.scored_outputs().enumerate() {
                let position = part.scored_start + index;
                assert_eq!(
                    outputs[output],
                    known.model.outputs(&known.prompt)[position],
                    "logits of position {position}"
                );
                known.scored[position] = true;
            }
            for choice in 0..part.n_results() as u32 {
                let rows = &outputs[part.sampled_outputs()];
                let drafts =
                    &step.batch().tokens[part_rows(step.parts(), part)][part.n_rows + 1 - part.n_sampled..];
                let (tokens, verdict) = verify(rows, drafts, known.seed + u64::from(part.id.choice + choice));
                self.results.push(&tokens, verdict);
            }
        }
        self.scheduler.commit(&self.results, self.step_us, &mut self.cache);
    }

    /// Runs a step that fails half way, and then each of its sequences alone.
    pub(crate) fn fail_step(&mut self) {
        if let Some(step) = self.scheduler.schedule(self.now_us, &mut self.cache) {
            self.memory.copy_pages(step.copies());
            self.memory.fail(&step.batch());
            let culprits: Vec<SequenceId> = step.parts().iter().map(|part| part.id).collect();
            self.scheduler.abandon(&mut self.cache);
            self.settle();
            for id in culprits {
                self.parts.clear();
                if self.scheduler.schedule_alone(id, &mut self.cache).is_some() {
                    self.compute();
                    assert!(self.parts.iter().all(|part| part.id == id), "it runs alone");
                }
                self.settle();
            }
        }
    }

    pub(crate) fn cancel(&mut self, id: RequestId) -> bool {
        let was_there = self.scheduler.cancel(id, &mut self.cache);
        self.settle();
        was_there
    }

    /// Checks all invariants, and compares what ended with lone runs.
    fn settle(&mut self) {
        self.cache.check().unwrap();
        self.cache.check_leases(self.scheduler.leases()).unwrap();
        let ended: Vec<Ended> = self.scheduler.drain_ended().collect();
        for ended in ended {
            self.end(ended);
        }
    }

    fn end(&mut self, ended: Ended) {
        let known = self.known.get_mut(&ended.id.request).unwrap();
        let alone = known.lone_run(ended.id.choice);
        match ended.reason {
            EndReason::Stopped | EndReason::Length => {
                assert_eq!(ended.token_ids, alone, "{:?} differs from its lone run", ended.id);
                assert!(known.scored.iter().all(|scored| *scored), "all logits of the prompt are delivered");
                self.n_complete += 1;
            }
            EndReason::Cancelled | EndReason::TimedOut => {
                assert!(alone.starts_with(&ended.token_ids), "{:?} differs from its lone run", ended.id);
            }
            EndReason::Cache(error) => panic!("{:?}: {error}", ended.id),
        }
        if let Some((turn, lease)) = ended.turn {
            // As if the end of the text was trimmed, so that the session goes back to a position before the end.
            let n_trimmed = match known.model {
                Model::Attention => 0,
                Model::Hybrid => known.seed as usize % 4,
            };
            let n_kept = ended.token_ids.len().saturating_sub(n_trimmed).max(ended.n_prompt);
            let end = match ended.reason {
                EndReason::Stopped | EndReason::Length => TurnEnd::Commit(&ended.token_ids[..n_kept]),
                _ => TurnEnd::Rollback,
            };
            self.cache.end_turn(turn, lease, end);
        }
        known.n_open -= ended.n_choices;
        if known.n_open == 0 {
            self.known.remove(&ended.id.request);
        }
    }

    /// Runs steps until every request has ended.
    pub(crate) fn finish(&mut self) {
        for _ in 0..100_000 {
            if self.known.is_empty() {
                assert_eq!(self.cache.stats().pinned_pages, 0);
                assert_eq!((self.scheduler.n_running(), self.scheduler.n_waiting()), (0, 0));
                assert_eq!(self.scheduler.n_waiting_tokens(), 0);
                return;
            }
            self.now_us += 1000;
            self.step();
        }
        panic!("{} requests starve", self.known.len());
    }
}

/// The rows of a part in its step.
fn part_rows(parts: &[StepPart], part: &StepPart) -> std::ops::Range<usize> {
    let first: usize = parts.iter().take_while(|other| other.id != part.id).map(|other| other.n_rows).sum();
    first..first + part.n_rows
}

/// Samples until a token differs from its draft, or is EOS.
fn verify(rows: &[u64], drafts: &[TokenId], seed: u64) -> (Vec<TokenId>, Verdict) {
    let mut tokens = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let token = sample(*row, seed);
        if token == EOS {
            return (tokens, Verdict::Stop);
        }
        tokens.push(token);
        if drafts.get(index) != Some(&token) {
            break;
        }
    }
    (tokens, Verdict::Continue)
}
