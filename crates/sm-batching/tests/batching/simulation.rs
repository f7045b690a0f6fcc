//! Random requests, arrivals, cancellations, drafts, failures and settings: every request gets the tokens of its lone run.

use sm_batching::{
    BatchMemory, BatchingConfig, BatchingStats, BatchingStrategy, Priority, PromptOutputs, QueueOrder,
    SequenceId, StepLimits,
};
use sm_cache::{Namespace, SessionId, SessionMode, TurnRequest};
use sm_tensor::TokenId;

use crate::memory::mix;
use crate::world::{World, tokens};

/// Number of steps, unless `SM_SIMULATION_STEPS` says otherwise.
const N_STEPS: u64 = 100_000;
const N_PAGES: usize = 36;

/// Counter-based random numbers.
#[derive(Debug)]
struct Random {
    state: u64,
}

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.state += 1;
        mix(self.state) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

fn config(random: &mut Random) -> BatchingConfig {
    let strategies = [
        BatchingStrategy::Continuous,
        BatchingStrategy::Naive,
        BatchingStrategy::Bucketed,
        BatchingStrategy::MemoryAware,
    ];
    let strategy = if random.one_in(3) { random.pick(&strategies) } else { BatchingStrategy::Continuous };
    let config = BatchingConfig::new()
        .enabled(!random.one_in(10))
        .strategy(strategy)
        .prefill_only(random.one_in(5))
        .max_batch_size(4 + random.below(5) as usize)
        .adaptive(random.one_in(3))
        .max_batch_wait_us(random.pick(&[0, 0, 3000]))
        .max_queued_requests(20)
        .max_queued_tokens(random.pick(&[0, 300]))
        .max_step_tokens(random.pick(&[1, 5, 17, 64, 512]))
        .max_chunk_tokens(random.pick(&[0, 0, 3, 16]))
        .bucket_size(16)
        .order(random.pick(&[QueueOrder::Priority, QueueOrder::RoundRobin, QueueOrder::Fifo]))
        .priority_boost_after_us(20_000);
    let config = match random.pick(&[0, 120, 1000]) {
        0 => config,
        max_total_tokens => config.max_total_tokens(max_total_tokens),
    };
    match random.pick(&[0, 50, 5000]) {
        0 => config,
        target_itl_us => config.target_itl_us(target_itl_us),
    }
}

/// A prompt that begins like others.
fn prompt(random: &mut Random) -> Vec<TokenId> {
    let n_common = random.pick(&[0, 0, 10, 36, 50]);
    let kind = random.below(3) as u32;
    let n_rest = 1 + random.below(20);
    let rest: Vec<u32> = (0..n_rest).map(|_| random.below(3) as u32).collect();
    tokens((0..n_common).map(|position| position % 7 + kind).chain(rest))
}

fn submit(world: &mut World, random: &mut Random) {
    let prompt = prompt(random);
    let mut request = World::request(prompt, random.below(60) as usize);
    request.priority = random.pick(&[Priority::Low, Priority::Normal, Priority::High, Priority::Critical]);
    request.client = random.below(3);
    request.n_choices = random.pick(&[1, 1, 1, 2, 4]);
    request.deadline_us = random.one_in(8).then(|| world.now_us + random.below(60_000));
    if random.one_in(5) {
        request.prompt_outputs = PromptOutputs::All;
    } else if random.one_in(8) {
        request.prompt_outputs = random.pick(&[PromptOutputs::Hidden, PromptOutputs::LastHidden]);
        (request.max_new_tokens, request.n_choices) = (0, 1);
    }
    if random.one_in(4) {
        let session = SessionId::new(random.pick(&["a", "b", "c"])).unwrap();
        if random.one_in(3) {
            // Fails if the session is busy or unknown.
            let _ = world.cache.drop_session(&session);
        }
        let (mode, namespace) =
            (random.pick(&[SessionMode::Append, SessionMode::Prefix]), &Namespace::default());
        let turn = TurnRequest { session: &session, mode, namespace, tokens: &request.prompt };
        let Ok((turn, context)) = world.cache.begin_turn(&turn) else {
            return;
        };
        (request.turn, request.prompt) = (Some(turn), context);
    }
    // The request may be refused.
    let _ = world.submit(request, random.below(1000));
}

/// Proposes drafts: the tokens that will follow, half of the time with a wrong one among them.
fn propose(world: &mut World, random: &mut Random) {
    let mut ids: Vec<SequenceId> = world.parts.iter().map(|part| part.id).collect();
    ids.sort_unstable();
    for id in ids {
        if let (Some(known), Some(token_ids)) = (world.known.get(&id.request), world.scheduler.token_ids(id))
        {
            let n_drafts = random.below(5) as usize;
            let mut drafts: Vec<TokenId> =
                known.lone_run(id.choice).into_iter().skip(token_ids.len()).take(n_drafts).collect();
            if random.one_in(2) && !drafts.is_empty() {
                let index = random.below(drafts.len() as u64) as usize;
                drafts[index] = TokenId(random.below(12) as u32);
            }
            world.scheduler.propose(id, &drafts);
        }
    }
}

/// Runs `n_steps` steps of a model that has a recurrent state if there are slots for it.
fn simulate(seed: u64, n_steps: u64, n_state_slots: usize) -> World {
    let mut random = Random { state: seed << 32 };
    let limits = StepLimits::new(random.pick(&[16, 256]))
        .max_outputs(random.pick(&[8, 32]))
        .max_sequences(random.pick(&[8, 16]))
        .row_group(4)
        .memory(BatchMemory { fixed_bytes: 100, bytes_per_token: 2 });
    let mut world = World::hybrid(config(&mut random), limits, N_PAGES, n_state_slots);
    while world.scheduler.stats().steps < n_steps {
        world.now_us += random.below(1000);
        if random.one_in(2) {
            submit(&mut world, &mut random);
        }
        if random.one_in(60) {
            let mut ids: Vec<_> = world.known.keys().copied().collect();
            ids.sort_unstable();
            if !ids.is_empty() {
                let id = random.pick(&ids);
                assert!(world.cancel(id), "{id:?} waits or runs");
            }
        }
        if random.one_in(300) {
            let config = config(&mut random);
            let max_step_tokens = config.max_step_tokens.min(limits.max_tokens);
            world.scheduler.reconfigure(config.max_step_tokens(max_step_tokens)).unwrap();
        }
        if random.one_in(3) {
            propose(&mut world, &mut random);
        }
        if random.one_in(50) {
            world.fail_step();
        } else {
            world.step();
        }
        let n_spans = world.parts.len();
        assert!(n_spans <= limits.max_sequences, "{n_spans} spans");
    }
    world.finish();
    assert!(world.n_complete > n_steps / 40, "{} complete", world.n_complete);
    world
}

/// Number of steps of all simulations of a test together.
fn n_steps() -> u64 {
    let asked = std::env::var("SM_SIMULATION_STEPS").ok().and_then(|steps| steps.parse().ok());
    asked.unwrap_or(N_STEPS)
}

/// Checks that everything happened that the simulation is to cover.
fn check_coverage(all: &[BatchingStats]) {
    for (name, count) in [
        ("preempted", all.iter().map(|stats| stats.preempted).sum::<u64>()),
        ("recomputed_tokens", all.iter().map(|stats| stats.recomputed_tokens).sum()),
        ("prefix_waits", all.iter().map(|stats| stats.prefix_waits).sum()),
        ("accepted_drafts", all.iter().map(|stats| stats.accepted_drafts).sum()),
        ("cancelled", all.iter().map(|stats| stats.cancelled).sum()),
        ("timed_out", all.iter().map(|stats| stats.timed_out).sum()),
        ("abandoned_steps", all.iter().map(|stats| stats.abandoned_steps).sum()),
    ] {
        assert!(count > 0, "the simulation is too tame: {name} = {count}");
    }
}

#[test]
fn every_request_gets_the_tokens_of_its_lone_run() {
    let all: Vec<_> = (0..8).map(|seed| simulate(seed, n_steps() / 8, 0).scheduler.stats()).collect();
    check_coverage(&all);
}

#[test]
fn every_request_gets_the_tokens_of_its_lone_run_with_recurrent_states() {
    // One slot runs one sequence at a time; with few there are preemptions, with many there are snapshots to share.
    let worlds: Vec<World> = [1, 2, 4, 6, 8, 12, 24, 48]
        .into_iter()
        .zip(100..)
        .map(|(n_state_slots, seed)| simulate(seed, n_steps() / 8, n_state_slots))
        .collect();
    let all: Vec<_> = worlds.iter().map(|world| world.scheduler.stats()).collect();
    check_coverage(&all);
    let n_reused: u64 = worlds.iter().map(|world| world.cache.stats().reused_tokens).sum();
    assert!(n_reused > 0, "snapshots are never found");
}
