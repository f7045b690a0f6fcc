//! `cargo xtask readme`: generates each crate's README from its crate-level documentation.
//!
//! crates.io renders Markdown without rustdoc: hidden example lines are dropped, item links become plain code, and headings
//! move one level below the crate's name. A crate whose documentation includes its README maintains it by hand.

use std::fs;

use crate::Outcome;
use crate::spawn::root;

/// Writes the README of each published crate.
pub(crate) fn run() -> Outcome {
    let folder = root().join("crates");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries.filter_map(Result::ok) {
        let source =
            ["src/lib.rs", "src/main.rs"].iter().find_map(|s| fs::read_to_string(entry.path().join(s)).ok());
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(readme) = source.and_then(|source| from_source(&name, &source)) else { continue };
        let path = entry.path().join("README.md");
        if fs::read_to_string(&path).is_ok_and(|current| current == readme) {
            continue;
        }
        fs::write(&path, readme).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("wrote crates/{name}/README.md");
    }
    Ok(())
}

/// The README of the crate `name` with root module `source`; `None` if it is maintained by hand.
pub(crate) fn from_source(name: &str, source: &str) -> Option<String> {
    if source.contains(r#"#![doc = include_str!("../README.md")]"#) {
        return None;
    }
    let docs = source.lines().map_while(|line| line.strip_prefix("//!"));
    let mut readme = format!("# {name}\n\n");
    let mut is_example = false;
    let mut is_code = false;
    for line in docs.map(|line| line.strip_prefix(' ').unwrap_or(line)) {
        if let Some(info) = line.strip_prefix("```") {
            is_example = !is_code && is_rust(info);
            is_code = !is_code;
            readme.push_str(if is_example { "```rust" } else { line });
        } else if is_example && (line == "#" || line.starts_with("# ")) {
            continue;
        } else if is_code {
            readme.push_str(line);
        } else if line.starts_with('#') {
            readme.push('#');
            readme.push_str(line);
        } else {
            readme.push_str(&without_item_links(line));
        }
        readme.push('\n');
    }
    readme.push_str("\nPart of [SmallMind](../../README.md), an inference engine for language models. MIT or Apache-2.0.\n");
    Some(readme)
}

/// Whether rustdoc treats a code block with this info string as Rust.
fn is_rust(info: &str) -> bool {
    const ATTRIBUTES: [&str; 5] = ["", "rust", "no_run", "should_panic", "compile_fail"];
    info.split(',').all(|word| ATTRIBUTES.contains(&word.trim()))
}

/// Replaces `` [`Item`] `` and `` [`Item`](path::Item) `` with `` `Item` ``. Links to URLs and files stay.
fn without_item_links(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((label, after)) = link.split_once("`]") else { break };
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        let is_address = |target: &str| target.contains('/') || target.contains('#');
        text.push_str(before);
        rest = match target {
            Some((target, after)) if is_address(target) => {
                text.push_str(&format!("[`{label}`]({target})"));
                after
            }
            Some((_, after)) => {
                text.push_str(&format!("`{label}`"));
                after
            }
            None => {
                text.push_str(&format!("`{label}`"));
                after
            }
        };
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_lose_what_rustdoc_hides() {
        let source = "\
//! Reads files. See [`File`], [`open`](File::open) and [`std`](https://doc.rust-lang.org/std/).
//!
//! # Example
//!
//! ```no_run
//! # fn main() {
//! let [a] = [`x`];
//! #[derive(Debug)]
//! # }
//! ```
//!
//! ```text
//! # a comment
//! ```

mod file;
//! Not the crate's.
";
        let readme = "\
# sm-x

Reads files. See `File`, `open` and [`std`](https://doc.rust-lang.org/std/).

## Example

```rust
let [a] = [`x`];
#[derive(Debug)]
```

```text
# a comment
```

Part of [SmallMind](../../README.md), an inference engine for language models. MIT or Apache-2.0.
";
        assert_eq!(from_source("sm-x", source).as_deref(), Some(readme));
    }

    #[test]
    fn a_readme_that_the_documentation_includes_is_written_by_hand() {
        assert_eq!(from_source("sm-x", "//! Data.\n#![doc = include_str!(\"../README.md\")]\n"), None);
    }
}
