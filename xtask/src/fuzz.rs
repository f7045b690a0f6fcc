//! `cargo xtask fuzz`: the targets under `fuzz/`, which need cargo-fuzz and a nightly toolchain.

use crate::Outcome;
use crate::spawn::{self, command, root, succeeds};
use crate::tests_command::data_folder;

/// Default run time of a target.
const DEFAULT_SECONDS: u32 = 60;

/// Larger files make poor seeds.
const MAX_SEED_BYTES: u64 = 256 << 10;

/// Fuzzes one target; without arguments, lists the targets.
pub(crate) fn run(args: &[String]) -> Outcome {
    let targets = targets()?;
    let Some(target) = args.first() else {
        println!("targets: {}", targets.join(", "));
        return Ok(());
    };
    if !targets.contains(target) {
        return Err(format!("unknown target {target:?}; the targets are {}", targets.join(", ")));
    }
    let seconds = match args.get(1) {
        Some(text) => text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?,
        None => DEFAULT_SECONDS,
    };
    if !succeeds(&mut command("cargo", &["+nightly", "--version"])) {
        return Err("fuzzing needs a nightly toolchain: rustup toolchain install nightly".to_owned());
    }
    if !succeeds(&mut command("cargo", &["+nightly", "fuzz", "--version"])) {
        return Err("fuzzing needs cargo-fuzz: cargo install cargo-fuzz".to_owned());
    }
    seed_corpus(target).map_err(|e| format!("cannot fill the corpus of {target}: {e}"))?;
    let limit = format!("-max_total_time={seconds}");
    let args = ["+nightly", "fuzz", "run", target, "--", &limit, "-rss_limit_mb=2048"];
    spawn::run(&format!("fuzz {target}"), &mut command("cargo", &args))
}

/// File name suffix of a target's seed files.
fn seed_suffix(target: &str) -> &'static str {
    match target {
        "gguf" => ".gguf",
        "safetensors" => ".safetensors",
        "smnd" => ".smnd",
        "config" => "config.json",
        "tokenizer" => "tokenizer.json",
        _ => ".jinja",
    }
}

/// Copies real files of the target's kind into its corpus.
fn seed_corpus(target: &str) -> std::io::Result<()> {
    let corpus = root().join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&corpus)?;
    let mut folders = vec![root().join("crates/sm-model/tests/data"), data_folder()];
    while let Some(folder) = folders.pop() {
        // The shared data may be missing; the committed files are enough to start from.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            let name = path.to_string_lossy().replace('/', "_");
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(seed_suffix(target)) && path.metadata()?.len() <= MAX_SEED_BYTES {
                std::fs::copy(&path, corpus.join(name))?;
            }
        }
    }
    Ok(())
}

fn targets() -> Result<Vec<String>, String> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}
