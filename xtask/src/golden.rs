//! `cargo xtask golden`: regenerates the committed reference values with the original Python packages.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::setup::{models, python_environment, venv_python};
use crate::spawn::{self, command, root};

/// The scripts of `xtask/golden/`. Each takes the folder to write into, laid out as the repository.
const SCRIPTS: [&str; 9] = [
    "formats.py",
    "architectures.py",
    "quantized.py",
    "chat.py",
    "tokenizer_files.py",
    "pre_tokenizers.py",
    "demo.py",
    "mixtures.py",
    "smollm2.py",
];

/// Tolerance for values computed on another CPU, relative to the largest value in the file.
const FLOAT_TOLERANCE: f32 = 1e-5;

/// Writes the fixtures in place; with `--check`, writes them elsewhere and compares.
pub(crate) fn run(args: &[String]) -> Outcome {
    let out = match args.first().map(String::as_str) {
        None => root(),
        Some("--check") => root().join("target/golden"),
        Some(other) => return Err(format!("unknown option {other:?}; there is only --check")),
    };
    if out != root() && out.exists() {
        std::fs::remove_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    }
    python_environment()?;
    models()?;
    let python = venv_python();
    for script in SCRIPTS {
        let path = format!("xtask/golden/{script}");
        spawn::run(script, &mut command(&python.to_string_lossy(), &[&path, &out.to_string_lossy()]))?;
    }
    if args.is_empty() { Ok(()) } else { compare_trees(&out) }
}

fn compare_trees(made: &Path) -> Outcome {
    let mut files = Vec::new();
    collect_files(made, &mut files).map_err(|e| format!("{}: {e}", made.display()))?;
    let differing: Vec<String> = files
        .iter()
        .filter_map(|file| {
            let name = file.strip_prefix(made).ok()?;
            let why = difference(file, &root().join(name))?;
            Some(format!("{}: {why}", name.display()))
        })
        .collect();
    if differing.is_empty() {
        println!("{} files equal what is committed", files.len());
        return Ok(());
    }
    Err(format!("{} of {} files differ:\n{}", differing.len(), files.len(), differing.join("\n")))
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_files(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Why two files differ, if they do: `.f32` files by value, all others byte for byte.
fn difference(made: &Path, committed: &Path) -> Option<String> {
    let (Ok(a), Ok(b)) = (std::fs::read(made), std::fs::read(committed)) else {
        return Some("not committed".to_owned());
    };
    if a == b {
        return None;
    }
    if made.extension().is_some_and(|e| e == "f32") {
        return float_difference(&a, &b);
    }
    Some(format!("bytes differ ({} computed, {} committed)", a.len(), b.len()))
}

fn float_difference(a: &[u8], b: &[u8]) -> Option<String> {
    if a.len() != b.len() {
        return Some(format!("{} bytes made, {} committed", a.len(), b.len()));
    }
    let values = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
    };
    let a = values(a);
    let b = values(b);
    let scale = b.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let worst = a.iter().zip(&b).map(|(x, y)| (x - y).abs()).fold(0.0f32, f32::max);
    // Written so that a NaN counts as a difference.
    let is_close = worst <= FLOAT_TOLERANCE * scale && a.iter().all(|x| x.is_finite());
    if is_close { None } else { Some(format!("values differ by up to {worst} (largest value {scale})")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn float_files_may_differ_in_the_last_bits_only() {
        let a = bytes(&[1.0, -2.0]);
        assert_eq!(float_difference(&a, &bytes(&[1.0, -2.000_001])), None);
        assert!(float_difference(&a, &bytes(&[1.0, -2.001])).is_some());
        assert!(float_difference(&bytes(&[f32::NAN, -2.0]), &a).is_some());
        assert!(float_difference(&a, &bytes(&[1.0])).is_some());
    }

    #[test]
    fn every_script_is_there() {
        for script in SCRIPTS {
            assert!(root().join("xtask/golden").join(script).is_file(), "{script}");
        }
    }
}
