//! Guesses from the text itself: what followed the last tokens before (prompt lookup, n-gram speculation).
//!
//! Source: A. Saxena, Prompt Lookup Decoding, 2023 (<https://github.com/apoorvumang/prompt-lookup-decoding>).

use sm_tensor::TokenId;

/// Tokens that must have occurred together before.
const MIN_MATCH: usize = 3;
/// Beyond so many, a longer match says nothing more.
const MAX_MATCH: usize = 16;
/// Tokens that are searched, from the end.
const WINDOW: usize = 16_384;

/// Appends to `drafts` up to `max` tokens that followed the longest earlier occurrence of the end of `log`; the latest of
/// several. A match that reaches the end goes on with its own guesses, so that what repeats goes on repeating.
pub(crate) fn lookup(log: &[TokenId], max: usize, drafts: &mut Vec<TokenId>) {
    let first = log.len().saturating_sub(WINDOW);
    let Some(start) = continuation(&log[first..]) else {
        return;
    };
    let (start, n_before) = (first + start, drafts.len());
    for index in start..start + max {
        let token = if index < log.len() { log[index] } else { drafts[n_before + index - log.len()] };
        drafts.push(token);
    }
}

/// Where the text goes on behind the best earlier occurrence of its end.
fn continuation(log: &[TokenId]) -> Option<usize> {
    let (last, before) = log.split_last()?;
    let mut best = (MIN_MATCH - 1, None);
    for index in (0..before.len()).rev().filter(|index| before[*index] == *last) {
        let matched = log[..=index].iter().rev().zip(log.iter().rev()).take(MAX_MATCH);
        let n_matched = matched.take_while(|(a, b)| a == b).count();
        if n_matched > best.0 {
            best = (n_matched, Some(index + 1));
            if n_matched == MAX_MATCH {
                break;
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(log: &str, max: usize) -> String {
        let log: Vec<TokenId> = log.chars().map(|c| TokenId(c as u32)).collect();
        let mut drafts = Vec::new();
        lookup(&log, max, &mut drafts);
        drafts.iter().map(|token| char::from_u32(token.0).unwrap()).collect()
    }

    #[test]
    fn what_followed_before_is_guessed_again() {
        assert_eq!(guess("the cat sat. the cat", 4), " sat");
        assert_eq!(guess("abcdXYZ abcdUVW abcd", 3), "UVW", "the latest of equally long ones");
        assert_eq!(guess("1abcdXYZ 2abcdUVW 1abcd", 3), "XYZ", "the longest before the latest");
    }

    #[test]
    fn nothing_is_guessed_from_too_little() {
        assert_eq!(guess("", 4), "");
        assert_eq!(guess("a", 4), "");
        assert_eq!(guess("abcdefgh", 4), "");
        assert_eq!(guess("xab yab", 4), "", "two tokens are no reason");
        assert_eq!(guess("the cat sat. the cat", 0), "");
    }

    #[test]
    fn repetitions_go_on() {
        assert_eq!(guess("abababab", 6), "ababab");
        assert_eq!(guess("aaaa", 5), "aaaaa");
        assert_eq!(guess("xyzxyzxyz", 7), "xyzxyzx");
    }
}
