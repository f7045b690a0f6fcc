//! One replica: the real scheduler and the real cache, without a model.

use std::sync::Arc;

use sm_batching::{
    BatchingConfig, BatchingError, Request, RequestId, Results, Scheduler, StepLimits, TokenId, Verdict,
};
use sm_cache::{CacheError, KvCache, KvCacheConfig, KvShape, Namespace, PageKey, PagePool};

use crate::mix;

/// Positions per page, as in the engine.
pub const PAGE_LEN: usize = 16;

/// The settings of a replica.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Sequences that run at a time.
    pub parallel: usize,
    /// Rows of a step at most.
    pub max_step_tokens: usize,
    /// Pages of the cache.
    pub n_pages: usize,
}

/// Why a replica cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The cache's settings are invalid.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The scheduler's settings are invalid, or a request can never run.
    #[error(transparent)]
    Batching(#[from] BatchingError),
}

/// What a step has done for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has a further token.
    Token(usize),
    /// It is done.
    Ended(usize),
}

/// A replica.
#[derive(Debug)]
pub struct Replica {
    scheduler: Scheduler,
    cache: KvCache,
    results: Results,
    namespace: Arc<Namespace>,
}

/// What a step computes, which determines its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepWork {
    /// Rows.
    pub n_rows: usize,
    /// Positions that they attend to.
    pub context: u64,
}

impl Replica {
    /// An idle replica.
    ///
    /// # Errors
    /// If a setting is invalid.
    pub fn new(settings: &Settings) -> Result<Self, ReplicaError> {
        // The bytes of a page do not matter: they are all the same, and the limit is a number of pages.
        let shape = KvShape { n_layers: 1, n_kv_heads: 1, head_bytes: 1 };
        let pool = PagePool::new(settings.n_pages, PAGE_LEN, shape);
        let config = KvCacheConfig::new().max_bytes_total(u64::MAX);
        let limits = StepLimits::new(settings.max_step_tokens);
        let batching = BatchingConfig::new()
            .max_batch_size(settings.parallel)
            .max_step_tokens(settings.max_step_tokens)
            .max_queued_requests(usize::MAX);
        Ok(Self {
            scheduler: Scheduler::new(batching, limits)?,
            cache: KvCache::new(config, pool)?,
            results: Results::new(),
            namespace: Arc::new(Namespace { model: "simulated".into(), ..Namespace::default() }),
        })
    }

    /// The names of a prompt's pages.
    pub fn page_keys(&self, prompt: &[TokenId]) -> Vec<PageKey> {
        self.cache.page_keys(&self.namespace, prompt).collect()
    }

    /// Queues a request.
    ///
    /// # Errors
    /// If it can never run.
    pub fn submit(
        &mut self,
        id: usize,
        prompt: Vec<TokenId>,
        n_output: usize,
        now_us: u64,
    ) -> Result<(), ReplicaError> {
        let request = Request::new(RequestId(id as u64), prompt, Arc::clone(&self.namespace), n_output);
        Ok(self.scheduler.submit(request, now_us, &self.cache).map_err(|(error, _)| error)?)
    }

    /// Begins the next step, if there is anything to do.
    pub fn begin_step(&mut self, now_us: u64) -> Option<StepWork> {
        let step = self.scheduler.schedule(now_us, &mut self.cache)?;
        Some(StepWork { n_rows: step.n_rows(), context: step.context() })
    }

    /// Ends the step, and tells what it has done.
    pub fn end_step(&mut self, step_us: u64, mut told: impl FnMut(Progress)) {
        self.results.clear();
        for part in self.scheduler.step().parts() {
            for _ in 0..part.n_results() {
                let position = part.start + part.n_rows;
                let token = TokenId(mix(mix(part.id.request.0) ^ position as u64) as u32);
                self.results.push(&[token], Verdict::Continue);
                told(Progress::Token(part.id.request.0 as usize));
            }
        }
        self.scheduler.commit(&self.results, step_us, &mut self.cache);
        self.scheduler.drain_ended().for_each(|ended| told(Progress::Ended(ended.id.request.0 as usize)));
    }

    /// Positions found in the cache, and positions computed, of all requests.
    pub fn positions(&self) -> (u64, u64) {
        let stats = self.cache.stats();
        (stats.reused_tokens, stats.computed_tokens)
    }

    /// Steps, and sequences in them.
    pub fn steps(&self) -> (u64, u64) {
        let stats = self.scheduler.stats();
        (stats.steps, stats.spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_computed_once() {
        let settings = Settings { parallel: 4, max_step_tokens: 64, n_pages: 64 };
        let mut replica = Replica::new(&settings).unwrap();
        let prompt: Vec<TokenId> = (0..40).map(TokenId).collect();
        let mut told = Vec::new();
        for id in 0..2 {
            replica.submit(id, prompt.clone(), 2, 0).unwrap();
            assert_eq!(
                replica.begin_step(0),
                Some(StepWork { n_rows: 40 - 32 * id, context: if id == 0 { 820 } else { 292 } })
            );
            replica.end_step(1000, |progress| told.push(progress));
            assert_eq!(replica.begin_step(0).map(|work| work.n_rows), Some(1));
            replica.end_step(1000, |progress| told.push(progress));
            assert_eq!(replica.begin_step(0), None);
        }
        assert_eq!(
            told,
            [0, 1].map(|id| [Progress::Token(id), Progress::Token(id), Progress::Ended(id)]).concat()
        );
        assert_eq!(replica.positions().0, 32);
        assert_eq!(replica.steps(), (4, 4));
    }
}
