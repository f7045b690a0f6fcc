//! Runs the runtime's examples. Those in `examples/` are packages with tests of their own.

use std::fs;

use crate::Outcome;
use crate::spawn::{command, output, root, target};

/// Runs the examples, which `cargo test` has built.
pub(crate) fn run() -> Outcome {
    for name in runtime_examples()? {
        let program = target().join("debug/examples").join(&name);
        let program = program.with_extension(std::env::consts::EXE_EXTENSION);
        if output(&mut command(&program.to_string_lossy(), &[]))?.trim().is_empty() {
            return Err(format!("the example {name} prints nothing"));
        }
        println!("example {name}: ok");
    }
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
