//! Ten thousand requests that end in every way there is, at random: nothing of them stays behind.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;

use sm_batching::Priority;
use sm_cache::{SessionId, SessionMode};

use super::{alone, config, request};
use crate::testing::{FakeSize, failing, fake_model, hashed, token_of};
use crate::{Completion, Engine, Error, Prompt, Request, RequestHandle, TokenStream};

const N_REQUESTS: u64 = 10_000;
/// Requests that a caller holds at a time: more than the queue takes.
const N_HELD: usize = 40;
const MAX_QUEUED: usize = 24;
const SIZE: FakeSize = FakeSize { context_len: 2048, max_tokens: 24, n_sequences: 4 };
/// Less than four long requests could need, so that some may have to give way to others.
const N_PAGES: u64 = 200;
/// A step with a row of it fails.
const FAILS: char = 'q';
/// Where a prompt begins with it, logits are no numbers.
const NO_NUMBERS: char = 'z';

#[derive(Debug)]
struct Dice(u64);

impl Dice {
    /// A number below `n`: `SplitMix64`.
    fn roll(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }

    fn letters(&mut self, n: u64) -> String {
        (0..n).map(|_| char::from(b'a' + self.roll(26) as u8)).collect()
    }
}

/// A request that the engine has, and how its caller will leave it.
enum Held {
    Waits(RequestHandle),
    Cancels(RequestHandle),
    Drops(RequestHandle),
    Reads(TokenStream),
    /// Leaves after this many events.
    DropsStream(TokenStream, u64),
    CancelsStream(TokenStream, u64),
}

impl Held {
    fn submit(engine: &Engine, request: Request, dice: &mut Dice) -> Result<Self, Error> {
        let n_read = dice.roll(4);
        Ok(match dice.roll(8) {
            0..3 => Self::Waits(engine.submit(request)?),
            3 => Self::Cancels(engine.submit(request)?),
            4 => Self::Drops(engine.submit(request)?),
            5 => Self::Reads(engine.stream(request)?),
            6 => Self::DropsStream(engine.stream(request)?, n_read),
            _ => Self::CancelsStream(engine.stream(request)?, n_read),
        })
    }

    /// What the caller gets; nothing if it does not ask.
    fn leave(self) -> Option<Result<Vec<Completion>, Error>> {
        let read = |stream: &mut TokenStream, n| (0..n).map_while(|_| stream.next_blocking()).collect();
        match self {
            Self::Waits(handle) => Some(handle.wait()),
            Self::Cancels(handle) => {
                handle.cancel();
                Some(handle.wait())
            }
            Self::Drops(handle) => {
                drop(handle);
                None
            }
            Self::Reads(mut stream) => {
                let events: Result<Vec<_>, Error> = read(&mut stream, u64::MAX);
                Some(events.and_then(|_| stream.finish()))
            }
            Self::DropsStream(mut stream, n) => {
                let _: Result<Vec<_>, Error> = read(&mut stream, n);
                None
            }
            Self::CancelsStream(mut stream, n) => {
                let events: Result<Vec<_>, Error> = read(&mut stream, n);
                Some(events.and_then(|_| stream.finish()))
            }
        }
    }
}

fn random_request(dice: &mut Dice) -> Request {
    let n_letters = 1 + dice.roll(40);
    let prompt = dice.letters(n_letters);
    let mut made = request(&prompt, dice.roll(u64::MAX), 1 + dice.roll(16) as usize);
    made.priority =
        [Priority::Low, Priority::Normal, Priority::High, Priority::Critical][dice.roll(4) as usize];
    made.client = dice.roll(3);
    match dice.roll(12) {
        0 => made.n = 2 + dice.roll(2) as usize,
        1 => made.prompt = Prompt::Text("a".repeat(SIZE.context_len)),
        2 => made.prompt = Prompt::Text(format!("{NO_NUMBERS}{prompt}")),
        3 => {
            // Much more than can be written in a millisecond.
            made.options.limits.max_time_ms = Some(1);
            made.options.limits.max_new_tokens = SIZE.context_len;
            made.options.sampling.logit_bias = vec![(token_of(FAILS), f32::NEG_INFINITY)];
        }
        4 | 5 => {
            let id = SessionId::new(["a", "b", "c"][dice.roll(3) as usize]).unwrap();
            let mode = [SessionMode::Append, SessionMode::Prefix][dice.roll(2) as usize];
            made.session = Some((id, mode));
            if mode == SessionMode::Append {
                made.prompt = Prompt::Append(prompt);
            }
        }
        _ => {}
    }
    made
}

/// The kind of an outcome; panics if a request cannot have ended so.
fn kind(outcome: Option<Result<Vec<Completion>, Error>>) -> &'static str {
    match outcome {
        None => "dropped",
        Some(Ok(completions)) => {
            completions.first().map_or("none", |completion| completion.finish_reason.name())
        }
        Some(Err(Error::Cancelled)) => "cancelled",
        Some(Err(Error::Timeout { .. })) => "timeout",
        Some(Err(Error::Exec(_))) => "executor",
        Some(Err(Error::InvalidLogits { .. })) => "sampler",
        // The queue is full, as the caller or as the engine's thread sees it.
        Some(Err(Error::ResourceLimit { .. } | Error::Batching(_))) => "limit",
        Some(Err(Error::Cache(_))) => "cache",
        Some(Err(error)) => panic!("{error}"),
    }
}

fn stormy_engine() -> Engine {
    let bad = token_of(NO_NUMBERS);
    let (model, _) = fake_model(SIZE, move |history| {
        let mut logits = hashed(history);
        if history[0] == bad {
            logits[3] = f32::NAN;
        }
        logits
    });
    let mut config = config();
    config.batching.max_queued_requests = MAX_QUEUED;
    // A page of the fake model: 16 positions of one key and one value in single precision.
    config.cache.max_bytes_total = N_PAGES * 16 * 8;
    Engine::start(failing(model, token_of(FAILS)), config).unwrap()
}

#[test]
fn ten_thousand_requests_leave_nothing_behind() {
    let engine = stormy_engine();
    let (mut dice, mut held, mut kinds) = (Dice(1), VecDeque::new(), BTreeMap::new());
    let mut count = |kind| *kinds.entry(kind).or_insert(0) += 1;
    for _ in 0..N_REQUESTS {
        let request = random_request(&mut dice);
        match Held::submit(&engine, request, &mut dice) {
            Ok(request) => held.push_back(request),
            Err(error) => count(kind(Some(Err(error)))),
        }
        // Callers come and go in bursts.
        let n_held = if dice.roll(20) == 0 { 0 } else { N_HELD };
        while held.len() > n_held {
            let index = dice.roll(held.len() as u64) as usize;
            count(kind(held.swap_remove_back(index).and_then(Held::leave)));
        }
        if dice.roll(100) == 0 {
            // Whether it is in use or unknown does not matter here.
            let _ = engine.session("a").unwrap().forget();
        }
    }
    held.into_iter().for_each(|request| count(kind(request.leave())));
    assert_eq!(kinds.values().sum::<u64>(), N_REQUESTS);
    for kind in ["cancelled", "cache", "dropped", "executor", "length", "limit", "sampler", "timeout"] {
        assert!(kinds.get(kind).is_some_and(|n| *n >= 10), "{kind}: {kinds:?}");
    }
    assert_nothing_is_left(&engine);
    assert_it_still_works(&engine);
    assert_nothing_is_left(&engine);
}

fn assert_nothing_is_left(engine: &Engine) {
    // Who was dropped leaves at the next step.
    while engine.stats().live_requests > 0 {
        std::thread::yield_now();
    }
    engine.call(|core| core.cache.check().unwrap()).unwrap();
    let stats = engine.stats();
    assert_eq!((stats.running, stats.waiting, stats.available_slots()), (0, 0, Some(SIZE.n_sequences)));
    let cache = stats.cache;
    assert_eq!((cache.current_leases, cache.pinned_pages, cache.busy_sessions), (0, 0, 0));
    assert_eq!(engine.trim_memory(0).unwrap(), 0, "nobody holds a page that could not be given back");
    assert_eq!(engine.stats().cache.cached_pages, 0);
    let admission = &engine.0.admission;
    assert_eq!(
        (admission.n_sent.load(Ordering::Relaxed), admission.n_waiting.load(Ordering::Relaxed)),
        (0, 0)
    );
}

fn assert_it_still_works(engine: &Engine) {
    let is_harmless = |request: &Request| !alone(request).tokens.contains(&token_of(FAILS));
    let last = (0..).map(|seed| request("the last one", seed, 20)).find(is_harmless).unwrap();
    let completions = engine.submit(last.clone()).unwrap().wait().unwrap();
    assert_eq!(completions[0].tokens, alone(&last).tokens);
}
