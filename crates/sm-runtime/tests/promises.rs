//! What the runtime promises, kept on real models.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by a panic and may report figures"
)]

#[cfg(feature = "demo-model")]
#[path = "promises/engine.rs"]
mod engine;
#[cfg(feature = "demo-model")]
#[path = "promises/kv.rs"]
mod kv;
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
#[path = "promises/stories.rs"]
mod stories;

use std::path::{Path, PathBuf};

use sm_runtime::{GenerationOptions, Generator, KvDType, LoadOptions, LoadedModel};

/// A file or directory of the test data, or a note that the test is skipped.
fn data(path: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("SM_TEST_DATA") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
    };
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there; set SM_TEST_DATA", path.display());
    None
}

/// Options to compute logits at every position, keys and values in single precision.
fn exact(max_step_tokens: usize) -> LoadOptions {
    LoadOptions {
        max_step_tokens,
        max_outputs: max_step_tokens,
        kv_dtype: KvDType::F32,
        // Tests run beside each other already; `reproducible` shows that threads change nothing.
        n_threads: Some(1),
        ..LoadOptions::default()
    }
}

fn generator(path: &Path, options: &LoadOptions) -> Generator {
    Generator::new(LoadedModel::load(path, options, &|_| ()).expect("the model loads"))
}

fn greedy(max_new_tokens: usize) -> GenerationOptions {
    GenerationOptions::greedy().max_new_tokens(max_new_tokens)
}
