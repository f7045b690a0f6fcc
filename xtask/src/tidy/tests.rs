//! Samples that break each rule, and the repository itself, which follows all of them.

use super::*;

/// The findings for one file at `path`.
fn check(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    check_all(&[SourceFile { path: path.to_owned(), text: text.to_owned() }], |_| true, &mut findings);
    findings.iter().map(|f| f.what.clone()).collect()
}

/// Asserts that `text` at `path` breaks exactly the rule whose message contains `message`.
#[track_caller]
fn breaks(path: &str, text: &str, message: &str) {
    let found = check(path, text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(message), "{found:?} has no {message:?}");
}

const ENTRY: &str = "crates/sm-x/src/lib.rs";

#[test]
fn the_repository_is_tidy() {
    let findings: Vec<String> =
        findings(&root(), |_| true).unwrap().iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn a_clean_file_passes() {
    assert_eq!(check(ENTRY, "//! Reads files.\n\nfn f() {}\n"), Vec::<String>::new());
}

#[test]
fn the_first_line_says_what_the_file_does() {
    breaks(ENTRY, "fn f() {}\n", "first line");
    breaks("xtask/golden/x.py", "import os\n", "first line");
    breaks("crates/sm-x/src/x.wgsl", "fn f() {}\n", "first line");
}

#[test]
fn long_files_are_split_except_tests() {
    let text = format!("//! Long.\n{}", "\n".repeat(400));
    breaks(ENTRY, &text, "401 lines");
    assert!(check("crates/sm-x/tests/logits.rs", &text).is_empty());
}

#[test]
fn functions_fit_a_screen() {
    let function = |n_lines: usize| format!("fn long() {{\n{}}}\n", "    f();\n".repeat(n_lines));
    let message = "the body of `long` has 61 lines";
    breaks(ENTRY, &format!("//! Long.\n{}", function(61)), message);
    breaks(ENTRY, &format!("//! Long.\n#[allow(clippy::too_many_lines)]\n{}", function(61)), message);
    breaks(ENTRY, &format!("//! Long.\nimpl A {{\n{}}}\n", function(61)), message);
    breaks(ENTRY, &format!("//! Long.\ntrait A {{\n{}}}\n", function(61)), message);
    assert!(check(ENTRY, &format!("//! Fits.\n{}", function(60))).is_empty());
}

#[test]
fn modules_have_telling_names() {
    let text = "//! Something.\n";
    assert!(check("crates/sm-x/src/plan/mod.rs", text).iter().any(|f| f.contains("without mod.rs")));
    assert!(check("crates/sm-x/src/utils.rs", text).iter().any(|f| f.contains("says nothing")));
}

#[test]
fn nothing_unfinished_is_kept() {
    for mark in [
        concat!("// TO", "DO: later"),
        concat!("todo", "!()"),
        concat!("dbg", "!(x);"),
        concat!("#[ig", "nore]"),
    ] {
        breaks(ENTRY, &format!("//! Reads.\n{mark}\n"), "unfinished");
    }
}

#[test]
fn no_paths_of_one_machine() {
    let path = concat!("/wo", "rk/main");
    breaks("README.md", &format!("see {path}\n"), "path of one machine");
    breaks(ENTRY, &format!("//! Reads.\nconst P: &str = \"{path}\";\n"), "path of one machine");
    assert!(check("README.md", &format!("https://example.org{path}\n")).is_empty());
}

#[test]
fn unsafe_stands_only_in_listed_files() {
    breaks(ENTRY, "//! Reads.\nlet x = unsafe { f() };\n", "`unsafe` is allowed only in");
    assert!(
        check(ENTRY, "//! Reads.\n// unsafe would do\n#![deny(unsafe_code)]\nlet x = \"unsafe\";\n")
            .is_empty()
    );
    let file = "crates/sm-kernels/src/cpu/split.rs";
    let parent =
        SourceFile { path: "crates/sm-kernels/src/cpu.rs".into(), text: "//! CPU.\nmod split;\n".into() };
    let lib = SourceFile { path: "crates/sm-kernels/src/lib.rs".into(), text: "//! Lib.\nmod cpu;\n".into() };
    let text = "//! Splits.\nunsafe { split() }\n".to_owned();
    let mut findings = Vec::new();
    check_all(&[SourceFile { path: file.into(), text }, parent, lib], |_| true, &mut findings);
    assert_eq!(findings, Vec::new());
}

#[test]
fn threads_async_and_gpu_have_their_places() {
    for word in ["thread", "rayon", "tokio", "wgpu"] {
        breaks(ENTRY, &format!("//! Reads.\nuse {word}::x;\n"), &format!("`{word}` is allowed only in"));
    }
    assert!(check("crates/sm-server/src/lib.rs", "//! Serves.\nuse tokio::x;\n").is_empty());
}

#[test]
fn every_file_is_declared_by_its_parent() {
    breaks("crates/sm-x/src/plan/op.rs", "//! Ops.\n", "the file is dead");
    let parent = "//! Plan.\npub(crate) mod op;\n#[path = \"plan/off.rs\"]\nmod implementation;\n";
    let files = [
        SourceFile { path: "crates/sm-x/src/plan.rs".into(), text: parent.into() },
        SourceFile { path: "crates/sm-x/src/plan/op.rs".into(), text: "//! Ops.\n".into() },
        SourceFile { path: "crates/sm-x/src/plan/off.rs".into(), text: "//! No ops.\n".into() },
        SourceFile { path: "crates/sm-x/src/lib.rs".into(), text: "//! X.\n#[cfg(test)] mod plan;\n".into() },
    ];
    let mut findings = Vec::new();
    check_all(&files, |_| true, &mut findings);
    assert_eq!(findings, Vec::new());
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let manifest = "crates/sm-model/Cargo.toml";
    breaks(manifest, "[dependencies]\nsm-runtime.workspace = true\n", "sm-model may not use sm-runtime");
    breaks(manifest, "[dependencies]\nrayon = \"1\"\n", "sm-model may not use rayon");
    breaks(manifest, "[target.'cfg(unix)'.dependencies]\ntokio = \"1\"\n", "sm-model may not use tokio");
    breaks(
        manifest,
        "[dependencies]\nsm-kernels = { workspace = true, features = [\"cpu\"] }\n",
        "may not enable a backend of sm-kernels",
    );
    assert!(check(manifest, "[dev-dependencies]\nsm-runtime.workspace = true\n").is_empty());
    assert!(
        check(manifest, "[dependencies]\nsm-tensor.workspace = true\nserde.workspace = true\n").is_empty()
    );
    breaks("crates/sm-new/Cargo.toml", "[package]\n", "no row in the dependency table");
    breaks("xtask/Cargo.toml", "[dependencies]\nsm-tensor.workspace = true\n", "xtask may not use sm-tensor");
}

#[test]
fn a_crate_is_ready_to_be_published() {
    let check = |manifest: &str, readme: &str| {
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
        let files = [
            file("crates/sm-tensor/Cargo.toml", manifest),
            file("crates/sm-tensor/src/lib.rs", "//! Types.\n"),
            file("crates/sm-tensor/README.md", readme),
        ];
        let mut findings = Vec::new();
        check_all(&files, |_| true, &mut findings);
        findings.into_iter().map(|finding| finding.what).collect::<Vec<String>>()
    };
    let manifest = "[package]\ndescription = \"Types\"\nkeywords = [\"llm\"]\ncategories = [\"science\"]\n\
        license.workspace = true\nrepository.workspace = true\ninclude.workspace = true\n[package.metadata.docs.rs]\n";
    let readme = crate::readme::from_source("sm-tensor", "//! Types.\n").unwrap();
    assert_eq!(check(manifest, &readme), Vec::<String>::new());
    assert_eq!(check(manifest, "# sm-tensor\n").len(), 1);
    let bare = manifest.replace("keywords", "key-words");
    assert_eq!(check(&bare, &readme), ["a published crate needs `keywords`"]);
    let private = format!("publish = false\n{manifest}");
    assert!(check(&private, &readme)[0].contains("`publish = false`"));
}

#[test]
fn an_operation_has_its_files_and_its_line_in_each_table() {
    let op = "//! Ops.\n\noperations! {\n    /// Gathers.\n    GatherRows,\n}\n";
    let row = "| an operation | `plan/ops/x.rs`, `plan/op.rs`, `plan/ops.rs`, `cpu/program/x.rs`, `cpu/program.rs`, \
        `cpu/forms.rs`, `gpu/ops.rs`, `cpu/ops/x.rs`, `gpu/ops/x.rs`, `sm-model/src/decoder/` |\n";
    let sources = |changed: &[(&str, &str)]| {
        let mut texts = std::collections::BTreeMap::from([
            ("crates/sm-kernels/src/plan/op.rs", op),
            ("crates/sm-kernels/src/plan/ops/gather_rows.rs", ""),
            ("crates/sm-kernels/src/cpu/program/gather_rows.rs", ""),
            ("crates/sm-kernels/src/cpu/program/binder.rs", ""),
            ("CONTRIBUTING.md", row),
        ]);
        texts.extend(changed.iter().copied());
        let file = |(path, text): (&str, &str)| SourceFile { path: path.to_owned(), text: text.to_owned() };
        let files: Vec<SourceFile> = texts.into_iter().map(file).collect();
        let mut found = Vec::new();
        operations::check(&files, &mut found);
        found.into_iter().map(|finding| finding.what).collect::<Vec<String>>()
    };
    let breaks = |changed: &[(&str, &str)], message: &str| {
        let found = sources(changed);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(message), "{found:?} has no {message:?}");
    };
    assert_eq!(sources(&[]), Vec::<String>::new());
    let two = op.replace("    GatherRows,\n", "    GatherRows,\n    Pool,\n");
    let pool = ("crates/sm-kernels/src/cpu/program/pool.rs", "");
    breaks(
        &[("crates/sm-kernels/src/plan/op.rs", &two), pool],
        "without its file crates/sm-kernels/src/plan/ops/pool.rs",
    );
    breaks(&[pool], "no operation in crates/sm-kernels/src/plan/op.rs has this name");
    breaks(&[("CONTRIBUTING.md", &row.replace("`cpu/forms.rs`, ", ""))], "touches `cpu/forms.rs`");
    breaks(
        &[("CONTRIBUTING.md", &row.replace("`cpu/forms.rs`", "`cpu/forms.rs`, `cpu/split.rs`"))],
        "need not touch `cpu/split.rs`",
    );
    breaks(&[("CONTRIBUTING.md", "")], "no row");
    let many = op.replace("    GatherRows,\n", "    GatherRows,\n    A,\n    B,\n");
    let files = ["plan/ops/a.rs", "plan/ops/b.rs", "cpu/program/a.rs", "cpu/program/b.rs"]
        .map(|path| format!("crates/sm-kernels/src/{path}"));
    let mut changed: Vec<(&str, &str)> = files.iter().map(|path| (path.as_str(), "")).collect();
    changed.push(("crates/sm-kernels/src/plan/op.rs", &many));
    changed
        .push(("crates/sm-kernels/src/plan/cost.rs", "Op::A(a) => 1, Op::B(b) => 2, Op::GatherRows(g) => 3"));
    breaks(&changed, "names 3 operations, like a table");
}
