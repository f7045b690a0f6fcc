//! The embedded files, and what is said of them in headers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use axum::http::HeaderName;

use super::files::FILES;
use super::*;

/// All files together, in bytes: what the page adds to the program.
const MAX_BYTES: usize = 700 << 10;

fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ui/dist")
}

#[test]
fn the_files_are_those_of_the_build_and_small() {
    let mut built = BTreeSet::new();
    for folder in ["", "ui"] {
        for entry in std::fs::read_dir(dist().join(folder)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                let name = entry.file_name().into_string().unwrap();
                built.insert(Path::new(folder).join(name).to_str().unwrap().to_owned());
            }
        }
    }
    let embedded: BTreeSet<String> = FILES.iter().map(|file| file.path.to_owned()).collect();
    assert_eq!(embedded, built);
    let n_bytes: usize = FILES.iter().map(|file| file.bytes.len()).sum();
    assert!(n_bytes <= MAX_BYTES, "{n_bytes} bytes; the limit is {MAX_BYTES}");
    let names: BTreeSet<&str> = FILES.iter().map(File::name).collect();
    assert_eq!(names.len(), FILES.len());
    assert!(FILES.iter().all(|file| file.kind().is_some()));
}

#[test]
fn the_page_refers_to_files_that_there_are_and_runs_nothing_inline() {
    let index = File::of_name(INDEX).unwrap();
    let text = std::str::from_utf8(index.bytes).unwrap();
    let referred = text.split(['"', '\'']).filter_map(|part| part.strip_prefix("./ui/"));
    let referred: Vec<&str> = referred.collect();
    assert!(referred.contains(&"page.js") && referred.contains(&"page.css"), "{referred:?}");
    for name in referred {
        assert!(File::of_name(name).is_some(), "{name}");
    }
    assert!(!text.contains("<style") && !text.contains(" style=") && !text.contains("<script>"), "{text}");
    assert!(!text.contains("http"), "a page that works offline asks nobody: {text}");
}

#[test]
fn the_built_in_tabs_are_valid_and_have_three_examples_each() {
    let text = std::str::from_utf8(File::of_name("tabs.json").unwrap().bytes).unwrap();
    PageTabs::parse(text).unwrap();
    let tabs: serde_json::Value = serde_json::from_str(text).unwrap();
    for tab in tabs["tabs"].as_array().unwrap() {
        assert!(tab["examples"].as_array().unwrap().len() >= 3, "{tab}");
    }
}

#[test]
fn wrong_tabs_are_refused_with_what_is_wrong() {
    let tab = |id: &str, rest: &str| format!(r#"{{"id": "{id}", "title": "T", {rest}}}"#);
    let tabs = |list: &[String]| format!(r#"{{"tabs": [{}]}}"#, list.join(","));
    let chat = r#""kind": "chat""#;
    for (text, expected) in [
        (tabs(&[]), "none"),
        (tabs(&[tab("a", chat), tab("a", chat)]), "two tabs"),
        (tabs(&[tab("a/b", chat)]), "must consist of"),
        (tabs(&[tab("a", r#""kind": "prompt""#)]), "system"),
        (tabs(&[tab("a", r#""kind": "chat", "system": "s""#)]), "system"),
        (tabs(&[tab("a", r#""kind": "other""#)]), "unknown variant"),
        (tabs(&[tab("a", r#""kind": "chat", "colour": 1"#)]), "unknown field"),
        ("[".to_owned(), "EOF"),
    ] {
        let error = PageTabs::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    PageTabs::parse(&tabs(&[tab("a", r#""kind": "prompt", "system": "s""#)])).unwrap();
}

#[test]
fn an_address_has_a_scheme_and_an_origin() {
    for (url, expected) in [
        ("http://localhost:8000", Some(("http://localhost:8000", "http://localhost:8000"))),
        ("https://a.example/llm/", Some(("https://a.example/llm", "https://a.example"))),
        ("http://[::1]:8000/", Some(("http://[::1]:8000", "http://[::1]:8000"))),
        ("localhost:8000", None),
        ("ftp://a", None),
        ("http://a;script-src *", None),
        ("http://a;b", None),
        ("http://me:secret@a", None),
        ("http://a/?x=1", None),
        ("", None),
    ] {
        let api = Api::parse(url).ok();
        let found = api.as_ref().map(|api| (&*api.url, &*api.origin));
        assert_eq!(found, expected, "{url}");
    }
}

fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
}

#[test]
fn a_client_gets_gzip_unless_it_refuses_it() {
    assert!(takes_gzip(&HeaderMap::new()));
    for (given, takes) in [
        ("gzip, deflate, br", true),
        ("br;q=1.0, GZIP;q=0.5", true),
        ("*", true),
        ("identity", false),
        ("gzip;q=0", false),
        ("", false),
    ] {
        assert_eq!(takes_gzip(&headers(header::ACCEPT_ENCODING, given)), takes, "{given}");
    }
}

#[test]
fn a_file_that_the_client_has_is_not_sent_again() {
    let tag = tag(b"abc");
    assert_eq!(tag.len(), 26);
    for (given, has) in
        [("\"x\", W/\"ba7816bf8f01cfea414140de\"", true), ("*", true), ("\"ba7816bf\"", false)]
    {
        assert_eq!(is_current(&headers(header::IF_NONE_MATCH, given), &tag), has, "{given}");
    }
}
