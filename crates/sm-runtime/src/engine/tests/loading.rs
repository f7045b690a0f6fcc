//! Loading: beside others, cancelled, and refused.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{seeded, text};
use crate::{CancelToken, Engine, EngineConfig, Error, LoadError, MemoryBound, ModelRef, Progress};

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
    let engine = block_on(builder().load_in_background(ModelRef::Demo, |_| ()).unwrap()).unwrap();
    engine.generate(text("Once"), &seeded(1, 2)).unwrap();
    // What is over cancels nobody else who has the same token.
    assert!(!cancel.is_cancelled());
    builder().load_in_background(ModelRef::Demo, |_| ()).unwrap().wait().unwrap();
    cancel.cancel();
    assert!(matches!(builder().load(ModelRef::Demo), Err(Error::Cancelled)));
    let loading = builder().load_in_background(ModelRef::Demo, |_| ()).unwrap();
    assert!(matches!(block_on(loading), Err(Error::Cancelled)));
    drop(Engine::builder().load_in_background(ModelRef::Demo, |_| ()).unwrap());
}

#[test]
fn loading_ends_where_it_is_cancelled() {
    let (cancel, most) = (CancelToken::new(), AtomicU64::new(0));
    let progress = |Progress { done_bytes, total_bytes }| {
        most.fetch_max(done_bytes, Ordering::Relaxed);
        assert!(done_bytes < total_bytes, "it is not loaded to its end");
        if done_bytes > 0 {
            cancel.cancel();
        }
    };
    let loaded = Engine::builder().cancel(cancel.clone()).load_with(ModelRef::Demo, &progress);
    assert!(matches!(loaded, Err(Error::Cancelled)));
    assert!(most.into_inner() > 0, "it had begun");
}

#[test]
fn what_exceeds_the_memory_limit_is_refused_before_it_is_loaded() {
    let mut config = EngineConfig::default();
    config.load.memory_limit = Some(64 << 20);
    match Engine::builder().config(config.clone()).load_with(ModelRef::Demo, &|_| panic!("it loads")) {
        Err(Error::Load(LoadError::InsufficientMemory {
            what,
            needed,
            limit,
            bound: MemoryBound::Configured,
        })) => {
            assert!(needed.0 > 1 << 30 && limit.0 == 64 << 20);
            assert!(what.contains("weights (") && what.contains("keys and values (1"), "{what}");
        }
        other => panic!("{other:?}"),
    }
    config.load.pool_bytes = Some(48 << 20);
    let engine = Engine::builder().config(config.clone()).load(ModelRef::Demo).unwrap();
    let info = engine.info();
    assert!(info.kv_bytes + info.activation_bytes <= 48 << 20, "{info:?}");
    assert!(info.kv_bytes + info.activation_bytes > 47 << 20, "{info:?}");
    let used = info.weight_bytes + info.kv_bytes + info.activation_bytes;
    config.load.memory_limit = Some(used as u64 + (64 << 10));
    Engine::builder().config(config.clone()).load(ModelRef::Demo).unwrap();
    let drafted = Engine::builder().config(config).draft(ModelRef::DemoDraft).load(ModelRef::Demo);
    assert!(
        matches!(drafted, Err(Error::Load(LoadError::InsufficientMemory { .. }))),
        "the draft model counts"
    );
}
