//! Small crates that follow and break the rule.

use super::*;

/// The first line of each finding for a crate of `files`; paths are relative to its `src`.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let findings = check_crate(files);
    findings.iter().filter_map(|finding| finding.what.lines().next().map(str::to_owned)).collect()
}

fn check_crate(files: &[(&str, &str)]) -> Vec<Finding> {
    let file = |&(path, text): &(&str, &str)| SourceFile {
        path: format!("crates/sm-x/src/{path}"),
        text: text.to_owned(),
    };
    let files: Vec<SourceFile> = files.iter().map(file).collect();
    let mut findings = Vec::new();
    check(&files, &mut findings);
    findings
}

/// Asserts that the crate has exactly this circle between children of its root.
#[track_caller]
fn has_circle(files: &[(&str, &str)], circle: &str) {
    assert_eq!(circles(files), [format!("import circle in crate: {circle}")]);
}

#[track_caller]
fn has_none(files: &[(&str, &str)]) {
    assert_eq!(circles(files), Vec::<String>::new());
}

const LIB: (&str, &str) = ("lib.rs", "mod a;\nmod b;\nmod c;\n");

#[test]
fn one_way_is_no_circle() {
    has_none(&[
        LIB,
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "pub struct C;"),
    ]);
}

#[test]
fn each_edge_of_a_circle_has_a_witness() {
    let findings = check_crate(&[
        LIB,
        ("a.rs", "use crate::b::B;\npub struct A;\n"),
        ("b.rs", "pub struct B;\n\nfn f(_: super::c::C) {}\nfn g(_: super::c::C) {}\n"),
        ("c.rs", "pub struct C;\n\nfn f() {\n    crate::a::A::new();\n}\n"),
    ]);
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].path.as_str(), findings[0].line), ("crates/sm-x/src/a.rs", 1));
    let lines = [
        "import circle in crate: a -> b -> c -> a",
        "    a -> b, 1x: crates/sm-x/src/a.rs:1: crate::b::B",
        "    b -> c, 2x: crates/sm-x/src/b.rs:3: super::c::C",
        "    c -> a, 1x: crates/sm-x/src/c.rs:4: crate::a::A::new",
    ];
    assert_eq!(findings[0].what, lines.join("\n"));
}

#[test]
fn two_circles_are_two_findings() {
    let files = [
        LIB,
        ("a.rs", "use crate::b::B; use crate::c::C; pub struct A;"),
        ("b.rs", "use crate::a::A; pub struct B;"),
        ("c.rs", "use crate::a::A; pub struct C;"),
    ];
    let circle = |way: &str| format!("import circle in crate: {way}");
    assert_eq!(circles(&files), [circle("a -> b -> a"), circle("a -> c -> a")]);
}

#[test]
fn parent_and_child_may_see_each_other() {
    has_none(&[
        LIB,
        ("a.rs", "mod x; use self::x::X; pub struct A; pub use x::Y;"),
        ("a/x.rs", "use super::A; use crate::a::A as Again; pub struct X; pub struct Y;"),
    ]);
}

#[test]
fn a_subtree_counts_as_one() {
    has_circle(
        &[
            LIB,
            ("a.rs", "mod x; pub mod y;"),
            ("a/x.rs", "use crate::b::B;"),
            ("a/y.rs", "pub struct Y;"),
            ("b.rs", "mod z; pub struct B;"),
            ("b/z.rs", "use crate::a::y::Y;"),
        ],
        "a -> b -> a",
    );
}

#[test]
fn circles_are_found_at_every_level() {
    let files = [
        LIB,
        ("a.rs", "mod x; mod y;"),
        ("a/x.rs", "use super::y::Y; pub struct X;"),
        ("a/y.rs", "use super::x::X; pub struct Y;"),
    ];
    assert_eq!(circles(&files), ["import circle in crate::a: x -> y -> x"]);
}

#[test]
fn names_are_followed_to_the_module_that_defines_them() {
    let lib = ("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::A;\npub struct Top;\n");
    // An item re-exported by the parent belongs to the child.
    has_circle(
        &[lib, ("a.rs", "use crate::b::B; pub struct A;"), ("b.rs", "use super::A; pub struct B;")],
        "a -> b -> a",
    );
    // An item defined by the parent belongs to the parent.
    has_none(&[lib, ("a.rs", "use crate::b::B; pub struct A;"), ("b.rs", "use super::Top; pub struct B;")]);
    // `b` only re-exports from `c`.
    has_none(&[
        lib,
        ("a.rs", "use crate::b::C; pub struct A;"),
        ("b.rs", "pub(crate) use crate::c::{C, D as E}; use crate::a::A;"),
        ("c.rs", "pub struct C; pub struct D;"),
    ]);
    let through_b = ("a.rs", "use crate::b::E; pub struct A;");
    has_circle(
        &[
            lib,
            through_b,
            ("b.rs", "pub use crate::c::{C, D as E};"),
            ("c.rs", "use crate::a::A; pub struct D;"),
        ],
        "a -> c -> a",
    );
}

#[test]
fn globs_and_imported_modules_count() {
    let b = ("b.rs", "use crate::a; pub struct B; fn f() { a::x::f(); }");
    has_circle(
        &[LIB, ("a.rs", "pub mod x; use crate::b::*;"), ("a/x.rs", "pub fn f() {}"), b],
        "a -> b -> a",
    );
    let lib = ("lib.rs", "mod a;\nmod b;\npub use a::*;\n");
    has_circle(
        &[lib, ("a.rs", "use crate::b::B; pub struct A;"), ("b.rs", "use crate::A; pub struct B;")],
        "a -> b -> a",
    );
    let names = ("b.rs", "use super::*; pub struct B; fn f(_: A) {}");
    has_circle(&[lib, ("a.rs", "use crate::b::B; pub struct A;"), names], "a -> b -> a");
}

#[test]
fn tests_are_exempt() {
    let a = ("a.rs", "use crate::b::B; pub struct A;");
    for b in [
        "pub struct B;\n#[cfg(test)] use crate::a::A;",
        "pub struct B;\n#[cfg(all(test, unix))] mod inner { use crate::a::A; }",
        "pub struct B;\n#[test] fn f() { crate::a::A; }",
        "pub struct B;\nimpl B { #[cfg(test)] fn f() { crate::a::A; } }",
        "pub struct B;\nmod tests;",
    ] {
        has_none(&[LIB, a, ("b.rs", b), ("b/tests.rs", "use crate::a::A;")]);
    }
    has_circle(&[LIB, a, ("b.rs", "pub struct B;\n#[cfg(not(test))] use crate::a::A;")], "a -> b -> a");
}

#[test]
fn paths_in_macros_and_bodies_count() {
    for b in [
        "pub struct B;\nfn f() { assert!(x == crate::a::A); }",
        "macro_rules! m { () => { $crate::a::A } }\npub struct B;",
        "pub struct B;\nfn f() { use crate::a::A; }",
        "pub struct B;\nfn f() { use super::a as other; vec![other::A] }",
        "pub struct B;\nimpl From<crate::a::A> for B {}",
        "pub struct B;\nfn f<T: super::a::A>() {}",
    ] {
        has_circle(&[LIB, ("a.rs", "use crate::b::B; pub struct A;"), ("b.rs", b)], "a -> b -> a");
    }
    let b = "pub struct B;\npub(in crate::a) fn f() { let a = 1; g(a); }";
    has_none(&[LIB, ("a.rs", "use crate::b::B; pub struct A;"), ("b.rs", b)]);
}

#[test]
fn what_a_macro_defines_belongs_to_its_module() {
    let lib = ("lib.rs", "mod a;\nmod b;\npub use a::Index;\n");
    has_circle(
        &[lib, ("a.rs", "index! { Index } use crate::b::B;"), ("b.rs", "use super::Index; pub struct B;")],
        "a -> b -> a",
    );
}

#[test]
fn path_attributes_are_followed() {
    let a = "#[cfg(unix)]\n#[path = \"a/on.rs\"]\nmod implementation;\n#[cfg(not(unix))]\n#[path = \"a/off.rs\"]\nmod implementation;\npub use implementation::A;";
    has_circle(
        &[
            LIB,
            ("a.rs", a),
            ("a/on.rs", "pub struct A;"),
            ("a/off.rs", "use crate::b::B; pub struct A;"),
            ("b.rs", "use crate::a::A; pub struct B;"),
        ],
        "a -> b -> a",
    );
}

#[test]
fn other_crates_and_a_name_that_asks_for_itself_are_left_alone() {
    has_none(&[
        LIB,
        ("a.rs", "use half::f16; use a::a; use ::b::C; use std::fmt; pub struct A(f16);"),
        ("b.rs", "use crate::a::A; fn f(_: A) -> fmt::Result {}"),
    ]);
}
