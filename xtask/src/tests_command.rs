//! `cargo xtask test`: runs all tests, and lists those skipped for lack of data.

use std::path::PathBuf;

use crate::spawn::{self, cargo, root};
use crate::{Outcome, examples};

/// The folders of the shared test data, and the tests that use them.
const DATA: [(&str, &str); 4] = [
    ("models", "logits, greedy text and perplexity of trained models"),
    ("tokenizers", "golden encodes, decodes and chat renders"),
    ("text", "perplexity on real text"),
    ("prompts", "real prompts"),
];

/// Runs the tests; `args` go to `cargo test`.
pub(crate) fn run(args: &[String]) -> Outcome {
    let skipped = skipped(&data_folder());
    let mut command = cargo(&["test", "--workspace", "--locked"]);
    command.args(args);
    for line in &skipped {
        println!("skipped: {line}");
    }
    let result = spawn::run("test", &mut command)
        .and_then(|()| if args.is_empty() { examples::run() } else { Ok(()) });
    for line in &skipped {
        println!("skipped: {line}");
    }
    result
}

/// The test data folder: `SM_TEST_DATA`, or else a folder next to the repository.
pub(crate) fn data_folder() -> PathBuf {
    std::env::var_os("SM_TEST_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from)
}

fn skipped(data: &std::path::Path) -> Vec<String> {
    DATA.iter()
        .filter(|(folder, _)| !data.join(folder).is_dir())
        .map(|(folder, what)| {
            format!("{what} (no {}; SM_TEST_DATA names another folder)", data.join(folder).display())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_missing_folder() {
        let missing = skipped(&root().join("no such folder"));
        assert_eq!(missing.len(), DATA.len());
        assert!(missing[0].contains("trained models"), "{}", missing[0]);
    }
}
