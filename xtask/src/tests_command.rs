//! `cargo xtask test`: every test of the workspace, and by name what cannot run here.

use std::path::PathBuf;

use crate::Outcome;
use crate::spawn::{self, cargo, command, root};

/// The folders of the shared test data, and the tests that want them.
const DATA: [(&str, &str); 4] = [
    ("models", "logits, greedy text and perplexity of trained models"),
    ("tokenizers", "golden encodes, decodes and chat renders"),
    ("text", "perplexity on real text"),
    ("prompts", "real prompts"),
];

/// Runs the tests; `args` go to `cargo test`.
pub(crate) fn run(args: &[String]) -> Outcome {
    let left_out = left_out(&data_folder());
    let mut command = cargo(&["test", "--workspace", "--locked"]);
    command.args(args);
    for line in &left_out {
        println!("left out: {line}");
    }
    let result =
        spawn::run("test", &mut command).and_then(|()| if args.is_empty() { run_examples() } else { Ok(()) });
    for line in &left_out {
        println!("left out: {line}");
    }
    result
}

/// Runs the examples of the runtime, which the tests have built: each ends well, with something to say.
fn run_examples() -> Outcome {
    let folder = root().join("crates/sm-runtime/examples");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let stem = |entry: std::io::Result<std::fs::DirEntry>| {
        Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned())
    };
    let mut names: Vec<String> = entries.filter_map(stem).collect();
    names.sort();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    for name in names {
        let program =
            target.join("debug/examples").join(&name).with_extension(std::env::consts::EXE_EXTENSION);
        if spawn::output(&mut command(&program.to_string_lossy(), &[]))?.trim().is_empty() {
            return Err(format!("the example {name} says nothing"));
        }
        println!("example {name}: ok");
    }
    Ok(())
}

/// Where the tests look for data: `SM_TEST_DATA`, else beside the repository.
pub(crate) fn data_folder() -> PathBuf {
    std::env::var_os("SM_TEST_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from)
}

fn left_out(data: &std::path::Path) -> Vec<String> {
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
        let missing = left_out(&root().join("no such folder"));
        assert_eq!(missing.len(), DATA.len());
        assert!(missing[0].contains("trained models"), "{}", missing[0]);
    }
}
