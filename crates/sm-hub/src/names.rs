//! Which names from the hub, or from the user, may become parts of paths.

/// Whether `name` may be one component of a path, on any system: letters, digits, `-`, `_` and `.`, no hidden file, no
/// option.
pub(crate) fn is_segment(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty()
        && name.len() <= 255
        && name.chars().all(is_allowed)
        && !name.starts_with(['.', '-'])
        && !name.ends_with('.')
}

/// Whether `path` is a relative path with `/` that stays below where it is put, on any system. Names on the hub may hold
/// blanks, letters of any script and brackets.
pub(crate) fn is_path(path: &str) -> bool {
    let is_component = |name: &str| {
        let is_allowed =
            |c: char| !c.is_control() && !matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
        !name.is_empty() && name != "." && name != ".." && name.len() <= 255 && name.chars().all(is_allowed)
    };
    path.len() <= 1024 && path.split('/').all(is_component)
}

/// Whether `name` may be a branch, tag or commit: `main`, `v1.0`, `refs/pr/1`.
pub(crate) fn is_revision(name: &str) -> bool {
    name.len() <= 255 && name.split('/').all(is_segment)
}

/// Whether `name` is the full hash of a commit.
pub(crate) fn is_commit(name: &str) -> bool {
    is_hex(name, 40)
}

/// Whether `text` is `len` digits of lower-case hexadecimal.
pub(crate) fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// `path` for a URL: everything but letters, digits, `-`, `_`, `.`, `~` and `keep` as `%XX`.
pub(crate) fn encoded(path: &str, keep: &str) -> String {
    path.bytes().fold(String::with_capacity(path.len()), |mut url, byte| {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-_.~".contains(c) || keep.contains(c) {
            url.push(c);
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
        url
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_where_they_are_put() {
        for path in ["a", "a/b.gguf", "Modell (ä) 1.json", ".gitattributes", "a/..b"] {
            assert!(is_path(path), "{path}");
        }
        for path in [
            "",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/../b",
            "a/..",
            ".",
            "a\\b",
            "C:/a",
            "a\nb",
            "a\0",
            &"x".repeat(256),
        ] {
            assert!(!is_path(path), "{path:?}");
        }
    }

    #[test]
    fn urls_hold_no_character_that_means_something() {
        assert_eq!(encoded("a b/c%?#ä.gguf", "/"), "a%20b/c%25%3F%23%C3%A4.gguf");
        assert_eq!(encoded("refs/pr/1", ""), "refs%2Fpr%2F1");
    }
}
