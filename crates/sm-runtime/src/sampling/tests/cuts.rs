//! Orders of samplers against plain ones, written after llama.cpp's: sorted lists, divided logits, double precision.

use proptest::prelude::*;
use sm_tensor::TokenId;

use super::super::gumbel::uniform;
use super::super::{Candidates, Draw, History, SamplerChain, noise};
use crate::{DynamicTemperature, Error, SamplerKind, SamplingOptions, XtcOptions};

/// Candidates, the likeliest first, with their logits as divided so far.
#[derive(Debug)]
struct Plain {
    list: Vec<(u32, f64)>,
    /// Whether rounding may decide over one token more or less.
    is_borderline: bool,
}

impl Plain {
    fn sort(&mut self) {
        self.list.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    }

    fn probabilities(&self) -> Vec<f64> {
        let max = self.list.first().map_or(0.0, |best| best.1);
        let weights: Vec<f64> = self.list.iter().map(|(_, logit)| (logit - max).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }

    fn near(&mut self, value: f64, limit: f64) {
        self.is_borderline |= (value - limit).abs() < 1e-5;
    }

    fn keep(&mut self, is_kept: impl Fn(usize) -> bool) {
        let list = std::mem::take(&mut self.list);
        self.list =
            list.into_iter().enumerate().filter(|(index, _)| is_kept(*index)).map(|(_, each)| each).collect();
    }

    fn top_n_sigma(&mut self, n: f64) {
        if self.list.len() < 2 {
            return;
        }
        let mean = self.list.iter().map(|each| each.1).sum::<f64>() / self.list.len() as f64;
        let variance =
            self.list.iter().map(|each| (each.1 - mean).powi(2)).sum::<f64>() / self.list.len() as f64;
        let lowest = self.list[0].1 - n * variance.sqrt();
        for (_, logit) in self.list.clone() {
            self.near(logit, lowest);
        }
        self.list.retain(|each| each.1 >= lowest);
    }

    fn typical(&mut self, p: f64) {
        if self.list.len() < 2 {
            return;
        }
        let probabilities = self.probabilities();
        let entropy: f64 = probabilities.iter().map(|p| -p * p.ln()).sum();
        let mut order: Vec<usize> = (0..self.list.len()).collect();
        let shifted = |index: usize| (-probabilities[index].ln() - entropy).abs();
        order.sort_by(|a, b| shifted(*a).total_cmp(&shifted(*b)).then(a.cmp(b)));
        for pair in order.windows(2) {
            // Tokens of one probability stand in the order of their ids; others must not tie by rounding.
            let is_tie = self.list[pair[0]].1 == self.list[pair[1]].1;
            if !is_tie {
                self.near(shifted(pair[0]), shifted(pair[1]));
            }
        }
        let (mut sum, mut kept) = (0.0, Vec::new());
        for index in order {
            kept.push(index);
            sum += probabilities[index];
            self.near(sum, p);
            if sum > p {
                break;
            }
        }
        self.keep(|index| kept.contains(&index));
    }

    fn top_p(&mut self, p: f64) {
        let (mut sum, mut n_kept) = (0.0, 0);
        for probability in self.probabilities() {
            if n_kept > 0 && sum >= p {
                break;
            }
            sum += probability;
            n_kept += 1;
            self.near(sum, p);
        }
        self.list.truncate(n_kept);
    }

    fn min_p(&mut self, p: f64) {
        let max = self.list.first().map_or(0.0, |best| best.1);
        for (_, logit) in self.list.clone() {
            self.near((logit - max).exp(), p);
        }
        self.list.retain(|each| (each.1 - max).exp() >= p);
    }

    fn xtc(&mut self, xtc: XtcOptions, draw: Draw) {
        if xtc.threshold > 0.5 || self.list.len() < 2 || uniform(draw) > f64::from(xtc.probability) {
            return;
        }
        let mut last = 0;
        for (index, p) in self.probabilities().into_iter().enumerate() {
            self.near(p, xtc.threshold.into());
            if p >= f64::from(xtc.threshold) {
                last = index;
            }
        }
        self.list.drain(..last);
    }

    fn temperature(&mut self, options: &SamplingOptions) {
        let (base, dynamic) = (f64::from(options.temperature), options.dynamic_temperature);
        let mut temperature = base;
        if dynamic.range > 0.0 && self.list.len() > 1 {
            let entropy: f64 = self.probabilities().iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
            let normalized = entropy / (self.list.len() as f64).ln();
            let (min, max) = ((base - f64::from(dynamic.range)).max(0.0), base + f64::from(dynamic.range));
            temperature = min + (max - min) * normalized.powf(dynamic.exponent.into());
        }
        // Whether an entropy of almost nothing is 0 depends on rounding. It makes no difference to the token, but to what is kept.
        self.is_borderline |= 0.0 < temperature && temperature < 1.1e-9;
        if temperature <= 0.0 {
            self.list.truncate(1);
        } else {
            self.list.iter_mut().for_each(|each| each.1 /= temperature);
        }
    }

    fn penalize(&mut self, options: &SamplingOptions, tokens: &[TokenId], n_prompt: usize) {
        for (token, logit) in &mut self.list {
            if tokens.iter().any(|each| each.0 == *token) {
                let penalty = f64::from(options.repetition_penalty);
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
            let count = tokens[n_prompt..].iter().filter(|each| each.0 == *token).count() as f64;
            *logit -= count * f64::from(options.frequency_penalty);
        }
        self.sort();
    }

    fn apply(
        &mut self,
        kind: SamplerKind,
        options: &SamplingOptions,
        (tokens, n_prompt): (&[TokenId], usize),
        draw: Draw,
    ) {
        match kind {
            SamplerKind::Penalties => self.penalize(options, tokens, n_prompt),
            SamplerKind::TopNSigma if options.top_n_sigma > 0.0 => {
                self.top_n_sigma(options.top_n_sigma.into());
            }
            SamplerKind::Temperature => self.temperature(options),
            SamplerKind::TopK if options.top_k > 0 => self.list.truncate(options.top_k),
            SamplerKind::TypicalP if options.typical_p < 1.0 => self.typical(options.typical_p.into()),
            SamplerKind::TopP if options.top_p < 1.0 => self.top_p(options.top_p.into()),
            SamplerKind::MinP if options.min_p > 0.0 => self.min_p(options.min_p.into()),
            SamplerKind::Xtc if options.xtc.probability > 0.0 => self.xtc(options.xtc, draw),
            _ => {}
        }
    }
}

type Case = (Vec<f32>, Vec<TokenId>, usize, SamplingOptions, Draw);

fn case() -> impl Strategy<Value = Case> {
    let logits = prop::collection::vec((-40i32..40).prop_map(|x| x as f32 / 4.0), 1..120);
    let history = (prop::collection::vec(0u32..120, 0..20), 0usize..20);
    let cuts = (
        prop::sample::select(vec![0.0f32, 0.5, 1.0, 2.5]),
        prop::sample::select(vec![0usize, 1, 5, 40]),
        prop::sample::select(vec![1.0f32, 0.2, 0.7, 0.95]),
        prop::sample::select(vec![1.0f32, 0.3, 0.9]),
        prop::sample::select(vec![0.0f32, 0.05, 0.3]),
    );
    let others = (
        prop::sample::select(vec![(0.0f32, 0.1f32), (0.5, 0.1), (1.0, 0.05), (1.0, 0.3), (1.0, 0.6)]),
        prop::sample::select(vec![0.0f32, 0.25, 1.0, 2.0]),
        prop::sample::select(vec![(0.0f32, 1.0f32), (0.25, 1.0), (0.5, 2.0), (3.0, 0.5)]),
        prop::sample::select(vec![1.0f32, 2.0]),
        prop::sample::select(vec![0.0f32, 0.5]),
    );
    let order = prop::option::of((Just(SamplerKind::ALL.to_vec()).prop_shuffle(), 0usize..=9));
    (logits, history, cuts, others, order, (any::<u64>(), 0u32..4, 0u32..5000)).prop_map(
        |(logits, (tokens, n_prompt), cuts, (xtc, temperature, dynamic, penalty, frequency), order, draw)| {
            let n_vocab = logits.len() as u32;
            let tokens: Vec<TokenId> = tokens.into_iter().map(|t| TokenId(t % n_vocab)).collect();
            let range = if temperature == 0.0 { 0.0 } else { dynamic.0 };
            let options = SamplingOptions {
                top_n_sigma: cuts.0,
                top_k: cuts.1,
                typical_p: cuts.2,
                top_p: cuts.3,
                min_p: cuts.4,
                xtc: XtcOptions { probability: xtc.0, threshold: xtc.1 },
                temperature,
                dynamic_temperature: DynamicTemperature { range, exponent: dynamic.1 },
                repetition_penalty: penalty,
                frequency_penalty: frequency,
                samplers: order.map(|(order, n)| order[..n].to_vec()),
                ..SamplingOptions::default()
            };
            let n_prompt = n_prompt.min(tokens.len());
            let (seed, choice, position) = draw;
            (logits, tokens, n_prompt, options, Draw { seed, choice, position })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_order_of_samplers_equals_plain_ones((logits, tokens, n_prompt, options, draw) in case()) {
        let list = (0..).zip(&logits).map(|(token, logit)| (token, f64::from(*logit))).collect();
        let mut plain = Plain { list, is_borderline: false };
        plain.sort();
        for kind in options.order() {
            plain.apply(kind, &options, (&tokens, n_prompt), draw);
        }
        if options.temperature == 0.0 {
            plain.list.truncate(1);
        }
        prop_assume!(!plain.is_borderline);
        let (mut row, mut counts, mut candidates) = (logits, Vec::new(), Candidates::new());
        let mut history = History::new(&tokens, n_prompt, &mut counts);
        let chain = SamplerChain::new(&options);
        let sampled = chain.sample(&mut row, &mut history, draw, &mut candidates).unwrap();
        let mut kept: Vec<u32> = candidates.as_slice().iter().map(|candidate| candidate.token.0).collect();
        kept.sort_unstable();
        let mut expected: Vec<u32> = plain.list.iter().map(|(token, _)| *token).collect();
        expected.sort_unstable();
        prop_assert_eq!(kept, expected);
        let value = |&(token, logit): &(u32, f64)| logit + noise(draw, TokenId(token));
        let best = plain.list.iter().max_by(|a, b| value(a).total_cmp(&value(b)).then(b.0.cmp(&a.0)));
        prop_assert_eq!(Some(sampled.0), best.map(|(token, _)| *token));
    }
}

#[test]
fn xtc_comes_as_often_as_it_should() {
    let options = SamplingOptions {
        xtc: XtcOptions { probability: 0.3, threshold: 0.1 },
        ..SamplingOptions::default()
    };
    let chain = SamplerChain::new(&options);
    let n_excluded = (0..10_000).filter(|position| {
        let (mut counts, mut candidates) = (Vec::new(), Candidates::new());
        let draw = Draw { seed: 3, choice: 0, position: *position };
        chain
            .sample(&mut [3.0, 2.9, 2.8], &mut History::new(&[], 0, &mut counts), draw, &mut candidates)
            .unwrap();
        candidates.as_slice().len() == 1
    });
    let n_excluded = n_excluded.count();
    // Five standard deviations of a binomial distribution.
    assert!(n_excluded.abs_diff(3000) < 230, "{n_excluded}");
}

#[test]
fn what_an_order_leaves_out_must_not_have_been_set() {
    let refused = |change: fn(&mut SamplingOptions)| {
        let mut options = crate::GenerationOptions::new();
        change(&mut options.sampling);
        match options.validate() {
            Err(Error::Validation { field, message }) => (field, message),
            other => panic!("{other:?}"),
        }
    };
    let (field, message) = refused(|o| (o.samplers, o.min_p) = (Some(vec![SamplerKind::TopK]), 0.1));
    assert!(field == "min_p" && message.contains("leaves min_p out"), "{field}: {message}");
    let (field, message) = refused(|o| o.samplers = Some(vec![SamplerKind::TopK, SamplerKind::TopK]));
    assert!(field == "samplers" && message.contains("twice"), "{field}: {message}");
    let (field, message) = refused(|o| (o.mirostat, o.top_k) = (Some(Default::default()), 7));
    assert!(field == "top_k" && message.contains("mirostat"), "{field}: {message}");
    // What nobody has set may be left out, and a temperature of 0 holds in any order.
    let mut options = crate::GenerationOptions::new();
    options.sampling.samplers = Some(vec![SamplerKind::TopK]);
    options.validate().unwrap();
    options.sampling.temperature = 0.0;
    options.validate().unwrap();
}

#[test]
fn names_of_samplers_are_those_of_llama_cpp() {
    for (name, kind) in [
        ("temperature", SamplerKind::Temperature),
        ("temp", SamplerKind::Temperature),
        ("top-k", SamplerKind::TopK),
        ("typ_p", SamplerKind::TypicalP),
        (" XTC", SamplerKind::Xtc),
        ("top_n_sigma", SamplerKind::TopNSigma),
    ] {
        assert_eq!(name.parse::<SamplerKind>().unwrap(), kind, "{name}");
    }
    assert!("top".parse::<SamplerKind>().unwrap_err().to_string().contains("penalties, dry, top_n_sigma"));
}
