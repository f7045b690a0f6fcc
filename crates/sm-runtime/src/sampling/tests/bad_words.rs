//! Bad words against a search in the text.

use std::sync::Arc;

use proptest::prelude::*;
use sm_tensor::TokenId;

use super::super::{BadWords, History, LogitsFilter};
use crate::text::TokenTexts;

#[test]
fn bad_words_do_not_appear_across_tokens_either() {
    // Tokens of several letters, as they cut words at other places than the tokenizer would.
    let tokens = ["a", "b", "c", "ab", "bc", "abc", "ca", " "];
    let texts = TokenTexts::of_texts(tokens.iter().map(|token| token.as_bytes()));
    let filter = BadWords::new(&["bcab".into(), "aa".into(), "bcabc".into()], Arc::new(texts));
    let (mut written, mut history, mut counts) = (String::new(), Vec::new(), Vec::new());
    for step in 0..3000u32 {
        let mut logits = [0.0; 8];
        filter.apply(&mut logits, &mut History::new(&history, 0, &mut counts));
        let allowed: Vec<usize> = (0..8).filter(|id| logits[*id] == 0.0).collect();
        // Exactly those are forbidden with which a word would appear.
        for (id, token) in tokens.iter().enumerate() {
            let next = format!("{written}{token}");
            let appears = next.contains("bcab") || next.contains("aa");
            assert_eq!(appears, !allowed.contains(&id), "{next:?}");
        }
        let id = allowed[step.wrapping_mul(2_654_435_761) as usize % allowed.len()];
        history.push(TokenId(id as u32));
        written.push_str(tokens[id]);
        if written.len() > 60 {
            history.clear();
            written.clear();
        }
    }
}

/// The tokens that a filter leaves after an output.
fn left(filter: &BadWords, history: &[TokenId], n_tokens: usize) -> Vec<usize> {
    let mut logits = vec![0.0; n_tokens];
    filter.apply(&mut logits, &mut History::new(history, 0, &mut Vec::new()));
    (0..n_tokens).filter(|id| logits[*id] == 0.0).collect()
}

proptest! {
    #[test]
    fn exactly_the_tokens_that_complete_a_word_are_forbidden(
        tokens in prop::collection::vec("[ab]{0,3}", 1..20),
        words in prop::collection::vec("[ab]{1,5}", 1..30),
        steps in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let texts = TokenTexts::of_texts(tokens.iter().map(|token| token.as_bytes()));
        let filter = BadWords::new(&words, Arc::new(texts));
        let (mut history, mut written) = (Vec::new(), String::new());
        for step in steps {
            let left = left(&filter, &history, tokens.len());
            let is_right = |id: &usize| !words.iter().any(|word| format!("{written}{}", tokens[*id]).contains(word));
            prop_assert_eq!(&left, &(0..tokens.len()).filter(is_right).collect::<Vec<_>>(), "after {}", written);
            if left.is_empty() {
                break;
            }
            let id = *step.get(&left);
            history.push(TokenId(id as u32));
            written.push_str(&tokens[id]);
        }
    }
}
