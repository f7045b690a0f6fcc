//! DRY against a plain search for repetitions.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sm_tensor::TokenId;

use super::super::dry::{Breakers, Dry};
use super::super::{History, LogitsFilter};
use crate::DryOptions;

/// How many tokens before `end` equal those before the end of `tokens`.
fn common_suffix(tokens: &[u32], end: usize) -> usize {
    (0..end).take_while(|n| tokens[end - 1 - n] == tokens[tokens.len() - 1 - n]).count()
}

/// What each token loses.
fn plain(tokens: &[u32], options: &DryOptions, breakers: &Breakers) -> BTreeMap<u32, f64> {
    let start = if options.window == 0 { 0 } else { tokens.len().saturating_sub(options.window) };
    let tokens = &tokens[start..];
    let ids: Vec<TokenId> = tokens.iter().copied().map(TokenId).collect();
    let mut limit = tokens.len();
    for index in (0..tokens.len()).rev() {
        let tails = breakers.get(&ids[index]).into_iter().flatten();
        if let Some(tail) = tails.filter(|tail| ids[index + 1..].starts_with(tail)).map(Vec::len).max() {
            limit = tokens.len() - 1 - index - tail;
            break;
        }
    }
    let mut lengths = BTreeMap::new();
    for end in 1..tokens.len() {
        let length = common_suffix(tokens, end).min(limit);
        if length >= options.allowed_length && tokens.len() > options.allowed_length {
            let longest: &mut usize = lengths.entry(tokens[end]).or_default();
            *longest = length.max(*longest);
        }
    }
    lengths
        .retain(|token, _| !breakers.get(&TokenId(*token)).is_some_and(|tails| tails.contains(&Vec::new())));
    let penalty = |length: usize| {
        f64::from(options.multiplier) * f64::from(options.base).powi((length - options.allowed_length) as i32)
    };
    lengths.into_iter().map(|(token, length)| (token, penalty(length))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn equals_a_plain_search(
        tokens in prop::collection::vec(0u32..5, 0..60),
        allowed_length in 0usize..5,
        window in prop::sample::select(vec![0usize, 3, 20]),
        breakers in prop::collection::btree_map(0u32..7, prop::collection::vec(prop::collection::vec(0u32..5, 0..3), 1..3), 0..2),
    ) {
        let options = DryOptions::new().multiplier(0.5).allowed_length(allowed_length).window(window);
        let of_ids = |tails: Vec<Vec<u32>>| tails.into_iter().map(|tail| tail.into_iter().map(TokenId).collect()).collect();
        let breakers: Breakers = breakers.into_iter().map(|(head, tails)| (TokenId(head), of_ids(tails))).collect();
        let expected = plain(&tokens, &options, &breakers);
        let ids: Vec<TokenId> = tokens.iter().copied().map(TokenId).collect();
        let (mut logits, mut counts) = ([0.0f32; 8], Vec::new());
        let dry = Dry::new(&options, breakers);
        dry.apply(&mut logits, &mut History::new(&ids, 0, &mut counts));
        for (token, logit) in (0..).zip(logits) {
            let lost = expected.get(&token).copied().unwrap_or(0.0);
            prop_assert!((f64::from(-logit) - lost).abs() <= lost * 1e-5, "{token}: {logit}, expected {lost}");
        }
        prop_assert!(counts.iter().all(|count| *count == 0), "scratch was not cleaned");
    }
}

#[test]
fn the_penalty_of_an_endless_repetition_is_finite() {
    let options = DryOptions::new().multiplier(1.0);
    let (mut logits, mut counts) = ([0.0f32; 2], Vec::new());
    let tokens = vec![TokenId(0); 5000];
    Dry::new(&options, Breakers::new()).apply(&mut logits, &mut History::new(&tokens, 0, &mut counts));
    assert!(logits[0] < -1e30 && logits[0].is_finite(), "{}", logits[0]);
}
