//! Seeds: committed files and, where it is there, the shared test data, of any size.

use std::fs;
use std::path::{Path, PathBuf};

/// What seeds are.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Files whose names end so.
    Files(&'static str),
    /// Texts written for the purpose.
    Texts(&'static [&'static str]),
    /// What a function makes.
    Made(fn() -> Vec<Vec<u8>>),
}

/// The seeds of a kind, without those that are there twice.
pub fn of(kind: Kind) -> Vec<Vec<u8>> {
    let mut seeds = match kind {
        Kind::Files(suffix) => files(suffix),
        Kind::Texts(texts) => texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
        Kind::Made(make) => make(),
    };
    seeds.sort();
    seeds.dedup();
    // Without the shared data some formats have no file, and input is what mutation makes of nothing.
    if seeds.is_empty() { vec![Vec::new()] } else { seeds }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

fn files(suffix: &str) -> Vec<Vec<u8>> {
    let shared =
        std::env::var_os("SM_TEST_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    let committed = ["crates/sm-model/tests/data", "crates/sm-demo-model"].map(|folder| root().join(folder));
    let mut folders: Vec<PathBuf> = committed.into_iter().chain([shared]).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        // The shared data may be missing; the committed files are enough to start from.
        for path in fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                found.push(fs::read(&path).expect("a seed that can be read"));
            }
        }
    }
    found
}
