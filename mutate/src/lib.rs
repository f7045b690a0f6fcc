//! Everything that reads foreign input, each as a function of bytes, with seeds to start from.
//!
//! Two drivers feed these functions: the test `mutations` of this crate, on any toolchain, with mutations of the seeds that a
//! number determines; and libFuzzer (`fuzz/`), guided by coverage, where nightly and cargo-fuzz exist.
//!
//! A target returns for any outcome that is right: that the input is refused, or a result that fits it. It panics for any other.
#![expect(clippy::expect_used, reason = "what a target needs besides its input has to be there")]

mod folder;
mod mutation;
mod rng;
mod seeds;
mod served;
mod stored;
mod targets;

pub use mutation::Mutator;
pub use seeds::{Kind, of as seeds};
pub use targets::{TARGETS, Target};

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target {name:?}"))
}

/// Runs a target on one input. Returns whether it was taken for what it should be.
///
/// # Panics
/// If there is no such target, or the outcome is wrong.
pub fn run(name: &str, bytes: &[u8]) -> bool {
    (target(name).run)(bytes)
}

/// Writes a target's seeds to where cargo-fuzz looks for them.
///
/// # Panics
/// If there is no such target, or a file cannot be written.
pub fn write_corpus(name: &str) {
    let corpus = seeds::root().join("fuzz/corpus").join(name);
    std::fs::create_dir_all(&corpus).expect("a folder for the seeds");
    for (index, seed) in seeds(target(name).seeds).iter().enumerate() {
        std::fs::write(corpus.join(format!("seed-{index}")), seed).expect("a seed that can be written");
    }
}
