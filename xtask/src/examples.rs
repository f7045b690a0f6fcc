//! Runs the examples: the runtime's, and the programs in `examples/` that use the crates as dependencies.

use std::fs::{self, File};
use std::process::Stdio;

use crate::Outcome;
use crate::spawn::{cargo, command, output, root, target};

/// A program in `examples/`.
struct Downstream {
    name: &'static str,
    /// A file for its standard input, relative to its folder.
    input: Option<&'static str>,
    /// A line it must print.
    prints: &'static str,
}

const DOWNSTREAM: [Downstream; 3] = [
    Downstream { name: "quantize", input: None, prints: "q8_0             8.5           0.52%" },
    Downstream { name: "scheduler", input: None, prints: "request 1: [42, 43, 44, 45, 46]" },
    Downstream { name: "chat", input: Some("questions.txt"), prints: "Answer: 3" },
];

/// Runs all examples. `cargo test` has built the runtime's.
pub(crate) fn run() -> Outcome {
    for name in runtime_examples()? {
        let program = target().join("debug/examples").join(&name);
        let program = program.with_extension(std::env::consts::EXE_EXTENSION);
        if output(&mut command(&program.to_string_lossy(), &[]))?.trim().is_empty() {
            return Err(format!("the example {name} prints nothing"));
        }
        println!("example {name}: ok");
    }
    DOWNSTREAM.iter().try_for_each(run_downstream)
}

fn run_downstream(example: &Downstream) -> Outcome {
    let Downstream { name, input, prints } = example;
    let mut command = cargo(&["run", "--quiet", "--locked", "--package", &format!("example-{name}")]);
    if let Some(input) = input {
        let path = root().join("examples").join(name).join(input);
        let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        command.stdin(Stdio::from(file));
    }
    let printed = output(&mut command)?;
    if !printed.lines().any(|line| line == *prints) {
        return Err(format!("the example {name} does not print {prints:?}, but:\n{printed}"));
    }
    println!("example {name}: ok");
    Ok(())
}

fn runtime_examples() -> Result<Vec<String>, String> {
    let folder = root().join("crates/sm-runtime/examples");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let stem =
        |entry: std::io::Result<fs::DirEntry>| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = entries.filter_map(stem).collect();
    names.sort();
    Ok(names)
}
