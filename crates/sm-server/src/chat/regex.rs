//! Regular expressions made of texts.

/// A text as a regular expression in the syntax of the crate `regex`, also between slashes.
pub(crate) fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        // Only these: `\\<` and others have a meaning of their own.
        if "\\.+*?()|[]{}^$#&-~/".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}
