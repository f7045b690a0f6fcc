//! A model with a recurrent state: a running hash of all tokens, without which its logits are others. Whatever the engine does
//! with states, everybody gets what a lone run gets.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sm_cache::SessionMode;

use super::schedules::{Arrival, Sent, arrival, bits, lone_choices, settings, to_request};
use super::{SIZE, alone, config, drafted, request, seeded};
use crate::testing::{FakeSize, Scratch, hashed, mostly_recent, recent, stateful_model};
use crate::{
    Completion, Engine, EngineConfig, EngineStats, Error, GenerationOptions, Generator, KvDiskConfig, Prompt,
    Session, SessionOptions, SpeculationConfig, StopRules,
};

/// Schedules in a test, or as many times more as `cargo xtask soak` asks for, and fewer for `cargo xtask sanitize`.
fn n_schedules() -> u32 {
    let times = std::env::var("SM_SOAK").ok().and_then(|times| times.parse().ok());
    (400.0 * times.unwrap_or(1.0_f64)) as u32
}

/// A conversation.
#[derive(Clone, Debug)]
struct Talk {
    is_transcript: bool,
    turns: Vec<TalkTurn>,
}

#[derive(Clone, Debug)]
struct TalkTurn {
    text: String,
    seed: u64,
    n_tokens: usize,
    /// Its tokens are trimmed from the answer, and from the session.
    stop: Option<String>,
    streams: bool,
}

/// One schedule: requests and conversations at the same time, on an engine with little memory.
#[derive(Clone, Debug)]
struct Schedule {
    arrivals: Vec<Arrival>,
    talks: Vec<Talk>,
    n_state_slots: usize,
    has_lookup: bool,
    draft: Option<FakeSize>,
    has_disk: bool,
}

fn talk() -> impl Strategy<Value = Talk> {
    let turn = ("(once upon |hello |)[a-d]{1,6}", any::<u64>(), 1usize..14, "[a-z]{1,2}", any::<[bool; 2]>());
    let turn = turn.prop_map(|(text, seed, n_tokens, stop, [has_stop, streams])| TalkTurn {
        text,
        seed,
        n_tokens,
        stop: has_stop.then_some(stop),
        streams,
    });
    (any::<bool>(), prop::collection::vec(turn, 1..4))
        .prop_map(|(is_transcript, turns)| Talk { is_transcript, turns })
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let draft = (30usize..90, 1usize..20, 1usize..5).prop_map(|(context_len, max_tokens, n_sequences)| {
        FakeSize { context_len, max_tokens: max_tokens.max(n_sequences), n_sequences }
    });
    let requests = (prop::collection::vec(arrival(), 0..7), prop::collection::vec(talk(), 0..4));
    let model = (1usize..20, any::<bool>(), prop::option::of(draft), prop::bool::weighted(0.4));
    (requests, model).prop_map(|((arrivals, talks), (n_state_slots, has_lookup, draft, has_disk))| Schedule {
        arrivals,
        talks,
        n_state_slots,
        has_lookup,
        draft,
        has_disk,
    })
}

impl TalkTurn {
    fn options(&self) -> GenerationOptions {
        let mut options = seeded(self.seed, self.n_tokens);
        options.stop = StopRules { sequences: self.stop.iter().cloned().collect(), ..StopRules::default() };
        options
    }
}

fn start(schedule: &Schedule, size: FakeSize, config: &EngineConfig, dir: &Scratch) -> Engine {
    let Schedule { n_state_slots, has_lookup, draft, has_disk, .. } = *schedule;
    let mut config = config.clone();
    config.speculation = SpeculationConfig { lookup: has_lookup, ..SpeculationConfig::default() };
    // All state slots count, and the pages beside them.
    config.cache.max_bytes_total += 8 * n_state_slots as u64;
    config.kv_disk = has_disk.then(|| KvDiskConfig::new(dir.path(), 1 << 16));
    if has_disk {
        config.cache.enabled = true;
        config.cache.prefix_sharing = true;
    }
    let model = stateful_model(size, n_state_slots, mostly_recent).0.with_fingerprint("fake");
    match draft {
        None => Engine::builder().config(config).start(model, None),
        Some(size) => drafted(model, stateful_model(size, size.n_sequences, recent).0, config),
    }
    .unwrap()
}

/// What a lone run gives behind the same context.
fn lone_turn(completion: &Completion, options: &GenerationOptions) -> Completion {
    let size = FakeSize { context_len: 80, max_tokens: 512, n_sequences: 1 };
    let mut generator = Generator::new(stateful_model(size, 1, mostly_recent).0).unwrap();
    generator.generate(&Prompt::Tokens(completion.prompt_tokens.clone()), options).unwrap()
}

fn submit_turn(
    session: &Session,
    turn: &TalkTurn,
    prompt: String,
    is_transcript: bool,
) -> Result<Sent, Error> {
    let prompt = if is_transcript { Prompt::Text(prompt) } else { Prompt::Append(prompt) };
    match turn.streams {
        true => session.stream(prompt, turn.options()).map(Sent::Stream),
        false => session.submit(prompt, turn.options()).map(Sent::Handle),
    }
}

/// Whether an error says that there is no room, alone or not.
fn has_no_room(error: &Error) -> bool {
    matches!(error, Error::Cache(_) | Error::ResourceLimit { .. })
}

/// Runs a schedule on an engine: all requests at once, and the turns of conversations one after the other beside them.
fn run(schedule: &Schedule, engine: &Engine) {
    let sent: Vec<_> = schedule.arrivals.iter().map(|arrival| send(arrival, engine)).collect();
    std::thread::scope(|scope| {
        for talk in &schedule.talks {
            scope.spawn(|| converse(talk, engine));
        }
    });
    for (arrival, sent) in schedule.arrivals.iter().zip(sent) {
        let completions = match sent.and_then(Sent::completions) {
            Err(Error::Cancelled) if arrival.is_cancelled => continue,
            Err(error) if has_no_room(&error) => continue,
            completions => completions.unwrap(),
        };
        let request = to_request(arrival);
        for (completion, expected) in completions.iter().zip(&lone_choices(&request)) {
            if arrival.is_cancelled {
                assert!(expected.tokens.starts_with(&completion.tokens), "{arrival:?}");
            } else {
                assert_eq!(bits(completion), bits(expected), "{arrival:?}");
            }
        }
    }
}

fn send(arrival: &Arrival, engine: &Engine) -> Result<Sent, Error> {
    let request = to_request(arrival);
    let sent = match arrival.streams {
        true => engine.stream(request).map(Sent::Stream),
        false => engine.submit(request).map(Sent::Handle),
    };
    if arrival.is_cancelled
        && let Ok(sent) = &sent
    {
        sent.cancel();
    }
    sent
}

fn converse(talk: &Talk, engine: &Engine) {
    let mode = if talk.is_transcript { SessionMode::Prefix } else { SessionMode::Append };
    let session = engine.session(SessionOptions::private().mode(mode)).unwrap();
    let mut said = String::new();
    for turn in &talk.turns {
        said.push_str(&turn.text);
        let prompt = if talk.is_transcript { said.clone() } else { turn.text.clone() };
        let sent = submit_turn(&session, turn, prompt, talk.is_transcript);
        let completion = match sent.and_then(Sent::completions) {
            Err(error) if has_no_room(&error) => return,
            completions => completions.unwrap().remove(0),
        };
        assert_eq!(bits(&completion), bits(&lone_turn(&completion, &turn.options())), "{talk:?}");
        assert_eq!(completion.prompt_tokens.len(), said.chars().count(), "{talk:?}");
        said.push_str(&completion.text);
    }
}

#[test]
fn everybody_gets_what_a_lone_run_of_a_stateful_model_gives() {
    let seen = RefCell::new(EngineStats::default());
    let mut runner =
        TestRunner::new(Config { cases: n_schedules(), failure_persistence: None, ..Config::default() });
    let result = runner.run(&(schedule(), settings()), |(schedule, (size, config))| {
        let dir = Scratch::new();
        // What the first engine leaves on the disk, the second begins with.
        for _ in 0..if schedule.has_disk { 2 } else { 1 } {
            let engine = start(&schedule, size, &config, &dir);
            run(&schedule, &engine);
            while engine.stats().live_requests > 0 || engine.stats().cache.current_leases > 0 {
                // Cancelled requests, and pages that are still on their way from the disk.
                std::thread::yield_now();
            }
            let stats = engine.stats();
            prop_assert_eq!((stats.cache.pinned_pages, stats.kv_disk.damaged_pages), (0, 0));
            add(&mut seen.borrow_mut(), &stats);
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let EngineStats { batching, cache, speculation, kv_disk, .. } = *seen.borrow();
    for (what, count) in [
        ("preempted sequences", batching.preempted),
        ("reused positions", cache.reused_tokens),
        ("evicted snapshots", cache.evicted_snapshots),
        ("accepted drafts", speculation.accepted),
        ("rejected drafts", speculation.drafted - speculation.accepted),
        ("restored states", kv_disk.restored_states),
    ] {
        println!("{count} {what}");
        assert!(count > 0, "no {what}: the schedules do not test them");
    }
}

fn add(sum: &mut EngineStats, stats: &EngineStats) {
    sum.batching.preempted += stats.batching.preempted;
    sum.cache.reused_tokens += stats.cache.reused_tokens;
    sum.cache.evicted_snapshots += stats.cache.evicted_snapshots;
    sum.speculation.accepted += stats.speculation.accepted;
    sum.speculation.drafted += stats.speculation.drafted;
    sum.kv_disk.restored_states += stats.kv_disk.restored_states;
}

#[test]
fn a_state_that_is_not_that_of_the_tokens_shows_in_the_output() {
    let expected = alone(&request("hello there", 1, 12));
    for corrupts in [false, true] {
        let model = stateful_model(FakeSize { n_sequences: 1, ..SIZE }, 1, hashed).0;
        let mut generator = Generator::new(model).unwrap();
        let options = seeded(1, 12);
        let prompt = Prompt::Text("hello there".into());
        let cancel = crate::CancelToken::new();
        let mut generation = generator.stream(&prompt, &options, &cancel).unwrap();
        generation.next_event().unwrap();
        drop(generation);
        if corrupts {
            generator.executor.write_states(&[sm_tensor::StateSlot(0)], &7u64.to_le_bytes()).unwrap();
        }
        let continued = [&expected.prompt_tokens[..], &expected.tokens[..1]].concat();
        let tokens = generator.generate(&Prompt::Tokens(continued), &options).unwrap().tokens;
        assert_eq!(tokens[..11] == expected.tokens[1..], !corrupts);
    }
}

#[test]
fn snapshots_are_stored_and_restored_with_their_pages() {
    let dir = Scratch::new();
    let story = "once upon a time there was a little girl who liked";
    let start = || {
        let mut config = config();
        config.kv_disk = Some(KvDiskConfig::new(dir.path(), 1 << 16));
        let model = stateful_model(FakeSize { n_sequences: 1, ..SIZE }, 8, hashed).0.with_fingerprint("a");
        Engine::builder().config(config).start(model, None).unwrap()
    };
    let story = request(story, 1, 8);
    let first = start();
    assert_eq!(first.generate(story.prompt.clone(), &story.options).unwrap().tokens, alone(&story).tokens);
    drop(first);
    let second = start();
    let stored = second.stats().kv_disk;
    assert!(stored.stored_pages == 3 && stored.stored_states >= 1, "{stored:?}");
    let completion = second.generate(story.prompt.clone(), &story.options).unwrap();
    let restored = second.stats().kv_disk;
    assert_eq!(completion.tokens, alone(&story).tokens);
    assert_eq!(
        (completion.usage.cached_tokens, restored.restored_pages, restored.restored_states),
        (48, 3, 1)
    );
}
