//! What the runtime promises, kept on real models.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by a panic and may report figures"
)]

#[cfg(feature = "demo-model")]
#[path = "promises/embeddings.rs"]
mod embeddings;
#[cfg(feature = "demo-model")]
#[path = "promises/engine.rs"]
mod engine;
#[cfg(feature = "demo-model")]
#[path = "promises/kv.rs"]
mod kv;
#[path = "promises/longrope.rs"]
mod longrope;
#[path = "promises/nano_sort.rs"]
mod nano_sort;
#[path = "promises/packed.rs"]
mod packed;
#[path = "promises/refusals.rs"]
mod refusals;
#[path = "promises/reproducible.rs"]
mod reproducible;
#[path = "promises/schedules.rs"]
mod schedules;
#[path = "promises/smollm2.rs"]
mod smollm2;
#[path = "promises/stories.rs"]
mod stories;
#[path = "../../sm-model/src/testing.rs"]
mod testing;
#[path = "promises/tokenizers.rs"]
mod tokenizers;

use std::path::{Path, PathBuf};

use sm_runtime::{Device, ExecutorOptions, GenerationOptions, Generator, KvDType, LoadOptions, Loader};

/// A file or directory of the test data. If it is missing, the test is skipped.
fn data(path: &str) -> Option<PathBuf> {
    let path = testing::data_dir()?.join(path);
    if path.exists() { Some(path) } else { testing::skip(&format_args!("{} is not there", path.display())) }
}

/// How a model is loaded and run.
#[derive(Clone, Debug, Default)]
struct Setup {
    load: LoadOptions,
    executor: ExecutorOptions,
}

/// One thread: tests run beside each other already, and `reproducible` shows that threads change nothing.
fn one_thread() -> LoadOptions {
    LoadOptions::new().device(Device::cpu_threads(1))
}

/// Logits at every position, keys and values in single precision.
fn exact(max_step_tokens: usize) -> Setup {
    let executor = ExecutorOptions::new()
        .max_step_tokens(max_step_tokens)
        .max_outputs(max_step_tokens)
        .kv_dtype(KvDType::F32);
    Setup { load: one_thread(), executor }
}

fn generator(path: &Path, setup: &Setup) -> Generator {
    let loader = Loader::new(path).options(setup.load.clone()).executor(setup.executor.clone());
    Generator::with_executor(loader.load().expect("the model loads"), &setup.executor).unwrap()
}

fn greedy(max_new_tokens: usize) -> GenerationOptions {
    GenerationOptions::greedy().max_new_tokens(max_new_tokens)
}
