//! Counters that prove the documented behaviour.

use std::collections::HashMap;

use sm_batching::{BatchMemory, BatchingConfig, BatchingStrategy, Priority, PromptOutputs, Wanted};

use crate::world::{World, limits, tokens};

fn config() -> BatchingConfig {
    BatchingConfig::new().max_batch_wait_us(0).max_step_tokens(2048)
}

/// A prompt whose continuation has `n_new` tokens, without an early EOS.
fn long_prompt(world: &World, which: u32, n_new: usize) -> Vec<sm_tensor::TokenId> {
    assert!(world.scheduler.n_waiting() < 100);
    (0..)
        .map(|salt| tokens([which, salt % 97, salt]))
        .find(|prompt| {
            let mut probe = World::new(config(), limits(), 4);
            let id = probe.add(prompt.clone(), n_new);
            probe.known[&id].lone_run(0).len() == prompt.len() + n_new
        })
        .unwrap()
}

fn rows(world: &World) -> Vec<usize> {
    world.parts.iter().map(|part| part.n_rows).collect()
}

#[test]
fn a_request_whose_id_is_taken_is_refused() {
    let mut world = World::new(config(), limits(), 100);
    let id = world.add(tokens([1, 2]), 8);
    let mut again = World::request(tokens([3]), 8);
    again.id = id;
    let (error, refused) = world.scheduler.submit(again, 0, &world.cache).unwrap_err();
    assert_eq!(error.to_string(), "request 0 is waiting or running already; give each request its own id");
    assert_eq!((refused.id, world.scheduler.n_waiting()), (id, 1));
    world.finish();
}

#[test]
fn a_request_says_what_it_wants_of_the_rows_to_sample_from() {
    let mut world = World::new(config(), limits(), 100);
    let mut request = World::request(tokens(0..3), 1);
    request.prompt_outputs = PromptOutputs::All;
    request.wanted = Wanted::ArgMax;
    world.submit(request, 1).unwrap();
    let step = world.scheduler.schedule(0, &mut world.cache).unwrap();
    let outputs: Vec<_> = step.batch().outputs.iter().map(|output| (output.row, output.wanted)).collect();
    assert_eq!(outputs, [(0, Wanted::Logits), (1, Wanted::Logits), (2, Wanted::ArgMax)]);
    world.scheduler.abandon(&mut world.cache);
    world.finish();
}

#[test]
fn hidden_states_are_wanted_of_all_positions_or_of_the_last_and_of_nothing_else() {
    for (prompt_outputs, rows) in [(PromptOutputs::Hidden, 0..3), (PromptOutputs::LastHidden, 2..3)] {
        let mut world = World::new(config(), limits(), 100);
        let mut request = World::request(tokens(0..3), 0);
        request.prompt_outputs = prompt_outputs;
        world.submit(request, 1).unwrap();
        let step = world.scheduler.schedule(0, &mut world.cache).unwrap();
        let outputs: Vec<_> = step.batch().outputs.iter().map(|output| (output.row, output.wanted)).collect();
        assert_eq!(outputs, rows.map(|row| (row, Wanted::Hidden)).collect::<Vec<_>>());
        assert_eq!((step.parts()[0].n_sampled, step.parts()[0].n_results()), (0, 0));
        world.scheduler.abandon(&mut world.cache);
        world.finish();
        let mut request = World::request(tokens(0..3), 1);
        request.prompt_outputs = prompt_outputs;
        let error = world.submit(request, 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "hidden states are wanted of the prompt, so nothing is generated; ask for 0 tokens of 1 choice"
        );
    }
}

#[test]
fn b_decoding_sequences_are_one_step_of_b_rows_and_new_ones_are_admitted_to_the_next() {
    let mut world = World::new(config(), limits(), 100);
    for which in 0..3 {
        let prompt = long_prompt(&world, which, 8);
        world.add(prompt, 8);
    }
    world.step();
    assert_eq!(rows(&world), [3, 3, 3]);
    world.step();
    assert_eq!(rows(&world), [1, 1, 1]);
    let prompt = long_prompt(&world, 9, 8);
    world.add(prompt, 8);
    world.step();
    assert_eq!(rows(&world), [1, 1, 1, 3], "it is admitted while others decode");
    world.step();
    assert_eq!(rows(&world), [1, 1, 1, 1]);
    assert_eq!(world.scheduler.stats().steps, 4);
    world.finish();
}

#[test]
fn slots_of_finished_and_cancelled_sequences_are_refilled() {
    let mut world = World::new(config().max_batch_size(2), limits(), 100);
    let lens = [2, 8, 8, 8];
    let ids: Vec<_> = lens
        .into_iter()
        .enumerate()
        .map(|(which, n_new)| {
            let prompt = long_prompt(&world, which as u32, n_new);
            world.add(prompt, n_new)
        })
        .collect();
    let running = |world: &World| -> Vec<_> { world.parts.iter().map(|part| part.id.request).collect() };
    world.step();
    world.step();
    assert_eq!(running(&world), ids[..2]);
    world.step();
    assert_eq!(running(&world), ids[1..3], "the first has its 2 tokens, the third has its slot");
    assert!(world.cancel(ids[1]));
    assert!(!world.cancel(ids[1]));
    world.step();
    assert_eq!(running(&world), ids[2..]);
    world.finish();
    assert_eq!(world.scheduler.stats().cancelled, 1);
    assert_eq!(world.scheduler.stats().finished, 3);
}

#[test]
fn a_common_prefix_of_1000_tokens_is_computed_once() {
    for max_step_tokens in [2048, 300] {
        let mut world = World::new(config().max_step_tokens(max_step_tokens), limits(), 600);
        let common = (0..1000).map(|position| position % 50);
        for last in 60..62 {
            world.add(tokens(common.clone().chain([last, last])), 1);
        }
        world.finish();
        assert_eq!(world.scheduler.stats().rows, 1002 + 2, "at {max_step_tokens} rows in a step");
        assert!(world.scheduler.stats().prefix_waits >= 1);
        assert_eq!(world.cache.stats().reused_tokens, 1000);
    }
}

#[test]
fn with_recurrent_states_a_common_prefix_is_computed_until_there_is_a_snapshot_at_its_end() {
    // The first prompt leaves a snapshot at its last page end. If that is not where the prompts part, the second one leaves
    // another there.
    for (n_own, n_computed) in [(2, 1), (7, 2)] {
        let mut world = World::hybrid(config(), limits(), 1200, 16);
        let common = (0..1000).map(|position| position % 50);
        for which in 60..64 {
            world.add(tokens(common.clone().chain([which; 7].into_iter().take(n_own))), 1);
        }
        world.finish();
        let rows = world.scheduler.stats().rows;
        assert_eq!(rows, n_computed * 1000 + 4 * n_own as u64, "{n_own} tokens of their own");
    }
}

#[test]
fn choices_share_the_state_after_their_prompt() {
    let mut world = World::hybrid(config(), limits(), 100, 8);
    let mut request = World::request(tokens(0..50), 5);
    request.n_choices = 4;
    world.submit(request, 3).unwrap();
    world.step();
    assert_eq!(rows(&world), [50]);
    world.finish();
    assert_eq!((world.n_complete, world.scheduler.stats().preempted), (4, 0));
}

#[test]
fn sequences_are_preempted_when_state_slots_run_out() {
    let mut world = World::hybrid(config(), limits(), 100, 2);
    let mut request = World::request(long_prompt(&world, 7, 12), 12);
    request.n_choices = 3;
    world.submit(request, 1).unwrap();
    world.finish();
    let stats = world.scheduler.stats();
    assert!(stats.preempted > 0 && world.n_complete == 3, "{stats:?}");
}

#[test]
fn drafts_are_dropped_when_state_slots_run_out() {
    let mut world = World::hybrid(config(), limits(), 100, 3);
    let prompt = long_prompt(&world, 1, 12);
    world.add(prompt.clone(), 12);
    world.step();
    let id = world.parts[0].id;
    world.scheduler.propose(id, &tokens([39; 2]));
    world.step();
    assert_eq!(rows(&world), [3], "its own state, and one for each draft");
    world.scheduler.propose(id, &tokens([39; 3]));
    world.step();
    assert_eq!(rows(&world), [1]);
    world.finish();
    assert_eq!(world.scheduler.stats().preempted, 0);
}

#[test]
fn preempted_sequences_resume_with_the_same_tokens() {
    let mut world = World::new(config(), limits(), 12);
    for which in 0..4 {
        let prompt = long_prompt(&world, which, 12);
        world.add(prompt, 12);
    }
    world.finish();
    let stats = world.scheduler.stats();
    assert!(stats.preempted > 0 && world.n_complete == 4, "{stats:?}");
}

#[test]
fn choices_share_one_prompt() {
    let mut world = World::new(config(), limits(), 100);
    let mut request = World::request(tokens(0..50), 5);
    request.n_choices = 4;
    world.submit(request, 3).unwrap();
    world.step();
    assert_eq!(rows(&world), [50]);
    world.finish();
    assert_eq!(world.n_complete, 4);
}

#[test]
fn an_endless_stream_of_high_requests_does_not_starve_a_low_one() {
    let config = config().max_batch_size(1);
    let mut world = World::new(config, limits(), 100);
    let mut low = World::request(tokens([5, 6]), 1);
    low.priority = Priority::Low;
    let low = world.submit(low, 1).unwrap();
    let mut n_steps = 0;
    while world.known.contains_key(&low) {
        let mut high = World::request(tokens([1, 2, 3]), 1);
        high.priority = Priority::High;
        world.submit(high, 1).unwrap();
        world.now_us += 1_000_000;
        world.step();
        n_steps += 1;
        assert!(n_steps <= 11, "after 10 s its priority is as high as theirs, and it is older");
    }
    assert!(n_steps >= 10);
}

#[test]
fn clients_get_equal_shares() {
    let config = config().max_batch_size(2);
    let mut world = World::new(config, limits(), 200);
    for (client, n_requests) in [(1, 12), (2, 4)] {
        for which in 0..n_requests {
            let mut request = World::request(tokens([which, client as u32]), 1);
            request.client = client;
            world.submit(request, 1).unwrap();
        }
    }
    // The second client asked later and for less; it does not wait for the first one's whole queue.
    for _ in 0..4 {
        world.step();
    }
    assert!(world.known.keys().all(|id| id.0 < 12), "{:?}", world.known.keys());
}

#[test]
fn an_idle_engine_waits_for_more_requests_and_no_longer() {
    let config = config().max_batch_wait_us(10_000).max_batch_size(2);
    let mut world = World::new(config, limits(), 100);
    world.now_us = 500;
    world.add(tokens([1, 2]), 1);
    assert_eq!(world.scheduler.wake_at_us(), Some(10_500));
    world.now_us = 10_499;
    assert!(!world.step());
    world.now_us = 10_500;
    assert!(world.step());
    assert_eq!(world.scheduler.stats().waited_us, 10_000);
    world.finish();
    world.add(tokens([1, 2]), 1);
    world.add(tokens([1, 3]), 1);
    assert!(world.step(), "a full batch does not wait");
}

#[test]
fn a_batch_is_full_when_its_choices_fill_it() {
    let config = config().max_batch_wait_us(10_000).max_batch_size(4);
    let mut world = World::new(config, limits(), 100);
    for (n_choices, is_full) in [(3, false), (1, true)] {
        let mut request = World::request(tokens([1, 2]), 2);
        request.n_choices = n_choices;
        world.submit(request, 1).unwrap();
        assert_eq!(world.step(), is_full);
    }
    assert_eq!(world.parts.iter().map(|part| part.n_choices).collect::<Vec<_>>(), [3, 1]);
    world.finish();
}

#[test]
fn static_batches_end_before_the_next_begins() {
    for strategy in [BatchingStrategy::Naive, BatchingStrategy::Bucketed, BatchingStrategy::MemoryAware] {
        let config = config().strategy(strategy).max_batch_size(2);
        let mut world = World::new(config, limits(), 100);
        for (which, n_new) in [(0, 2), (1, 4), (2, 2)] {
            let prompt = long_prompt(&world, which, n_new);
            world.add(prompt, n_new);
        }
        let n_rows: Vec<usize> = (0..5)
            .map(|_| {
                world.step();
                world.parts.len()
            })
            .collect();
        assert_eq!(n_rows, [2, 2, 1, 1, 1], "{strategy:?}");
        world.finish();
    }
}

#[test]
fn prefill_only_decodes_one_sequence_per_step() {
    let mut world = World::new(config().prefill_only(true), limits(), 100);
    for which in 0..3 {
        let prompt = long_prompt(&world, which, 3);
        world.add(prompt, 3);
    }
    let mut n_parts = Vec::new();
    while !world.known.is_empty() {
        world.step();
        n_parts.push(world.parts.len());
    }
    assert_eq!(n_parts, [3, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn drafts_leave_room_for_prompts() {
    let mut world = World::new(config().max_step_tokens(8), limits(), 100);
    let prompt = long_prompt(&world, 1, 12);
    let drafting = world.add(prompt, 12);
    world.step();
    let id = world.parts[0].id;
    world.add(tokens(0..20), 1);
    for expected in [[4, 4], [4, 4]] {
        world.scheduler.propose(id, &tokens([39; 20]));
        world.step();
        assert_eq!(rows(&world), expected, "half of the 7 rows that decoding leaves");
    }
    assert!(world.known.contains_key(&drafting));
    world.finish();
}

#[test]
fn a_prefetching_request_waits_and_others_overtake_it() {
    let mut world = World::new(config(), limits(), 100);
    let prompts = [0, 1].map(|which| long_prompt(&world, which, 8));
    let [prefetching, other] = prompts.map(|prompt| world.add(prompt, 8));
    let mut asked = Vec::new();
    let ask = |world: &mut World, asked: &mut Vec<_>| {
        world.scheduler.begin_prefetch(world.now_us, &world.cache, |request| {
            asked.push(request.id);
            request.id.request == prefetching
        });
    };
    ask(&mut world, &mut asked);
    ask(&mut world, &mut asked);
    assert_eq!(
        asked.iter().map(|id| id.request).collect::<Vec<_>>(),
        [prefetching, other],
        "each is offered once"
    );
    world.step();
    assert_eq!(rows(&world), [3]);
    while world.step() {}
    assert_eq!(
        (world.scheduler.n_waiting(), world.scheduler.wake_at_us()),
        (1, None),
        "nothing to wake up for"
    );
    world.scheduler.retry_prefetch(asked[0]);
    assert_eq!(world.scheduler.wake_at_us(), Some(0));
    ask(&mut world, &mut asked);
    assert_eq!(asked.len(), 3);
    world.scheduler.finish_prefetch(asked[0]);
    ask(&mut world, &mut asked);
    assert_eq!(asked.len(), 3, "it may be admitted");
    world.step();
    assert_eq!(rows(&world), [3]);
    world.finish();

    let cancelled = world.add(tokens([1, 2, 3]), 8);
    world.scheduler.begin_prefetch(world.now_us, &world.cache, |_| true);
    assert!(!world.step() && world.scheduler.cancel(cancelled, &mut world.cache));
}

#[test]
fn fewer_sequences_run_while_steps_are_late() {
    let adaptive = config().adaptive(true).max_batch_size(4).target_itl_us(1000);
    let mut world = World::new(adaptive, limits(), 400);
    let most = |world: &mut World, step_us| {
        world.step_us = step_us;
        let spans = (0..64).map(|step| {
            while world.scheduler.n_waiting() < 8 {
                world.add(tokens([step, world.scheduler.n_waiting() as u32]), 4);
            }
            world.step();
            world.parts.len()
        });
        // Sequences from before may still run in the first half.
        spans.skip(48).max().unwrap()
    };
    assert_eq!(most(&mut world, 400), 4);
    assert_eq!(most(&mut world, 2000), 1, "late");
    assert_eq!(most(&mut world, 700), 1, "in time, but steps twice as long would be late");
    assert_eq!(most(&mut world, 400), 4, "there is time again");
    world.finish();
}

#[test]
fn fewer_sequences_run_while_memory_is_short() {
    let adaptive = config().adaptive(true).max_batch_size(4);
    let mut world = World::new(adaptive, limits(), 8);
    let fewest = |world: &mut World, n_waiting, n_new| {
        let sizes = (0..200).map(|step| {
            while world.scheduler.n_waiting() + world.scheduler.n_running() < n_waiting {
                let prompt = long_prompt(world, step, n_new);
                world.add(prompt, n_new);
            }
            world.step();
            world.scheduler.current_batch_size()
        });
        // Sequences from before end in the first half.
        sizes.skip(100).min().unwrap()
    };
    assert_eq!(fewest(&mut world, 1, 2), 4, "one at a time leaves most of the 8 pages");
    assert!(fewest(&mut world, 6, 12) < 4, "4 sequences of 4 pages do not fit");
    assert_eq!(fewest(&mut world, 1, 2), 4, "there is memory again");
    world.finish();
}

#[test]
fn a_memory_aware_batch_stays_within_its_limit_to_its_last_token() {
    let memory = BatchMemory { fixed_bytes: 100, bytes_per_token: 10 };
    let strategy = BatchingStrategy::MemoryAware;
    let aware = config().strategy(strategy).memory_limit_bytes(1000);
    let mut world = World::new(aware.clone(), limits().memory(memory), 400);
    let error = world.submit(World::request(tokens(0..80), 11), 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the request would make it 1010 but memory_limit_bytes is 1000; shorten the request or raise the limit"
    );
    for n_prompt in [80, 30, 1, 20, 25, 5, 44] {
        world.add(tokens(0..n_prompt), 10);
    }
    let mut largest = 0;
    while !world.known.is_empty() {
        world.now_us += 1000;
        world.step();
        let batch = world.scheduler.last_batch();
        let n_bytes = memory.estimate(batch.n_sequences * batch.max_positions);
        assert!(n_bytes <= 1000, "{batch:?}");
        largest = largest.max(batch.n_sequences);
    }
    assert!(largest > 1, "all batches were of one sequence");
    let stats = world.scheduler.stats();
    assert_eq!((stats.admitted, stats.batch_tokens), (7, 205));
    assert!(stats.batch_tokens < stats.padded_tokens && stats.padding_efficiency() < 1.0);
    let less = aware.memory_limit_bytes(109);
    assert!(world.scheduler.reconfigure(less).unwrap_err().to_string().contains("memory_limit_bytes = 109"));
}

#[test]
fn limits_hold_for_all_that_run_at_a_time_with_continuous_batching() {
    let memory = BatchMemory { fixed_bytes: 100, bytes_per_token: 10 };
    let limited = config().max_total_tokens(60).memory_limit_bytes(900);
    let mut world = World::new(limited, limits().memory(memory), 400);
    let error = world.submit(World::request(tokens(0..61), 1), 1).unwrap_err();
    assert!(error.to_string().contains("max_total_tokens is 60"), "{error}");
    let error = world.submit(World::request(tokens(0..60), 21), 1).unwrap_err();
    assert!(error.to_string().contains("memory_limit_bytes is 900"), "{error}");
    let lens = [50, 10, 1, 20, 25, 5, 44];
    let prompt_lens: HashMap<_, _> = lens.map(|len| (world.add(tokens(0..len), 10), len as usize)).into();
    let mut most = 0;
    while !world.known.is_empty() {
        world.now_us += 1000;
        world.step();
        let running: Vec<usize> = world.parts.iter().map(|part| prompt_lens[&part.id.request]).collect();
        let n_prompt: usize = running.iter().sum();
        let n_bytes = memory.estimate(n_prompt + 10 * running.len());
        assert!(n_prompt <= 60 && n_bytes <= 900, "{running:?}");
        most = most.max(running.len());
    }
    assert!(most > 1, "all ran alone");
    world.finish();
}

#[test]
fn a_configuration_beyond_the_executor_is_refused_and_changes_nothing() {
    let mut world = World::new(config(), limits(), 100);
    let before = world.scheduler.config().clone();
    for (larger, expected) in [
        (config().max_batch_size(65), "max_batch_size cannot become 65"),
        (config().max_step_tokens(5000), "max_step_tokens cannot become 5000"),
    ] {
        let error = world.scheduler.reconfigure(larger).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    assert_eq!(*world.scheduler.config(), before);
    world.scheduler.reconfigure(config().max_batch_size(0)).unwrap();
    assert_eq!(world.scheduler.batch_size(), 64, "the limit of the executor");
}
