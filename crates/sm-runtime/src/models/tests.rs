//! Loading on demand, sharing of loads, eviction, unloading: on fake engines whose loads can be held up, and on the demo model.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::registry::{EngineSource, PlannedEngine};
use super::*;
use crate::testing::{FakeSize, fake_model, hashed};
use crate::{
    CancelToken, Engine, EngineConfig, GenerationOptions, LoadError, Prompt, Request, SamplingOptions,
};

const NO_GRACE: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(600);

/// A model of this many bytes.
#[derive(Debug, Default)]
struct Fake {
    bytes: u64,
    /// Where a load tells that it has begun, and waits until it may go on.
    gate: Option<Gate>,
    fails: AtomicBool,
    panics: bool,
    n_loads: AtomicUsize,
}

#[derive(Debug)]
struct Gate {
    begun: Sender<()>,
    may_go_on: Mutex<Receiver<()>>,
}

struct PlannedFake {
    bytes: u64,
    fails: bool,
}

impl EngineSource for Arc<Fake> {
    fn plan(&self, _budget_bytes: u64, _cancel: &CancelToken) -> Result<Box<dyn PlannedEngine>, Error> {
        self.n_loads.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "a load that panics");
        if let Some(gate) = &self.gate {
            gate.begun.send(()).unwrap();
            gate.may_go_on.lock().unwrap().recv().unwrap();
        }
        Ok(Box::new(PlannedFake { bytes: self.bytes, fails: self.fails.load(Ordering::SeqCst) }))
    }
}

impl PlannedEngine for PlannedFake {
    fn total_bytes(&self) -> Result<u64, Error> {
        Ok(self.bytes)
    }

    fn load(self: Box<Self>) -> Result<Engine, Error> {
        if self.fails {
            return Err(LoadError::NoDemoModel.into());
        }
        let size = FakeSize { context_len: 64, max_tokens: 24, n_sequences: 2 };
        let mut config = EngineConfig::default();
        config.batching.max_batch_wait_us = 0;
        Engine::start(fake_model(size, hashed).0, config)
    }
}

fn fake(bytes: u64) -> Arc<Fake> {
    Arc::new(Fake { bytes, ..Fake::default() })
}

/// A model whose loads are held up, and what lets one begin and go on.
fn gated(bytes: u64) -> (Arc<Fake>, Receiver<()>, Sender<()>) {
    let (begun, is_begun) = channel();
    let (go_on, may_go_on) = channel();
    let gate = Some(Gate { begun, may_go_on: Mutex::new(may_go_on) });
    (Arc::new(Fake { bytes, gate, ..Fake::default() }), is_begun, go_on)
}

fn models<'f>(budget: u64, fakes: impl IntoIterator<Item = (&'static str, &'f Arc<Fake>)>) -> Models {
    let models = Models::new(budget);
    for (name, fake) in fakes {
        models.0.add(name, Vec::new(), Arc::new(Arc::clone(fake))).unwrap();
    }
    models
}

fn request() -> Request {
    let sampling = SamplingOptions { seed: Some(5), ..SamplingOptions::default() };
    let options = GenerationOptions { sampling, ..GenerationOptions::default() };
    Request::new(Prompt::Text("once".into()), options)
}

fn state(models: &Models, name: &str) -> (ModelState, usize, u64) {
    let list = models.list();
    let info = list.iter().find(|info| info.name == name).unwrap();
    (info.state, info.n_uses, info.memory_bytes)
}

fn n_loads(fake: &Arc<Fake>) -> usize {
    fake.n_loads.load(Ordering::SeqCst)
}

#[test]
fn a_model_is_loaded_by_its_first_use_and_stays() {
    let fake = fake(10);
    let models = Models::new(10);
    models.0.add("a", vec!["b".into(), "c".into()], Arc::new(Arc::clone(&fake))).unwrap();
    assert_eq!(state(&models, "a"), (ModelState::Unloaded, 0, 0));
    let model = models.get("b").unwrap();
    assert_eq!((model.name(), models.used_bytes()), ("a", 10));
    assert_eq!(state(&models, "a"), (ModelState::Ready, 1, 10));
    assert_eq!(models.list()[0].aliases, ["b", "c"]);
    let tokens = model.submit(request()).unwrap().wait().unwrap().remove(0).tokens;
    assert_eq!(tokens.len(), 60);
    drop(model);
    assert_eq!(state(&models, "a"), (ModelState::Ready, 0, 10));
    assert_eq!(models.get("c").unwrap().submit(request()).unwrap().wait().unwrap()[0].tokens, tokens);
    assert_eq!(n_loads(&fake), 1);
}

#[test]
fn names_are_checked() {
    let models = Models::new(1);
    let add = |name: &str, alias: &str| models.add(name, ModelSpec::new(crate::ModelRef::Demo).alias(alias));
    add("a", "x").unwrap();
    for (name, alias) in [("a", "y"), ("x", "y"), ("b", "a"), ("b", "b"), ("", "y"), ("b", " ")] {
        let error = add(name, alias).unwrap_err();
        assert!(matches!(error, Error::Validation { field: "name", .. }), "{name} {alias}: {error}");
    }
    let error = models.get("b").unwrap_err().to_string();
    assert!(error.contains("\"b\"") && error.ends_with("are a"), "{error}");
}

#[test]
fn all_who_ask_while_a_model_is_loaded_share_the_load() {
    let (fake, begun, go_on) = gated(10);
    let models = models(10, [("a", &fake)]);
    let first = models.acquire("a").unwrap();
    begun.recv().unwrap();
    std::thread::scope(|scope| {
        let waiting = [(); 3].map(|()| {
            let pending = models.acquire("a").unwrap();
            scope.spawn(move || {
                pending.wait().unwrap().submit(request()).unwrap().wait().unwrap().remove(0).text
            })
        });
        drop(models.acquire("a").unwrap());
        assert_eq!(state(&models, "a"), (ModelState::Loading, 4, 0));
        go_on.send(()).unwrap();
        let text = first.wait().unwrap().submit(request()).unwrap().wait().unwrap().remove(0).text;
        waiting.into_iter().for_each(|waiting| assert_eq!(waiting.join().unwrap(), text));
    });
    assert_eq!((n_loads(&fake), state(&models, "a")), (1, (ModelState::Ready, 0, 10)));
}

#[test]
fn a_load_that_fails_fails_for_all_and_is_tried_again_by_the_next() {
    let (fake, begun, go_on) = gated(10);
    fake.fails.store(true, Ordering::SeqCst);
    let models = models(10, [("a", &fake)]);
    let pending = [models.acquire("a").unwrap(), models.acquire("a").unwrap()];
    begun.recv().unwrap();
    go_on.send(()).unwrap();
    for pending in pending {
        match pending.wait() {
            Err(Error::ModelLoad { name, source }) => {
                assert_eq!(name, "a");
                assert!(matches!(*source, Error::Load(LoadError::NoDemoModel)), "{source}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(state(&models, "a"), (ModelState::Unloaded, 0, 0));
    fake.fails.store(false, Ordering::SeqCst);
    go_on.send(()).unwrap();
    models.get("a").unwrap();
    assert_eq!(n_loads(&fake), 2);
}

#[test]
fn a_load_that_panics_is_an_error_of_those_who_wait() {
    let broken = Arc::new(Fake { bytes: 10, panics: true, ..Fake::default() });
    let models = models(10, [("a", &broken)]);
    match models.get("a") {
        Err(Error::ModelLoad { source, .. }) => assert!(matches!(*source, Error::Load(LoadError::Panicked))),
        other => panic!("{other:?}"),
    }
    assert_eq!(state(&models, "a"), (ModelState::Unloaded, 0, 0));
}

/// Reports each wake-up.
struct Bell(Sender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.send(()).unwrap();
    }
}

#[test]
fn a_future_is_woken_when_its_model_is_loaded() {
    let (fake, begun, go_on) = gated(10);
    let models = models(10, [("a", &fake)]);
    let mut pending = Box::pin(models.acquire("a").unwrap());
    let (bell, woken) = channel();
    let waker = Waker::from(Arc::new(Bell(bell)));
    let mut context = Context::from_waker(&waker);
    assert!(pending.as_mut().poll(&mut context).is_pending());
    begun.recv().unwrap();
    go_on.send(()).unwrap();
    woken.recv().unwrap();
    let Poll::Ready(Ok(model)) = pending.as_mut().poll(&mut context) else { panic!("it is loaded") };
    assert_eq!(model.name(), "a");
}

#[test]
fn the_idle_model_used_longest_ago_makes_room() {
    let fakes = [fake(10), fake(10), fake(10)];
    let models = models(20, [("a", &fakes[0]), ("b", &fakes[1]), ("c", &fakes[2])]);
    drop([models.get("a").unwrap(), models.get("b").unwrap()]);
    drop(models.get("a").unwrap());
    let c = models.get("c").unwrap();
    let states = || ["a", "b", "c"].map(|name| state(&models, name).0);
    assert_eq!(states(), [ModelState::Ready, ModelState::Unloaded, ModelState::Ready]);
    drop(models.get("b").unwrap());
    assert_eq!(states(), [ModelState::Unloaded, ModelState::Ready, ModelState::Ready]);
    drop(c);
    assert_eq!(models.used_bytes(), 20);
    assert_eq!(fakes.each_ref().map(n_loads), [1, 2, 1]);
}

#[test]
fn models_in_use_are_never_evicted() {
    let [small, large, huge] = [10, 20, 40].map(fake);
    let models = models(30, [("a", &small), ("b", &small), ("large", &large), ("huge", &huge)]);
    let used = models.get("a").unwrap();
    drop(models.get("b").unwrap());
    // It fits where b is: a stays.
    drop(models.get("large").unwrap());
    assert_eq!(["a", "b"].map(|name| state(&models, name).0), [ModelState::Ready, ModelState::Unloaded]);
    drop(models.get("b").unwrap());
    let also_used = models.get("b").unwrap();
    let error = models.get("large").unwrap_err();
    match &error {
        Error::ModelsInUse { needed, free, limit } => assert_eq!((needed.0, free.0, limit.0), (20, 10, 30)),
        other => panic!("{other}"),
    }
    assert_eq!(error.kind(), crate::ErrorKind::Overloaded);
    // What cannot help is not evicted.
    drop(used);
    let error = models.get("huge").unwrap_err();
    assert!(error.to_string().contains("40 B") && error.kind() == crate::ErrorKind::Limit, "{error}");
    assert_eq!(state(&models, "a").0, ModelState::Ready);
    drop(also_used);
    models.get("large").unwrap();
}

#[test]
fn a_request_keeps_its_model_loaded_when_the_handle_is_gone() {
    let fakes = [fake(10), fake(10)];
    let models = models(10, [("a", &fakes[0]), ("b", &fakes[1])]);
    let handle = models.get("a").unwrap();
    let mut stream = handle.stream(request()).unwrap();
    drop(handle);
    stream.next_blocking().unwrap().unwrap();
    if state(&models, "a").1 > 0 {
        // Unless it ended just now.
        match models.get("b") {
            Err(Error::ModelsInUse { .. }) => {}
            Ok(_) => assert_eq!(state(&models, "a").0, ModelState::Unloaded),
            Err(other) => panic!("{other}"),
        }
    }
    let completions = stream.finish().unwrap();
    assert!(!completions[0].tokens.is_empty());
}

#[test]
fn an_unload_lets_uses_finish_and_those_who_come_later_load_again() {
    let fake = fake(10);
    let models = models(10, [("a", &fake)]);
    models.unload("a", LONG).unwrap();
    let used = models.get("a").unwrap();
    std::thread::scope(|scope| {
        let unloading = scope.spawn(|| models.unload("a", LONG).unwrap());
        while state(&models, "a").0 != ModelState::Unloading {
            std::thread::yield_now();
        }
        let later = models.acquire("a").unwrap();
        drop(models.acquire("a").unwrap());
        used.submit(request()).unwrap().wait().unwrap();
        assert!(!unloading.is_finished());
        drop(used);
        unloading.join().unwrap();
        later.wait().unwrap().submit(request()).unwrap().wait().unwrap();
    });
    assert_eq!((n_loads(&fake), state(&models, "a")), (2, (ModelState::Ready, 0, 10)));
}

#[test]
fn an_unload_ends_what_its_grace_does_not_cover() {
    let fake = fake(10);
    let models = models(10, [("a", &fake)]);
    let used = models.get("a").unwrap();
    models.unload("a", NO_GRACE).unwrap();
    assert_eq!(state(&models, "a"), (ModelState::Unloaded, 0, 0));
    assert!(matches!(used.submit(request()), Err(Error::ShutDown)));
    let again = models.get("a").unwrap();
    drop(used);
    assert_eq!(state(&models, "a").1, 1, "an old use is not one of the new load");
    drop(again);
    models.remove("a", NO_GRACE).unwrap();
    assert!(models.list().is_empty() && matches!(models.get("a"), Err(Error::UnknownModel { .. })));
}

#[test]
fn a_shut_down_ends_loads_and_those_who_wait_for_them() {
    let (slow, begun, go_on) = gated(10);
    let quick = fake(10);
    let models = models(20, [("slow", &slow), ("quick", &quick)]);
    let used = models.get("quick").unwrap();
    let pending = models.acquire("slow").unwrap();
    begun.recv().unwrap();
    std::thread::scope(|scope| {
        let ending = scope.spawn(|| models.shut_down(NO_GRACE));
        while !matches!(models.acquire("quick"), Err(Error::ShutDown)) {
            std::thread::yield_now();
        }
        go_on.send(()).unwrap();
        ending.join().unwrap();
    });
    assert!(matches!(pending.wait(), Err(Error::ShutDown)));
    assert!(matches!(used.submit(request()), Err(Error::ShutDown)));
    assert_eq!(models.used_bytes(), 0);
}

#[test]
fn many_threads_get_the_right_answers_within_the_budget() {
    let fakes = [fake(10), fake(15), fake(20)];
    let names = ["a", "b", "c"];
    let models = models(35, names.into_iter().zip(&fakes));
    let expected = models.get("a").unwrap().submit(request()).unwrap().wait().unwrap().remove(0).tokens;
    let start = Barrier::new(6);
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (models, start, expected) = (&models, &start, &expected);
            scope.spawn(move || {
                start.wait();
                for round in 0..40 {
                    let name = names[(thread + round * (1 + thread % 2)) % 3];
                    match models.get(name) {
                        Ok(model) => {
                            let handle = model.submit(request()).unwrap();
                            if round % 3 == 0 {
                                drop(model);
                            }
                            assert_eq!(handle.wait().unwrap()[0].tokens, *expected);
                        }
                        Err(Error::ModelsInUse { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                    assert!(models.used_bytes() <= 35);
                    if round % 13 == thread {
                        models.unload(name, LONG).unwrap();
                    }
                }
            });
        }
    });
    assert!(names.iter().all(|name| state(&models, name).1 == 0), "{:?}", models.list());
    models.shut_down(NO_GRACE);
    assert_eq!(models.used_bytes(), 0);
}

#[cfg(all(feature = "cpu", feature = "demo-model"))]
mod demo {
    use super::*;
    use crate::{ExecutorOptions, Generator, Loader, ModelRef};

    #[test]
    fn real_models_share_a_budget_and_answer_as_alone() {
        let models = Models::new(64 << 20);
        let config = EngineConfig::new().executor(ExecutorOptions::new().pool_bytes(24 << 20));
        let spec = |model| ModelSpec::new(model).config(config.clone());
        models.add("demo", spec(ModelRef::Demo)).unwrap();
        models.add("small", spec(ModelRef::DemoDraft)).unwrap();
        let both = ["demo", "small"].map(|name| models.get(name).unwrap());
        for (handle, model) in both.iter().zip([ModelRef::Demo, ModelRef::DemoDraft]) {
            let text = handle.submit(request()).unwrap().wait().unwrap().remove(0).text;
            let mut alone = Generator::new(Loader::new(model).load().unwrap()).unwrap();
            let Request { prompt, options, .. } = request();
            assert_eq!(alone.generate(&prompt, &options).unwrap().text, text);
            let info = handle.info();
            let taken = info.weight_bytes + info.kv_bytes + info.activation_bytes;
            assert_eq!(state(&models, handle.name()).2, taken as u64, "the plan is what is taken");
        }
        assert!(models.used_bytes() <= 64 << 20);
        models.trim_memory().unwrap();
    }

    #[test]
    fn a_pool_larger_than_the_budget_is_made_smaller_and_a_model_larger_than_it_refused() {
        let models = Models::new(12 << 20);
        models.add("demo", ModelSpec::new(ModelRef::Demo).draft(ModelRef::DemoDraft)).unwrap();
        let error = models.get("demo").unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Limit, "the draft's contexts do not fit: {error}");
        models.add("alone", ModelSpec::new(ModelRef::Demo)).unwrap();
        let model = models.get("alone").unwrap();
        assert!(models.used_bytes() > 11 << 20 && models.used_bytes() <= 12 << 20, "{}", models.used_bytes());
        model.submit(request()).unwrap().wait().unwrap();
    }
}
