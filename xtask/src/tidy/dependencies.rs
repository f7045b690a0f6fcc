//! Allowed dependencies of each crate: the table of ARCHITECTURE.md.

use super::{Finding, SourceFile};

/// A crate's allowed dependencies: crates of the project, and restricted third-party crates.
struct Rule {
    name: &'static str,
    may_use: &'static [&'static str],
    /// Whether it may enable a backend of `sm-kernels`.
    may_name_backend: bool,
}

const fn rule(name: &'static str, may_use: &'static [&'static str]) -> Rule {
    Rule { name, may_use, may_name_backend: false }
}

const RULES: [Rule; 14] = [
    rule("sm-tensor", &[]),
    rule("sm-demo-model", &[]),
    rule("sm-kernels", &["sm-tensor", "rayon", "wgpu"]),
    rule("sm-model", &["sm-tensor", "sm-kernels"]),
    rule("sm-cache", &["sm-tensor"]),
    rule("sm-batching", &["sm-tensor", "sm-kernels", "sm-cache"]),
    Rule {
        name: "sm-runtime",
        may_use: &[
            "sm-tensor",
            "sm-demo-model",
            "sm-kernels",
            "sm-model",
            "sm-cache",
            "sm-batching",
            "tokio",
        ],
        may_name_backend: true,
    },
    rule("sm-hub", &[]),
    rule("sm-server", &["sm-runtime", "tokio"]),
    rule("sm-cli", &["sm-runtime", "sm-hub", "sm-server", "tokio"]),
    rule("simulate", &["sm-batching", "sm-cache"]),
    rule("quantize", &["sm-tensor"]),
    rule("scheduler", &["sm-cache", "sm-batching"]),
    rule("chat", &["sm-runtime"]),
];

/// Third-party crates restricted to the crates that list them above.
const RESTRICTED: [&str; 3] = ["rayon", "tokio", "wgpu"];

/// Checks each crate's manifest, except development dependencies, which do not ship.
pub(super) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    for file in files {
        check_manifest(file, findings);
    }
}

fn check_manifest(file: &SourceFile, findings: &mut Vec<Finding>) {
    let Some(name) = file.path.strip_suffix("/Cargo.toml").and_then(|folder| folder.rsplit('/').next())
    else {
        return;
    };
    let is_xtask = name == "xtask";
    let rule = RULES.iter().find(|r| r.name == name);
    if rule.is_none() && ["crates/", "examples/"].iter().any(|folder| file.path.starts_with(folder)) {
        findings.push(file.finding(0, format!("{name} has no row in the dependency table")));
    }
    for (number, dependency, entry) in dependencies(file) {
        let is_ours = dependency.starts_with("sm-");
        let is_allowed = match rule {
            Some(rule) => {
                rule.may_use.contains(&dependency) || !(is_ours || RESTRICTED.contains(&dependency))
            }
            None => !(is_xtask && is_ours),
        };
        if !is_allowed {
            findings.push(file.finding(number, format!("{name} may not use {dependency}")));
        }
        let names_backend =
            dependency == "sm-kernels" && ["cpu", "gpu"].iter().any(|f| entry.contains(&format!("\"{f}\"")));
        if names_backend && rule.is_some_and(|r| !r.may_name_backend) {
            findings.push(file.finding(number, format!("{name} may not enable a backend of sm-kernels")));
        }
    }
}

/// Line, name and text of each entry under a `[dependencies]` or `[target.….dependencies]` heading.
fn dependencies(file: &SourceFile) -> Vec<(usize, &str, &str)> {
    let mut is_under_heading = false;
    let mut found = Vec::new();
    for (number, line) in file.lines() {
        if let Some(heading) = line.strip_prefix('[') {
            let heading = heading.trim_end().trim_end_matches(']');
            is_under_heading = heading == "dependencies"
                || heading.ends_with(".dependencies") && heading.starts_with("target.");
            continue;
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default().trim_matches('"');
        if is_under_heading && !name.is_empty() && !name.starts_with('#') {
            found.push((number, name, line));
        }
    }
    found
}
