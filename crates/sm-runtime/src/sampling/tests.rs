//! The chain against a naive one that sorts everything and computes in double precision.

mod bad_words;
mod cuts;
mod dry;
mod mirostat;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proptest::prelude::*;
use sm_tensor::TokenId;

use super::{Candidates, Draw, History, SamplerChain, noise, random_seed};
use crate::{Error, SamplingOptions};

/// The survivors of all filters and cuts, likeliest first, with their scores (logit / temperature).
struct Survivors {
    ranked: Vec<(u32, f64)>,
    /// Whether rounding may decide over one token more or less.
    is_borderline: bool,
}

fn penalised(logits: &[f32], tokens: &[TokenId], n_prompt: usize, options: &SamplingOptions) -> Vec<f64> {
    let mut row: Vec<f64> = logits.iter().map(|&x| x.into()).collect();
    for (token, bias) in &options.logit_bias {
        row[token.0 as usize] += f64::from(*bias);
    }
    let window = if options.repetition_window == 0 { tokens.len() } else { options.repetition_window };
    let seen: BTreeMap<u32, ()> = tokens.iter().rev().take(window).map(|t| (t.0, ())).collect();
    for token in seen.keys() {
        let penalty = f64::from(options.repetition_penalty);
        let logit = &mut row[*token as usize];
        *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
    }
    for (token, logit) in row.iter_mut().enumerate() {
        let count = tokens[n_prompt..].iter().filter(|t| t.0 as usize == token).count();
        if count > 0 {
            *logit -=
                f64::from(options.presence_penalty) + count as f64 * f64::from(options.frequency_penalty);
        }
    }
    row
}

fn survivors(logits: &[f32], tokens: &[TokenId], n_prompt: usize, options: &SamplingOptions) -> Survivors {
    let row = penalised(logits, tokens, n_prompt, options);
    let mut ranked: Vec<(u32, f64)> = (0..).zip(row).filter(|(_, x)| *x > f64::NEG_INFINITY).collect();
    ranked.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0)));
    for (_, score) in &mut ranked {
        *score /= f64::from(options.temperature);
    }
    if options.top_k > 0 {
        ranked.truncate(options.top_k);
    }
    let mut is_borderline = false;
    let max = ranked.first().map_or(0.0, |best| best.1);
    let mass: Vec<f64> = ranked.iter().map(|(_, score)| (score - max).exp()).collect();
    let total: f64 = mass.iter().sum();
    if options.top_p < 1.0 {
        let (mut sum, mut n_kept) = (0.0, 0);
        while n_kept < ranked.len() && (n_kept == 0 || sum / total < f64::from(options.top_p)) {
            sum += mass[n_kept];
            n_kept += 1;
            is_borderline |= (sum / total - f64::from(options.top_p)).abs() < 1e-8;
        }
        ranked.truncate(n_kept);
    }
    if options.min_p > 0.0 {
        is_borderline |= mass.iter().any(|m| (m - f64::from(options.min_p)).abs() < 1e-8);
        ranked.retain(|(_, score)| (score - max).exp() >= f64::from(options.min_p));
    }
    Survivors { ranked, is_borderline }
}

fn case() -> impl Strategy<Value = (Vec<f32>, Vec<TokenId>, usize, SamplingOptions, Draw)> {
    // Multiples of 1/4 tie often, and all arithmetic up to the temperature is exact in f32 for them.
    let logits = prop::collection::vec((-40i32..40).prop_map(|x| x as f32 / 4.0), 1..300);
    let history = (prop::collection::vec(0u32..300, 0..40), 0usize..40);
    let penalties = (
        prop::sample::select(vec![1.0f32, 2.0, 0.5]),
        0usize..12,
        prop::sample::select(vec![0.0f32, 0.25, -0.5]),
        prop::sample::select(vec![0.0f32, 0.5, 1.25]),
        prop::collection::vec((0u32..300, prop::sample::select(vec![f32::NEG_INFINITY, -2.0, 3.5])), 0..4),
    );
    let cuts = (
        prop::sample::select(vec![0usize, 1, 2, 7, 40, 128, 299]),
        prop::sample::select(vec![1.0f32, 0.0, 0.1, 0.5, 0.9, 0.95, 0.999]),
        prop::sample::select(vec![0.0f32, 0.01, 0.05, 0.3, 1.0]),
        prop::sample::select(vec![0.25f32, 0.7, 1.0, 2.5]),
    );
    (logits, history, penalties, cuts, any::<u64>(), 0u32..4, 0u32..5000).prop_map(
        |(logits, (tokens, n_prompt), penalties, cuts, seed, choice, position)| {
            let n_vocab = logits.len() as u32;
            let tokens: Vec<TokenId> = tokens.into_iter().map(|t| TokenId(t % n_vocab)).collect();
            let options = SamplingOptions {
                repetition_penalty: penalties.0,
                repetition_window: penalties.1,
                presence_penalty: penalties.2,
                frequency_penalty: penalties.3,
                logit_bias: penalties.4.into_iter().map(|(t, b)| (TokenId(t % n_vocab), b)).collect(),
                top_k: cuts.0,
                top_p: cuts.1,
                min_p: cuts.2,
                temperature: cuts.3,
                ..SamplingOptions::default()
            };
            let n_prompt = n_prompt.min(tokens.len());
            (logits, tokens, n_prompt, options, Draw { seed, choice, position })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn equals_the_naive_chain((logits, tokens, n_prompt, options, draw) in case()) {
        let expected = survivors(&logits, &tokens, n_prompt, &options);
        let (mut row, mut counts, mut candidates) = (logits, Vec::new(), Candidates::new());
        let mut history = History::new(&tokens, n_prompt, &mut counts);
        let sampled = SamplerChain::new(&options).sample(&mut row, &mut history, draw, &mut candidates);
        let Ok(sampled) = sampled else {
            let is_empty = matches!(sampled, Err(Error::NoCandidates { .. }));
            prop_assert!(is_empty, "{:?}", sampled);
            prop_assert!(expected.ranked.is_empty());
            return Ok(());
        };
        prop_assume!(!expected.is_borderline);
        let mut kept: Vec<u32> = candidates.as_slice().iter().map(|candidate| candidate.token.0).collect();
        kept.sort_unstable();
        let mut survivors: Vec<u32> = expected.ranked.iter().map(|(token, _)| *token).collect();
        survivors.sort_unstable();
        prop_assert_eq!(kept, survivors);
        let value = |(token, score): &(u32, f64)| score + noise(draw, TokenId(*token));
        let best = expected.ranked.iter().max_by(|a, b| value(a).total_cmp(&value(b)).then(b.0.cmp(&a.0)));
        prop_assert_eq!(Some(sampled.0), best.map(|(token, _)| *token));
        prop_assert!(counts.iter().all(|count| *count == 0), "scratch was not cleaned");
    }

    #[test]
    fn the_k_likeliest_of_a_large_vocabulary_are_the_first_when_sorted(
        // Whole numbers tie often; what is 300 or more is forbidden.
        values in prop::collection::vec(-30i32..400, 1000..3000),
        spread in 1i32..100,
        k in 1usize..200,
    ) {
        let logit = |value| if value < 300 { (value / spread) as f32 } else { f32::NEG_INFINITY };
        let logits: Vec<f32> = values.into_iter().map(logit).collect();
        let mut ranked: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        ranked.retain(|(_, logit)| *logit > f32::NEG_INFINITY);
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut expected: Vec<u32> = ranked.iter().take(k).map(|(token, _)| *token).collect();
        expected.sort_unstable();
        let mut candidates = Candidates::new();
        candidates.look_at(&logits);
        candidates.gather(&logits, k);
        let mut kept: Vec<u32> = candidates.as_slice().iter().map(|candidate| candidate.token.0).collect();
        kept.sort_unstable();
        prop_assert_eq!(kept, expected);
    }

    #[test]
    fn greedy_is_the_first_of_the_naive_chain((logits, tokens, n_prompt, options, draw) in case()) {
        let expected = survivors(&logits, &tokens, n_prompt, &options);
        let options = SamplingOptions { temperature: 0.0, ..options };
        let (mut row, mut counts, mut candidates) = (logits, Vec::new(), Candidates::new());
        let mut history = History::new(&tokens, n_prompt, &mut counts);
        let sampled = SamplerChain::new(&options).sample(&mut row, &mut history, draw, &mut candidates);
        prop_assert_eq!(sampled.ok().map(|token| token.0), expected.ranked.first().map(|(token, _)| *token));
    }
}

fn sample(logits: &[f32], options: &SamplingOptions) -> Result<TokenId, Error> {
    let draw = Draw { seed: 1, choice: 0, position: 17 };
    let mut counts = Vec::new();
    let mut history = History::new(&[], 0, &mut counts);
    SamplerChain::new(options).sample(&mut logits.to_vec(), &mut history, draw, &mut Candidates::new())
}

#[test]
fn broken_logits_are_an_error_and_never_a_token() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for options in [SamplingOptions::greedy(), SamplingOptions::default()] {
            let mut logits = vec![0.5; 100];
            logits[70] = value;
            let error = sample(&logits, &options).unwrap_err();
            assert!(matches!(error, Error::InvalidLogits { token: 70, position: 17, .. }), "{error}");
        }
    }
}

#[test]
fn forbidding_every_token_is_an_error() {
    let options =
        SamplingOptions { logit_bias: vec![(TokenId(0), f32::NEG_INFINITY)], ..SamplingOptions::default() };
    assert!(matches!(sample(&[1.0], &options), Err(Error::NoCandidates { position: 17 })));
}

#[test]
fn ties_go_to_the_lower_id() {
    assert_eq!(sample(&[1.0, 3.0, 3.0, 3.0], &SamplingOptions::greedy()).unwrap(), TokenId(1));
    let mut candidates = Candidates::new();
    candidates.look_at(&[2.0; 1000]);
    candidates.gather(&[2.0; 1000], 3);
    let mut kept: Vec<u32> = candidates.as_slice().iter().map(|c| c.token.0).collect();
    kept.sort_unstable();
    assert_eq!(kept, [0, 1, 2]);
}

#[test]
fn random_seeds_differ() {
    let seeds: std::collections::BTreeSet<u64> = (0..100).map(|_| random_seed()).collect();
    assert_eq!(seeds.len(), 100);
}
