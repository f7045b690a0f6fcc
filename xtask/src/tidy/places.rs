//! Where unsafe code, threads, async and the GPU may appear, and files that no module declares.

use super::{Finding, SourceFile};

/// A word and the only places where code may contain it.
struct Place {
    word: &'static str,
    /// Path prefixes.
    allowed: &'static [&'static str],
}

const PLACES: [Place; 5] = [
    Place {
        word: "unsafe",
        allowed: &[
            "crates/sm-kernels/src/cpu/isa/",
            "crates/sm-kernels/src/gpu/driver_cache.rs",
            "crates/sm-kernels/src/gpu/matrices.rs",
            "crates/sm-kernels/src/cpu/allocation.rs",
            "crates/sm-kernels/src/cpu/arena.rs",
            "crates/sm-kernels/src/cpu/arena/",
            "crates/sm-kernels/src/cpu/kv_pool.rs",
            "crates/sm-kernels/src/cpu/split.rs",
            "crates/sm-kernels/src/cpu/team/fork_join.rs",
            "crates/sm-runtime/src/load/packed/mapped.rs",
            "crates/sm-runtime/src/load/packed/sigbus.rs",
        ],
    },
    Place {
        word: "thread",
        allowed: &[
            "crates/sm-kernels/src/cpu/",
            "crates/sm-model/src/chat.rs",
            "crates/sm-model/src/chat/",
            "crates/sm-model/src/export/",
            // The name of a test is that of its thread.
            "crates/sm-model/src/testing.rs",
            "crates/sm-runtime/src/",
            "crates/sm-server/",
            "crates/sm-cli/",
        ],
    },
    // The kernels' team is the only thread pool.
    Place { word: "rayon", allowed: &["crates/sm-kernels/src/cpu/team.rs"] },
    Place {
        word: "tokio",
        allowed: &["crates/sm-runtime/src/engine.rs", "crates/sm-server/", "crates/sm-cli/"],
    },
    Place { word: "wgpu", allowed: &["crates/sm-kernels/src/gpu/"] },
];

/// Checks all files.
pub(super) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    for file in files {
        check_words(file, findings);
    }
    check_modules(files, findings);
}

/// Checks one file for words out of place.
fn check_words(file: &SourceFile, findings: &mut Vec<Finding>) {
    // Tests may do more, such as count allocations; the rules only cover shipped code.
    if !file.is_rust() || !file.path.starts_with("crates/") || file.is_test() {
        return;
    }
    for (number, line) in file.lines() {
        let code = code_of(line);
        for place in &PLACES {
            let is_allowed = place.allowed.iter().any(|prefix| file.path.starts_with(prefix));
            if !is_allowed && has_word(&code, place.word) {
                let places =
                    if place.allowed.is_empty() { "no crate".to_owned() } else { place.allowed.join(", ") };
                let what = format!("`{}` is allowed only in {places}", place.word);
                findings.push(file.finding(number, what));
            }
        }
    }
}

/// Checks that every source file is declared by a module; otherwise it is dead code.
fn check_modules(files: &[SourceFile], findings: &mut Vec<Finding>) {
    for file in files.iter().filter(|f| f.is_rust()) {
        let Some((source_root, module)) = file.path.split_once("/src/") else { continue };
        if matches!(module, "lib.rs" | "main.rs") || module.starts_with("bin/") {
            continue;
        }
        let name = module.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        let parents = match module.rsplit_once('/') {
            Some((folder, _)) => vec![format!("{source_root}/src/{folder}.rs")],
            None => vec![format!("{source_root}/src/lib.rs"), format!("{source_root}/src/main.rs")],
        };
        let is_declared = files
            .iter()
            .filter(|f| parents.contains(&f.path))
            .any(|f| f.lines().any(|(_, line)| declares(line, name)));
        if !is_declared {
            findings.push(
                file.finding(0, format!("no `mod {name};` in {}: the file is dead", parents.join(" or "))),
            );
        }
    }
}

/// Whether a line declares the module `name` or names its file in a `#[path]`.
fn declares(line: &str, name: &str) -> bool {
    let names_file = line.trim().starts_with("#[path = ") && line.trim().ends_with(&format!("/{name}.rs\"]"));
    names_file || code_of(line).trim_end().ends_with(&format!("mod {name};"))
}

/// A line stripped of comments and the contents of string literals.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let mut chars = line.chars().peekable();
    let mut is_in_string = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if is_in_string => {
                chars.next();
            }
            '"' => is_in_string = !is_in_string,
            '/' if !is_in_string && chars.peek() == Some(&'/') => break,
            c if !is_in_string => code.push(c),
            _ => {}
        }
    }
    code
}

/// Whether `code` contains `word` as a whole word.
fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word)
}
