//! What logs may show of prompts, where they show any: without what looks like a key, an address or a long number.
//!
//! It finds what has the form of such things, and nothing by its meaning: names and secrets in words of their own stay.

/// The most characters that are shown of a text.
const MAX_SHOWN: usize = 4000;

/// Digits of numbers that are left out: telephone, account and card numbers have more than this, years and amounts fewer.
const MAX_DIGITS: usize = 8;

/// Words that are this long, and have letters and digits, are taken for keys.
const MIN_KEY: usize = 32;

/// What well-known keys begin with.
const KEY_PREFIXES: [&str; 10] =
    ["sk-", "hf_", "ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "AKIA", "eyJ"];

/// The text, shortened and without what it should not show.
pub(crate) fn redacted(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if shown.len() >= MAX_SHOWN {
            shown.push('…');
            break;
        }
        let word = &rest[..rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len())];
        let (part, len) = match long_number(rest) {
            _ if is_address(word) => ("[e-mail]", word.len()),
            _ if is_key(word) => ("[key]", word.len()),
            Some(len) => ("[number]", len),
            None if word.is_empty() => (&rest[..first.len_utf8()], first.len_utf8()),
            None => (word, word.len()),
        };
        shown.push_str(part);
        rest = &rest[len..];
    }
    shown
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || "_-.@+/=".contains(c)
}

fn is_address(word: &str) -> bool {
    word.split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && host.trim_end_matches('.').contains('.'))
}

fn is_key(word: &str) -> bool {
    let has_both =
        word.contains(|c: char| c.is_ascii_digit()) && word.contains(|c: char| c.is_ascii_alphabetic());
    let is_known =
        KEY_PREFIXES.iter().any(|prefix| word.len() >= prefix.len() + 12 && word.starts_with(prefix));
    is_known || (has_both && word.len() >= MIN_KEY)
}

/// The length of a number of many digits at the beginning of a text, which may be in groups.
fn long_number(text: &str) -> Option<usize> {
    let (mut n_digits, mut end, mut was_digit) = (0, 0, false);
    for (index, c) in text.char_indices() {
        let is_digit = c.is_ascii_digit();
        let goes_on = is_digit || (was_digit && matches!(c, ' ' | '-' | '.'));
        if !goes_on {
            break;
        }
        was_digit = is_digit;
        if is_digit {
            n_digits += 1;
            end = index + 1;
        }
    }
    (n_digits > MAX_DIGITS).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_not_shown() {
        for (text, shown) in [
            ("write to jane.doe+x@example.org.", "write to [e-mail]"),
            ("my key is sk-proj-abcdef123456, ok?", "my key is [key], ok?"),
            ("hf_aBcDeFgHiJkLmNoP", "[key]"),
            ("0123456789abcdef0123456789abcdef", "[key]"),
            ("abcdef0123456789abcdef0123456789", "[key]"),
            ("card 4111 1111 1111 1111, until 12/27", "card [number], until 12/27"),
            ("call +43 316-873-12345 now", "call +43 [number] now"),
            ("in 1999, 2024 and 12345678", "in 1999, 2024 and 12345678"),
            ("größe @home: é @ x", "größe @home: é @ x"),
        ] {
            assert_eq!(redacted(text), shown, "{text}");
        }
        let long = redacted(&"ab ".repeat(5000));
        assert!(long.len() < MAX_SHOWN + 100 && long.ends_with('…'));
    }
}
