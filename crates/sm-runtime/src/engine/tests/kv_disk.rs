//! The disk tier: what it saves, and that nothing it holds or lacks changes a token.

use std::path::Path;

use proptest::prelude::*;
use sm_cache::{ByteSize, KvCacheConfig};

use super::{SIZE, alone, config, request};
use crate::testing::{FakeSize, Scratch, fake_model, hashed};
use crate::{Engine, EngineConfig, EngineStats, Error, KvDiskConfig, KvDiskError, LoadError, Request};

/// Bytes of a fake page in the file and of what stands before it.
const SLOT_BYTES: u64 = 136 + 64;
const STORY: &str = "once upon a time there was a little girl who liked all ";

/// A cache of four pages: one context.
fn small(dir: &Path, n_stored: u64) -> EngineConfig {
    EngineConfig {
        cache: KvCacheConfig::new().max_bytes_total(4 * 128),
        kv_disk: Some(KvDiskConfig { dir: dir.to_owned(), max_bytes: 56 + n_stored * SLOT_BYTES }),
        ..config()
    }
}

fn start(config: EngineConfig, weights: &str) -> Result<Engine, Error> {
    let size = FakeSize { n_sequences: 1, ..SIZE };
    Engine::builder().config(config).start(fake_model(size, hashed).0.with_fingerprint(weights), None)
}

/// Answers requests one after the other, each as if it was alone.
fn answer(engine: &Engine, requests: &[Request]) -> EngineStats {
    for request in requests {
        let completion = engine.generate(request.prompt.clone(), &request.options).unwrap();
        assert_eq!(completion.tokens, alone(request).tokens, "{request:?}");
    }
    engine.stats()
}

fn stories() -> Vec<Request> {
    let others = [
        "the quick brown fox jumps over the lazy dog and the sleeping cat ",
        STORY,
        "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    ];
    [STORY].into_iter().chain(others).map(|story| request(&story[..50], 1, 8)).collect()
}

#[test]
fn what_was_evicted_is_read_back_and_not_computed_again() {
    let dir = Scratch::new();
    let stats = answer(&start(small(dir.path(), 100), "a").unwrap(), &stories());
    assert_eq!((stats.kv_disk.restored_pages, stats.kv_disk.dropped_pages), (3, 0), "{stats:?}");
    assert_eq!((stats.cache.hits, stats.cache.reused_tokens), (1, 48));
    // Four prompts of 50 tokens and eight more of each, of which the last is not computed.
    assert_eq!(stats.batching.rows, 4 * (50 + 7) - 48);
}

#[test]
fn a_later_engine_goes_on_where_another_ended() {
    let dir = Scratch::new();
    let request = &stories()[..1];
    let first = answer(&start(small(dir.path(), 100), "a").unwrap(), request);
    assert_eq!((first.kv_disk.stored_pages, first.cache.reused_tokens), (0, 0), "nothing had to go");
    let engine = start(small(dir.path(), 100), "a").unwrap();
    assert_eq!(engine.stats().kv_disk.stored_pages, 3, "the end of an engine stores all");
    let completion = engine.generate(request[0].prompt.clone(), &request[0].options).unwrap();
    assert_eq!((completion.tokens, completion.usage.cached_tokens), (alone(&request[0]).tokens, 48));
    let second = engine.stats();
    assert_eq!((second.batching.rows, second.kv_disk.restored_pages), (first.batching.rows - 48, 3));
}

#[test]
fn other_weights_find_nothing() {
    let dir = Scratch::new();
    answer(&start(small(dir.path(), 100), "a").unwrap(), &stories());
    let stats = answer(&start(small(dir.path(), 100), "b").unwrap(), &stories()[..1]).kv_disk;
    assert_eq!((stats.restored_pages, stats.damaged_pages), (0, 0));
    let salted = Request { salt: "mine".into(), ..stories().remove(0) };
    let engine = start(small(dir.path(), 100), "b").unwrap();
    let completion = engine.submit(salted).unwrap().wait().unwrap().remove(0);
    assert_eq!(completion.usage.cached_tokens, 0, "another tenant's");
}

#[test]
fn the_file_stays_within_its_limit_and_keeps_what_is_used() {
    let dir = Scratch::new();
    let config = small(dir.path(), 5);
    let limit = config.kv_disk.clone().unwrap().max_bytes;
    let engine = start(config, "a").unwrap();
    for _ in 0..6 {
        let stats = answer(&engine, &stories()).kv_disk;
        assert!(stats.stored_pages <= 5 && stats.max_pages == 5, "{stats:?}");
    }
    drop(engine);
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(files.len(), 1);
    assert!(files[0].metadata().unwrap().len() <= limit);
}

#[test]
fn requests_that_want_the_same_pages_wait_for_one_reading() {
    let dir = Scratch::new();
    answer(&start(small(dir.path(), 100), "a").unwrap(), &stories()[..1]);
    let config = EngineConfig { cache: KvCacheConfig::default(), ..small(dir.path(), 100) };
    let model = fake_model(SIZE, hashed).0.with_fingerprint("a");
    let engine = Engine::builder().config(config).start(model, None).unwrap();
    let requests: Vec<Request> = (0..8).map(|seed| request(&STORY[..50], seed, 6)).collect();
    let handles: Vec<_> = requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
    for (handle, request) in handles.into_iter().zip(&requests) {
        let completion = handle.wait().unwrap().remove(0);
        assert_eq!((completion.tokens, completion.usage.cached_tokens), (alone(request).tokens, 48));
    }
    assert_eq!(engine.stats().kv_disk.restored_pages, 3);
}

#[test]
fn what_cannot_be_is_refused() {
    let dir = Scratch::new();
    let config = small(dir.path(), 1);
    let engine = start(config.clone(), "a").unwrap();
    assert!(matches!(
        start(config.clone(), "a"),
        Err(Error::Load(LoadError::KvDisk(KvDiskError::InUse { .. })))
    ));
    drop(engine);
    match start(small(dir.path(), 0), "a") {
        Err(Error::Load(LoadError::KvDisk(KvDiskError::TooSmall {
            needed: ByteSize(256),
            limit: ByteSize(56),
        }))) => {}
        other => panic!("{other:?}"),
    }
    let unknown = Engine::start(fake_model(SIZE, hashed).0, config.clone());
    assert!(matches!(unknown, Err(Error::Validation { field: "kv_disk", .. })));
    let cache = config.cache.clone().prefix_sharing(false);
    let unshared = start(EngineConfig { cache, ..config }, "a");
    assert!(matches!(unshared, Err(Error::Validation { field: "kv_disk", .. })));
}

/// What happens to a file between two engines.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Vec<(prop::sample::Index, u8)>),
    Cut(prop::sample::Index),
    Append(Vec<u8>),
    Swap(prop::sample::Index, prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => prop::collection::vec((index(), 1u8..), 1..4).prop_map(Damage::Flip),
        1 => index().prop_map(Damage::Cut),
        1 => prop::collection::vec(any::<u8>(), 1..500).prop_map(Damage::Append),
        1 => (index(), index()).prop_map(|(a, b)| Damage::Swap(a, b)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Flip(flips) => {
                for (index, mask) in flips {
                    let index = index.index(bytes.len());
                    bytes[index] ^= mask;
                }
            }
            Self::Cut(index) => bytes.truncate(index.index(bytes.len())),
            Self::Append(garbage) => bytes.extend(garbage),
            // Whole records, each in the other's place.
            Self::Swap(a, b) => {
                let slot_bytes = SLOT_BYTES as usize;
                let n_slots = (bytes.len() - 56) / slot_bytes;
                let [a, b] = [a, b].map(|index| 56 + index.index(n_slots) * slot_bytes);
                for offset in 0..slot_bytes {
                    bytes.swap(a + offset, b + offset);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_costs_misses_and_no_token(damages in prop::collection::vec(damage(), 1..4)) {
        let dir = Scratch::new();
        answer(&start(small(dir.path(), 9), "a").unwrap(), &stories());
        for damage in damages {
            let path = dir.path().join("smallmind-kv.pages");
            let mut bytes = std::fs::read(&path).unwrap();
            if bytes.len() < 56 + SLOT_BYTES as usize {
                break;
            }
            damage.apply(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            let stats = answer(&start(small(dir.path(), 9), "a").unwrap(), &stories());
            prop_assert_eq!(stats.live_requests, 0);
        }
    }

    #[test]
    fn a_flipped_byte_is_a_counted_miss(index in any::<prop::sample::Index>(), mask in 1u8..) {
        let dir = Scratch::new();
        answer(&start(small(dir.path(), 9), "a").unwrap(), &stories()[..1]);
        let path = dir.path().join("smallmind-kv.pages");
        let mut bytes = std::fs::read(&path).unwrap();
        Damage::Flip(vec![(index, mask)]).apply(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let stats = answer(&start(small(dir.path(), 9), "a").unwrap(), &stories()[..1]);
        prop_assert_eq!(stats.kv_disk.damaged_pages, 1, "{:?}", stats);
        prop_assert!(stats.kv_disk.restored_pages < 3 && stats.cache.reused_tokens < 48);
    }
}
