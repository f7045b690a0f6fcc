//! Continuous batching for a custom model: the scheduler decides what a step computes, the cache on which pages.
//!
//! The model here counts: the token after `n` is `n + 1`. A real one would read [`Step::batch`], which also has the page
//! table, and sample from its logits.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::error::Error;
use std::sync::Arc;

use sm_batching::{
    BatchingConfig, Request, RequestId, Results, Scheduler, Step, StepLimits, TokenId, Verdict,
};
use sm_cache::{KvCache, KvCacheConfig, KvShape, Namespace, PagePool};

/// Assumed duration of a step.
const STEP_US: u64 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let shape = KvShape { n_layers: 2, n_kv_heads: 2, head_bytes: 32 };
    let mut cache = KvCache::new(KvCacheConfig::default(), PagePool::new(64, 16, shape))?;
    let limits = StepLimits::new(32).max_outputs(8).max_sequences(8).row_group(4);
    // All requests are here already, so the first need not wait for others to share its step.
    let config = BatchingConfig::new().max_batch_wait_us(0);
    let mut scheduler = Scheduler::new(config, limits)?;

    // Three prompts with a common prefix, and a short one.
    let namespace = Arc::new(Namespace { model: "counter".into(), ..Namespace::default() });
    let prompts = [(0..40, 3), (0..42, 5), (0..44, 4), (100..102, 6)];
    for (id, (prompt, n_new)) in (0..).zip(prompts) {
        let prompt = prompt.map(TokenId).collect();
        let request = Request::new(RequestId(id), prompt, Arc::clone(&namespace), n_new);
        scheduler.submit(request, 0, &cache).map_err(|(error, _)| error)?;
    }

    let mut results = Results::new();
    let mut now_us = 0;
    while let Some(step) = scheduler.schedule(now_us, &mut cache) {
        println!("{:2} rows for {} sequences", step.n_rows(), step.parts().len());
        count(step, &mut results);
        now_us += STEP_US;
        scheduler.commit(&results, STEP_US, &mut cache);
        for ended in scheduler.drain_ended() {
            let new: Vec<u32> = ended.token_ids[ended.n_prompt..].iter().map(|token| token.0).collect();
            println!("request {}: {new:?}", ended.id.request.0);
        }
    }
    println!("{} prompt tokens were reused", cache.stats().reused_tokens);
    Ok(())
}

/// The model: one token per sequence whose prompt is computed.
fn count(step: &Step, results: &mut Results) {
    results.clear();
    let batch = step.batch();
    for part in step.parts() {
        for output in part.sampled_outputs() {
            let row = batch.outputs[output].row as usize;
            results.push(&[TokenId(batch.tokens[row].0 + 1)], Verdict::Continue);
        }
    }
}
