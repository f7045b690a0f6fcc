//! `cargo xtask test`: runs all tests, and lists those skipped for lack of data.

use std::path::{Path, PathBuf};

use crate::setup::smollm2;
use crate::spawn::{self, cargo, root};
use crate::{Outcome, cases, examples};

/// The folders of the shared test data, and the tests that use them.
const DATA: [(&str, &str); 4] = [
    ("models", "logits, greedy text and perplexity of trained models"),
    ("tokenizers", "golden encodes, decodes and chat renders"),
    ("text", "perplexity on real text"),
    ("prompts", "real prompts"),
];

/// Runs the tests; `args` go to `cargo test`.
pub(crate) fn run(args: &[String]) -> Outcome {
    let data = data_folder();
    let skipped = skipped(&data);
    let mut command = cargo(&["test", "--workspace", "--locked"]);
    command.args(args);
    for line in &skipped {
        println!("skipped: {line}");
    }
    let result =
        spawn::run("test", &mut command).and_then(|()| if args.is_empty() { whole(&data) } else { Ok(()) });
    for line in &skipped {
        println!("skipped: {line}");
    }
    result
}

/// Runs what `cargo test` leaves out.
fn whole(data: &Path) -> Outcome {
    examples::run()?;
    if cases::folder(data).is_dir() { cases::run(data) } else { Ok(()) }
}

/// The test data folder: `SM_TEST_DATA`, or else a folder next to the repository.
pub(crate) fn data_folder() -> PathBuf {
    std::env::var_os("SM_TEST_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from)
}

fn skipped(data: &Path) -> Vec<String> {
    let data_folders = DATA.iter().map(|(folder, what)| (data.join(folder), *what));
    let folders = data_folders.chain([(cases::folder(data), "cases after public bug reports")]);
    let mut skipped: Vec<String> = folders
        .filter(|(folder, _)| !folder.is_dir())
        .map(|(folder, what)| format!("{what} (no {}; SM_TEST_DATA names another folder)", folder.display()))
        .collect();
    if !smollm2().exists() {
        skipped.push("greedy text and chat of SmolLM2-135M (cargo xtask setup --models)".to_owned());
    }
    skipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_missing_folder() {
        let missing = skipped(&root().join("no such folder"));
        assert!(missing.len() > DATA.len(), "{missing:?}");
        assert!(missing[0].contains("trained models"), "{}", missing[0]);
    }
}
