//! Prompt lookup (n-gram speculation): drafts what followed the last tokens earlier in the text.
//!
//! ```text
//! … [the cat] sat down . Then [the cat]     the longest earlier occurrence of the end
//!             └──────┘ drafted again        and what followed it
//! ```
//!
//! A linear search from the end. An n-gram index would have to be kept per sequence and rolled back with it; the search
//! compares one token per position and stops at [`WINDOW`], which is negligible next to a step.
//!
//! Source: A. Saxena, Prompt Lookup Decoding, 2023 (<https://github.com/apoorvumang/prompt-lookup-decoding>).

use sm_tensor::TokenId;

/// The shortest match that counts.
const MIN_MATCH: usize = 3;
/// Longer matches predict no better.
const MAX_MATCH: usize = 16;
/// Number of tokens searched, from the end.
const WINDOW: usize = 16_384;

/// Appends to `drafts` up to `max` tokens that followed the longest earlier occurrence of the end of `token_ids`; ties go
/// to the latest. A match that reaches the end continues into its own drafts, which extends repetitions.
pub(crate) fn lookup(token_ids: &[TokenId], max: usize, drafts: &mut Vec<TokenId>) {
    let first = token_ids.len().saturating_sub(WINDOW);
    let Some(start) = continuation(&token_ids[first..]) else {
        return;
    };
    let start = first + start;
    let n_before = drafts.len();
    for index in start..start + max {
        let token = match token_ids.get(index) {
            Some(token) => *token,
            None => drafts[n_before + index - token_ids.len()],
        };
        drafts.push(token);
    }
}

/// The index after the best earlier occurrence of the text's end.
fn continuation(token_ids: &[TokenId]) -> Option<usize> {
    let (last, before) = token_ids.split_last()?;
    let mut best = (MIN_MATCH - 1, None);
    for index in (0..before.len()).rev().filter(|index| before[*index] == *last) {
        let matched = token_ids[..=index].iter().rev().zip(token_ids.iter().rev()).take(MAX_MATCH);
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

    fn draft(text: &str, max: usize) -> String {
        let token_ids: Vec<TokenId> = text.chars().map(|c| TokenId(c as u32)).collect();
        let mut drafts = Vec::new();
        lookup(&token_ids, max, &mut drafts);
        drafts.iter().map(|token| char::from_u32(token.0).unwrap()).collect()
    }

    #[test]
    fn what_followed_before_is_drafted_again() {
        assert_eq!(draft("the cat sat. the cat", 4), " sat");
        assert_eq!(draft("abcdXYZ abcdUVW abcd", 3), "UVW", "the latest of equally long ones");
        assert_eq!(draft("1abcdXYZ 2abcdUVW 1abcd", 3), "XYZ", "the longest before the latest");
    }

    #[test]
    fn nothing_is_drafted_from_too_little() {
        assert_eq!(draft("", 4), "");
        assert_eq!(draft("a", 4), "");
        assert_eq!(draft("abcdefgh", 4), "");
        assert_eq!(draft("xab yab", 4), "", "two tokens are too few");
        assert_eq!(draft("the cat sat. the cat", 0), "");
    }

    #[test]
    fn repetitions_go_on() {
        assert_eq!(draft("abababab", 6), "ababab");
        assert_eq!(draft("aaaa", 5), "aaaaa");
        assert_eq!(draft("xyzxyzxyz", 7), "xyzxyzx");
    }
}
