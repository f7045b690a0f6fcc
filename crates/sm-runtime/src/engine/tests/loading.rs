//! Loading: beside others, cancelled, and refused.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{request, seeded, text};
use crate::{
    CancelToken, Engine, EngineConfig, Error, ExecutorOptions, Generator, KvDType, LoadError, Loader,
    MemoryBound, ModelRef, Preset, Progress,
};

/// Wakes the thread that waits.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let (mut future, waker) = (pin!(future), Waker::from(Arc::new(Unpark(std::thread::current()))));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn an_engine_loads_beside_whoever_awaits_it() {
    let cancel = CancelToken::new();
    let builder = || Engine::builder().cancel(cancel.clone());
    let engine = block_on(builder().load_in_background(ModelRef::Demo).unwrap()).unwrap();
    engine.generate(text("Once"), &seeded(1, 2)).unwrap();
    // What is over cancels nobody else who has the same token.
    assert!(!cancel.is_cancelled());
    builder().load_in_background(ModelRef::Demo).unwrap().wait().unwrap();
    cancel.cancel();
    assert!(matches!(builder().load(ModelRef::Demo), Err(Error::Cancelled)));
    let loading = builder().load_in_background(ModelRef::Demo).unwrap();
    assert!(matches!(block_on(loading), Err(Error::Cancelled)));
    drop(Engine::builder().load_in_background(ModelRef::Demo).unwrap());
}

#[test]
fn loading_ends_where_it_is_cancelled() {
    let (cancel, most) = (CancelToken::new(), Arc::new(AtomicU64::new(0)));
    let progress = {
        let (cancel, most) = (cancel.clone(), Arc::clone(&most));
        move |Progress { done_bytes, total_bytes }| {
            most.fetch_max(done_bytes, Ordering::Relaxed);
            assert!(done_bytes < total_bytes, "it is not loaded to its end");
            if done_bytes > 0 {
                cancel.cancel();
            }
        }
    };
    let loaded = Engine::builder().cancel(cancel).progress(progress).load(ModelRef::Demo);
    assert!(matches!(loaded, Err(Error::Cancelled)));
    assert!(most.load(Ordering::Relaxed) > 0, "it had begun");
}

#[test]
fn what_exceeds_the_memory_limit_is_refused_before_it_is_loaded() {
    let mut config = EngineConfig::default();
    config.executor.memory_limit = Some(4 << 20);
    let builder = Engine::builder().config(config.clone());
    match builder.progress(|_| panic!("it loads")).load(ModelRef::Demo) {
        Err(Error::Load(LoadError::InsufficientMemory {
            what,
            needed,
            limit,
            bound: MemoryBound::Configured,
        })) => {
            assert!(needed.0 > limit.0 && limit.0 == 4 << 20);
            assert!(what.contains("weights (") && what.contains("keys and values ("), "{what}");
        }
        other => panic!("{other:?}"),
    }
    config.executor.memory_limit = Some(64 << 20);
    let engine = Engine::builder().config(config.clone()).load(ModelRef::Demo).unwrap();
    let info = engine.info();
    let used = info.weight_bytes + info.kv_bytes + info.activation_bytes;
    assert!((63 << 20..=64 << 20).contains(&used), "the pool is made to fit: {info:?}");
    let drafted = Engine::builder().config(config.clone()).draft(ModelRef::DemoDraft);
    let drafted = drafted.load(ModelRef::Demo).unwrap();
    assert!(drafted.info().kv_bytes < info.kv_bytes, "the draft model counts");
    config.executor.pool_bytes = Some(48 << 20);
    let engine = Engine::builder().config(config.clone()).load(ModelRef::Demo).unwrap();
    let info = engine.info();
    assert!(info.kv_bytes + info.activation_bytes <= 48 << 20, "{info:?}");
    assert!(info.kv_bytes + info.activation_bytes > 47 << 20, "{info:?}");
    let used = info.weight_bytes + info.kv_bytes + info.activation_bytes;
    config.executor.memory_limit = Some(used as u64 + (64 << 10));
    Engine::builder().config(config.clone()).load(ModelRef::Demo).unwrap();
    let least = info.weight_bytes + info.activation_bytes;
    config.executor.memory_limit = Some(least as u64 + (4 << 20));
    let drafted = Engine::builder().config(config).draft(ModelRef::DemoDraft).load(ModelRef::Demo);
    assert!(
        matches!(drafted, Err(Error::Load(LoadError::InsufficientMemory { .. }))),
        "there is no room for both"
    );
}

#[test]
fn a_live_engine_has_room_for_twice_its_batch_size() {
    let engine = Engine::builder().preset(Preset::LatencyOptimized).load(ModelRef::Demo).unwrap();
    let mut batching = engine.config().batching.clone();
    batching.max_batch_size *= 2;
    engine.reconfigure(batching.clone()).unwrap();
    assert_eq!(engine.stats().max_running, Some(2));
    let answers: Vec<_> = (0..4).map(|seed| engine.submit(request("Once", seed, 4)).unwrap()).collect();
    answers.into_iter().for_each(|answer| assert_eq!(answer.wait().unwrap()[0].tokens.len(), 4));
    batching.max_batch_size = 3;
    let error = engine.reconfigure(batching).unwrap_err().to_string();
    assert!(error.contains("at most 2"), "{error}");
}

#[test]
fn engines_of_one_load_share_its_weights_whatever_their_caches() {
    let model = Loader::new(ModelRef::Demo).load().unwrap();
    let config = |kv_bytes, kv_dtype| {
        EngineConfig::new().executor(ExecutorOptions::new().kv_bytes(kv_bytes).kv_dtype(kv_dtype))
    };
    let engines = [(8 << 20, KvDType::F16), (32 << 20, KvDType::F16), (16 << 20, KvDType::F32)]
        .map(|(kv_bytes, kv_dtype)| Engine::start(model.clone(), config(kv_bytes, kv_dtype)).unwrap());
    let [small, large, wide] = &engines;
    assert!(3 * small.info().kv_bytes < large.info().kv_bytes);
    for engine in &engines {
        assert!(engine.model().shares_weights_with(&model));
        assert_eq!(engine.info().weight_bytes, model.weight_bytes());
    }
    let other = Loader::new(ModelRef::Demo).load().unwrap();
    assert!(!other.shares_weights_with(&model));
    let text_of = |engine: &Engine| engine.generate(text("Once upon a time"), &seeded(3, 20)).unwrap().text;
    let expected =
        Generator::new(other).unwrap().generate(&text("Once upon a time"), &seeded(3, 20)).unwrap();
    assert_eq!(text_of(small), expected.text);
    assert_eq!(text_of(large), expected.text);
    assert!(!text_of(wide).is_empty());
    // The weights stay as long as somebody uses them.
    let [small, ..] = engines;
    drop(model);
    assert_eq!(text_of(&small), expected.text);
}
